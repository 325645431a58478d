//! From the network's events to the loop's inputs.

use super::node_loop::Message;
use holm_mesh_net::{EnrolRequest, NetEvent, RenewRequest};
use holm_node_core::Input;
use tokio::{sync::mpsc, task::JoinSet};

/// Forwards events, enrolments and renewals until the network or the loop ends.
pub fn forward(
    mut events: mpsc::Receiver<NetEvent>,
    (mut enrolments, mut renewals): (mpsc::Receiver<EnrolRequest>, mpsc::Receiver<RenewRequest>),
    inbox: &mpsc::Sender<Message>,
    tasks: &mut JoinSet<()>,
) {
    let to_loop = inbox.clone();
    tasks.spawn(async move {
        while let Some(event) = events.recv().await {
            let Some(message) = message_of(event) else { continue };
            if to_loop.send(message).await.is_err() {
                return;
            }
        }
    });
    let to_loop = inbox.clone();
    tasks.spawn(async move {
        while let Some(asked) = enrolments.recv().await {
            if to_loop.send(Message::Enrol(asked)).await.is_err() {
                return;
            }
        }
    });
    let to_loop = inbox.clone();
    tasks.spawn(async move {
        while let Some(asked) = renewals.recv().await {
            if to_loop.send(Message::Renew(asked)).await.is_err() {
                return;
            }
        }
    });
}

fn message_of(event: NetEvent) -> Option<Message> {
    Some(Message::Input(match event {
        NetEvent::Listening { address } => Input::Listening { address },
        NetEvent::PeerUp { node, chain, address, relayed } => Input::PeerUp { node, chain, address, relayed },
        NetEvent::PeerDown { node } => Input::PeerDown { node },
        NetEvent::PathChanged { node, address, relayed } => Input::PathChanged { node, address, relayed },
        NetEvent::Announce { addresses } => Input::Announce { addresses },
        NetEvent::Gossip { source, topic, bytes } => Input::Gossip { source, topic, bytes },
        NetEvent::Frame { from, bytes } => Input::Frame { from, bytes },
        NetEvent::Discovered { node, addresses } | NetEvent::PeerAddresses { node, addresses } => {
            Input::Discovered { node, addresses }
        }
        NetEvent::Superseded { by } => return Some(Message::Superseded(by)),
        NetEvent::Observed { address } => {
            tracing::debug!(%address, "a peer sees this node here");
            return None;
        }
        NetEvent::DialFailed { node, error } => {
            tracing::debug!(%node, %error, "dial failed");
            return None;
        }
    }))
}
