//! Many runs, added up: what a report is written from.

use crate::{
    outcome::{Invariant, Outcome, Violation},
    scenario::{FaultKind, Ms, Plan},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Runs kept whole because they failed; of more, those with the smallest seeds are kept.
pub const FAILED_KEPT: usize = 20;
/// Runs listed one by one; those that failed are always among them, as far as [`FAILED_KEPT`] goes.
pub const ROWS: usize = 10_000;

/// With so many runs each kind of fault has done something, if it can.
const ENOUGH: u64 = 10;

/// Where a scenario comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What its author says that it is about.
    pub about: String,
    /// The command that runs one seed of it again, up to the seed; whole when `one_seed`.
    pub replay: String,
    /// It is a plan, which has one seed only.
    pub one_seed: bool,
}

/// One run, in a line.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
    /// Simulated time.
    pub simulated: Ms,
    /// Messages that a node sent in a second, on the average.
    pub messages: f64,
    /// The longest that replicas took to be equal after a fault.
    pub slowest_heal: Option<Ms>,
    /// The run's hash.
    pub trace_hash: u64,
    /// It ran twice.
    pub twice: bool,
}

/// A run that is kept whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// What ran.
    pub plan: Plan,
    /// What came of it.
    pub outcome: Outcome,
}

/// All runs together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Totals {
    /// Runs.
    pub runs: u64,
    /// Runs in which an invariant did not hold.
    pub failed: u64,
    /// Runs that ran twice.
    pub twice: u64,
    /// Simulated time, in milliseconds.
    pub simulated_ms: u64,
    /// Time on a CPU.
    pub cpu: Duration,
    /// Messages sent.
    pub messages: u64,
    /// Of these, all but heartbeats.
    pub state_messages: u64,
    /// Seconds that agents were up, all nodes together.
    pub node_seconds: u64,
    /// Marks, and how often each was reached.
    pub marks: BTreeMap<String, u64>,
    /// Kinds of fault, and how often each did something.
    pub fired: BTreeMap<FaultKind, u64>,
    /// In how many runs each kind of fault was asked for.
    pub asked: BTreeMap<FaultKind, u64>,
    /// What became of the requests.
    pub requests: Requests,
}

/// What became of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Requests {
    /// All of them.
    pub submitted: u64,
    /// Acknowledged: they hold.
    pub acknowledged: u64,
    /// Declined, with a reason: see the events of the run.
    pub declined: u64,
    /// Put to a host that was down.
    pub to_nobody: u64,
}

impl Requests {
    fn add(&mut self, counters: &BTreeMap<String, u64>) {
        let of = |name: &str| counters.get(name).copied().unwrap_or(0);
        self.submitted += of("submitted");
        self.acknowledged += of("acknowledged");
        self.declined += of("declined");
        self.to_nobody += of("submitted_to_nobody");
    }
}

/// Runs that failed in the same way.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The scenario.
    pub scenario: String,
    /// What did not hold.
    pub invariant: Invariant,
    /// In so many runs it was the first that did not hold.
    pub runs: u64,
    /// The smallest of their seeds.
    pub seed: u64,
    /// What was seen with that seed.
    pub first: Violation,
}

/// Many runs, added up.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Campaign {
    pub(super) sources: BTreeMap<String, Source>,
    pub(super) rows: BTreeMap<(String, u64), Row>,
    pub(super) failed: BTreeMap<(String, u64), Kept>,
    /// Of each scenario the passed run with the smallest seed.
    pub(super) passed: BTreeMap<String, Kept>,
    pub(super) failures: BTreeMap<(String, Invariant), Failure>,
    pub(super) totals: Totals,
}

impl Campaign {
    /// One without runs.
    pub fn new(sources: BTreeMap<String, Source>) -> Campaign {
        Campaign { sources, ..Campaign::default() }
    }

    /// Adds a run.
    pub fn add(&mut self, plan: Plan, outcome: Outcome, cpu: Duration, twice: bool) {
        let key = (outcome.name.clone(), outcome.seed);
        self.add_up(&outcome, cpu, twice);
        let row = Row::of(&outcome, twice);
        if let Some(first) = &row.violation {
            let failure = self.failures.entry((key.0.clone(), first.invariant)).or_insert_with(|| Failure {
                scenario: key.0.clone(),
                invariant: first.invariant,
                runs: 0,
                seed: key.1,
                first: first.clone(),
            });
            failure.runs += 1;
            if key.1 < failure.seed {
                (failure.seed, failure.first) = (key.1, first.clone());
            }
        }
        if self.rows.len() < ROWS || row.violation.is_some() && self.failed.len() < FAILED_KEPT {
            self.rows.insert(key.clone(), row);
        }
        let kept = Kept { plan, outcome };
        if kept.outcome.passed() {
            if self.passed.get(&key.0).is_none_or(|old| key.1 < old.outcome.seed) {
                self.passed.insert(key.0, kept);
            }
        } else {
            self.failed.insert(key, kept);
            if self.failed.len() > FAILED_KEPT {
                self.failed.pop_last();
            }
        }
    }

    fn add_up(&mut self, outcome: &Outcome, cpu: Duration, twice: bool) {
        let totals = &mut self.totals;
        totals.runs += 1;
        totals.failed += u64::from(!outcome.passed());
        totals.twice += u64::from(twice);
        totals.simulated_ms += outcome.simulated.0;
        totals.cpu += cpu;
        for sample in &outcome.timeline.samples {
            totals.messages += sample.messages;
            totals.state_messages += sample.state_messages;
            totals.node_seconds += u64::from(sample.up);
        }
        totals.requests.add(&outcome.counters);
        for (mark, n) in &outcome.marks {
            *totals.marks.entry(mark.clone()).or_default() += n;
        }
        for (kind, n) in &outcome.fired {
            *totals.asked.entry(*kind).or_default() += 1;
            *totals.fired.entry(*kind).or_default() += n;
        }
    }

    /// Whether all invariants held in all runs, and each kind of fault did something in one of them.
    pub fn passed(&self) -> bool {
        self.totals.failed == 0 && self.idle_kinds().is_empty()
    }

    /// Kinds of fault that never did anything, though enough runs asked for them for that not to be chance.
    pub fn idle_kinds(&self) -> Vec<FaultKind> {
        let often = self.totals.asked.iter().filter(|(_, runs)| **runs >= ENOUGH).map(|(kind, _)| *kind);
        often.filter(|kind| self.totals.fired.get(kind).is_none_or(|n| *n == 0)).collect()
    }

    /// The sums.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// What failed, each way of failing once.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.failures.values()
    }

    /// The runs that are kept because they failed, by scenario and seed; no more than a few.
    pub fn failed(&self) -> impl Iterator<Item = &Kept> {
        self.failed.values()
    }

    /// The one command that runs a seed again.
    pub fn replay(&self, scenario: &str, seed: u64) -> String {
        match self.sources.get(scenario) {
            Some(source) if source.one_seed => source.replay.clone(),
            Some(source) => format!("{} --seed {seed}", source.replay),
            None => format!("holm-sim replay {scenario} --seed {seed}"),
        }
    }

    /// Marks of the product that no run has reached.
    pub fn never_reached(&self) -> Vec<&'static str> {
        crate::marks::ALL.iter().copied().filter(|mark| !self.totals.marks.contains_key(*mark)).collect()
    }

    /// The scenarios that ran.
    pub(super) fn scenarios(&self) -> BTreeSet<&str> {
        self.rows.keys().map(|(name, _)| name.as_str()).collect()
    }

    /// Runs that are not listed one by one.
    pub(super) fn not_listed(&self) -> u64 {
        self.totals.runs.saturating_sub(self.rows.len() as u64)
    }
}

impl Row {
    fn of(outcome: &Outcome, twice: bool) -> Row {
        let samples = &outcome.timeline.samples;
        let messages: u64 = samples.iter().map(|sample| sample.messages).sum();
        let node_seconds: u64 = samples.iter().map(|sample| u64::from(sample.up)).sum();
        Row {
            violation: outcome.violations.first().cloned(),
            simulated: outcome.simulated,
            messages: messages as f64 / node_seconds.max(1) as f64,
            slowest_heal: outcome.timeline.heals.iter().filter_map(|heal| heal.converged_after).max(),
            trace_hash: outcome.trace_hash,
            twice,
        }
    }
}

impl Totals {
    /// Simulated seconds a second on a CPU.
    pub fn speed(&self) -> f64 {
        self.simulated_ms as f64 / 1000.0 / self.cpu.as_secs_f64().max(1e-6)
    }

    /// Messages that a node sent in a second, on the average.
    pub fn messages_per_node_second(&self) -> f64 {
        self.messages as f64 / self.node_seconds.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    #[test]
    fn the_order_in_which_runs_come_does_not_matter() {
        let runs: Vec<(Plan, Outcome)> = (0..60).map(sample::seed).collect();
        let campaign = |order: &mut dyn Iterator<Item = &(Plan, Outcome)>| {
            let mut campaign = Campaign::default();
            order.for_each(|(plan, outcome)| {
                campaign.add(plan.clone(), outcome.clone(), Duration::from_millis(5), false);
            });
            campaign
        };
        let forward = campaign(&mut runs.iter());
        assert_eq!(forward, campaign(&mut runs.iter().rev()));
        assert_eq!(forward.failed.len(), FAILED_KEPT);
        assert_eq!((forward.totals.runs, forward.totals.failed), (60, 30));
        assert!(forward.failed().all(|kept| kept.outcome.seed < 40), "the smallest seeds are kept");
    }
}
