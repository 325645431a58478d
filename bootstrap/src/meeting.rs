//! Where members meet: connections are kept, gossip is passed on, nothing is remembered.

use crate::{
    config::Config as Settings,
    environment::wall,
    http::{self, Watched},
    identity::Identity,
    renewal::{self, Renewal},
    revocations::{self, Revocations},
};
use anyhow::{Context as _, Result, bail};
use holm_mesh_core::{
    healer::{Config, Healer},
    topics::{Carries, Topics},
};
use holm_mesh_net::{NetCommand, NetConfig, NetEvent, NetHandle};
use holm_types::{Incarnation, Mono, NodeId, cert::CertChain, presence::Presence};
use std::{sync::Arc, time::Instant};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::{Duration, interval},
};

const TICK: Duration = Duration::from_millis(250);
/// Time between two heartbeats while nothing happens: nobody waits for this server.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// How soon there is another one where something does.
const SOON: Duration = Duration::from_secs(1);

/// Serves until it is told to stop.
pub async fn serve(identity: Identity, settings: Settings) -> Result<()> {
    let claims = identity.chain.claims()?.clone();
    let mut tasks = JoinSet::new();
    let config = NetConfig {
        key: identity.key.clone(),
        chain: identity.chain.clone(),
        mesh: claims.mesh,
        incarnation: identity.incarnation,
        listen: settings.listen.clone(),
        mdns: false,
        clock: Arc::new(wall),
        reach: settings.reach(),
        limits: settings.limits(),
    };
    let mut net = holm_mesh_net::start(config, &mut tasks).await.context("cannot start the network")?;
    let mut topics = Topics::new(&claims.mesh, &claims.site);
    for topic in topics.all() {
        net.handle.try_send(NetCommand::Subscribe(topic));
    }
    // This server renews nobody's.
    drop(net.renewals);
    let mut renewal = Renewal::new(&identity);
    let mut renewal_look = interval(renewal::LOOK);
    let mut revocations = Revocations::new(claims.mesh);
    let mut revocations_ask = interval(revocations::ASK);
    let mut pulse = Pulse {
        node: identity.key.node_id(),
        incarnation: identity.incarnation,
        chain: identity.chain.clone(),
        seq: 0,
        addresses: Vec::new(),
        news: true,
        last: None,
    };
    let mut heartbeat = interval(SOON);
    let start = Instant::now();
    let now = || Mono(start.elapsed());
    let mut healer = Healer::new(Config::default(), wall().0);
    for (peer, addresses) in &identity.peers {
        healer.learn(*peer, addresses, now());
    }
    let watched = Watched::new(net.handle.clone());
    watched.turned(wall().0);
    let http = match settings.http()? {
        Some(at) => format!(" http={}", http::serve(at, watched.clone(), &mut tasks).await?),
        None => String::new(),
    };
    println!("ready {} of mesh {}{http}", claims.name, claims.mesh_name);
    let mut tick = interval(TICK);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            event = net.events.recv() => match event {
                Some(NetEvent::Listening { address }) => tracing::info!(address, "listening"),
                Some(NetEvent::Announce { addresses }) => pulse.moves(addresses),
                Some(event) => {
                    pulse.hear(&topics, &event);
                    heed(&mut revocations, &event, &net.handle);
                    join_site(&mut topics, &event, &net.handle);
                    take(&mut healer, event, now());
                }
                None => bail!("the network ended"),
            },
            Some(_) = net.enrolments.recv() => {} // Dropped: whoever asks is told that this node does not enrol.
            chain = renewal.next() => if let Some(chain) = chain {
                tracing::info!("the certificate was renewed");
                if let Err(error) = identity.keep(&chain) {
                    tracing::warn!(error = %format!("{error:#}"), "the renewed certificate is not written down");
                }
                net.handle.try_send(NetCommand::Present(chain.clone()));
                pulse.chain = chain;
            },
            _ = revocations_ask.tick() => if let Some((peer, frames)) = revocations.ask() {
                // Again, should the network's queue have been full when it was news.
                net.handle.try_send(NetCommand::Distrust(revocations.distrust()));
                for bytes in frames {
                    net.handle.try_send(NetCommand::Send { peer, bytes });
                }
            },
            _ = renewal_look.tick() => renewal.look(healer.known()),
            _ = tick.tick() => {
                watched.turned(wall().0);
                dial(&mut healer, &net.handle, now());
            }
            // Who hears its site expects to hear it there, and does not listen to what it says to all.
            _ = heartbeat.tick() => pulse.beat(&[topics.presence_at(&claims.site), topics.presence()], &net.handle)?,
        }
    }
}

/// Its own heartbeats: members see that it is there, and where. It offers nothing to tasks.
struct Pulse {
    node: NodeId,
    incarnation: Incarnation,
    chain: CertChain,
    seq: u64,
    addresses: Vec<String>,
    /// There is somebody who was not told where it is.
    news: bool,
    last: Option<Instant>,
}

impl Pulse {
    fn moves(&mut self, addresses: Vec<String>) {
        self.news |= self.addresses != addresses;
        self.addresses = addresses;
    }

    /// Somebody is new, or has called the roll.
    fn hear(&mut self, topics: &Topics, event: &NetEvent) {
        self.news |= match event {
            NetEvent::PeerUp { .. } => true,
            NetEvent::Gossip { topic, bytes, .. } => match topics.carries(topic) {
                Some(Carries::Presence(_) | Carries::PresenceToAll) => {
                    Presence::decode(bytes).is_ok_and(|presence| presence.calls)
                }
                _ => false,
            },
            _ => false,
        };
    }

    fn beat(&mut self, topics: &[String], net: &NetHandle) -> Result<()> {
        if !self.news && self.last.is_some_and(|last| last.elapsed() < HEARTBEAT) {
            return Ok(());
        }
        (self.news, self.last) = (false, Some(Instant::now()));
        self.seq += 1;
        let presence = Presence {
            node: self.node,
            incarnation: self.incarnation,
            seq: self.seq,
            every_ms: u32::try_from(HEARTBEAT.as_millis())?,
            free: Some(Default::default()),
            running: Some(0),
            addresses: Some(self.addresses.clone()),
            leaving: false,
            calls: false,
            chain: Some(self.chain.clone()),
        };
        let bytes = presence.encode()?;
        for topic in topics {
            net.try_send(NetCommand::Publish { topic: topic.clone(), bytes: bytes.clone() });
        }
        Ok(())
    }
}

/// Members tell who is none any more.
fn heed(revocations: &mut Revocations, event: &NetEvent, net: &NetHandle) {
    match event {
        NetEvent::PeerUp { node, chain, .. } => revocations.up(*node, chain.clone()),
        NetEvent::PeerDown { node } => revocations.down(node),
        NetEvent::Frame { bytes, .. } if revocations.hear(bytes) => {
            net.try_send(NetCommand::Distrust(revocations.distrust()));
        }
        _ => {}
    }
}

/// What the nodes of a site say to each other is passed on for those that only meet here.
fn join_site(topics: &mut Topics, event: &NetEvent, net: &NetHandle) {
    let NetEvent::PeerUp { chain, .. } = event else { return };
    let Ok(claims) = chain.claims() else { return };
    for topic in topics.join(&claims.site) {
        net.try_send(NetCommand::Subscribe(topic));
    }
}

/// Members are dialled again when they are lost; those who listen behind a NAT dial by themselves.
fn take(healer: &mut Healer, event: NetEvent, now: Mono) {
    match event {
        NetEvent::PeerUp { node, address, .. } => {
            tracing::info!(%node, address, "a member is here");
            healer.learn(node, &[], now);
            healer.connected(&node);
        }
        NetEvent::PeerDown { node } => {
            tracing::info!(%node, "a member is gone");
            healer.disconnected(&node, now);
        }
        NetEvent::PeerAddresses { node, addresses } => {
            healer.learn(node, &addresses, now);
        }
        _ => {}
    }
}

fn dial(healer: &mut Healer, net: &NetHandle, now: Mono) {
    for dial in healer.tick(now) {
        net.try_send(NetCommand::Dial { peer: dial.peer, addresses: dial.addresses });
    }
}
