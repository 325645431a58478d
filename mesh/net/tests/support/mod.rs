//! An authority in memory, nodes on loopback, and waiting for what they report.
#![allow(dead_code, missing_docs)] // Each test binary uses its part.

use holm_mesh_net::{Limits, Net, NetCommand, NetConfig, NetError, NetEvent, ReachConfig, start};
use holm_types::{
    Incarnation, MeshId, NodeId, Wall,
    cert::{CertChain, Certificate, Claims, Role},
    keys::KeyPair,
    token::{Grant, Token},
};
use std::{
    collections::VecDeque,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

/// The date at which the tests begin, in seconds.
pub const NOW: u64 = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(30);

pub const TCP: &str = "/ip4/127.0.0.1/tcp/0";
pub const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

pub fn key(n: u8) -> KeyPair {
    KeyPair::from_secret(&[n; 32])
}

/// A mesh's authority, and the clock of its nodes.
pub struct Authority {
    key: KeyPair,
    pub clock: Arc<AtomicU64>,
}

impl Authority {
    pub fn new(n: u8) -> Authority {
        Authority { key: key(n), clock: Arc::new(AtomicU64::new(NOW * 1000)) }
    }

    pub fn mesh(&self) -> MeshId {
        MeshId(self.key.node_id().0)
    }

    pub fn chain(&self, subject: NodeId) -> CertChain {
        self.chain_until(subject, NOW + 3600)
    }

    pub fn chain_until(&self, subject: NodeId, not_after: u64) -> CertChain {
        let label = |text: &str| text.parse().unwrap();
        let claims = Claims {
            mesh: self.mesh(),
            mesh_name: label("test"),
            subject,
            name: label("n"),
            site: label("s"),
            roles: vec![Role::Edge],
            not_before: NOW - 3600,
            not_after,
            serial: 1,
        };
        CertChain::new(vec![Certificate::sign(claims, &self.key).unwrap()])
    }

    /// A chain of two: the authority certified `issuer`, and that `subject`.
    pub fn chain_by(&self, issuer: &KeyPair, subject: NodeId) -> CertChain {
        let plain = self.chain(issuer.node_id()).claims().unwrap().clone();
        let by = Certificate::sign(Claims { roles: vec![Role::Issuer], ..(*plain).clone() }, &self.key).unwrap();
        let own = Certificate::sign(self.chain(subject).claims().unwrap().clone(), issuer).unwrap();
        CertChain::new(vec![own, by])
    }

    /// A token of the node with key `issuer`, for its addresses.
    pub fn token(&self, issuer: &KeyPair, addresses: Vec<String>) -> Token {
        let grant = Grant {
            mesh: self.mesh(),
            mesh_name: "test".parse().unwrap(),
            issuer: issuer.node_id(),
            addresses,
            id: 7,
            role: Role::Edge,
            site: "s".parse().unwrap(),
            not_after: NOW + 600,
            uses: 1,
            validity_s: 3600,
        };
        Token::sign(grant, issuer).unwrap()
    }

    pub fn config(&self, n: u8, listen: &[&str]) -> NetConfig {
        let clock = self.clock.clone();
        NetConfig {
            key: key(n),
            chain: self.chain(key(n).node_id()),
            mesh: self.mesh(),
            incarnation: Incarnation(1),
            listen: listen.iter().map(|a| (*a).to_owned()).collect(),
            mdns: false,
            clock: Arc::new(move || Wall(clock.load(Ordering::Relaxed))),
            reach: ReachConfig { upnp: false, ..ReachConfig::default() },
            limits: Limits::default(),
        }
    }

    /// A member with key `n`.
    pub async fn node(&self, n: u8, listen: &[&str]) -> Node {
        Node::start(self.config(n, listen)).await.unwrap()
    }
}

/// A running network and the events that no test has asked for yet.
pub struct Node {
    pub id: NodeId,
    pub net: Net,
    pub listen: Vec<String>,
    seen: VecDeque<NetEvent>,
    _tasks: JoinSet<()>,
}

impl Node {
    pub async fn start(config: NetConfig) -> Result<Node, NetError> {
        let (id, listeners) = (config.key.node_id(), config.listen.len());
        let mut tasks = JoinSet::new();
        let net = start(config, &mut tasks).await?;
        let mut node = Node { id, net, listen: Vec::new(), seen: VecDeque::new(), _tasks: tasks };
        for _ in 0..listeners {
            let address = node
                .until("an address to listen on", |e| match e {
                    NetEvent::Listening { address } => Some(address.clone()),
                    _ => None,
                })
                .await;
            node.listen.push(address);
        }
        Ok(node)
    }

    /// Takes the first event that `wanted` recognises, also among those that came before; the
    /// others are kept.
    pub async fn until<T>(&mut self, what: &str, wanted: impl FnMut(&NetEvent) -> Option<T>) -> T {
        match self.until_deadline(Instant::now() + PATIENCE, wanted).await {
            Some(found) => found,
            None => panic!("no {what}; saw {:?}; counters {:?}", self.seen, self.net.handle.counters()),
        }
    }

    pub async fn within<T>(&mut self, time: Duration, wanted: impl FnMut(&NetEvent) -> Option<T>) -> Option<T> {
        self.until_deadline(Instant::now() + time, wanted).await
    }

    async fn until_deadline<T>(
        &mut self,
        deadline: Instant,
        mut wanted: impl FnMut(&NetEvent) -> Option<T>,
    ) -> Option<T> {
        for (at, event) in self.seen.iter().enumerate() {
            if let Some(found) = wanted(event) {
                self.seen.remove(at);
                return Some(found);
            }
        }
        while let Ok(Some(event)) = timeout_at(deadline, self.net.events.recv()).await {
            match wanted(&event) {
                Some(found) => return Some(found),
                None => self.seen.push_back(event),
            }
        }
        None
    }

    pub fn send(&self, command: NetCommand) {
        assert!(self.net.handle.try_send(command), "the command queue is full");
    }

    pub fn dial(&self, other: &Node) {
        self.send(NetCommand::Dial { peer: other.id, addresses: other.listen.clone() });
    }

    pub fn frame(&self, to: NodeId, bytes: Vec<u8>) {
        self.send(NetCommand::Send { peer: to, bytes });
    }

    pub async fn up(&mut self, other: NodeId) -> CertChain {
        self.until("peer up", |e| match e {
            NetEvent::PeerUp { node, chain, .. } if *node == other => Some(chain.clone()),
            _ => None,
        })
        .await
    }

    pub async fn down(&mut self, other: NodeId) {
        self.until("peer down", |e| matches!(e, NetEvent::PeerDown { node } if *node == other).then_some(())).await
    }

    pub async fn dial_error(&mut self, other: NodeId) -> String {
        self.until("failed dial", |e| match e {
            NetEvent::DialFailed { node, error } if *node == other => Some(error.clone()),
            _ => None,
        })
        .await
    }

    pub async fn next_frame(&mut self) -> Vec<u8> {
        self.until("frame", |e| match e {
            NetEvent::Frame { bytes, .. } => Some(bytes.clone()),
            _ => None,
        })
        .await
    }

    /// Waits until a counter reaches `n`.
    pub async fn counted(&self, name: &str, n: u64) {
        eventually(name, || self.net.handle.counters()[name] >= n).await;
    }

    /// Shows that the node still works: `friend` can connect, and a frame arrives.
    pub async fn serves(&mut self, friend: &mut Node) {
        friend.dial(self);
        self.up(friend.id).await;
        friend.up(self.id).await;
        friend.frame(self.id, b"still there?".to_vec());
        assert_eq!(self.next_frame().await, b"still there?");
    }
}

/// Dials `b` from `a` and waits for both to see it.
pub async fn connect(a: &mut Node, b: &mut Node) {
    a.dial(b);
    a.up(b.id).await;
    b.up(a.id).await;
}

/// Lets other tasks run until `condition` holds.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        tokio::task::yield_now().await;
    }
}

/// Bounds a wait of a test.
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what} took too long"),
    }
}
