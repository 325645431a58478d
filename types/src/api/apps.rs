//! Apps: `app.*`.

use crate::{
    Label, Slot, Wall,
    manifest::{AppType, FieldChange, Manifest},
    view::{Conflict, TaskState},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
