//! From a run that fails to the smallest that still does: which faults, requests and hosts does it
//! take, and how long?
//!
//! [`shrink`] cuts a [`Plan`] down with [`ddmin`](crate::ddmin) and keeps a cut only when
//! the same invariant still fails, so it does not end at another bug. [`retell`] writes what is left
//! as a scenario that a person can read, where that can be said in one.

mod parts;
mod retell;

pub use retell::{NotTold, retell};

use crate::{
    SimError,
    ddmin::{Trial, ddmin},
    outcome::{Invariant, Outcome, Violation},
    scenario::{Ms, Plan},
};
use serde::Serialize;
use std::ops::ControlFlow;

/// Rounds over all parts; a later one finds what only an earlier one made superfluous.
const ROUNDS: usize = 4;
/// Durations are tried in steps of this.
const DURATION_STEP: u64 = 1_000;

/// How large a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Faults.
    pub faults: usize,
    /// Requests.
    pub requests: usize,
    /// Hosts.
    pub hosts: usize,
    /// How long it goes on, in milliseconds.
    pub duration: Ms,
}

impl Size {
    /// That of a plan.
    pub fn of(plan: &Plan) -> Size {
        Size {
            faults: plan.faults.len(),
            requests: plan.submissions.len(),
            hosts: plan.hosts.len(),
            duration: plan.duration,
        }
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let many = |n: usize, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
        let (faults, requests) = (many(self.faults, "fault"), many(self.requests, "request"));
        write!(f, "{faults}, {requests}, {}, {}", many(self.hosts, "host"), crate::tell::lasting(self.duration))
    }
}

/// What is being cut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Faults.
    Faults,
    /// Requests.
    Requests,
    /// Hosts.
    Hosts,
    /// The duration.
    Duration,
    /// What makes hosts and links special: wrong clocks, NAT, slow uplinks, losses.
    Traits,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Runs so far.
    pub runs: u32,
    /// What is being cut down.
    pub step: Step,
    /// The smallest plan that fails, so far.
    pub size: Size,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Shrunk {
    /// The smallest plan found.
    pub plan: Plan,
    /// How it fails: the same invariant.
    pub violation: Violation,
    /// The hash of its run.
    pub trace_hash: u64,
    /// Before.
    pub before: Size,
    /// After.
    pub after: Size,
    /// Runs that it took.
    pub runs: u32,
    /// Nothing single can be taken away any more; false when the budget was used up before that was known.
    pub complete: bool,
}

/// Runs plans, and says what came of them.
pub type Runner<'a> = &'a mut dyn FnMut(&Plan) -> Result<Outcome, SimError>;
/// Is asked before each run whether there is budget for it.
pub type MayGoOn<'a> = &'a mut dyn FnMut(&Progress) -> ControlFlow<()>;

/// Cuts a plan down whose run violates `invariant`.
///
/// Answers none when it does not: then there is nothing to shrink.
///
/// # Errors
/// The plan cannot be run at all.
pub fn shrink(
    plan: &Plan,
    invariant: Invariant,
    run: Runner<'_>,
    may_go_on: MayGoOn<'_>,
) -> Result<Option<Shrunk>, SimError> {
    let first = run(plan)?;
    let Some(violation) = first.violations.iter().find(|v| v.invariant == invariant).cloned() else { return Ok(None) };
    let best = Best { plan: parts::tidy(plan.clone()), violation, trace_hash: first.trace_hash };
    let mut search = Search { best, invariant, runs: 1, run, may_go_on, step: Step::Faults, error: None };
    // Tidied, it means the same; should that not be so, the original is what is known to fail.
    if search.best.plan != *plan && search.fails(&search.best.plan.clone()) != ControlFlow::Continue(true) {
        search.best.plan = plan.clone();
    }
    let complete = search.all_steps().is_continue();
    if let Some(error) = search.error {
        return Err(error);
    }
    let Search { best: Best { plan: least, violation, trace_hash }, runs, .. } = search;
    let (before, after) = (Size::of(plan), Size::of(&least));
    Ok(Some(Shrunk { plan: least, violation, trace_hash, before, after, runs, complete }))
}

/// The smallest plan known to fail, and how its run went.
struct Best {
    plan: Plan,
    violation: Violation,
    trace_hash: u64,
}

struct Search<'a> {
    best: Best,
    invariant: Invariant,
    runs: u32,
    step: Step,
    run: Runner<'a>,
    may_go_on: MayGoOn<'a>,
    error: Option<SimError>,
}

impl Search<'_> {
    fn all_steps(&mut self) -> ControlFlow<()> {
        for _ in 0..ROUNDS {
            let before = self.best.plan.clone();
            self.step = Step::Faults;
            self.reduce(before.faults.clone(), |plan, faults| plan.faults = faults)?;
            self.step = Step::Requests;
            self.reduce(before.submissions.clone(), |plan, requests| plan.submissions = requests)?;
            self.step = Step::Hosts;
            self.reduce(before.hosts.clone(), |plan, hosts| plan.hosts = hosts)?;
            self.step = Step::Duration;
            self.shorten()?;
            self.step = Step::Traits;
            for plainer in parts::PLAINER {
                let plan = plainer(self.best.plan.clone());
                if plan != self.best.plan {
                    let _ = self.fails(&plan)?;
                }
            }
            if self.best.plan == before {
                break;
            }
        }
        ControlFlow::Continue(())
    }

    /// Cuts one list of the plan down.
    fn reduce<T: Clone>(&mut self, all: Vec<T>, put: impl Fn(&mut Plan, Vec<T>)) -> ControlFlow<()> {
        let base = self.best.plan.clone();
        let found = ddmin(&all, |some| {
            let mut plan = base.clone();
            put(&mut plan, some.to_vec());
            self.fails(&parts::tidy(plan))
        });
        if found.complete { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    /// Looks for the shortest duration, by halves.
    fn shorten(&mut self) -> ControlFlow<()> {
        let base = self.best.plan.clone();
        let (mut passes, mut fails) = (0, base.duration.0.div_ceil(DURATION_STEP));
        while passes + 1 < fails {
            let middle = passes + (fails - passes) / 2;
            if self.fails(&parts::shorter(base.clone(), Ms(middle * DURATION_STEP)))? {
                fails = middle;
            } else {
                passes = middle;
            }
        }
        ControlFlow::Continue(())
    }

    /// Whether the same invariant fails; what does becomes the best so far.
    fn fails(&mut self, plan: &Plan) -> Trial {
        if !parts::makes_sense(plan) {
            return ControlFlow::Continue(false);
        }
        let (runs, step) = (self.runs, self.step);
        (self.may_go_on)(&Progress { runs, step, size: Size::of(&self.best.plan) })?;
        self.runs += 1;
        let outcome = match (self.run)(plan) {
            Ok(outcome) => outcome,
            Err(error) => {
                self.error = Some(error);
                return ControlFlow::Break(());
            }
        };
        let same = outcome.violations.into_iter().find(|violation| violation.invariant == self.invariant);
        let Some(violation) = same else { return ControlFlow::Continue(false) };
        self.best = Best { plan: plan.clone(), violation, trace_hash: outcome.trace_hash };
        ControlFlow::Continue(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::sample,
        scenario::{FaultKind, library},
    };

    /// A run that is not run: it fails when there is a crash and a host that is asked for `web-0`.
    fn judged(plan: &Plan) -> Result<Outcome, SimError> {
        let (_, mut outcome) = sample::failed();
        let crash = plan.faults.iter().find(|f| f.trouble.kind() == FaultKind::Crash);
        let asked = plan.submissions.iter().find(|s| s.app == "web-0" && plan.hosts.iter().any(|h| h.no == s.on));
        if crash.is_none() || asked.is_none() || plan.duration < Ms(33_000) {
            // Another invariant, which must not be taken for the same.
            outcome.violations[0].invariant = Invariant::EqualViews;
        }
        Ok(outcome)
    }

    fn plan() -> Plan {
        let all = library().unwrap();
        all.into_iter().find(|scenario| scenario.name == "random_faults").unwrap().expand(3).unwrap()
    }

    #[test]
    fn what_does_not_matter_is_cut_away() {
        let plan = plan();
        let mut go = |_: &Progress| ControlFlow::Continue(());
        let shrunk = shrink(&plan, Invariant::HealDisturbsNothing, &mut judged, &mut go).unwrap().unwrap();
        assert_eq!((shrunk.after.faults, shrunk.after.requests), (1, 1));
        assert!(shrunk.after.hosts <= 3 && shrunk.complete, "{}", shrunk.after);
        assert_eq!(shrunk.plan.faults[0].trouble.kind(), FaultKind::Crash);
        assert!(
            (33_000..38_000).contains(&shrunk.after.duration.0) || shrunk.after.duration >= shrunk.plan.faults[0].at
        );
        assert_eq!(shrunk.before, Size::of(&plan));
        assert!(!judged(&shrunk.plan).unwrap().violations.iter().all(|v| v.invariant == Invariant::EqualViews));
        assert!(shrunk.plan.hosts.iter().all(|host| host.skew_ms == 0), "clocks do not matter here");
    }

    #[test]
    fn the_budget_is_kept_and_what_is_found_by_then_still_fails() {
        for budget in [1, 2, 7, 20] {
            let mut asked = 0;
            let mut go = |progress: &Progress| {
                asked += 1;
                if progress.runs >= budget { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let shrunk = shrink(&plan(), Invariant::HealDisturbsNothing, &mut judged, &mut go).unwrap().unwrap();
            assert!(shrunk.runs <= budget && !shrunk.complete);
            assert_eq!(judged(&shrunk.plan).unwrap().violations[0].invariant, Invariant::HealDisturbsNothing);
        }
    }

    #[test]
    fn a_run_that_does_not_fail_so_is_not_shrunk() {
        let mut go = |_: &Progress| ControlFlow::Continue(());
        assert_eq!(shrink(&plan(), Invariant::NoPanic, &mut judged, &mut go).unwrap(), None);
    }
}
