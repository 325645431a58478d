//! Many runs on a few threads.

use crate::layer;
use holm_simulations::{Invariant, Options, Outcome, Plan, SimError, Violation, scenario::Ms};
use std::{
    ops::ControlFlow,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, sync_channel},
    },
    time::Duration,
};

/// How often a caller hears of it that nothing is done yet.
const TICK: Duration = Duration::from_millis(250);

/// A run to be done.
pub struct Job {
    /// What to run.
    pub plan: Plan,
    /// It is run twice, and must go the same way.
    pub twice: bool,
}

/// A run that is done.
pub struct Done {
    /// What ran.
    pub plan: Plan,
    /// What came of it.
    pub outcome: Outcome,
    /// Time on a CPU, of the first run.
    pub cpu: Duration,
    /// It ran twice.
    pub twice: bool,
}

/// Runs jobs on so many threads. `each` hears of every run that is done, in no order, and of the time between
/// (`None`); when it breaks off, no other run is begun.
///
/// # Errors
/// The first job that could not be made or run.
pub fn run_all<E: From<SimError> + Send>(
    threads: usize,
    jobs: impl Iterator<Item = Result<Job, E>> + Send,
    mut each: impl FnMut(Option<Done>) -> ControlFlow<()>,
) -> Result<(), E> {
    let jobs = Mutex::new(jobs);
    let stop = AtomicBool::new(false);
    let (sender, done) = sync_channel::<Result<Done, E>>(threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let sender = sender.clone();
            let (jobs, stop) = (&jobs, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // A poisoned lock means that a thread panicked while it made a job; the others go on.
                    let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(job) = job else { return };
                    let result = job.and_then(|job| Ok(run_one(job)?));
                    if sender.send(result).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut first_error = None;
        loop {
            let went_on = match done.recv_timeout(TICK) {
                Ok(Ok(done)) => each(Some(done)),
                Ok(Err(error)) => {
                    first_error.get_or_insert(error);
                    ControlFlow::Break(())
                }
                Err(RecvTimeoutError::Timeout) => each(None),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if went_on.is_break() {
                stop.store(true, Ordering::Relaxed);
            }
        }
        first_error.map_or(Ok(()), Err)
    })
}

fn run_one(Job { plan, twice }: Job) -> Result<Done, SimError> {
    let (mut outcome, cpu) = layer::run(&plan, Options::default())?;
    if twice {
        compare(&mut outcome, &layer::run(&plan, Options::default())?.0);
    }
    Ok(Done { plan, outcome, cpu, twice })
}

/// Runs a plan twice; that it went two ways is a violation like any other.
pub fn run_twice(plan: &Plan) -> Result<Outcome, SimError> {
    run_one(Job { plan: plan.clone(), twice: true }).map(|done| done.outcome)
}

fn compare(outcome: &mut Outcome, again: &Outcome) {
    if outcome == again {
        return;
    }
    let (one, other) = (outcome.trace_hash, again.trace_hash);
    let differs = outcome.events.iter().zip(&again.events).find(|(a, b)| a != b);
    let (at, what) = differs.map_or((Ms(0), String::new()), |(a, b)| {
        (a.at.min(b.at), format!("; first seen in {} {}, the other time {} {}", a.what, a.detail, b.what, b.detail))
    });
    let detail = format!("two runs of one plan have the hashes {one:016x} and {other:016x}{what}");
    outcome.violations.insert(0, Violation { invariant: Invariant::Deterministic, at, hosts: Vec::new(), detail });
}

#[cfg(test)]
mod tests {
    use super::*;
    use holm_simulations::{Scenario, outcome::Happened};

    fn plan(seed: u64) -> Plan {
        let text = "duration = \"3s\"\n[[group]]\nname = \"n\"\ncount = 2\n";
        Scenario::parse("small", text).unwrap().expand(seed).unwrap()
    }

    #[test]
    fn every_job_is_done_once_and_those_after_a_stop_are_not_begun() {
        let jobs = |n| (0..n).map(|seed| Ok::<_, SimError>(Job { plan: plan(seed), twice: seed == 0 }));
        let mut seeds = Vec::new();
        run_all(2, jobs(6), |done| {
            seeds.extend(done.map(|done| done.outcome.seed));
            ControlFlow::Continue(())
        })
        .unwrap();
        seeds.sort_unstable();
        assert_eq!(seeds, [0, 1, 2, 3, 4, 5]);
        let mut count = 0;
        run_all(2, jobs(500), |done| {
            count += usize::from(done.is_some());
            ControlFlow::Break(())
        })
        .unwrap();
        assert!(count < 10, "{count} runs after a stop");
    }

    #[test]
    fn what_goes_two_ways_is_a_failure() {
        let once = holm_simulations::run(&plan(1), Options::default()).unwrap();
        let mut same = once.clone();
        compare(&mut same, &once);
        assert!(same.passed());
        let mut other = once.clone();
        let event = Happened { at: Ms(7), host: None, what: "odd".into(), detail: "x".into() };
        (other.trace_hash, other.events) = (1, vec![event]);
        let mut outcome = once;
        compare(&mut outcome, &other);
        assert_eq!(outcome.violations[0].invariant, Invariant::Deterministic);
        assert!(outcome.violations[0].detail.contains("odd"), "{:?}", outcome.violations);
    }
}
