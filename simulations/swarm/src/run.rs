//! One run: a plan from its beginning to rest, and what came of it.

use crate::{SwarmError, control, faults, faults::Ongoing, runtime, selftest, tasks::Tasks, world::World};
use holm_simulations::{
    Options,
    outcome::{Invariant, Outcome, Violation},
    scenario::{Ms, Plan, Step, Trouble},
};
use holm_types::sabotage::Sabotage;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::time::sleep_until;

/// Between two looks at the fleet.
const LOOK: u64 = 1000;
/// Rest that does not stay is none.
const STAYS: u64 = 3000;
/// From the start of one host to the next: real hosts do not start in the same millisecond.
const STAGGER: u64 = 7;
/// Threads of a process that runs a simulation: the one that waits, and the simulation's.
const THREADS: usize = 2;

/// Runs a plan, after the self-test, with a deliberate bug (`holm_types::sabotaged!`) if one is named. One process runs one plan: libp2p and tokio count connections
/// and tasks over the whole process, so a second run in it would not be the same.
///
/// # Errors
/// The plan asks for what this layer does not do, something is not under control, or the run
/// panicked. Invariants that did not hold are no errors: they stand in the outcome.
pub fn run(plan: Plan, options: Options, bug: Option<String>) -> Result<Outcome, SwarmError> {
    faults::refuse(&plan)?;
    selftest::check()?;
    runtime::run(plan.seed, move || async move {
        // It lives as long as the process, which runs one plan.
        let _committed = bug.map(|bug| Sabotage::commit(String::leak(bug)));
        Run::new(plan, options)?.go().await
    })?
}

/// What happens at a time.
#[derive(Debug, Clone, Copy)]
enum Turn {
    Boot(usize),
    Plan(Step),
    Look,
}

struct Run {
    plan: Arc<Plan>,
    /// The run is broken off there, and nothing is judged at the end.
    until: Option<Ms>,
    world: World,
    /// The network, the runner, and requests under way.
    tasks: Tasks,
    ongoing: BTreeMap<usize, Ongoing>,
}

impl Run {
    fn new(plan: Plan, options: Options) -> Result<Run, SwarmError> {
        let tasks = Tasks::new(plan.seed, 0);
        let plan = Arc::new(plan);
        let world = World::new(&plan, options, &tasks)?;
        // What is broken off later than the plan is not broken off.
        let until = options.until.filter(|until| *until < plan.duration);
        Ok(Run { plan, until, world, tasks, ongoing: BTreeMap::new() })
    }

    async fn go(mut self) -> Result<Outcome, SwarmError> {
        for (at, turn) in self.schedule() {
            sleep_until(self.world.instant(at)).await;
            self.take(turn);
        }
        if let Some(until) = self.until {
            sleep_until(self.world.instant(until)).await;
            return Ok(self.outcome());
        }
        let amiss = self.come_to_rest().await;
        // Those that befall others alone went on till now.
        for (n, ongoing) in std::mem::take(&mut self.ongoing) {
            self.world.finish(n, &self.plan.faults[n], &ongoing);
        }
        let at = self.world.at();
        self.world.fleet.lock().judge(at, amiss);
        for panic in runtime::panics() {
            self.world.fleet.lock().violated(Invariant::NoPanic, at, Vec::new(), panic);
        }
        let threads = runtime::threads()?;
        if threads > THREADS {
            return Err(SwarmError::Control(format!("{threads} threads run, {THREADS} are under control")));
        }
        Ok(self.outcome())
    }

    /// What happens until the plan is over, in the order of time. At the same time hosts start first, then comes
    /// what the plan says, then the fleet is looked at.
    fn schedule(&self) -> Vec<(Ms, Turn)> {
        let last = self.until.unwrap_or(self.plan.duration);
        let boots = (0..self.plan.hosts.len()).map(|host| (Ms(STAGGER * host as u64), Turn::Boot(host)));
        let planned = self.plan.schedule().into_iter().filter(|(at, _)| *at <= last);
        let mut turns: Vec<(Ms, Turn)> = boots.chain(planned.map(|(at, step)| (at, Turn::Plan(step)))).collect();
        turns.extend((1..=last.0 / LOOK).map(|n| (Ms(n * LOOK), Turn::Look)));
        turns.sort_by_key(|(at, _)| *at);
        turns
    }

    fn take(&mut self, turn: Turn) {
        match turn {
            Turn::Boot(host) => self.world.boot(host),
            Turn::Plan(Step::Begin(n)) => {
                let ongoing = self.world.begin(n, &self.plan.faults[n]);
                self.ongoing.insert(n, ongoing);
            }
            Turn::Plan(Step::End(n)) => {
                if let Some(ongoing) = self.ongoing.remove(&n) {
                    self.world.finish(n, &self.plan.faults[n], &ongoing);
                }
            }
            Turn::Plan(Step::Backup(n)) => {
                let hosts = self.world.places(&self.plan.faults[n].trouble.hosts());
                hosts.into_iter().for_each(|host| self.world.fleet.lock().back_up(host));
            }
            Turn::Plan(Step::Submit(n)) => self.world.submit(n, &self.tasks),
            Turn::Look => self.look(),
        }
    }

    /// Takes a sample of the fleet.
    fn look(&self) {
        self.world.fleet.lock().sample(self.world.at(), self.parts());
    }

    /// The parts that partitions split the fleet into now.
    fn parts(&self) -> u32 {
        let mut sides: BTreeMap<_, Vec<usize>> = self.plan.hosts.iter().map(|h| (h.no, Vec::new())).collect();
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
            let at = self.world.at();
            let amiss = self.world.fleet.lock().unrest(at);
            let now = Ms(at / 1_000);
            rests_since = if amiss.is_empty() { rests_since.or(Some(now)) } else { None };
            let stays = rests_since.is_some_and(|since: Ms| now.0 - since.0 >= STAYS);
            if stays || now >= end {
                let what = if amiss.is_empty() { "at-rest" } else { "no-rest" };
                self.world.fleet.lock().note(at, None, what, "");
                return amiss;
            }
            sleep_until(self.world.instant(Ms(now.0 + LOOK))).await;
            self.look();
        }
    }

    fn outcome(mut self) -> Outcome {
        let network = self.world.net.counts();
        let mut counters = self.world.net_counters();
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
        let (at, hash) = (self.world.at(), self.world.net.hash());
        let outcome = self.world.fleet.lock().outcome(at, hash, counters);
        self.world.end();
        self.tasks.end();
        outcome
    }
}
