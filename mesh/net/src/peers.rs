//! Who is connected, over what. Pure: time comes in.

use holm_types::{Mono, NodeId, Wall, cert::CertChain};
use libp2p::{PeerId, swarm::ConnectionId};
use std::{collections::BTreeMap, time::Duration};

/// Connections with one peer that may stay: one over each transport, or one dialled from each side.
const KEPT: usize = 2;

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    /// We dialled it.
    pub(crate) dialled: bool,
    pub(crate) relayed: bool,
    /// Over QUIC; else TCP.
    pub(crate) quic: bool,
    /// Where it leads, or where it came from.
    pub(crate) address: String,
}

/// What is known of a connection while it stands.
#[derive(Debug)]
struct Standing {
    connection: Connection,
    since: Mono,
    rtt: Option<Duration>,
}

/// One connected peer.
#[derive(Debug)]
struct Peer {
    node: NodeId,
    expires: Wall,
    connections: Vec<Standing>,
    /// Since when there are more connections than may stay.
    surplus_since: Option<Mono>,
}

impl Peer {
    fn is_relayed(&self) -> bool {
        self.connections.iter().all(|c| c.connection.relayed)
    }

    /// The connection that is used: a direct one if there is one, the oldest first.
    fn best(&self) -> Option<&Standing> {
        self.connections.iter().min_by_key(|c| (c.connection.relayed, c.connection.id))
    }
}

/// How a peer is reached.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Way {
    pub(crate) node: NodeId,
    /// The connection that is used.
    pub(crate) id: ConnectionId,
    pub(crate) relayed: bool,
    pub(crate) address: String,
    pub(crate) rtt: Option<Duration>,
}

/// The connected peers.
#[derive(Debug)]
pub(crate) struct Peers {
    me: PeerId,
    peers: BTreeMap<PeerId, Peer>,
}

impl Peers {
    pub(crate) fn new(me: PeerId) -> Peers {
        Peers { me, peers: BTreeMap::new() }
    }

    pub(crate) fn is_connected(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    /// Whether a peer is connected, and only over relays.
    pub(crate) fn is_relayed(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(Peer::is_relayed)
    }

    /// How a peer is reached now.
    pub(crate) fn way(&self, peer: &PeerId) -> Option<Way> {
        let peer = self.peers.get(peer)?;
        let best = peer.best()?;
        let Connection { id, relayed, address, .. } = best.connection.clone();
        Some(Way { node: peer.node, id, relayed, address, rtt: best.rtt })
    }

    /// How each peer is reached now.
    pub(crate) fn ways(&self) -> Vec<Way> {
        self.peers.keys().filter_map(|peer| self.way(peer)).collect()
    }

    /// Whether there is a direct connection with the peer over QUIC, and one over TCP.
    pub(crate) fn carriers(&self, peer: &PeerId) -> (bool, bool) {
        let direct = |quic: bool| {
            let connections = self.peers.get(peer).into_iter().flat_map(|peer| &peer.connections);
            connections.filter(|c| !c.connection.relayed).any(|c| c.connection.quic == quic)
        };
        (direct(true), direct(false))
    }

    /// A round trip on a connection was measured.
    pub(crate) fn measured(&mut self, peer: &PeerId, id: ConnectionId, rtt: Duration) {
        let connections = self.peers.get_mut(peer).into_iter().flat_map(|peer| &mut peer.connections);
        connections.filter(|c| c.connection.id == id).for_each(|c| c.rtt = Some(rtt));
    }

    /// Whether a connection may be given up at its first silence: a relay carries it, or there is another connection
    /// with the peer, which came back in another way.
    pub(crate) fn has_another_way(&self, peer: &PeerId, id: ConnectionId) -> bool {
        let connections = self.peers.get(peer).map(|peer| peer.connections.as_slice()).unwrap_or_default();
        let this = connections.iter().find(|c| c.connection.id == id);
        this.is_some_and(|this| this.connection.relayed || connections.len() > 1)
    }

    /// Notes a connection; true when it is the peer's first.
    pub(crate) fn up(&mut self, peer: PeerId, node: NodeId, chain: &CertChain, c: Connection, now: Mono) -> bool {
        let expires = ends(chain);
        let entry =
            self.peers.entry(peer).or_insert(Peer { node, expires, connections: Vec::new(), surplus_since: None });
        // A later connection may have shown a renewed certificate.
        entry.expires = expires;
        entry.connections.push(Standing { connection: c, since: now, rtt: None });
        if entry.connections.len() > KEPT {
            entry.surplus_since.get_or_insert(now);
        }
        entry.connections.len() == 1
    }

    /// The certificate of a connected peer was renewed.
    pub(crate) fn renewed(&mut self, chain: &CertChain) {
        let Ok(subject) = chain.claims().map(|claims| claims.subject) else { return };
        for peer in self.peers.values_mut().filter(|peer| peer.node == subject) {
            peer.expires = peer.expires.max(ends(chain));
        }
    }

    /// Notes the end of a connection; the node, when it was the peer's last.
    pub(crate) fn down(&mut self, peer: &PeerId, id: ConnectionId) -> Option<NodeId> {
        let entry = self.peers.get_mut(peer)?;
        entry.connections.retain(|c| c.connection.id != id);
        if entry.connections.len() <= KEPT {
            entry.surplus_since = None;
        }
        let last = entry.connections.is_empty().then_some(entry.node)?;
        self.peers.remove(peer);
        Some(last)
    }

    /// The connections to close because their peer has too many for longer than `grace`.
    ///
    /// One side decides, the one with the smaller peer id, so that the two never close each other's
    /// choice. It keeps direct connections before relayed ones, then one over each transport, then those
    /// that it dialled itself, then the older ones.
    pub(crate) fn surplus(&mut self, now: Mono, grace: Duration) -> Vec<ConnectionId> {
        let me = self.me;
        let mut close = Vec::new();
        for (_, peer) in self.peers.iter_mut().filter(|(id, _)| me < **id) {
            if peer.surplus_since.is_none_or(|since| now.since(since) < grace) {
                continue;
            }
            let rank = |c: &Standing| (c.connection.relayed, !c.connection.dialled, c.connection.id);
            peer.connections.sort_by_key(rank);
            let (mut first, mut again) = (Vec::new(), Vec::new());
            for c in &peer.connections {
                let kind = (c.connection.relayed, c.connection.quic);
                let seen = first.iter().any(|(known, _)| *known == kind);
                if seen { again.push(c.connection.id) } else { first.push((kind, c.connection.id)) }
            }
            // Relayed ones come last in `first`, and a second direct one is worth more.
            let (direct, relayed): (Vec<_>, Vec<_>) = first.into_iter().partition(|((relayed, _), _)| !relayed);
            let ids = direct.into_iter().map(|(_, id)| id).chain(again).chain(relayed.into_iter().map(|(_, id)| id));
            close.extend(ids.skip(KEPT));
            // Should a close fail to take effect, it is tried again after another grace.
            peer.surplus_since = Some(now);
        }
        close
    }

    /// Relayed connections with peers that have had a direct one for `grace`. Here, too, the smaller id decides.
    pub(crate) fn superfluous(&self, now: Mono, grace: Duration) -> Vec<ConnectionId> {
        let stands = |c: &Standing| !c.connection.relayed && now.since(c.since) >= grace;
        let peers = self.peers.iter().filter(|(id, peer)| self.me < **id && peer.connections.iter().any(stands));
        let relayed = peers.flat_map(|(_, peer)| &peer.connections).filter(|c| c.connection.relayed);
        relayed.map(|c| c.connection.id).collect()
    }

    /// Peers whose certificate is borne with no more.
    pub(crate) fn expired(&self, now: Wall) -> Vec<PeerId> {
        self.peers.iter().filter(|(_, peer)| peer.expires < now).map(|(id, _)| *id).collect()
    }
}

/// Until when connections with a peer may stand that has shown this chain.
fn ends(chain: &CertChain) -> Wall {
    Wall(chain.borne_until().saturating_add(1).saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(3);

    fn at(s: u64) -> Mono {
        Mono(Duration::from_secs(s))
    }

    fn connection(id: usize, dialled: bool, relayed: bool) -> Connection {
        let (id, address) = (ConnectionId::new_unchecked(id), String::new());
        Connection { id, dialled, relayed, quic: true, address }
    }

    /// Two peer ids, the smaller first.
    fn pair() -> (PeerId, PeerId) {
        let (a, b) = (PeerId::random(), PeerId::random());
        if a < b { (a, b) } else { (b, a) }
    }

    fn with(me: PeerId, peer: PeerId, connections: &[Connection]) -> Peers {
        let mut peers = Peers::new(me);
        for (n, c) in connections.iter().enumerate() {
            assert_eq!(peers.up(peer, NodeId([1; 32]), &CertChain::new(Vec::new()), c.clone(), at(0)), n == 0);
        }
        peers
    }

    #[test]
    fn a_peer_is_up_once_and_down_once() {
        let (me, peer) = pair();
        let mut peers = with(me, peer, &[connection(1, true, false), connection(2, false, false)]);
        assert_eq!(peers.down(&peer, ConnectionId::new_unchecked(1)), None);
        assert!(peers.is_connected(&peer));
        assert_eq!(peers.down(&peer, ConnectionId::new_unchecked(2)), Some(NodeId([1; 32])));
        assert_eq!(peers.down(&peer, ConnectionId::new_unchecked(2)), None);
    }

    #[test]
    fn the_smaller_id_closes_the_surplus_after_the_grace() {
        let (small, large) = pair();
        let connections = [
            connection(1, false, true),
            connection(2, false, false),
            connection(3, true, false),
            connection(4, true, false),
        ];
        let mut decides = with(small, large, &connections);
        let mut waits = with(large, small, &connections);
        assert!(decides.surplus(at(2), GRACE).is_empty(), "within the grace");
        let closed = decides.surplus(at(3), GRACE);
        assert_eq!(closed, [ConnectionId::new_unchecked(2), ConnectionId::new_unchecked(1)]);
        assert!(waits.surplus(at(9), GRACE).is_empty(), "the other side decides");
        for id in closed {
            decides.down(&large, id);
        }
        assert!(decides.surplus(at(99), GRACE).is_empty());
    }

    #[test]
    fn one_over_each_transport_stays_and_the_relayed_one_goes() {
        let (small, large) = pair();
        let tcp = |c: Connection| Connection { quic: false, ..c };
        let connections = [
            connection(1, true, false),
            connection(2, true, false),
            tcp(connection(3, false, false)),
            connection(4, true, true),
        ];
        let mut peers = with(small, large, &connections);
        assert_eq!(peers.carriers(&large), (true, true));
        let closed = peers.surplus(at(3), GRACE);
        assert_eq!(closed, [ConnectionId::new_unchecked(2), ConnectionId::new_unchecked(4)]);
    }

    #[test]
    fn a_relayed_connection_is_superfluous_once_a_direct_one_stands() {
        let (small, large) = pair();
        let relayed = with(small, large, &[connection(1, true, true)]);
        assert!(relayed.superfluous(at(99), GRACE).is_empty() && relayed.is_relayed(&large));
        let both = [connection(1, true, true), connection(2, true, false)];
        let decides = with(small, large, &both);
        assert!(decides.superfluous(at(2), GRACE).is_empty() && !decides.is_relayed(&large));
        assert_eq!(decides.superfluous(at(3), GRACE), [ConnectionId::new_unchecked(1)]);
        assert!(with(large, small, &both).superfluous(at(3), GRACE).is_empty());
    }

    #[test]
    fn a_relay_or_another_connection_is_another_way() {
        let (me, peer) = pair();
        let mut peers = with(me, peer, &[connection(1, true, true), connection(2, true, false)]);
        let [relayed, direct] = [1, 2].map(ConnectionId::new_unchecked);
        assert!(peers.has_another_way(&peer, relayed) && peers.has_another_way(&peer, direct));
        peers.down(&peer, relayed);
        assert!(!peers.has_another_way(&peer, direct) && !peers.has_another_way(&peer, relayed));
    }

    #[test]
    fn the_direct_way_is_the_way() {
        let (me, peer) = pair();
        let mut peers = with(me, peer, &[connection(1, true, true), connection(2, true, false)]);
        peers.measured(&peer, ConnectionId::new_unchecked(2), Duration::from_millis(40));
        let way = peers.way(&peer).unwrap();
        assert!(!way.relayed && way.rtt == Some(Duration::from_millis(40)));
        peers.down(&peer, ConnectionId::new_unchecked(2));
        assert!(peers.way(&peer).unwrap().relayed);
    }

    #[test]
    fn an_expired_certificate_is_found() {
        let (me, peer) = pair();
        // An empty chain counts as one that expired in 1970.
        let peers = with(me, peer, &[connection(1, true, false)]);
        assert_eq!(peers.expired(Wall(1_001)), [peer]);
        assert!(peers.expired(Wall(1_000)).is_empty());
    }
}
