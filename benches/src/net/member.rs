//! A member of a mesh that exists for the length of a measure.

use anyhow::{Context, Result, anyhow};
use holm_mesh_net::{Limits, Net, NetCommand, NetConfig, NetEvent, ReachConfig, start};
use holm_types::{
    Incarnation, Label, MeshId, NodeId, Wall,
    api::Path,
    cert::{CertChain, Certificate, Claims, Role},
    keys::KeyPair,
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// The number whose key is the authority's.
const AUTHORITY: u8 = 0;
const DAY: u64 = 24 * 3600;

/// A running member.
pub struct Member {
    handle: holm_mesh_net::NetHandle,
    /// Where others should look for it.
    announced: watch::Receiver<Vec<String>>,
    /// Streams of others.
    pub streams: tokio::sync::mpsc::Receiver<holm_mesh_net::IncomingStream>,
    _tasks: JoinSet<()>,
}

fn key(number: u8) -> KeyPair {
    KeyPair::from_secret(&[number.wrapping_add(1); 32])
}

/// The member with that number.
pub fn id(number: u8) -> NodeId {
    key(number).node_id()
}

fn now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn chain(number: u8, mesh: MeshId) -> Result<CertChain> {
    let label = |text: &str| text.parse::<Label>().map_err(|why| anyhow!("{text}: {why}"));
    let today = now().0 / 1000;
    let claims = Claims {
        mesh,
        mesh_name: label("bench")?,
        subject: id(number),
        name: label(&format!("member-{number}"))?,
        site: label("bench")?,
        roles: vec![Role::Edge],
        not_before: today - DAY,
        not_after: today + DAY,
        serial: u64::from(number),
    };
    Ok(CertChain::new(vec![Certificate::sign(claims, &key(AUTHORITY))?]))
}

impl Member {
    /// Starts the member with that number, which forwards for others where `relay` says so.
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub async fn start(number: u8, listen: &[String], relay: bool) -> Result<Member> {
        let mesh = MeshId(id(AUTHORITY).0);
        let advertise = if relay { listen.to_vec() } else { Vec::new() };
        let config = NetConfig {
            key: key(number),
            chain: chain(number, mesh)?,
            mesh,
            incarnation: Incarnation(now().0),
            listen: listen.to_vec(),
            mdns: false,
            clock: Arc::new(now),
            reach: ReachConfig { relay, advertise, upnp: false, ..ReachConfig::default() },
            limits: Limits::default(),
        };
        let mut tasks = JoinSet::new();
        let Net { handle, mut events, streams, .. } = start(config, &mut tasks).await?;
        let (tell, announced) = watch::channel(Vec::new());
        tasks.spawn(async move {
            while let Some(event) = events.recv().await {
                if let NetEvent::Announce { addresses } = event {
                    tell.send_replace(addresses);
                }
            }
        });
        Ok(Member { handle, announced, streams, _tasks: tasks })
    }

    /// Connects to these relays.
    ///
    /// # Errors
    /// One of them does not come in time.
    pub async fn meet_all(&self, relays: &[(u8, String)]) -> Result<()> {
        let mut places: BTreeMap<u8, Vec<String>> = BTreeMap::new();
        for (number, address) in relays {
            places.entry(*number).or_default().push(address.clone());
        }
        for (number, addresses) in places {
            self.meet(number, &addresses, false).await?;
        }
        Ok(())
    }

    /// Connects to a member, and waits until it is reached in that way.
    ///
    /// # Errors
    /// Not in time.
    pub async fn meet(&self, number: u8, addresses: &[String], relayed: bool) -> Result<()> {
        let peer = id(number);
        self.handle.try_send(NetCommand::Dial { peer, addresses: addresses.to_vec() });
        let wanted = if relayed { Path::Relayed } else { Path::Direct };
        let reached = async {
            while !self.handle.reach().peers.iter().any(|way| way.node == peer && way.path == wanted) {
                sleep(POLL).await;
            }
        };
        let late = || format!("member {number} is not reached at {addresses:?}: {:?}", self.handle.reach());
        timeout(PATIENCE, reached).await.with_context(late)
    }

    /// Where it can be reached over a relay.
    ///
    /// # Errors
    /// No relay takes it in time.
    pub async fn announced(&mut self) -> Result<Vec<String>> {
        let relayed = |told: &Vec<String>| told.iter().any(|address| address.contains("p2p-circuit"));
        let told = timeout(PATIENCE, self.announced.wait_for(relayed)).await.context("no relay takes it")?;
        Ok(told.context("the network has ended")?.clone())
    }

    /// Opens a stream to a connected member.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn open(&self, number: u8) -> Result<holm_mesh_net::NetStream> {
        Ok(self.handle.open(id(number)).await?)
    }
}
