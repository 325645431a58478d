//! The plan: a scenario in which nothing is left to chance.

use super::{AppKind, Backend, Disk, FaultKind, Link, Nat};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A time of the run, or a span of it, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ms(pub u64);

/// Which host. The number stays with the host when others are taken out of the plan; all that
/// is random about a host follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostNo(pub u32);

/// What runs: explicit hosts, faults and submissions. Any host, fault or submission can be taken
/// out, and the rest means the same as before: that is what shrinking needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The scenario's name.
    pub name: String,
    /// The layer that runs it.
    #[serde(default)]
    pub backend: Backend,
    /// The seed that it was drawn from, and that feeds the run's own streams of chance.
    pub seed: u64,
    /// When faults and submissions end.
    pub duration: Ms,
    /// The hosts.
    pub hosts: Vec<PlannedHost>,
    /// Links between sites.
    pub wan: Link,
    /// Links inside a site.
    pub lan: Link,
    /// The faults, in the order of their beginning.
    pub faults: Vec<PlannedFault>,
    /// The submissions, in the order of time.
    pub submissions: Vec<Submission>,
    /// The hosts that have to come to rest at the end; the faults that befall others alone go on.
    pub core: BTreeSet<HostNo>,
    /// All comes to rest within this time after the end.
    pub converge_within: Ms,
    /// Messages that one host sends in a second, at most.
    pub messages_per_s: u64,
    /// Bytes of one document's history, at most.
    pub document_bytes: u64,
    /// Two runners of a slot of a fenced app overlap for so long, at most.
    #[serde(default)]
    pub fenced_overlap_max: Ms,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedHost {
    /// Which.
    pub no: HostNo,
    /// Its name in the mesh.
    pub name: String,
    /// Its site.
    pub site: String,
    /// What stands between it and other sites.
    pub nat: Nat,
    /// It carries the bytes of others.
    pub relay: bool,
    /// It holds the documents of all sites.
    pub keeper: bool,
    /// How wrong its clock is, in milliseconds.
    pub skew_ms: i64,
    /// Its uplink to other sites, in kilobits a second.
    pub kbps: u64,
    /// It is a member from the start that others know by its address: where a node that knows nobody begins.
    pub anchor: bool,
}

/// A fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedFault {
    /// Feeds what is random about its course.
    pub id: u64,
    /// When it begins.
    pub at: Ms,
    /// How long it lasts.
    pub lasts: Ms,
    /// What happens.
    pub trouble: Trouble,
}

impl Plan {
    /// The kind of fault that was asked for and did nothing, by how often each kind did something. Of those that were drawn, one
    /// kind may be idle in a run; over many runs none may, which the report looks at.
    pub fn idle_fault(&self, fired: &BTreeMap<FaultKind, u64>) -> Option<FaultKind> {
        let idle = |drawn: bool| -> BTreeSet<FaultKind> {
            let asked = self.faults.iter().filter(|fault| fault.is_drawn() == drawn).map(|fault| fault.trouble.kind());
            asked.filter(|kind| fired.get(kind).is_none_or(|n| *n == 0)).collect()
        };
        let drawn = Some(idle(true)).filter(|idle| idle.len() > 1);
        idle(false).first().copied().or_else(|| drawn?.first().copied())
    }

    /// Refuses what holm-sim never writes: the file was changed by hand.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        if !self.hosts.is_sorted_by(|a, b| a.no < b.no) {
            return Err("its hosts are not in the order of their numbers, or one is there twice".into());
        }
        let names: BTreeSet<&str> = self.hosts.iter().map(|host| host.name.as_str()).collect();
        if names.len() < self.hosts.len() {
            return Err("two hosts have the same name".into());
        }
        let there = |no: &HostNo| self.hosts.binary_search_by_key(no, |host| host.no).is_ok();
        if self.core.is_empty() || !self.core.iter().all(there) {
            return Err(
                "its core, the hosts that come to rest at the end, is empty or names hosts that are not there".into()
            );
        }
        Ok(())
    }
}

/// The ids of faults that were drawn begin here.
pub(super) const DRAWN: u64 = 1 << 32;

impl PlannedFault {
    /// Whether it was drawn: then it may befall a host that is down, and do nothing.
    pub fn is_drawn(&self) -> bool {
        self.id >= DRAWN
    }

    /// When it is over.
    pub fn end(&self) -> Ms {
        Ms(self.at.0.saturating_add(self.lasts.0))
    }
}

/// What happens to whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields say what the kinds of FaultKind say, one by one")]
pub enum Trouble {
    /// Hosts of different sides do not reach each other; hosts of no side reach all.
    Partition { sides: Vec<BTreeSet<HostNo>> },
    /// What `from` say to `to` is lost.
    Oneway { from: BTreeSet<HostNo>, to: BTreeSet<HostNo> },
    /// Agents die, or with `power_loss` hosts go down. `age` is that of a stale disk.
    Crash { hosts: BTreeSet<HostNo>, power_loss: bool, disk: Disk, age: Ms },
    /// Agents are frozen.
    Pause { hosts: BTreeSet<HostNo> },
    /// Dates jump.
    ClockJump { hosts: BTreeSet<HostNo>, by_ms: i64, stays: bool },
    /// Packets of these hosts are lost.
    LossBurst { hosts: BTreeSet<HostNo>, loss: f64 },
    /// They stop to relay.
    RelayDown { hosts: BTreeSet<HostNo> },
    /// Their routers forget their connections.
    NatRebind { hosts: BTreeSet<HostNo> },
    /// Each write takes longer by so much.
    SlowDisk { hosts: BTreeSet<HostNo>, slow_ms: u64 },
    /// They repeat old gossip.
    GossipStorm { hosts: BTreeSet<HostNo>, per_s: u32 },
    /// Their agent is replaced by another version; tasks go on. One host a fault.
    Upgrade { hosts: BTreeSet<HostNo> },
    /// All their connections are reset.
    Reconnect { hosts: BTreeSet<HostNo> },
    /// They send what no honest member sends.
    Liar { hosts: BTreeSet<HostNo>, per_s: u32 },
    /// `by` revokes them.
    Revoke { hosts: BTreeSet<HostNo>, by: HostNo },
}

impl Trouble {
    /// The kind, as scenarios name it.
    pub fn kind(&self) -> FaultKind {
        match self {
            Trouble::Partition { .. } => FaultKind::Partition,
            Trouble::Oneway { .. } => FaultKind::Oneway,
            Trouble::Crash { .. } => FaultKind::Crash,
            Trouble::Pause { .. } => FaultKind::Pause,
            Trouble::ClockJump { .. } => FaultKind::ClockJump,
            Trouble::LossBurst { .. } => FaultKind::LossBurst,
            Trouble::RelayDown { .. } => FaultKind::RelayDown,
            Trouble::NatRebind { .. } => FaultKind::NatRebind,
            Trouble::SlowDisk { .. } => FaultKind::SlowDisk,
            Trouble::GossipStorm { .. } => FaultKind::GossipStorm,
            Trouble::Upgrade { .. } => FaultKind::Upgrade,
            Trouble::Reconnect { .. } => FaultKind::Reconnect,
            Trouble::Liar { .. } => FaultKind::Liar,
            Trouble::Revoke { .. } => FaultKind::Revoke,
        }
    }

    /// All hosts that it befalls.
    pub fn hosts(&self) -> BTreeSet<HostNo> {
        match self {
            Trouble::Partition { sides } => sides.iter().flatten().copied().collect(),
            Trouble::Oneway { from, to } => from.union(to).copied().collect(),
            Trouble::Crash { hosts, .. }
            | Trouble::Pause { hosts }
            | Trouble::ClockJump { hosts, .. }
            | Trouble::LossBurst { hosts, .. }
            | Trouble::RelayDown { hosts }
            | Trouble::NatRebind { hosts }
            | Trouble::SlowDisk { hosts, .. }
            | Trouble::GossipStorm { hosts, .. }
            | Trouble::Upgrade { hosts }
            | Trouble::Reconnect { hosts }
            | Trouble::Liar { hosts, .. }
            | Trouble::Revoke { hosts, .. } => hosts.clone(),
        }
    }
}

/// A request to a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// When.
    pub at: Ms,
    /// The host that is asked.
    pub on: HostNo,
    /// The app.
    pub app: String,
    /// What for.
    pub request: Request,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Request {
    /// Submit or change an app.
    Apply {
        /// What kind of app.
        app_kind: AppKind,
        /// Replicas of a service, tasks of a job.
        count: u32,
        /// Tasks of a job that run at the same time.
        parallel: Option<u32>,
        /// How long a task runs; a service's for ever, if none.
        runs: Option<Ms>,
        /// The exit code of a task that ends.
        exit_code: i32,
        /// How long a task takes to stop.
        stops: Ms,
        /// Only hosts of this site may run it.
        site: Option<String>,
        /// Each slot has at most one runner.
        #[serde(default)]
        fenced: bool,
    },
    /// Scale an app.
    Scale {
        /// To so many.
        count: u32,
    },
    /// Remove an app.
    Remove,
}
