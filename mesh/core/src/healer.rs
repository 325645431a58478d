//! The healer: keeps this node connected to peers it knows, and brings parts of a split mesh
//! together again. Every known peer without a connection is dialled, with a back-off that grows
//! per peer and a jitter that keeps a whole site from dialling at the same instant.

use holm_types::{Mono, NodeId, presence::MAX_ADDRESSES, sometimes};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How eager the healer is.
#[derive(Debug, Clone)]
pub struct Config {
    /// First delay after a failure or a loss.
    pub first: Duration,
    /// Longest delay.
    pub longest: Duration,
    /// Connections to aim for; beyond, known peers are left alone, but for those that are [needed](Healer::need).
    pub degree: usize,
    /// Peers remembered at most.
    pub max_peers: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config { first: Duration::from_millis(250), longest: Duration::from_secs(15), degree: 24, max_peers: 4096 }
    }
}

/// Connections to anchors to aim for, whatever others there are.
const ANCHORS: usize = 2;
/// Peers that can be needed at the same time, at most.
pub const MAX_NEEDED: usize = 64;

#[derive(Debug)]
struct Peer {
    addresses: Vec<String>,
    connected: bool,
    anchor: bool,
    delay: Duration,
    next: Mono,
}

impl Peer {
    /// When to dial it, unless it is connected, or nobody knows where it is.
    fn due(&self) -> Option<Mono> {
        (!self.connected && !self.addresses.is_empty()).then_some(self.next)
    }
}

/// What is counted and ordered of all peers, so that nobody has to look at all of them at every turn.
#[derive(Debug, Default)]
struct Order {
    /// Who is to be dialled, soonest first; and the anchors among them.
    due: BTreeSet<(Mono, NodeId)>,
    anchors_due: BTreeSet<(Mono, NodeId)>,
    connected: usize,
    anchors_connected: usize,
}

impl Order {
    fn add(&mut self, node: NodeId, peer: &Peer) {
        let due = peer.due().map(|at| (at, node));
        self.due.extend(due);
        self.anchors_due.extend(due.filter(|_| peer.anchor));
        self.connected += usize::from(peer.connected);
        self.anchors_connected += usize::from(peer.connected && peer.anchor);
    }

    fn remove(&mut self, node: NodeId, peer: &Peer) {
        if let Some(at) = peer.due() {
            self.due.remove(&(at, node));
            self.anchors_due.remove(&(at, node));
        }
        self.connected -= usize::from(peer.connected);
        self.anchors_connected -= usize::from(peer.connected && peer.anchor);
    }
}

/// A peer to dial, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// The peer, whose key the transport will check.
    pub peer: NodeId,
    /// Where it was last known to listen: direct addresses first, those over relays after them.
    pub addresses: Vec<String>,
}

/// Whether a multiaddress leads over a relay.
pub fn is_relayed(address: &str) -> bool {
    address.contains("/p2p-circuit")
}

/// See the [module](self).
#[derive(Debug)]
pub struct Healer {
    config: Config,
    peers: BTreeMap<NodeId, Peer>,
    order: Order,
    needed: BTreeSet<NodeId>,
    rng: ChaCha8Rng,
}

impl Healer {
    /// Knows nobody yet. The seed feeds the jitter.
    pub fn new(config: Config, seed: u64) -> Healer {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Healer { config, peers: BTreeMap::new(), order: Order::default(), needed: BTreeSet::new(), rng }
    }

    /// Changes a peer, and keeps the order of all in step.
    fn alter<T>(&mut self, node: &NodeId, change: impl FnOnce(&mut Peer) -> T) -> Option<T> {
        let peer = self.peers.get_mut(node)?;
        self.order.remove(*node, peer);
        let result = change(peer);
        self.order.add(*node, peer);
        Some(result)
    }

    /// Learns where a member listens; newer addresses come first and push the oldest out.
    /// Answers whether anything was new, so that the peer store is written only then.
    pub fn learn(&mut self, node: NodeId, addresses: &[String], now: Mono) -> bool {
        if !self.peers.contains_key(&node) && self.peers.len() >= self.config.max_peers {
            return false;
        }
        let fresh = |address: &&String| address.len() <= 256;
        if let Some(peer) = self.peers.get(&node)
            && addresses.iter().filter(fresh).all(|address| peer.addresses.contains(address))
        {
            return false;
        }
        let delay = self.config.first;
        self.peers.entry(node).or_insert(Peer {
            addresses: Vec::new(),
            connected: false,
            anchor: false,
            delay,
            next: now,
        });
        let changed = self.alter(&node, |peer| {
            let mut changed = false;
            for address in addresses.iter().filter(fresh).rev() {
                if !peer.addresses.contains(address) {
                    peer.addresses.insert(0, address.clone());
                    changed = true;
                }
            }
            peer.addresses.truncate(MAX_ADDRESSES);
            if changed && !peer.connected {
                peer.next = now;
            }
            changed
        });
        changed == Some(true)
    }

    /// A member says itself where it is: what was known of relays that lead to it is of the past.
    /// Answers as [`Healer::learn`].
    pub fn announced(&mut self, node: NodeId, addresses: &[String], now: Mono) -> bool {
        let gone = |known: &String| is_relayed(known) && !addresses.contains(known);
        let stale = self.peers.get(&node).is_some_and(|peer| peer.addresses.iter().any(gone));
        if stale {
            self.alter(&node, |peer| peer.addresses.retain(|known| !gone(known)));
        }
        self.learn(node, addresses, now) || stale
    }

    /// A peer holds the sites together: some of these are dialled whatever other connections there are.
    pub fn anchor(&mut self, node: NodeId) {
        self.alter(&node, |peer| peer.anchor = true);
    }

    /// A connection is up.
    pub fn connected(&mut self, node: &NodeId) {
        let first = self.config.first;
        self.alter(node, |peer| {
            peer.connected = true;
            peer.delay = first;
        });
    }

    /// The last connection is gone: dial again soon, not at once, since the other side dials too.
    pub fn disconnected(&mut self, node: &NodeId, now: Mono) {
        let first = self.config.first;
        let wait = self.jittered(first);
        self.alter(node, |peer| {
            peer.connected = false;
            peer.delay = first;
            peer.next = now.after(wait);
        });
    }

    /// A peer spoke through others: it is there, so a long back-off makes no sense any more.
    pub fn sighted(&mut self, node: &NodeId, now: Mono) {
        let first = self.config.first;
        if !self.peers.get(node).is_some_and(|peer| !peer.connected && peer.delay > first * 8) {
            return;
        }
        sometimes!("a long wait before a dial is cut short");
        self.alter(node, |peer| {
            peer.delay = first;
            peer.next = peer.next.min(now.after(first));
        });
    }

    /// These peers are talked to directly, so they are dialled however many connections there are; at
    /// most [`MAX_NEEDED`] of them.
    pub fn need(&mut self, peers: impl IntoIterator<Item = NodeId>) {
        self.needed = peers.into_iter().take(MAX_NEEDED).collect();
    }

    fn jittered(&mut self, d: Duration) -> Duration {
        d.mul_f64(self.rng.random_range(0.5..1.5))
    }

    /// Whom to dial now: anchors as long as some are missing, others as far as there is room.
    pub fn tick(&mut self, now: Mono) -> Vec<Dial> {
        let due = |order: &BTreeSet<(Mono, NodeId)>, limit: usize| -> Vec<NodeId> {
            order.iter().take_while(|(at, _)| *at <= now).map(|(_, node)| *node).take(limit).collect()
        };
        let mut dials: Vec<Dial> = due(&self.order.anchors_due, self.anchors_missing())
            .into_iter()
            .filter_map(|node| self.dial(node, now))
            .collect();
        let needed = self.needed.iter().filter(|node| self.due(node).is_some_and(|at| at <= now));
        let needed: Vec<NodeId> = needed.copied().collect();
        dials.extend(needed.into_iter().filter_map(|node| self.dial(node, now)).collect::<Vec<_>>());
        // Whoever was dialled just now is not due again.
        for node in due(&self.order.due, self.room()) {
            dials.extend(self.dial(node, now));
        }
        dials
    }

    fn dial(&mut self, node: NodeId, now: Mono) -> Option<Dial> {
        let jitter = self.rng.random_range(0.5..1.5);
        let longest = self.config.longest;
        self.alter(&node, |peer| {
            peer.next = now.after(peer.delay.mul_f64(jitter));
            peer.delay = (peer.delay * 2).min(longest);
            let mut addresses = peer.addresses.clone();
            addresses.sort_by_key(|address| is_relayed(address));
            Dial { peer: node, addresses }
        })
    }

    fn due(&self, node: &NodeId) -> Option<Mono> {
        self.peers.get(node).and_then(Peer::due)
    }

    fn room(&self) -> usize {
        self.config.degree.saturating_sub(self.order.connected)
    }

    fn anchors_missing(&self) -> usize {
        ANCHORS.saturating_sub(self.order.anchors_connected)
    }

    /// A peer is no member any more: it is dialled no more.
    pub fn forget(&mut self, node: &NodeId) -> bool {
        let Some(peer) = self.peers.remove(node) else { return false };
        self.order.remove(*node, &peer);
        true
    }

    /// When [`Healer::tick`] has something to do.
    pub fn deadline(&self) -> Option<Mono> {
        let room = self.order.due.first().filter(|_| self.room() > 0);
        let anchors = self.order.anchors_due.first().filter(|_| self.anchors_missing() > 0);
        let needed = self.needed.iter().filter_map(|node| self.due(node));
        room.into_iter().chain(anchors).map(|(at, _)| *at).chain(needed).min()
    }

    /// The peers and their addresses, for the peer store.
    pub fn known(&self) -> Vec<(NodeId, Vec<String>)> {
        self.peers.iter().map(|(node, peer)| (*node, peer.addresses.clone())).collect()
    }

    /// Where a peer was last known to listen.
    pub fn addresses(&self, node: &NodeId) -> &[String] {
        self.peers.get(node).map_or(&[], |peer| &peer.addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(Duration::from_millis(ms))
    }
    const PEER: NodeId = NodeId([1; 32]);

    #[test]
    fn a_lost_peer_is_dialled_with_growing_delays_until_it_is_back() {
        let mut healer = Healer::new(Config::default(), 1);
        assert!(healer.learn(PEER, &["/ip4/10.0.0.1/tcp/1".into()], at(0)));
        assert!(!healer.learn(PEER, &["/ip4/10.0.0.1/tcp/1".into()], at(0)), "nothing new");
        assert_eq!(healer.tick(at(0)).len(), 1);
        let mut gaps = Vec::new();
        let mut now = at(0);
        for _ in 0..12 {
            let next = healer.deadline().unwrap();
            gaps.push(next.since(now));
            now = next;
            assert_eq!(healer.tick(now).len(), 1);
        }
        assert!(gaps[0] < Duration::from_millis(400), "{gaps:?}");
        assert!(gaps[11] > Duration::from_secs(7) && gaps[11] < Duration::from_secs(23), "{gaps:?}");
        healer.connected(&PEER);
        assert_eq!(healer.deadline(), None);
        healer.disconnected(&PEER, now);
        assert!(healer.deadline().unwrap().since(now) < Duration::from_millis(400));
        assert!(healer.forget(&PEER) && !healer.forget(&PEER));
        assert_eq!((healer.deadline(), healer.known().len()), (None, 0), "who is no member is not dialled");
    }

    #[test]
    fn direct_addresses_come_first_and_relays_that_are_gone_are_forgotten() {
        let mut healer = Healer::new(Config::default(), 1);
        let (direct, one, two) =
            ("/ip4/10.0.0.1/tcp/1", "/ip4/11.0.0.1/tcp/1/p2p/A/p2p-circuit", "/x/p2p/B/p2p-circuit");
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert!(healer.announced(PEER, &list(&[one, direct]), at(0)));
        assert_eq!(healer.tick(at(0))[0].addresses, list(&[direct, one]));
        assert!(!healer.announced(PEER, &list(&[one, direct]), at(0)), "nothing new");
        assert!(healer.announced(PEER, &list(&[two]), at(0)));
        assert_eq!(healer.addresses(&PEER), list(&[two, direct]), "a direct address may come back");
        assert!(healer.announced(PEER, &[], at(0)), "it has no relay any more");
    }

    #[test]
    fn the_degree_bounds_connections_and_the_store_is_bounded() {
        let config = Config { degree: 3, max_peers: 10, ..Config::default() };
        let mut healer = Healer::new(config, 1);
        for n in 0..20u8 {
            healer.learn(NodeId([n; 32]), &[format!("/ip4/10.0.0.{n}/tcp/1")], at(0));
        }
        assert_eq!(healer.known().len(), 10);
        assert_eq!(healer.tick(at(0)).len(), 3);
        healer.connected(&NodeId([0; 32]));
        healer.connected(&NodeId([1; 32]));
        healer.connected(&NodeId([2; 32]));
        assert_eq!(healer.deadline(), None);
        healer.need([NodeId([7; 32])]);
        let due = healer.deadline().unwrap();
        assert_eq!(healer.tick(due).iter().map(|dial| dial.peer).collect::<Vec<_>>(), [NodeId([7; 32])]);
        let many: Vec<String> = (0..40).map(|n| format!("/ip4/10.0.1.{n}/tcp/1")).collect();
        healer.learn(NodeId([0; 32]), &many, at(0));
        assert_eq!(healer.addresses(&NodeId([0; 32])).len(), MAX_ADDRESSES);
    }
}
