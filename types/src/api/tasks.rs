//! Tasks: `task.*`.

use crate::{Epoch, Label, NodeId, Slot, TaskId, Wall, view::TaskState};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of `task.get` and `task.logs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskRef {
    /// The task.
    pub id: TaskId,
}

/// A row of `task.list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskRow {
    /// The task's id.
    pub id: TaskId,
    /// Its app.
    pub app: Label,
    /// Its namespace.
    pub namespace: Label,
    /// Its slot.
    pub slot: Slot,
    /// Its attempt.
    pub attempt: u32,
    /// Its epoch.
    pub epoch: Epoch,
    /// Name of its node.
    pub node: Label,
    /// Id of its node.
    pub node_id: NodeId,
    /// Site of its node.
    pub site: Label,
    /// Its state.
    pub state: TaskState,
    /// Process id on its node.
    pub pid: Option<u32>,
    /// Restarts in place.
    pub restarts: u32,
    /// When it was started.
    pub started_at: Option<Wall>,
    /// Why it is in this state.
    pub reason: String,
}
