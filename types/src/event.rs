//! Structured events: for machines, apart from the logs for people.

use crate::{Label, TaskId, Wall};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happened. The names are stable: scripts and the simulator's judges read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// The node serves.
    Ready,
    /// A submission was made durable here.
    Accepted,
    /// An app was removed here.
    Removed,
    /// Edits of an app that did not see each other were merged: of one field one value holds, and others are lost.
    Conflict,
    /// This node gave a slot to a node.
    Assigned,
    /// This node refused an assignment.
    Refused,
    /// A task was started here.
    Started,
    /// A running task was found again after the agent's restart.
    Adopted,
    /// A task that ended was started again in place.
    Restarted,
    /// A task ended here.
    Finished,
    /// A task is being stopped here.
    Stopping,
    /// The lease of a fenced task could not be kept: the task is stopped before it ends.
    LeaseLost,
    /// A fenced task has ended because it had no lease any more.
    Fenced,
    /// A node is alive, from this node's view.
    NodeAlive,
    /// A node is overdue.
    NodeSuspect,
    /// A node is held for dead.
    NodeDead,
    /// A connection to a peer is up.
    PeerUp,
    /// The last connection to a peer is gone.
    PeerDown,
    /// Replicas were brought together with a peer.
    Merged,
    /// A node was enrolled by this one.
    Enrolled,
    /// This node's certificate was renewed.
    Renewed,
    /// This node's certificate has ended: it only reads until it is renewed.
    CertificateEnded,
    /// A node was revoked here, or this node itself.
    Revoked,
    /// This node holds as much of a scope as its disk budget allows, or a quarter more.
    NoRoom,
    /// This node's database was damaged, and was made again from what could be read of it.
    Rebuilt,
    /// Bad input was refused.
    Rejected,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// When, by this node's clock.
    pub at: Wall,
    /// On which node.
    pub node: Label,
    /// What.
    pub kind: EventKind,
    /// The app, if one is concerned.
    pub app: Option<String>,
    /// The task, if one is concerned.
    pub task: Option<TaskId>,
    /// The rest, for people.
    pub detail: String,
}
