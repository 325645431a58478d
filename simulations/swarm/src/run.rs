//! One run: a plan from its beginning to rest, and what came of it.

use crate::{
    SwarmError, agent::Shared, control, faults, faults::Ongoing, runtime, selftest, tasks::Tasks, workload::Promises,
    world::World,
};
use holm_simulations::{
    outcome::{Heal, Invariant, Outcome, Violation},
    scenario::{HostNo, Ms, Plan, Trouble},
};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::sleep_until;

/// Between two looks at the fleet.
const LOOK: u64 = 1000;
/// Rest that does not stay is none.
const STAYS: u64 = 3000;
/// From the start of one host to the next: real hosts do not start in the same millisecond.
const STAGGER: u64 = 7;
/// Threads of a process that runs a simulation: the one that waits, and the simulation's.
const THREADS: usize = 2;

/// Runs a plan, after the self-test. One process runs one plan: libp2p and tokio count connections
/// and tasks over the whole process, so a second run in it would not be the same.
///
/// # Errors
/// The plan asks for what this layer does not do, something is not under control, or the run
/// panicked. Invariants that did not hold are no errors: they stand in the outcome.
pub fn run(plan: Plan) -> Result<Outcome, SwarmError> {
    faults::refuse(&plan)?;
    selftest::check()?;
    runtime::run(plan.seed, move || async move { Run::new(plan)?.go().await })?
}

/// What happens at a time.
#[derive(Debug, Clone, Copy)]
enum Step {
    Boot(HostNo),
    Begin(usize),
    Finish(usize),
    Submit(usize),
    Look,
}

struct Run {
    plan: Plan,
    world: World,
    promises: Promises,
    /// The network, and requests under way.
    tasks: Tasks,
    ongoing: BTreeMap<usize, Ongoing>,
}

impl Run {
    fn new(plan: Plan) -> Result<Run, SwarmError> {
        let tasks = Tasks::new(plan.seed, 0);
        let world = World::new(&plan, &tasks)?;
        Ok(Run { plan, world, promises: Shared::new(BTreeMap::new()), tasks, ongoing: BTreeMap::new() })
    }

    async fn go(mut self) -> Result<Outcome, SwarmError> {
        for (at, step) in self.schedule() {
            sleep_until(self.world.instant(at)).await;
            self.take(step)?;
        }
        let amiss = self.come_to_rest().await;
        // Those that befall others alone went on till now.
        for (n, ongoing) in std::mem::take(&mut self.ongoing) {
            self.world.finish(&self.plan.faults[n], &ongoing);
        }
        self.judge(amiss);
        let threads = runtime::threads()?;
        if threads > THREADS {
            return Err(SwarmError::Control(format!("{threads} threads run, {THREADS} are under control")));
        }
        Ok(self.outcome())
    }

    /// All steps in the order of time. What happens at the same time happens in this order: hosts
    /// start, faults end, faults begin, requests come, the fleet is looked at.
    fn schedule(&self) -> Vec<(Ms, Step)> {
        let plan = &self.plan;
        let boots = plan.hosts.iter().enumerate().map(|(n, host)| (Ms(STAGGER * n as u64), Step::Boot(host.no)));
        let end = |n: usize| {
            if self.is_for_others(n) { plan.faults[n].end() } else { plan.faults[n].end().min(plan.duration) }
        };
        let last = plan.duration;
        let begun = |n: &usize| plan.faults[*n].at < last;
        let finishes = (0..plan.faults.len()).filter(begun).filter(|n| end(*n) <= last);
        let mut steps: Vec<(Ms, Step)> = boots.collect();
        steps.extend(finishes.map(|n| (end(n), Step::Finish(n))));
        steps.extend((0..plan.faults.len()).filter(begun).map(|n| (plan.faults[n].at, Step::Begin(n))));
        steps.extend(plan.submissions.iter().enumerate().map(|(n, submission)| (submission.at, Step::Submit(n))));
        steps.extend((1..=last.0 / LOOK).map(|n| (Ms(n * LOOK), Step::Look)));
        steps.sort_by_key(|(at, step)| {
            let order = match step {
                Step::Boot(_) => 0,
                Step::Finish(_) => 1,
                Step::Begin(_) => 2,
                Step::Submit(_) => 3,
                Step::Look => 4,
            };
            (*at, order)
        });
        steps
    }

    /// Whether a fault befalls only hosts that need not come to rest; it then goes on.
    fn is_for_others(&self, fault: usize) -> bool {
        let hosts = self.plan.faults[fault].trouble.hosts();
        hosts.is_disjoint(&self.plan.core)
    }

    fn take(&mut self, step: Step) -> Result<(), SwarmError> {
        match step {
            Step::Boot(no) => self.world.boot(no),
            Step::Begin(n) => {
                let ongoing = self.world.begin(&self.plan.faults[n]);
                self.ongoing.insert(n, ongoing);
            }
            Step::Finish(n) => {
                let fault = &self.plan.faults[n];
                if let Some(ongoing) = self.ongoing.remove(&n) {
                    self.world.finish(fault, &ongoing);
                }
                let heal = Heal { kind: fault.trouble.kind(), at: self.world.now(), converged_after: None };
                self.world.record.lock().timeline.heals.push(heal);
            }
            Step::Submit(n) => self.world.submit(&self.plan.submissions[n], &self.promises, &self.tasks)?,
            Step::Look => self.look(),
        }
        Ok(())
    }

    /// Takes a sample of the fleet.
    fn look(&self) {
        let up = self.plan.hosts.iter().filter(|host| self.world.agent(host.no).is_some()).count();
        let up = u32::try_from(up).unwrap_or(u32::MAX);
        let running = self.world.running_count();
        self.world.record.lock().sample(self.world.now(), up, self.parts(), running);
    }

    /// The parts that partitions split the fleet into now.
    fn parts(&self) -> u32 {
        let mut sides: BTreeMap<HostNo, Vec<usize>> = self.plan.hosts.iter().map(|h| (h.no, Vec::new())).collect();
        for n in self.ongoing.keys() {
            let Trouble::Partition { sides: cut } = &self.plan.faults[*n].trouble else { continue };
            for (host, of) in &mut sides {
                // A host of no side reaches all; it is counted with the first.
                of.push(cut.iter().position(|side| side.contains(host)).unwrap_or(0));
            }
        }
        let parts: BTreeSet<Vec<usize>> = sides.into_values().collect();
        u32::try_from(parts.len()).unwrap_or(u32::MAX)
    }

    /// Waits until nothing is amiss any more, or the time for it is over; what still is.
    async fn come_to_rest(&mut self) -> Vec<Violation> {
        let end = Ms(self.plan.duration.0 + self.plan.converge_within.0);
        let mut rests_since = None;
        loop {
            let amiss = self.world.unrest(&self.plan, &self.promises).await;
            let now = self.world.now();
            rests_since = if amiss.is_empty() { rests_since.or(Some(now)) } else { None };
            let stays = rests_since.is_some_and(|since| now.0 - since.0 >= STAYS);
            if stays || now >= end {
                self.note_rest(rests_since);
                return amiss;
            }
            sleep_until(self.world.instant(Ms(self.world.now().0 + LOOK))).await;
            self.look();
        }
    }

    fn note_rest(&self, since: Option<Ms>) {
        self.world.note(None, if since.is_some() { "at-rest" } else { "no-rest" }, String::new());
        let mut record = self.world.record.lock();
        if let Some((since, last)) = since.zip(record.timeline.heals.last_mut()) {
            last.converged_after = Some(Ms(since.0.saturating_sub(last.at.0)));
        }
    }

    fn judge(&self, amiss: Vec<Violation>) {
        let mut record = self.world.record.lock();
        for violation in amiss {
            record.violated(violation.invariant, violation.at, violation.hosts, violation.detail);
        }
        let asked: BTreeSet<_> = faults::asked_for(&self.plan).collect();
        for kind in asked {
            if record.fired.get(&kind).is_none_or(|fired| *fired == 0) {
                let detail = format!("no fault of the kind {kind:?} did anything");
                record.violated(Invariant::FaultsFired, self.world.now(), [], detail);
            }
        }
    }

    fn outcome(mut self) -> Outcome {
        let (now, network) = (self.world.now(), self.world.net.counts());
        let net_counters = self.world.net_counters();
        let hash = self.world.record.lock().hash(self.world.net.hash());
        let runs = self.world.places.values().flat_map(|place| place.host.lock().runs(now)).collect();
        self.world.end();
        self.tasks.end();
        let mut record = self.world.record.lock();
        let mut counters = std::mem::take(&mut record.counters);
        counters.extend(net_counters);
        let asked = control::asked();
        counters.extend(
            [
                ("link_connections", network.connections),
                ("link_segments", network.segments),
                ("link_bytes", network.bytes),
                ("link_held", network.held),
                ("link_lost", network.lost),
                ("link_unheard", network.unheard),
                ("link_resets", network.resets),
                ("link_simultaneous_opens", network.simultaneous),
                ("control_entropy_reads", asked.entropy),
                ("control_mono_reads", asked.mono),
                ("control_wall_reads", asked.wall),
            ]
            .map(|(name, count)| (name.to_owned(), count)),
        );
        let mut timeline = std::mem::take(&mut record.timeline);
        timeline.runs = runs;
        Outcome {
            name: self.plan.name.clone(),
            seed: self.plan.seed,
            violations: std::mem::take(&mut record.violations),
            trace_hash: hash,
            simulated: now,
            counters,
            marks: holm_types::marks::take().into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
            fired: std::mem::take(&mut record.fired),
            timeline,
            events: record.take_happened(),
        }
    }
}
