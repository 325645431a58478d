//! The words of a scenario file.

use holm_types::manifest::Period;
use serde::{Deserialize, Serialize};

/// A scenario, as it is written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name: the file's, without `.toml`.
    #[serde(skip)]
    pub name: String,
    /// The comment that the file opens with: what a fleet owner fears.
    #[serde(skip)]
    pub about: String,
    /// The seed that is used when none is given.
    #[serde(default = "one")]
    pub seed: u64,
    /// The layer that runs it.
    #[serde(default)]
    pub backend: Backend,
    /// How long faults and submissions go on. The time to come to rest ([`Check::converge_within`]) comes after it.
    pub duration: Period,
    /// What is asked of the fleet at the end.
    #[serde(default)]
    pub mode: Mode,
    /// Hosts.
    pub group: Vec<Group>,
    /// Links between sites.
    #[serde(default)]
    pub link: Link,
    /// Links inside a site.
    #[serde(default = "Link::lan")]
    pub lan: Link,
    /// Requests that come all the time, if any.
    pub workload: Option<Workload>,
    /// Requests at a time of their own.
    #[serde(default)]
    pub submit: Vec<Submit>,
    /// What befalls the fleet.
    #[serde(default)]
    pub fault: Vec<Fault>,
    /// Faults drawn from the seed, if any.
    pub random_faults: Option<RandomFaults>,
    /// What is held against the run.
    #[serde(default)]
    pub check: Check,
}

fn one() -> u64 {
    1
}

/// The layer that runs a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// The cores under a discrete-event network.
    #[default]
    Des,
    /// The real swarm in virtual time.
    Swarm,
}

/// What is asked of the fleet at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// All faults end; then the whole fleet comes to rest.
    #[default]
    Safety,
    /// A majority is healed for good, the faults of the rest go on: the majority comes to rest.
    Liveness,
}

/// Hosts of one make.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name; hosts are called `NAME-0`, `NAME-1`, and `NAME/0` in a selection.
    pub name: String,
    /// How many.
    pub count: u32,
    /// The site; `{i}` is the host's number in the group, `{i%4}` and `{i/4}` what is computed of it.
    #[serde(default = "home")]
    pub site: String,
    /// What stands between the host and other sites.
    #[serde(default)]
    pub nat: Nat,
    /// It carries the bytes of hosts that cannot reach each other.
    #[serde(default)]
    pub relay: bool,
    /// It holds the documents of all sites. Where no group says so, the first host does, as in a real mesh.
    #[serde(default)]
    pub keeper: bool,
    /// How wrong its clock is, drawn from this range, in milliseconds.
    #[serde(default)]
    pub skew_ms: [i64; 2],
    /// Its uplink to other sites, in kilobits a second, if not the link's.
    pub kbps: Option<u64>,
}

fn home() -> String {
    "home".to_owned()
}

/// What stands between a host and other sites (`knowledge/nat-lab.md` measured who reaches whom).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nat {
    /// Nothing: anyone can dial it.
    #[default]
    None,
    /// Full cone: once it has spoken, anyone can dial it.
    Full,
    /// A home router: only those it has spoken to get in, so two of them need a relay to meet.
    Cone,
    /// Symmetric: reached directly only by those that anyone can dial.
    Sym,
}

/// A kind of link.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Link {
    /// One-way latency: each pair of hosts draws its own from this range.
    pub latency_ms: [u64; 2],
    /// Added to each message, at most.
    pub jitter_ms: u64,
    /// Packets lost: a stream pays with a retransmission, gossip is late or missed.
    pub loss: f64,
    /// Of the gossip messages that a host should hear, those that never come though nothing is cut
    /// (a full queue, a neighbour that just left).
    pub gossip_miss: f64,
    /// Of the gossip messages, those that come twice.
    pub gossip_twice: f64,
    /// What a host can send, in kilobits a second.
    pub kbps: u64,
}

impl Default for Link {
    fn default() -> Link {
        Link { latency_ms: [5, 60], jitter_ms: 5, loss: 0.001, gossip_miss: 0.002, gossip_twice: 0.002, kbps: 20_000 }
    }
}

impl Link {
    /// The links inside a site, where nothing else is said.
    pub fn lan() -> Link {
        Link { latency_ms: [1, 2], jitter_ms: 1, loss: 0.0, gossip_miss: 0.001, gossip_twice: 0.001, kbps: 1_000_000 }
    }
}

/// Requests that come all the time: services come, are scaled and go; jobs come.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Requests a second.
    pub submit_per_s: f64,
    /// How long the tasks of jobs run, drawn from this range, in seconds.
    #[serde(default = "Workload::task_s")]
    pub task_s: [f64; 2],
    /// Different apps that are worked on, at most.
    #[serde(default = "Workload::apps")]
    pub apps: u32,
    /// Of the requests, those that remove an app.
    #[serde(default = "Workload::removals")]
    pub removals: f64,
    /// Of the apps, those that are fenced: at most one runner a slot.
    #[serde(default)]
    pub fenced: f64,
}

impl Workload {
    fn task_s() -> [f64; 2] {
        [0.5, 5.0]
    }
    fn apps() -> u32 {
        6
    }
    fn removals() -> f64 {
        0.1
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submit {
    /// When.
    pub at: Period,
    /// The host that is asked; of several the first. A node takes apps of its own site, or of no site; a keeper takes all.
    pub on: String,
    /// What for.
    #[serde(default)]
    pub kind: SubmitKind,
    /// The app.
    pub app: String,
    /// What kind of app.
    #[serde(default, rename = "type")]
    pub app_kind: AppKind,
    /// Replicas of a service, tasks of a job.
    #[serde(default = "replicas")]
    pub count: u32,
    /// Tasks of a job that run at the same time.
    pub parallel: Option<u32>,
    /// How long a job's task runs, in seconds.
    #[serde(default = "task_seconds")]
    pub task_s: f64,
    /// The exit code of a task that ends.
    #[serde(default)]
    pub exit_code: i32,
    /// A service's task falls over after so many seconds, every time.
    pub crash_after_s: Option<f64>,
    /// How long a task takes to stop, in seconds.
    #[serde(default)]
    pub stop_s: f64,
    /// Only hosts of this site may run it.
    pub site: Option<String>,
    /// Each slot has at most one runner: `partition.policy = "fence"`.
    #[serde(default)]
    pub fenced: bool,
}

fn replicas() -> u32 {
    1
}

fn task_seconds() -> f64 {
    1.0
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubmitKind {
    /// Submit or change an app.
    #[default]
    Apply,
    /// Scale an app to `count`.
    Scale,
    /// Remove an app.
    Remove,
}

/// What kind of app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppKind {
    /// Runs until it is removed.
    #[default]
    Service,
    /// One task on every host.
    Daemon,
    /// Runs to its end.
    Job,
}

/// One fault, or several of a kind.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it begins.
    pub at: Period,
    /// How long it lasts. With the scenario's end it ends, too.
    #[serde(rename = "for")]
    pub lasts: Period,
    /// What kind.
    pub kind: FaultKind,
    /// The hosts it befalls: `edge/3`, `edge/0-9`, `edge`, `site:plant-1`, `all`.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Hosts drawn from the seed instead.
    pub pick: Option<Pick>,
    /// Of a partition or a one-way cut: the sides, each a selection; `rest` is everybody else.
    #[serde(default)]
    pub sides: Vec<Vec<String>>,
    /// Of a partition: only what the first side says is lost.
    #[serde(default)]
    pub oneway: bool,
    /// Of a crash: the host goes down, not the agent alone.
    #[serde(default)]
    pub power_loss: bool,
    /// Of a crash: what the host finds when it is back.
    #[serde(default)]
    pub disk: Disk,
    /// Of a crash with a stale disk: how old the backup is; 20 s when nothing is said.
    pub age: Option<Period>,
    /// It is repeated so often, one after another.
    #[serde(default = "once")]
    pub repeat: u32,
    /// From the beginning of one repetition to the next, its length when nothing is said; of an upgrade, from one host to the
    /// next, 3 s when nothing is said.
    pub every: Option<Period>,
    /// Of a clock jump: how far, in milliseconds, and whether the clock stays wrong.
    #[serde(default)]
    pub clock: Clock,
    /// Of a loss burst: packets lost, from 0.0 to 1.0; 0.2 when nothing is said.
    pub loss: Option<f64>,
    /// Of a slow disk: what each write takes more, in milliseconds; 500 when nothing is said.
    pub slow_ms: Option<u64>,
    /// Of a storm or a liar: messages a second; 100 and 20 when nothing is said.
    pub per_s: Option<u32>,
}

fn once() -> u32 {
    1
}

/// Hosts drawn from a group.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pick {
    /// The group.
    pub group: String,
    /// How many.
    pub n: u32,
}

/// How a clock jumps. Only the date: durations are measured on another clock, which never jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clock {
    /// How far, in milliseconds.
    pub by_ms: i64,
    /// It stays so when the fault is over.
    pub stays: bool,
}

/// What a host finds on its disk when it is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disk {
    /// All that was synced; on a power loss, nothing that was not.
    #[default]
    Keep,
    /// All that was synced, and a part of what was not.
    Torn,
    /// Nothing but its identity.
    Wipe,
    /// An older state of it.
    Stale,
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Hosts are cut off from others.
    Partition,
    /// What hosts say is lost, while they hear all.
    Oneway,
    /// Agents die, or hosts go down; they come back when the fault is over.
    Crash,
    /// Agents are frozen.
    Pause,
    /// The clocks of hosts jump.
    ClockJump,
    /// The links of hosts lose packets.
    LossBurst,
    /// Relays stop to relay.
    RelayDown,
    /// The routers of hosts forget their connections.
    NatRebind,
    /// Writes take long.
    SlowDisk,
    /// Hosts repeat old gossip as fast as they can.
    GossipStorm,
    /// Agents are restarted one after another, tasks go on.
    Upgrade,
    /// All connections of hosts are reset at once.
    Reconnect,
    /// Hosts of a member that was taken over: garbage, forged and replayed changes.
    Liar,
    /// The first host revokes others, for good: nothing is asked of them at the end.
    Revoke,
}

/// Faults drawn from the seed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomFaults {
    /// How many.
    pub count: u32,
    /// Of which kinds.
    pub kinds: Vec<FaultKind>,
    /// How long each lasts.
    #[serde(default = "RandomFaults::lasts_s")]
    pub lasts_s: [f64; 2],
    /// None begins before: the fleet has come together.
    #[serde(default = "RandomFaults::after")]
    pub after: Period,
}

impl RandomFaults {
    fn lasts_s() -> [f64; 2] {
        [0.5, 20.0]
    }
    fn after() -> Period {
        Period(std::time::Duration::from_secs(10))
    }
}

/// What is held against a run, beside the invariants that always hold.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Check {
    /// All comes to rest within this time after the last fault.
    pub converge_within: Period,
    /// Messages that one host sends in a second, at most.
    pub messages_per_s: u64,
    /// Bytes of one document's history, at most.
    pub document_bytes: u64,
    /// Two runners of a slot of a fenced app overlap for so long, at most: not at all, when nothing is said. The lease and
    /// its bound for drift are the product's own to keep.
    pub fenced_overlap_max: Period,
}

impl Default for Check {
    fn default() -> Check {
        Check {
            converge_within: Period(std::time::Duration::from_secs(60)),
            messages_per_s: 2_000,
            document_bytes: 2 << 20,
            fenced_overlap_max: Period(std::time::Duration::ZERO),
        }
    }
}
