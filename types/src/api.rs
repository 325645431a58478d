//! Requests and answers of the JSON-RPC interface, as plain types: the node's core answers them,
//! the `rpc` crate carries them, the command line prints them. Field names are a promise.

pub use crate::reach::{NatKind, OwnAddress, PeerPath, Reach, RelayRow};
use crate::{
    Digest, Epoch, Label, NodeId, Slot, TaskId, Wall,
    cert::Role,
    manifest::{AppType, FieldChange, Manifest},
    view::{Conflict, Liveness, TaskState},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

mod certs;
pub use certs::{CertRow, CertState, RevokeParams, Revoked};

/// Parameters of `app.apply` and `app.plan`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyParams {
    /// The manifest as an object. Give this or `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// The manifest as TOML or YAML text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Fail unless the app is at this revision now (0: it does not exist).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<u64>,
    /// Repeating a call with the same key gives the first answer again (kept while the node runs, the last 1,024).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// Names an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppRef {
    /// Its name.
    pub name: Label,
    /// Its namespace, `default` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Label>,
    /// Its site, where there are apps of this name at several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Label>,
}

/// Parameters of `app.scale`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleParams {
    /// The app's name.
    pub name: Label,
    /// Its namespace, `default` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Label>,
    /// Its site, where there are apps of this name at several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Label>,
    /// Replicas of a service, or parallel tasks of a job.
    pub replicas: u32,
    /// Fail unless the app is at this revision now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<u64>,
}

impl ScaleParams {
    /// The app that is meant.
    pub fn app(&self) -> AppRef {
        AppRef { name: self.name.clone(), namespace: self.namespace.clone(), site: self.site.clone() }
    }
}

/// Parameters of `app.result`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResultParams {
    /// The app's name.
    pub name: Label,
    /// Its namespace, `default` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Label>,
    /// Its site, where there are apps of this name at several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Label>,
    /// Only this slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
}

impl ResultParams {
    /// The app that is meant.
    pub fn app(&self) -> AppRef {
        AppRef { name: self.name.clone(), namespace: self.namespace.clone(), site: self.site.clone() }
    }
}

/// Parameters of lists. The cursor is opaque.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListParams {
    /// Only of this app (`task.list`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<Label>,
    /// Only of this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Label>,
    /// Only of this site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<Label>,
    /// Also what has ended and lost (`task.list`).
    pub all: bool,
    /// Where the last page ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Rows, 1 to 1,000; 1,000 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Give this as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Parameters of `task.get` and `task.logs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskRef {
    /// The task.
    pub id: TaskId,
}

/// Parameters of `token.create`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenParams {
    /// The role of the node that joins.
    pub role: Role,
    /// Its site; this node's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Label>,
    /// How long the token is good, in seconds (1 to 30 days); one hour if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u64>,
    /// How many nodes may join with it (1 to 10,000); 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// How long the certificate is good that it buys, in seconds (10 seconds to 10 years); 90 days if absent, 5
    /// years for an issuer. It is renewed in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validity_s: Option<u64>,
}

/// Answer of `app.apply`, `app.scale` and `app.delete`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Applied {
    /// The app's name.
    pub name: Label,
    /// Its namespace.
    pub namespace: Label,
    /// The site that it belongs to; none if it may run anywhere.
    #[serde(default)]
    pub site: Option<Label>,
    /// The revision that is now durable on this node.
    pub revision: u64,
    /// Whether anything changed.
    pub changed: bool,
    /// What is worth knowing: what of the manifest this version does not act on, what cannot be reached.
    pub warnings: Vec<String>,
}

/// Answer of `app.plan`: that of `app.apply`, and what would follow from it as far as this node can tell now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The app's name.
    pub name: Label,
    /// Its namespace.
    pub namespace: Label,
    /// The revision that it would have.
    pub revision: u64,
    /// Whether anything would change.
    pub changed: bool,
    /// What of the manifest this version does not act on.
    pub warnings: Vec<String>,
    /// Whether the app is there already.
    pub exists: bool,
    /// The fields that would change; none for a new app.
    pub changes: Vec<FieldChange>,
    /// What would become of its slots, the lowest first: 1,000 at most.
    pub slots: Vec<PlannedSlot>,
    /// Slots beyond those.
    pub more_slots: u32,
}

/// What would become of a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedSlot {
    /// The slot.
    pub slot: Slot,
    /// What would be done.
    pub action: PlanAction,
    /// Name of the node, where there is one. Another may be chosen, if things change meanwhile.
    pub node: Option<Label>,
    /// Why it would wait, or find no node; else what there is to say about its task.
    pub reason: String,
}

/// What would be done about a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PlanAction {
    /// Nothing: its task stays.
    Keep,
    /// A task is started.
    Start,
    /// Its task is replaced by a new one, now or when its turn comes.
    Replace,
    /// Its task is stopped.
    Stop,
    /// It waits for its turn, or for its node.
    Wait,
    /// It would find no node.
    Unplaced,
}

/// A row of `node.list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeRow {
    /// The node's id.
    pub id: NodeId,
    /// Its name.
    pub name: Label,
    /// Its site.
    pub site: Label,
    /// Its roles.
    pub roles: Vec<Role>,
    /// Whether it is there.
    pub state: Liveness,
    /// Whether it was revoked: it is no member any more.
    #[serde(default)]
    pub revoked: bool,
    /// Whether it was ever there, as far as is known here: not if it was enrolled and never came up.
    pub seen: bool,
    /// How this node reaches it.
    pub path: Path,
    /// Round trip to it in milliseconds, where there is a connection and it was measured.
    #[serde(default)]
    pub rtt_ms: Option<f64>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Its software's version.
    pub version: String,
    /// Tasks that run there.
    pub running: u32,
}

/// How this node reaches another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// It is this node.
    #[serde(rename = "self")]
    Own,
    /// A connection of its own.
    Direct,
    /// Through a relay.
    Relayed,
    /// Not connected; through other nodes at best.
    Unknown,
}

/// A row of `app.list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AppRow {
    /// Its name.
    pub name: Label,
    /// Its namespace.
    pub namespace: Label,
    /// The site that it belongs to; none if it may run anywhere.
    #[serde(default)]
    pub site: Option<Label>,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: AppType,
    /// Its revision.
    pub revision: u64,
    /// Slots that should run or be done.
    pub desired: u32,
    /// Slots that run (service, daemon) or are done (job).
    pub running: u32,
    /// In a word.
    pub state: AppState,
}

/// How an app fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AppState {
    /// Not everything runs yet.
    Pending,
    /// A task ends again and again.
    Crashing,
    /// Everything runs.
    Running,
    /// A job is done.
    Succeeded,
    /// A slot has failed for good.
    Failed,
    /// Its tasks are being stopped.
    Removing,
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

/// Answer of `mesh.status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MeshStatus {
    /// The mesh's name.
    pub mesh: Label,
    /// The mesh's id.
    pub mesh_id: String,
    /// This node's name.
    pub node: Label,
    /// This node's id.
    pub node_id: NodeId,
    /// This node's site.
    pub site: Label,
    /// Whether it serves.
    pub ready: bool,
    /// Connected peers.
    pub peers: u32,
    /// Documents held.
    pub documents: u32,
    /// Digest of each scope: equal on two nodes means converged.
    pub heads: BTreeMap<String, Digest>,
    /// Counters of what was dropped or refused, by name.
    pub counters: BTreeMap<String, u64>,
    /// How this node is reached and reaches others.
    #[serde(default)]
    pub reach: Reach,
}

/// Answer of `app.get`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AppStatus {
    /// The app's name.
    pub app: Label,
    /// Its namespace.
    pub namespace: Label,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: AppType,
    /// Its revision.
    pub revision: u64,
    /// In a word.
    pub state: AppState,
    /// Each slot that is wanted.
    pub slots: Vec<SlotRow>,
    /// Edits that collided.
    pub conflicts: Vec<Conflict>,
}

/// A slot of an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SlotRow {
    /// The slot.
    pub slot: Slot,
    /// The state of the task that holds it.
    pub state: TaskState,
    /// Name of its node.
    pub node: Option<Label>,
    /// Why it is not placed, or why it is in this state.
    pub reason: String,
}

/// A row of `app.result`: one converged result a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResultRow {
    /// The slot.
    pub slot: Slot,
    /// The attempt that gave it.
    pub attempt: u32,
    /// Name of its node.
    pub node: Label,
    /// Exit code; a signal `n` is 128 + n.
    pub exit_code: Option<i32>,
    /// The end of its standard output, as text.
    pub output: String,
    /// When it ended.
    pub finished_at: Option<Wall>,
}

/// Why a request was refused; its code is the JSON-RPC error code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The app is at another revision than expected.
    #[error("the app is at revision {current}, not {expected}: read it again and repeat")]
    RevisionConflict {
        /// What the caller expected.
        expected: u64,
        /// What it is.
        current: u64,
    },
    /// This node may not do that.
    #[error("{0}")]
    NotAuthorised(String),
    /// Too much at once; try again.
    #[error("{0}")]
    Busy(String),
    /// The node's disk or another part of it failed.
    #[error("{0}")]
    Internal(String),
}

impl ApiError {
    /// The JSON-RPC error code: outside -32768..-32000, which the specification reserves.
    pub fn code(&self) -> i32 {
        match self {
            ApiError::Invalid(_) => 1003,
            ApiError::NotFound(_) => 1004,
            ApiError::NotAuthorised(_) => 1006,
            ApiError::RevisionConflict { .. } => 1009,
            ApiError::Busy(_) => 1029,
            ApiError::Internal(_) => 1050,
        }
    }

    /// `data.reason`: stable, for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            ApiError::Invalid(_) => "invalid",
            ApiError::NotFound(_) => "not_found",
            ApiError::NotAuthorised(_) => "not_authorised",
            ApiError::RevisionConflict { .. } => "revision_conflict",
            ApiError::Busy(_) => "busy",
            ApiError::Internal(_) => "internal",
        }
    }
}

/// A request that the node's core answers, with a JSON value in the shape of this module's types.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// `mesh.status` -> [`MeshStatus`]
    MeshStatus,
    /// `node.list` -> [`Page`] of [`NodeRow`]
    NodeList(ListParams),
    /// `app.apply` -> [`Applied`], once it is durable here.
    AppApply(ApplyParams),
    /// `app.plan` -> [`Plan`]: nothing is done.
    AppPlan(ApplyParams),
    /// `app.get` -> [`AppStatus`]
    AppGet(AppRef),
    /// `app.list` -> [`Page`] of [`AppRow`]
    AppList(ListParams),
    /// `app.delete` -> [`Applied`]
    AppDelete(AppRef),
    /// `app.scale` -> [`Applied`]
    AppScale(ScaleParams),
    /// `app.result` -> list of [`ResultRow`]
    AppResult(ResultParams),
    /// `task.list` -> [`Page`] of [`TaskRow`]
    TaskList(ListParams),
    /// `task.get` -> [`TaskRow`]
    TaskGet(TaskRef),
    /// `token.create` -> the token's text
    TokenCreate(TokenParams),
    /// `cert.list` -> [`Page`] of [`CertRow`]
    CertList(ListParams),
    /// `cert.revoke` -> [`Revoked`], once it is durable here.
    CertRevoke(RevokeParams),
}
