//! What a user submits: one model, written as TOML, YAML or JSON.

mod check;
mod diff;
mod error;
mod parse;
mod quantity;
mod read_toml;
mod read_yaml;
mod rules;
mod schema;
mod suggest;
mod tree;

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the test reads the documentation")]
mod reference;
#[cfg(test)]
mod tests;

pub use diff::FieldChange;
pub use error::{Fault, MAX_FAULTS, ManifestError, Position};
pub use parse::{Format, MAX_MANIFEST_BYTES};
pub use quantity::{Amounts, Bytes, MilliCpu, Period};

use crate::{Digest, Label, fence::DEFAULT_LEASE};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// Slots of one app, at most.
pub const MAX_SLOTS: u32 = 100_000;

/// The fields of a manifest.
const FIELDS: &[&str] = &[
    "name",
    "namespace",
    "type",
    "replicas",
    "tasks",
    "parallel",
    "retries",
    "schedule",
    "env",
    "run",
    "resources",
    "place",
    "priority",
    "partition",
    "update",
    "health",
    "restart",
];

/// An app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Unique in its namespace.
    #[schemars(extend("x-example" = r#"name = "hello""#))]
    pub name: Label,
    /// Groups apps.
    #[serde(default = "default_namespace")]
    #[schemars(extend("x-example" = r#"namespace = "shop""#))]
    pub namespace: Label,
    /// How its tasks are made.
    #[serde(rename = "type")]
    #[schemars(extend("x-example" = r#"type = "service""#))]
    pub kind: AppType,
    /// Tasks of a service that run at the same time. 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = MAX_SLOTS), extend("x-example" = "replicas = 3", "x-default" = "1"))]
    pub replicas: Option<u32>,
    /// Tasks of a job. 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_SLOTS), extend("x-example" = "tasks = 100", "x-default" = "1"))]
    pub tasks: Option<u32>,
    /// Tasks of a job that run at the same time, at most. 64 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_SLOTS), extend("x-example" = "parallel = 10", "x-default" = "64"))]
    pub parallel: Option<u32>,
    /// How often a failed task of a job is tried again elsewhere. 2 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100), extend("x-example" = "retries = 5", "x-default" = "2"))]
    pub retries: Option<u32>,
    /// When a cron app runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-unavailable" = true))]
    pub schedule: Option<String>,
    /// Environment of every task.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-example" = r#"env = { GREETING = "hi" }"#, "x-default" = "none"))]
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
    #[schemars(extend("x-unavailable" = true))]
    Cron,
}

/// What a task runs: exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Run {
    /// A program of the host.
    Process(ProcessRun),
    /// A WebAssembly component.
    #[schemars(extend("x-unavailable" = true))]
    Wasm(WasmRun),
    /// A container.
    #[schemars(extend("x-unavailable" = true))]
    Container(ContainerRun),
}

/// A program of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessRun {
    /// The program and its arguments. No shell is involved.
    #[schemars(extend("x-example" = r#"command = ["python3", "-m", "http.server", "8080"]"#))]
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
    #[schemars(extend("x-example" = r#"cpu = "200m""#, "x-default" = "none"))]
    pub cpu: MilliCpu,
    /// Memory.
    #[schemars(extend("x-example" = r#"memory = "64Mi""#, "x-default" = "none"))]
    pub memory: Bytes,
    /// Disk.
    #[schemars(extend("x-example" = r#"disk = "1Gi""#, "x-default" = "none"))]
    pub disk: Bytes,
    /// Anything else that nodes declare, as whole numbers: `gpu = 1`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-example" = "extended = { gpu = 1 }", "x-default" = "none"))]
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
    #[schemars(extend("x-example" = r#"site = "plant-7""#, "x-default" = "any"))]
    pub site: Option<Label>,
    /// Only on nodes whose label `region` says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = r#"region = "eu""#, "x-default" = "any"))]
    pub region: Option<String>,
    /// Only on nodes whose label `pool` says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = r#"pool = "batch""#, "x-default" = "any"))]
    pub pool: Option<String>,
    /// Only on this architecture (`x86_64`, `aarch64`, ...).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = r#"arch = "aarch64""#, "x-default" = "any"))]
    pub arch: Option<String>,
    /// Only on nodes with these labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-example" = r#"labels = { tier = "gateway" }"#, "x-default" = "none"))]
    pub labels: BTreeMap<String, String>,
    /// What tasks of one app keep apart from each other.
    #[schemars(extend("x-example" = r#"spread = "site""#))]
    pub spread: Spread,
    /// Labels `key=value` of nodes to prefer, the first most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-example" = r#"prefer = ["disk=ssd", "tier=gateway"]"#, "x-default" = "none"))]
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
    /// Its class.
    #[schemars(extend("x-example" = r#"class = "high""#))]
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
    /// What each side does about the tasks that it cannot see.
    #[schemars(extend("x-example" = r#"policy = "reschedule""#))]
    pub policy: PartitionPolicy,
    /// With `reschedule`: how long to wait beyond the node being held for dead. With `fence`: how long a lease
    /// lasts, 5 seconds to 1 hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = r#"after = "1m""#, "x-default" = "30s; 10s with `fence`"))]
    pub after: Option<Period>,
}

/// What happens to the tasks of a node that is out of sight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionPolicy {
    /// Each side keeps its tasks running and replaces those it cannot see at once.
    #[default]
    KeepRunning,
    /// The same, but replaced only when `after` has passed.
    Reschedule,
    /// At most one runner: a task runs only while most of the app's guards grant its node a lease.
    Fence,
}

/// How a new revision replaces the old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Update {
    /// Tasks beyond the wanted number during an update.
    #[schemars(extend("x-example" = "max_surge = 1"))]
    pub max_surge: u32,
    /// Tasks that may be missing during an update; at least 1 is taken when both are 0.
    #[schemars(extend("x-example" = "max_unavailable = 2"))]
    pub max_unavailable: u32,
    /// Go back to the last good revision when the new one fails.
    #[schemars(extend("x-example" = "rollback = false"))]
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
    #[schemars(extend("x-example" = r#"http = { path = "/", port = 8080 }"#))]
    pub http: HttpHealth,
}

/// A health question over HTTP to the task's own host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpHealth {
    /// The path to ask for.
    #[schemars(extend("x-example" = r#"path = "/health""#))]
    pub path: String,
    /// The port to ask at.
    #[schemars(extend("x-example" = "port = 8080"))]
    pub port: u16,
    /// How often to ask.
    #[serde(default = "default_every")]
    #[schemars(extend("x-example" = r#"every = "10s""#))]
    pub every: Period,
}

fn default_every() -> Period {
    Period(std::time::Duration::from_secs(5))
}

/// What happens when a task ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Restart {
    /// Whether it is started again in place; `always` for services and daemons, `never` for jobs if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = r#"policy = "on-failure""#, "x-default" = "always; never for a job"))]
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

    /// Whether each of its slots has at most one runner.
    pub fn is_fenced(&self) -> bool {
        self.partition.policy == PartitionPolicy::Fence
    }

    /// How long a lease of its tasks lasts, if it is fenced; as it is asked for, not yet within its bounds.
    pub fn lease(&self) -> Duration {
        self.partition.after.map_or(DEFAULT_LEASE, |period| period.0)
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
        let mut part = serde_json::json!({
            "run": self.run, "env": self.env, "resources": self.resources, "restart": self.restart,
        });
        // A task that was started without a lease cannot be given one: it is replaced.
        if let (true, Some(part)) = (self.is_fenced(), part.as_object_mut()) {
            part.insert("fence".to_owned(), true.into());
        }
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

    /// Whether this version knows a field of that name. One that it does not know stands for something that a later
    /// version wrote, and stays.
    pub fn knows(field: &str) -> bool {
        FIELDS.contains(&field)
    }

    /// The manifest of its fields. Fields that this version does not know are left out, and what it
    /// cannot do is let through: other members may run a later version.
    ///
    /// # Errors
    /// The fields are not a valid manifest.
    pub fn from_fields<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Manifest, ManifestError> {
        let mut map = serde_json::Map::new();
        for (name, json) in fields {
            let value = serde_json::from_str(json).map_err(|e| ManifestError::one(None, format!("{name}: {e}")))?;
            map.insert(name.to_owned(), value);
        }
        map.retain(|name, _| Manifest::knows(name));
        let manifest: Manifest = serde_json::from_value(serde_json::Value::Object(map))
            .map_err(|e| ManifestError::one(None, e.to_string()))?;
        let faults = rules::broken(&manifest).into_iter().map(|rule| Fault { at: None, message: rule.to_string() });
        match ManifestError::all(faults.collect()) {
            Some(error) => Err(error),
            None => Ok(manifest),
        }
    }
}
