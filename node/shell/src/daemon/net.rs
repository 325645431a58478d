//! From the network's events to the loop's inputs.

use super::node_loop::Message;
use holm_mesh_net::{Net, NetEvent};
use holm_node_core::Input;
use tokio::{sync::mpsc, task::JoinSet};

/// Forwards events and enrolments until the network or the loop ends.
pub fn forward(mut net: Net, inbox: &mpsc::Sender<Message>, tasks: &mut JoinSet<()>) {
    let events = inbox.clone();
    tasks.spawn(async move {
        while let Some(event) = net.events.recv().await {
            let Some(input) = input_of(event) else { continue };
            if events.send(Message::Input(input)).await.is_err() {
                return;
            }
        }
    });
    let enrolments = inbox.clone();
    tasks.spawn(async move {
        while let Some(asked) = net.enrolments.recv().await {
            if enrolments.send(Message::Enrol(asked)).await.is_err() {
                return;
            }
        }
    });
}

fn input_of(event: NetEvent) -> Option<Input> {
    Some(match event {
        NetEvent::Listening { address } => Input::Listening { address },
        NetEvent::PeerUp { node, chain, address, relayed } => Input::PeerUp { node, chain, address, relayed },
        NetEvent::PeerDown { node } => Input::PeerDown { node },
        NetEvent::Gossip { source, topic, bytes } => Input::Gossip { source, topic, bytes },
        NetEvent::Frame { from, bytes } => Input::Frame { from, bytes },
        NetEvent::Discovered { node, addresses } | NetEvent::PeerAddresses { node, addresses } => {
            Input::Discovered { node, addresses }
        }
        NetEvent::Observed { address } => {
            tracing::debug!(%address, "a peer sees this node here");
            return None;
        }
        NetEvent::DialFailed { node, error } => {
            tracing::debug!(%node, %error, "dial failed");
            return None;
        }
    })
}
