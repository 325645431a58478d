//! Who is connected, over what. Pure: time comes in.

use holm_types::{Mono, NodeId, Wall, cert::CertChain};
use libp2p::{PeerId, swarm::ConnectionId};
use std::{collections::BTreeMap, time::Duration};

/// Connections with one peer that may stay: one over each transport, or one dialled from each side.
const KEPT: usize = 2;

/// One connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    /// We dialled it.
    pub(crate) dialled: bool,
    pub(crate) relayed: bool,
}

/// One connected peer.
#[derive(Debug)]
struct Peer {
    node: NodeId,
    expires: Wall,
    connections: Vec<Connection>,
    /// Since when there are more connections than may stay.
    surplus_since: Option<Mono>,
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

    /// Notes a connection; true when it is the peer's first.
    pub(crate) fn up(&mut self, peer: PeerId, node: NodeId, chain: &CertChain, c: Connection, now: Mono) -> bool {
        let expires = ends(chain);
        let entry =
            self.peers.entry(peer).or_insert(Peer { node, expires, connections: Vec::new(), surplus_since: None });
        // A later connection may have shown a renewed certificate.
        entry.expires = expires;
        entry.connections.push(c);
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
        entry.connections.retain(|c| c.id != id);
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
    /// choice. It keeps direct connections before relayed ones, then those that it dialled itself,
    /// then the older ones.
    pub(crate) fn surplus(&mut self, now: Mono, grace: Duration) -> Vec<ConnectionId> {
        let me = self.me;
        let mut close = Vec::new();
        for (_, peer) in self.peers.iter_mut().filter(|(id, _)| me < **id) {
            if peer.surplus_since.is_none_or(|since| now.since(since) < grace) {
                continue;
            }
            peer.connections.sort_by_key(|c| (c.relayed, !c.dialled, c.id));
            close.extend(peer.connections.iter().skip(KEPT).map(|c| c.id));
            // Should a close fail to take effect, it is tried again after another grace.
            peer.surplus_since = Some(now);
        }
        close
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
        Connection { id: ConnectionId::new_unchecked(id), dialled, relayed }
    }

    /// Two peer ids, the smaller first.
    fn pair() -> (PeerId, PeerId) {
        let (a, b) = (PeerId::random(), PeerId::random());
        if a < b { (a, b) } else { (b, a) }
    }

    fn with(me: PeerId, peer: PeerId, connections: &[Connection]) -> Peers {
        let mut peers = Peers::new(me);
        for (n, c) in connections.iter().enumerate() {
            assert_eq!(peers.up(peer, NodeId([1; 32]), &CertChain::new(Vec::new()), *c, at(0)), n == 0);
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
    fn an_expired_certificate_is_found() {
        let (me, peer) = pair();
        // An empty chain counts as one that expired in 1970.
        let peers = with(me, peer, &[connection(1, true, false)]);
        assert_eq!(peers.expired(Wall(1_001)), [peer]);
        assert!(peers.expired(Wall(1_000)).is_empty());
    }
}
