//! A node's key is its libp2p identity: the two names of a node convert into each other.

use crate::NetError;
use holm_types::{NodeId, keys::KeyPair};
use libp2p::{PeerId, identity};

/// An ed25519 peer id is the identity multihash of the key's protobuf: this prefix, then the key.
const PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// The peer id of a node; none when the id is not a point of the curve.
pub(crate) fn peer_of(node: &NodeId) -> Option<PeerId> {
    let key = identity::ed25519::PublicKey::try_from_bytes(&node.0).ok()?;
    Some(identity::PublicKey::from(key).to_peer_id())
}

/// The node of a peer id; none for the other kinds of keys, which no member has.
pub(crate) fn node_of(peer: &PeerId) -> Option<NodeId> {
    let bytes = peer.to_bytes();
    NodeId::from_slice(bytes.strip_prefix(&PREFIX)?).ok()
}

/// The key pair in libp2p's form.
pub(crate) fn keypair_of(key: &KeyPair) -> Result<identity::Keypair, NetError> {
    let mut secret = key.secret();
    identity::Keypair::ed25519_from_bytes(&mut secret[..])
        .map_err(|e| NetError::Setup { what: "the node key", why: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_two_names_of_a_node_convert(secret: [u8; 32]) {
            let key = KeyPair::from_secret(&secret);
            let peer = keypair_of(&key).unwrap().public().to_peer_id();
            prop_assert_eq!(peer_of(&key.node_id()), Some(peer));
            prop_assert_eq!(node_of(&peer), Some(key.node_id()));
        }
    }

    #[test]
    fn a_random_peer_id_is_no_node() {
        assert_eq!(node_of(&PeerId::random()), None);
    }
}
