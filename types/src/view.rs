//! The view: what a node believes about the mesh, as plain values. The scheduler and the
//! clients read it; it is computed from documents and presence, and never written to.

use crate::{
    Digest, DocId, Epoch, Incarnation, Label, NodeId, Scope, Slot, Sorted, TaskId, TypeError, Wall, cbor,
    cert::Role,
    fence::GuardSet,
    manifest::{Amounts, AppType, Manifest},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// What a node says of itself in its own document (`info`, as JSON).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Labels to place by.
    pub labels: BTreeMap<String, String>,
    /// What tasks may use in all.
    pub capacity: Amounts,
    /// Processor architecture, as in Rust's `std::env::consts::ARCH`.
    pub arch: String,
    /// Version of the software.
    pub version: String,
    /// Version of the documents' schema that it knows ([`crate::change::SCHEMA`]); 0 if it does not say.
    #[serde(default)]
    pub schema: u32,
}

/// Whether a node is there, as far as this node can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// Heard from in time.
    Alive,
    /// Overdue.
    Suspect,
    /// Overdue for so long that its work is given to others.
    Dead,
    /// Said that it leaves for good.
    Left,
}

/// A node, seen from this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Its key.
    pub id: NodeId,
    /// Its name.
    pub name: Label,
    /// Its site.
    pub site: Label,
    /// Its roles.
    pub roles: Vec<Role>,
    /// What it says of itself.
    pub info: Arc<NodeInfo>,
    /// Whether it has said that. A member that has not, such as a bootstrap server, decides nothing
    /// and runs nothing.
    pub described: bool,
    /// Whether it is there.
    pub liveness: Liveness,
    /// Its life that was heard last; none for this node itself and for one that was never heard.
    pub life: Option<Incarnation>,
}

impl NodeView {
    /// Whether it holds all sites.
    pub fn is_keeper(&self) -> bool {
        self.roles.contains(&Role::Keeper)
    }
}

/// The state of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Not placed yet.
    Pending,
    /// Given to a node, which has not answered.
    Assigned,
    /// The node prepares it.
    Starting,
    /// It runs.
    Running,
    /// It was asked to stop.
    Stopping,
    /// It ended well.
    Succeeded,
    /// It ended badly, or could not start, and is not tried again.
    Failed,
    /// Its node is not there.
    Lost,
    /// Another task won its slot.
    Superseded,
    /// Its app was removed, scaled down or changed.
    Cancelled,
}

impl TaskState {
    /// Whether the task will not change any more.
    pub fn is_terminal(self) -> bool {
        matches!(self, TaskState::Succeeded | TaskState::Failed | TaskState::Superseded | TaskState::Cancelled)
    }

    /// How far along its life a task is; a status never goes back to a lower rank, except from
    /// running to starting when a task is restarted in place.
    pub fn rank(self) -> u8 {
        match self {
            TaskState::Pending => 0,
            TaskState::Assigned => 1,
            TaskState::Starting | TaskState::Running => 2,
            TaskState::Stopping | TaskState::Lost => 3,
            TaskState::Succeeded | TaskState::Failed | TaskState::Superseded | TaskState::Cancelled => 4,
        }
    }
}

impl std::fmt::Display for TaskState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            TaskState::Pending => "pending",
            TaskState::Assigned => "assigned",
            TaskState::Starting => "starting",
            TaskState::Running => "running",
            TaskState::Stopping => "stopping",
            TaskState::Succeeded => "succeeded",
            TaskState::Failed => "failed",
            TaskState::Lost => "lost",
            TaskState::Superseded => "superseded",
            TaskState::Cancelled => "cancelled",
        })
    }
}

/// Bytes of output that a status carries, at most; the rest stays in the task's log.
pub const MAX_OUTPUT_BYTES: usize = 2048;
/// Bytes of a reason that a status carries, at most.
pub const MAX_REASON_BYTES: usize = 240;

/// What a node says about a task that it was given. Written by that node alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// The state.
    pub state: TaskState,
    /// Process id, while it runs.
    pub pid: Option<u32>,
    /// How often it was restarted in place.
    pub restarts: u32,
    /// When it was first started.
    pub started_at: Option<Wall>,
    /// When it ended.
    pub finished_at: Option<Wall>,
    /// Its exit code; a signal `n` is 128 + n.
    pub exit_code: Option<i32>,
    /// Why it is in this state, for people.
    pub reason: String,
    /// The end of its standard output.
    #[serde(with = "serde_bytes")]
    pub output: Vec<u8>,
    /// The node refused the assignment: nothing was started.
    pub refused: bool,
    /// How often in a row it ended and was started again, without having run for a while in between.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub crashes: u32,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl TaskStatus {
    /// A status in `state`, everything else empty.
    pub fn new(state: TaskState) -> TaskStatus {
        TaskStatus {
            state,
            pid: None,
            restarts: 0,
            started_at: None,
            finished_at: None,
            exit_code: None,
            reason: String::new(),
            output: Vec::new(),
            refused: false,
            crashes: 0,
        }
    }

    /// Whether it ends again and again: whatever its process does at the moment, it does not keep running.
    pub fn is_crashing(&self) -> bool {
        self.crashes > 1 && !self.state.is_terminal()
    }

    /// The one encoding, cut to its bounds.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn encode(&self) -> Result<Vec<u8>, TypeError> {
        let mut bounded = self.clone();
        let cut = bounded.output.len().saturating_sub(MAX_OUTPUT_BYTES);
        bounded.output.drain(..cut);
        while bounded.reason.len() > MAX_REASON_BYTES {
            bounded.reason.pop();
        }
        cbor::to_vec("task status", &bounded)
    }

    /// Reads a status from a document.
    ///
    /// # Errors
    /// Malformed, or over a bound.
    pub fn decode(bytes: &[u8]) -> Result<TaskStatus, TypeError> {
        cbor::from_canonical("task status", bytes, crate::change::MAX_VALUE_BYTES)
    }
}

/// The decision that puts a slot's attempt on a node, as it stands in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The node.
    pub node: NodeId,
    /// Counts the tries of the slot's work, from 1. An assignment that was refused uses none.
    pub attempt: u32,
    /// The template ([`Manifest::template`]) of the app's spec that it was decided for.
    pub template: Digest,
    /// The run that was out of sight when this was decided, and that this stands in for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands_in: Option<StandsIn>,
}

/// A run of a slot's task: while it is seen to go on, whoever stands in for it gives way. A task that
/// was started again is another run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandsIn {
    /// The epoch of its assignment.
    pub epoch: Epoch,
    /// Its node.
    pub node: NodeId,
    /// When its node says that it was started. Compared for equality alone: the clocks of nodes differ.
    pub started_at: Wall,
}

/// An assignment with what its node says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Order among the slot's assignments.
    pub epoch: Epoch,
    /// Who decided it.
    pub writer: NodeId,
    /// What was decided.
    pub placement: Placement,
    /// What its node says, once it said anything.
    pub status: Option<TaskStatus>,
    /// The life in which the node said that.
    pub told_in: Incarnation,
}

impl Assignment {
    /// Its state: `Assigned` until the node says more.
    pub fn state(&self) -> TaskState {
        self.status.as_ref().map_or(TaskState::Assigned, |s| s.state)
    }

    /// Whether its node refused it.
    pub fn refused(&self) -> bool {
        self.status.as_ref().is_some_and(|s| s.refused)
    }
}

/// The assignments of one slot, in no particular order: `scheduler::reduce` says which one holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlotView {
    /// All of them.
    pub assignments: Vec<Assignment>,
    /// Epochs up to this one were given by assignments that are not kept any more.
    pub floor: Epoch,
}

/// Two concurrent edits of one field; or of a removal and an edit, which keeps the app ([`Conflict::LIFE`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Conflict {
    /// The field of the manifest, or [`Conflict::LIFE`].
    pub field: String,
    /// The value that holds.
    pub kept: serde_json::Value,
    /// The values that do not.
    pub lost: Vec<serde_json::Value>,
    /// Who wrote them, the writer of the kept one first: node names, or ids when unknown.
    pub writers: Vec<String>,
}

impl Conflict {
    /// Stands for a field: whether the app is there at all.
    pub const LIFE: &str = "app";
}

/// An app and its slots.
#[derive(Debug, Clone, PartialEq)]
pub struct AppView {
    /// Its document.
    pub doc: DocId,
    /// Where that is: at the site that its manifest asks for, or everywhere.
    pub scope: Scope,
    /// Counts its lives: an app that was removed and submitted again starts afresh.
    pub generation: u64,
    /// Whether it was not removed.
    pub live: bool,
    /// Counts its edits.
    pub revision: u64,
    /// What the user wants.
    pub manifest: Arc<Manifest>,
    /// Digest of the part of the manifest that a running task depends on.
    pub template: Digest,
    /// The guards of this generation, if it is fenced. More than one set when it was created on several sides of a
    /// cut with different members: then a majority of each has to agree.
    pub guards: Vec<GuardSet>,
    /// Edits that collided.
    pub conflicts: Vec<Conflict>,
    /// Slots of this generation that were ever assigned.
    pub slots: Sorted<Slot, SlotView>,
}

impl AppView {
    /// How long a lease lasts for whoever holds it.
    pub fn lease(&self) -> Option<Duration> {
        self.guards.iter().map(GuardSet::lease).min()
    }

    /// The task of an assignment.
    pub fn task_id(&self, slot: Slot, assignment: &Assignment) -> TaskId {
        TaskId::new(&self.manifest.name, &self.doc, self.generation, slot, assignment.epoch, &assignment.placement.node)
    }

    /// The slot of a node in a daemon: derived from the node's id, so that two coordinators
    /// that cannot see each other never disagree about it.
    pub fn daemon_slot(node: &NodeId) -> Slot {
        u32::from_be_bytes([node.0[0], node.0[1], node.0[2], node.0[3]]) >> 1
    }

    /// Where the tasks are written that run on a node at `site`. A daemon's slots belong to their nodes, so
    /// each site has its own, however large the mesh is; the slots of a service or a job move between sites.
    pub fn task_scope(&self, site: &Label) -> Scope {
        match self.manifest.kind {
            AppType::Daemon => Scope::Site(site.clone()),
            _ => self.scope.clone(),
        }
    }

    /// The document group of a slot. A daemon's slots are spread over 64 groups.
    pub fn group_of(kind: AppType, slot: Slot) -> u32 {
        match kind {
            AppType::Daemon => slot % 64,
            _ => slot / crate::change::SLOTS_PER_GROUP,
        }
    }
}

/// All that a node believes.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The members of the sites that this node holds and the keepers; this node is among them. Of other
    /// nodes those that were heard because they run apps that belong to no site.
    pub nodes: BTreeMap<NodeId, NodeView>,
    /// The site of this node; `None` where sites mean nothing.
    pub site: Option<Label>,
    /// Whether this node holds all sites.
    pub keeper: bool,
    /// The apps, removed ones too as long as their documents are kept.
    pub apps: BTreeMap<DocId, AppView>,
}

impl View {
    /// Whether this node knows all that concerns a site.
    pub fn covers(&self, site: &Label) -> bool {
        self.keeper || self.site.as_ref().is_none_or(|own| own == site)
    }
}
