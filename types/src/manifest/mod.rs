//! What a user submits: one model, written as TOML, YAML or JSON.

mod parse;
mod quantity;

pub use parse::{Format, MAX_MANIFEST_BYTES, ManifestError};
pub use quantity::{Amounts, Bytes, MilliCpu, Period};

use crate::{Digest, Label};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Slots of one app, at most.
pub const MAX_SLOTS: u32 = 100_000;

/// An app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Unique in its namespace.
    pub name: Label,
    /// Groups apps.
    #[serde(default = "default_namespace")]
    pub namespace: Label,
    /// How its tasks are made.
    #[serde(rename = "type")]
    pub kind: AppType,
    /// Tasks of a service that run at the same time. 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Tasks of a job. 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u32>,
    /// Tasks of a job that run at the same time, at most. 64 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u32>,
    /// How often a failed task of a job is tried again elsewhere. 2 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// When a cron app runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Environment of every task.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// What a task runs.
    pub run: Run,
    /// What a task needs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resources: Resources,
    /// Where tasks may run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub place: Place,
    /// Who goes first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: Priority,
    /// What happens when a node is out of sight.
    #[serde(default, skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// How a new revision replaces the old one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub update: Update,
    /// How a task's health is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// What happens when a task ends.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restart: Restart,
}

fn default_namespace() -> Label {
    "default".parse().unwrap_or_else(|_| unreachable!("a literal that is a valid name"))
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How an app's tasks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AppType {
    /// A number of tasks that run until the app is removed.
    Service,
    /// One task on every node that fits.
    Daemon,
    /// A number of tasks that run to their end, once each.
    Job,
    /// A job at certain times.
    Cron,
}

/// What a task runs: exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Run {
    /// A program of the host.
    Process(ProcessRun),
    /// A WebAssembly component.
    Wasm(WasmRun),
    /// A container.
    Container(ContainerRun),
}

/// A program of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessRun {
    /// The program and its arguments. No shell is involved.
    pub command: Vec<String>,
}

/// A WebAssembly component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WasmRun {
    /// A file, or `blob:HASH`.
    pub component: String,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerRun {
    /// The image.
    pub image: String,
    /// Instead of the image's own command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
}

/// What a task needs. Reserved on its node; nothing if absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// Processor time.
    pub cpu: MilliCpu,
    /// Memory.
    pub memory: Bytes,
    /// Disk.
    pub disk: Bytes,
    /// Anything else that nodes declare, as whole numbers: `gpu = 1`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extended: BTreeMap<String, u64>,
}

impl Resources {
    /// The same as amounts.
    pub fn amounts(&self) -> Amounts {
        Amounts { cpu: self.cpu.0, memory: self.memory.0, disk: self.disk.0, extended: self.extended.clone() }
    }
}

/// Where tasks may run. Everything that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Place {
    /// Only at this site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<Label>,
    /// Only on nodes whose label `region` says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Only on nodes whose label `pool` says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Only on this architecture (`x86_64`, `aarch64`, ...).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Only on nodes with these labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What tasks of one app keep apart from each other.
    pub spread: Spread,
    /// Labels `key=value` of nodes to prefer, the first most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefer: Vec<String>,
}

/// What tasks of one app keep apart from each other, as far as it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Spread {
    /// Different nodes.
    #[default]
    Node,
    /// Different sites, then different nodes.
    Site,
}

/// Who goes first when resources are short.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Priority {
    /// The class.
    pub class: PriorityClass,
}

/// A priority class, the most important first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PriorityClass {
    /// What the mesh itself needs.
    System,
    /// Before the others.
    High,
    /// As usual.
    #[default]
    Normal,
    /// With what is left.
    BestEffort,
}

/// What happens when a node is out of sight.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Partition {
    /// The policy.
    pub policy: PartitionPolicy,
    /// With `reschedule`: how long to wait beyond the node being held for dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Period>,
}

/// What happens to the tasks of a node that is out of sight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionPolicy {
    /// Each side keeps its tasks running and replaces those it cannot see at once.
    #[default]
    KeepRunning,
    /// The same, but replaced only after [`Partition::after`].
    Reschedule,
    /// At most one runner: a task stops itself when it cannot keep its lease.
    Fence,
}

/// How a new revision replaces the old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Update {
    /// Tasks beyond the wanted number during an update.
    pub max_surge: u32,
    /// Tasks that may be missing during an update; at least 1 is taken when both are 0.
    pub max_unavailable: u32,
    /// Go back to the last good revision when the new one fails.
    pub rollback: bool,
}

impl Default for Update {
    fn default() -> Update {
        Update { max_surge: 0, max_unavailable: 1, rollback: false }
    }
}

/// How a task's health is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Ask over HTTP; any status from 200 to 399 is healthy.
    pub http: HttpHealth,
}

/// A health question over HTTP to the task's own host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpHealth {
    /// The path.
    pub path: String,
    /// The port.
    pub port: u16,
    /// How often.
    #[serde(default = "default_every")]
    pub every: Period,
}

fn default_every() -> Period {
    Period(std::time::Duration::from_secs(5))
}

/// What happens when a task ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Restart {
    /// The policy; if absent `always` for services and daemons, `never` for jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<RestartPolicy>,
}

/// Whether a task that ended is started again in place, with a growing delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// However it ended.
    Always,
    /// When it ended badly.
    OnFailure,
    /// Not at all.
    Never,
}

impl Manifest {
    /// How many slots the app wants; `None` for a daemon, whose slots are the nodes that fit.
    pub fn desired_slots(&self) -> Option<u32> {
        match self.kind {
            AppType::Service => Some(self.replicas.unwrap_or(1)),
            AppType::Job | AppType::Cron => Some(self.tasks.unwrap_or(1)),
            AppType::Daemon => None,
        }
    }

    /// How many tasks of a job may run at the same time.
    pub fn parallel_limit(&self) -> u32 {
        self.parallel.unwrap_or(64).max(1)
    }

    /// The restart policy that holds for its tasks.
    pub fn restart_policy(&self) -> RestartPolicy {
        self.restart.policy.unwrap_or(match self.kind {
            AppType::Service | AppType::Daemon => RestartPolicy::Always,
            AppType::Job | AppType::Cron => RestartPolicy::Never,
        })
    }

    /// Digest of the part that a running task depends on: when it changes, tasks are replaced;
    /// when only the rest changes (replicas, placement, update), none is.
    pub fn template(&self) -> Digest {
        let part = serde_json::json!({
            "run": self.run, "env": self.env, "resources": self.resources, "restart": self.restart,
        });
        Digest::of("holm template v1", &[part.to_string().as_bytes()])
    }

    /// The manifest as one JSON text a field, as it is kept in its document: two people who
    /// edit different fields at the same time both get what they asked for.
    pub fn to_fields(&self) -> BTreeMap<String, String> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(map)) => map.into_iter().map(|(k, v)| (k, v.to_string())).collect(),
            _ => BTreeMap::new(),
        }
    }

    /// The manifest of its fields. Fields that this version does not know are left out.
    ///
    /// # Errors
    /// The fields are not a valid manifest.
    pub fn from_fields<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Manifest, ManifestError> {
        let mut map = serde_json::Map::new();
        for (name, json) in fields {
            let value = serde_json::from_str(json).map_err(|e| ManifestError::field(name, &e.to_string()))?;
            map.insert(name.to_owned(), value);
        }
        map.retain(|name, _| parse::FIELDS.contains(&name.as_str()));
        let manifest: Manifest = serde_json::from_value(serde_json::Value::Object(map))
            .map_err(|e| ManifestError::field("manifest", &e.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }
}
