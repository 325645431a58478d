//! What can happen in the world. Small, since there are millions of them: what is large is behind
//! a pointer, and what a whole mesh hears is shared.

use super::{launch::Due, queue::At};
use holm_node_core::Input;
use holm_state::Batch;
use std::sync::Arc;

/// A host, by its place in the world's list.
pub(crate) type HostIndex = usize;
/// A topic, by its place in the world's list.
pub(crate) type TopicNo = u32;
/// One connection, from its set-up to its end; both ends know it by this number.
pub(crate) type ConnectionNo = u64;

/// One event. `life` is the run of the agent that it is for: a later one does not see it.
pub(crate) enum Event {
    /// Something for an agent.
    Input {
        host: HostIndex,
        life: u32,
        input: Box<Input>,
    },
    /// A gossip message arrives.
    Gossip {
        to: HostIndex,
        life: u32,
        author: HostIndex,
        topic: TopicNo,
        bytes: Arc<[u8]>,
    },
    /// A frame arrives over a connection.
    Frame {
        to: HostIndex,
        from: HostIndex,
        connection: ConnectionNo,
        bytes: Arc<[u8]>,
    },
    /// A batch has reached the disk.
    Written {
        host: HostIndex,
        life: u32,
        batch: Arc<Batch>,
    },
    /// An agent's deadline.
    Wake {
        host: HostIndex,
        life: u32,
    },
    /// A dial has come through, or not.
    Dialled {
        from: HostIndex,
        life: u32,
        to: HostIndex,
    },
    /// A host looks whether a connection still works.
    Probe {
        host: HostIndex,
        peer: HostIndex,
        connection: ConnectionNo,
    },
    /// The other end has closed a connection.
    Closed {
        host: HostIndex,
        peer: HostIndex,
        connection: ConnectionNo,
    },
    /// Something is due with a process.
    Process {
        host: HostIndex,
        due: Box<Due>,
    },
    /// A fault begins, ends, or acts while it lasts.
    FaultBegins(usize),
    FaultEnds(usize),
    FaultActs(usize),
    /// A backup is made for a fault that will restore it.
    Backup(usize),
    /// A request of the plan.
    Submit(usize),
    /// Time to look at the whole fleet.
    Sample,
    /// Time to look whether the replicas are equal again.
    HealCheck {
        heal: usize,
        since: At,
    },
}
