//! What came of a run: the verdict, its evidence, and what is needed to draw a picture of it.

use crate::scenario::{FaultKind, HostNo, Ms};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Events kept for whoever looks into a failure.
pub const EVENTS_KEPT: usize = 1000;
/// Violations kept of one run; the first is what counts.
pub const VIOLATIONS_KEPT: usize = 50;

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The scenario.
    pub name: String,
    /// The seed.
    pub seed: u64,
    /// What the judges say, in the order of time; empty when all held.
    pub violations: Vec<Violation>,
    /// A hash over all that happened: two runs of one plan have the same.
    pub trace_hash: u64,
    /// Simulated time, the time to come to rest included.
    pub simulated: Ms,
    /// What happened how often: events, messages, bytes, starts; what nodes dropped or refused.
    pub counters: BTreeMap<String, u64>,
    /// Rare branches of the product that were reached, and how often.
    pub marks: BTreeMap<String, u64>,
    /// For each kind of fault that was asked for, how often it really did something.
    pub fired: BTreeMap<FaultKind, u64>,
    /// For pictures.
    pub timeline: Timeline,
    /// The last [`EVENTS_KEPT`] events worth a line.
    pub events: Vec<Happened>,
}

impl Outcome {
    /// Whether all invariants held.
    pub fn passed(&self) -> bool {
        self.violations.is_empty()
    }
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// When it was seen.
    pub at: Ms,
    /// Where.
    pub hosts: Vec<HostNo>,
    /// What was seen, in words.
    pub detail: String,
}

/// What must hold. The names are stable: a shrinker keeps a failure of the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Invariant {
    /// An acknowledged submission never disappears.
    AcknowledgedIsKept,
    /// What is acknowledged or published is on disk before.
    DurableBeforeSaid,
    /// (actor, sequence number) is one change for ever.
    OneChangeASequence,
    /// What a host holds of a document never shrinks, but on a wiped or stale disk.
    HeadsNeverRegress,
    /// A task's state never goes back.
    StateNeverGoesBack,
    /// A slot of a fenced app never has two runners beyond the bound.
    FencedRunsOnce,
    /// A heal restarts, moves or duplicates no healthy task.
    HealDisturbsNothing,
    /// Nothing is started after a removal that its node has seen, and what runs is stopped.
    RemovedStaysRemoved,
    /// Queues, messages and documents stay within their bounds.
    Bounded,
    /// A node never applies what no honest member could have written.
    LiesAreRefused,
    /// A node starts from its disk.
    NodeStarts,
    /// Nothing in a node panics.
    NoPanic,
    /// At rest: replicas have equal heads.
    EqualHeads,
    /// At rest: all nodes believe the same of all apps.
    EqualViews,
    /// At rest: no live node is believed dead.
    LiveIsAlive,
    /// At rest: every slot that can run runs, once.
    EachSlotOnce,
    /// At rest: no process is there that nobody wants.
    NoOrphans,
    /// Every kind of fault that was asked for really did something.
    FaultsFired,
    /// The same plan gives the same run.
    Deterministic,
}

impl std::fmt::Display for Invariant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Invariant::AcknowledgedIsKept => "acknowledged-is-kept",
            Invariant::DurableBeforeSaid => "durable-before-said",
            Invariant::OneChangeASequence => "one-change-a-sequence",
            Invariant::HeadsNeverRegress => "heads-never-regress",
            Invariant::StateNeverGoesBack => "state-never-goes-back",
            Invariant::FencedRunsOnce => "fenced-runs-once",
            Invariant::HealDisturbsNothing => "heal-disturbs-nothing",
            Invariant::RemovedStaysRemoved => "removed-stays-removed",
            Invariant::Bounded => "bounded",
            Invariant::LiesAreRefused => "lies-are-refused",
            Invariant::NodeStarts => "node-starts",
            Invariant::NoPanic => "no-panic",
            Invariant::EqualHeads => "equal-heads",
            Invariant::EqualViews => "equal-views",
            Invariant::LiveIsAlive => "live-is-alive",
            Invariant::EachSlotOnce => "each-slot-once",
            Invariant::NoOrphans => "no-orphans",
            Invariant::FaultsFired => "faults-fired",
            Invariant::Deterministic => "deterministic",
        })
    }
}

/// What a picture of the run is drawn from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Timeline {
    /// One sample a second.
    pub samples: Vec<Sample>,
    /// When hosts were down.
    pub down: Vec<Down>,
    /// Where tasks ran.
    pub runs: Vec<TaskRun>,
    /// The ends of faults, and how long the replicas then took to be equal.
    pub heals: Vec<Heal>,
}

/// The fleet at one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at: Ms,
    /// Agents that run.
    pub up: u32,
    /// Parts that the fleet is split into by cuts.
    pub parts: u32,
    /// Tasks that run.
    pub running: u32,
    /// Messages sent since the last sample, copies that gossip makes on its way included.
    pub messages: u64,
    /// Of these, all but heartbeats.
    pub state_messages: u64,
    /// Of one host, at most.
    pub busiest: u64,
    /// Bytes sent since the last sample.
    pub bytes: u64,
}

/// A host that was down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    /// Which.
    pub host: HostNo,
    /// Since when.
    pub from: Ms,
    /// Until when; none when it was never back.
    pub until: Option<Ms>,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRun {
    /// The task.
    pub task: String,
    /// The app.
    pub app: String,
    /// The slot.
    pub slot: u32,
    /// The host.
    pub host: HostNo,
    /// Since when.
    pub from: Ms,
    /// Until when; none when it ran to the end.
    pub until: Option<Ms>,
    /// How it ended.
    pub exit_code: Option<i32>,
}

/// The end of a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heal {
    /// Of which kind.
    pub kind: FaultKind,
    /// When.
    pub at: Ms,
    /// How long it then took until all replicas that can reach each other were equal; none when the next fault or
    /// the end came first.
    pub converged_after: Option<Ms>,
}

/// One line of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// When.
    pub at: Ms,
    /// Where; none for the world.
    pub host: Option<HostNo>,
    /// What, in a word.
    pub what: String,
    /// The rest.
    pub detail: String,
}
