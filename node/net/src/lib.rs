//! # holm-node-net: from the network's events to the loop's inputs
//!
//! `mesh/net` knows no node, `node/core` knows no network. Whoever runs a node on a network needs the
//! mapping between them: the daemon in `node/shell`, and the layer `swarm` of the simulations. It is here once, so
//! that what the simulator hears is what a node hears.

use holm_mesh_net::NetEvent;
use holm_node_core::Input;
use holm_types::NodeId;

/// What an event means for a node.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "almost all of them are the large one")]
pub enum Heard {
    /// The loop has to know.
    Input(Input),
    /// This peer is connected to a later process with this node's identity.
    Superseded(NodeId),
    /// For people: a peer sees this node at this address.
    SeenAt(String),
    /// For people: a dial came to nothing. The healer goes by what is connected.
    DialFailed {
        /// Whom.
        node: NodeId,
        /// Why.
        error: String,
    },
}

/// The meaning of an event.
pub fn heard(event: NetEvent) -> Heard {
    Heard::Input(match event {
        NetEvent::Listening { address } => Input::Listening { address },
        NetEvent::PeerUp { node, chain, address, relayed } => Input::PeerUp { node, chain, address, relayed },
        NetEvent::PeerDown { node } => Input::PeerDown { node },
        NetEvent::PathChanged { node, address, relayed } => Input::PathChanged { node, address, relayed },
        NetEvent::Announce { addresses } => Input::Announce { addresses },
        NetEvent::Gossip { source, topic, bytes } => Input::Gossip { source, topic, bytes },
        NetEvent::Frame { from, bytes } => Input::Frame { from, bytes },
        // Who says where a node is proves nothing in either case.
        NetEvent::Discovered { node, addresses } | NetEvent::PeerAddresses { node, addresses } => {
            Input::Discovered { node, addresses }
        }
        NetEvent::Superseded { by } => return Heard::Superseded(by),
        NetEvent::Observed { address } => return Heard::SeenAt(address),
        NetEvent::DialFailed { node, error } => return Heard::DialFailed { node, error },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_about_addresses_are_discoveries_and_what_is_for_people_is_no_input() {
        let node = NodeId([7; 32]);
        let addresses = vec!["/ip4/192.0.2.1/tcp/1".to_owned()];
        for event in [
            NetEvent::Discovered { node, addresses: addresses.clone() },
            NetEvent::PeerAddresses { node, addresses: addresses.clone() },
        ] {
            let Heard::Input(Input::Discovered { node: of, addresses: at }) = heard(event) else {
                panic!("it is an input");
            };
            assert_eq!((of, at), (node, addresses.clone()));
        }
        assert!(matches!(heard(NetEvent::Superseded { by: node }), Heard::Superseded(by) if by == node));
        assert!(matches!(heard(NetEvent::DialFailed { node, error: "no".into() }), Heard::DialFailed { .. }));
        assert!(matches!(heard(NetEvent::Observed { address: "a".into() }), Heard::SeenAt(_)));
    }
}
