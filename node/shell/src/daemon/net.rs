//! From the network's events to the loop's inputs.

use super::node_loop::Message;
use holm_mesh_net::{EnrolRequest, NetEvent, RenewRequest};
use holm_node_net::{Heard, heard};
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
    match heard(event) {
        Heard::Input(input) => Some(Message::Input(input)),
        Heard::Superseded(by) => Some(Message::Superseded(by)),
        Heard::SeenAt(address) => {
            tracing::debug!(%address, "a peer sees this node here");
            None
        }
        Heard::DialFailed { node, error } => {
            tracing::debug!(%node, %error, "dial failed");
            None
        }
    }
}
