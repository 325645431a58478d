//! The tasks of a runner and what happens to each next. Pure: inputs and the time come in, effects go out.
//!
//! ```text
//!            run                launched                ended (policy says again)
//!   (none) ------> Launching ------------> Running -----------------------------> Waiting
//!                     ^                       |                                      |
//!                     |                       | ended for good                       | the wait is over
//!                     +-----------------------|--------------------------------------+
//!                                             v
//!                                          finished (only its folder is left)
//! ```

use crate::{
    ExecError,
    backoff::Backoff,
    folder::Progress,
    proc::Process,
    task::{Exit, RunnerEvent, TaskSpec},
};
use holm_types::{Mono, TaskId, Wall, manifest::RestartPolicy};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// A task is wanted.
    Run(TaskSpec),
    /// A task is not wanted any more.
    Stop(TaskId),
    /// The folder of an ended task is not needed any more.
    Forget(TaskId),
    /// What became of [`Effect::Launch`].
    Launched { id: TaskId, result: Result<(Process, Wall), NotStarted> },
    /// The lease of a task lasts longer.
    Extend { id: TaskId, until_ms: u64 },
    /// The command ended.
    Ended { id: TaskId, exit: Exit, output: Vec<u8> },
}

/// Why a task could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotStarted {
    /// For people.
    pub reason: String,
    /// The host is why, not the command.
    pub of_the_host: bool,
    /// Its lease was over: whether it may run again is for its owner to say.
    pub lease_ended: bool,
}

impl From<&ExecError> for NotStarted {
    fn from(e: &ExecError) -> NotStarted {
        let lease_ended = matches!(e, ExecError::LeaseOver);
        NotStarted { reason: e.to_string(), of_the_host: e.is_of_the_host(), lease_ended }
    }
}

/// Something to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Start the shim of this task, which may run until its lease ends, if it has one.
    Launch { spec: Arc<TaskSpec>, progress: Progress, lease: Option<u64> },
    /// Tell its shim that the lease lasts longer.
    Extend { id: TaskId, until_ms: u64 },
    /// Write down that it is to stop; then TERM its group, if it runs.
    Terminate { id: TaskId, progress: Progress, process: Option<Process> },
    /// KILL its group.
    Kill { process: Process },
    /// Remove its folder.
    Remove { id: TaskId },
    /// Tell the owner.
    Emit(RunnerEvent),
}

/// The bounds and rules of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub backoff: Backoff,
    pub max_tasks: usize,
    pub max_dirs: usize,
}

/// What was ignored, removed or repaired, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests to run a task that already runs.
    pub duplicate_runs: u64,
    /// Requests to run a task beyond the bound, or with an id that is none.
    pub refused_runs: u64,
    /// Requests to forget a task that has not ended.
    pub refused_forgets: u64,
    /// Folders removed because there were too many.
    pub expired_folders: u64,
    /// Folders found at the start with a file that could not be read.
    pub damaged_folders: u64,
    /// Processes of tasks killed at the start, because nobody supervised them or their folder did not say what they are.
    pub stray_processes: u64,
}

/// How the last run of a waiting task went.
#[derive(Debug, Clone)]
enum Last {
    Exit { exit: Exit, output: Vec<u8> },
    Failed(NotStarted),
}

#[derive(Debug)]
enum Phase {
    Launching,
    Running { process: Process, since: Mono, ran_before: Duration },
    Waiting { last: Last },
}

#[derive(Debug)]
struct Task {
    spec: Arc<TaskSpec>,
    progress: Progress,
    phase: Phase,
    /// When its lease ends, as far as is known.
    lease: Option<u64>,
    /// When its wait is over, or its grace.
    deadline: Option<Mono>,
}

/// A task found on disk that runs or ended.
#[derive(Debug)]
pub(crate) struct FoundTask {
    pub spec: TaskSpec,
    pub progress: Progress,
    /// How long it has run, or ran.
    pub ran: Duration,
}

/// All tasks.
#[derive(Debug)]
pub(crate) struct Table {
    rules: Rules,
    live: BTreeMap<TaskId, Task>,
    deadlines: BTreeSet<(Mono, TaskId)>,
    finished: Finished,
    counters: Counters,
}

impl Table {
    pub fn new(rules: Rules) -> Table {
        Table {
            rules,
            live: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            finished: Finished::default(),
            counters: Counters::default(),
        }
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// When [`Table::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    pub fn handle(&mut self, now: Mono, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Run(spec) => self.run(spec, &mut effects),
            Input::Stop(id) => self.stop(now, &id, &mut effects),
            Input::Forget(id) => self.forget(id, &mut effects),
            Input::Launched { id, result: Ok((process, started_at)) } => {
                self.launched(now, id, process, started_at, &mut effects);
            }
            Input::Launched { id, result: Err(why) } => {
                self.settle(now, id, Duration::ZERO, Last::Failed(why), &mut effects);
            }
            Input::Extend { id, until_ms } => self.extend(id, until_ms, &mut effects),
            Input::Ended { id, exit, output } => {
                let ran = match self.live.get(&id).map(|task| &task.phase) {
                    Some(Phase::Running { since, ran_before, .. }) => now.since(*since).saturating_add(*ran_before),
                    _ => Duration::ZERO,
                };
                self.settle(now, id, ran, Last::Exit { exit, output }, &mut effects);
            }
        }
        effects
    }

    /// Takes in a task that was found running.
    pub fn adopt(&mut self, now: Mono, found: FoundTask, process: Process, started_at: Wall) -> Vec<Effect> {
        let FoundTask { spec, progress, ran } = found;
        let id = spec.id.clone();
        let phase = Phase::Running { process, since: now, ran_before: ran };
        self.live.insert(id.clone(), Task { lease: spec.lease, spec: Arc::new(spec), progress, phase, deadline: None });
        let mut effects = vec![Effect::Emit(RunnerEvent::Started {
            id: id.clone(),
            pid: process.pid,
            restarts: progress.restarts,
            started_at,
            adopted: true,
        })];
        if progress.stopping {
            self.terminate(now, &id, &mut effects);
        }
        effects
    }

    /// Takes in a task that was found ended. Says when its policy starts it again.
    pub fn resume(&mut self, now: Mono, found: FoundTask, exit: Exit, output: Vec<u8>) -> Option<Duration> {
        let FoundTask { spec, progress, ran } = found;
        let id = spec.id.clone();
        let lease = spec.lease;
        let task = Task { spec: Arc::new(spec), progress, phase: Phase::Launching, lease, deadline: None };
        self.live.insert(id.clone(), task);
        self.after_run(now, &id, ran, Last::Exit { exit, output }, &mut Vec::new())
    }

    /// Takes in a folder whose task is gone.
    pub fn note_gone(&mut self, id: TaskId, progress: Progress) {
        self.finished.insert(id, progress);
    }

    /// Takes note of what was wrong on disk at the start.
    pub fn note_damage(&mut self, damaged_folders: u64, stray_processes: u64) {
        self.counters.damaged_folders += damaged_folders;
        self.counters.stray_processes += stray_processes;
    }

    /// Removes folders beyond the bound, as after a start.
    pub fn expire_folders(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        while self.finished.len() > self.rules.max_dirs {
            let Some(id) = self.finished.pop_oldest() else { break };
            self.counters.expired_folders += 1;
            effects.push(Effect::Remove { id });
        }
        effects
    }

    /// Carries out what was due at `now`.
    pub fn expire(&mut self, now: Mono) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some((at, id)) = self.deadlines.first().cloned() {
            if at > now {
                break;
            }
            self.set_deadline(&id, None);
            let Some(task) = self.live.get_mut(&id) else { continue };
            match task.phase {
                Phase::Running { process, .. } => effects.push(Effect::Kill { process }),
                Phase::Waiting { .. } => {
                    task.progress.restarts = task.progress.restarts.saturating_add(1);
                    task.phase = Phase::Launching;
                    let (spec, progress, lease) = (task.spec.clone(), task.progress, task.lease);
                    effects.push(Effect::Launch { spec, progress, lease });
                }
                Phase::Launching => {}
            }
        }
        effects
    }

    fn run(&mut self, spec: TaskSpec, effects: &mut Vec<Effect>) {
        let id = spec.id.clone();
        if self.live.contains_key(&id) {
            self.counters.duplicate_runs += 1;
            return;
        }
        let refusal = if id.as_str().parse::<TaskId>().is_err() {
            // It names a folder; one that came through serde was not checked.
            let reason = "its id is not a valid task id".to_owned();
            Some(NotStarted { reason, of_the_host: false, lease_ended: false })
        } else if self.live.len() >= self.rules.max_tasks {
            let reason = format!("this node already runs {} tasks", self.live.len());
            Some(NotStarted { reason, of_the_host: true, lease_ended: false })
        } else {
            None
        };
        if let Some(why) = refusal {
            self.counters.refused_runs += 1;
            effects.push(Effect::Emit(event(id, 0, None, Last::Failed(why))));
            return;
        }
        let progress = match self.finished.remove(&id) {
            Some(earlier) => Progress { restarts: earlier.restarts.saturating_add(1), streak: 0, stopping: false },
            None => Progress::default(),
        };
        let spec = Arc::new(spec);
        let lease = spec.lease;
        effects.push(Effect::Launch { spec: spec.clone(), progress, lease });
        self.live.insert(id, Task { spec, progress, phase: Phase::Launching, lease, deadline: None });
    }

    /// A lease never gets shorter. While the shim is being started its folder is not touched: it is told then.
    fn extend(&mut self, id: TaskId, until_ms: u64, effects: &mut Vec<Effect>) {
        let Some(task) = self.live.get_mut(&id) else { return };
        if task.spec.lease.is_none() || task.lease.is_some_and(|old| old >= until_ms) {
            return;
        }
        task.lease = Some(until_ms);
        if matches!(task.phase, Phase::Running { .. }) {
            effects.push(Effect::Extend { id, until_ms });
        }
    }

    fn stop(&mut self, now: Mono, id: &TaskId, effects: &mut Vec<Effect>) {
        let Some(task) = self.live.get_mut(id) else { return };
        if std::mem::replace(&mut task.progress.stopping, true) {
            return;
        }
        match &task.phase {
            // The TERM follows when it runs.
            Phase::Launching => {}
            Phase::Running { .. } => self.terminate(now, id, effects),
            Phase::Waiting { last } => {
                let (last, progress) = (last.clone(), task.progress);
                effects.push(Effect::Terminate { id: id.clone(), progress, process: None });
                self.settle(now, id.clone(), Duration::ZERO, last, effects);
            }
        }
    }

    fn terminate(&mut self, now: Mono, id: &TaskId, effects: &mut Vec<Effect>) {
        let Some(task) = self.live.get(id) else { return };
        let Phase::Running { process, .. } = task.phase else { return };
        let (progress, grace) = (task.progress, task.spec.grace);
        effects.push(Effect::Terminate { id: id.clone(), progress, process: Some(process) });
        self.set_deadline(id, Some(now.after(grace)));
    }

    fn forget(&mut self, id: TaskId, effects: &mut Vec<Effect>) {
        if self.live.contains_key(&id) {
            self.counters.refused_forgets += 1;
        } else if self.finished.remove(&id).is_some() {
            effects.push(Effect::Remove { id });
        }
    }

    fn launched(&mut self, now: Mono, id: TaskId, process: Process, started_at: Wall, effects: &mut Vec<Effect>) {
        let Some(task) = self.live.get_mut(&id) else { return };
        task.phase = Phase::Running { process, since: now, ran_before: Duration::ZERO };
        effects.push(Effect::Emit(RunnerEvent::Started {
            id: id.clone(),
            pid: process.pid,
            restarts: task.progress.restarts,
            started_at,
            adopted: false,
        }));
        if let Some(until_ms) = task.lease.filter(|_| task.lease > task.spec.lease) {
            effects.push(Effect::Extend { id: id.clone(), until_ms });
        }
        if task.progress.stopping {
            self.terminate(now, &id, effects);
        }
    }

    fn settle(&mut self, now: Mono, id: TaskId, ran: Duration, last: Last, effects: &mut Vec<Effect>) {
        self.after_run(now, &id, ran, last, effects);
        effects.extend(self.expire_folders());
    }

    /// A run of `id` is over: starts it again later, or lets it rest.
    fn after_run(
        &mut self,
        now: Mono,
        id: &TaskId,
        ran: Duration,
        last: Last,
        effects: &mut Vec<Effect>,
    ) -> Option<Duration> {
        self.set_deadline(id, None);
        let task = self.live.get_mut(id)?;
        let restarts = task.progress.restarts;
        let again = !task.progress.stopping && wants_restart(task.spec.restart, &last);
        let wait = again.then(|| {
            let (wait, streak) = self.rules.backoff.next(task.progress.streak, ran);
            task.progress.streak = streak;
            task.phase = Phase::Waiting { last: last.clone() };
            wait
        });
        effects.push(Effect::Emit(event(id.clone(), restarts, wait, last)));
        if let Some(wait) = wait {
            self.set_deadline(id, Some(now.after(wait)));
        } else if let Some(task) = self.live.remove(id) {
            self.finished.insert(id.clone(), task.progress);
        }
        wait
    }

    fn set_deadline(&mut self, id: &TaskId, deadline: Option<Mono>) {
        let Some(task) = self.live.get_mut(id) else { return };
        if let Some(old) = std::mem::replace(&mut task.deadline, deadline) {
            self.deadlines.remove(&(old, id.clone()));
        }
        if let Some(at) = deadline {
            self.deadlines.insert((at, id.clone()));
        }
    }
}

fn wants_restart(policy: RestartPolicy, last: &Last) -> bool {
    // Whether it may run again is for its owner to say.
    let lease_ended = match last {
        Last::Exit { exit, .. } => exit.lease_ended,
        Last::Failed(why) => why.lease_ended,
    };
    if lease_ended {
        return false;
    }
    match policy {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => !matches!(last, Last::Exit { exit, .. } if exit.success()),
        RestartPolicy::Never => false,
    }
}

fn event(id: TaskId, restarts: u32, will_restart_in: Option<Duration>, last: Last) -> RunnerEvent {
    match last {
        Last::Exit { exit, output } => RunnerEvent::Ended { id, exit, restarts, will_restart_in, output },
        Last::Failed(NotStarted { reason, of_the_host, lease_ended }) => {
            RunnerEvent::FailedToStart { id, reason, of_the_host, lease_ended, restarts, will_restart_in }
        }
    }
}

/// Ended tasks whose folders are still there, in the order in which they ended.
#[derive(Debug, Default)]
struct Finished {
    next: u64,
    order: BTreeMap<u64, TaskId>,
    by_id: BTreeMap<TaskId, (u64, Progress)>,
}

impl Finished {
    fn len(&self) -> usize {
        self.by_id.len()
    }

    fn insert(&mut self, id: TaskId, progress: Progress) {
        self.remove(&id);
        self.order.insert(self.next, id.clone());
        self.by_id.insert(id, (self.next, progress));
        self.next += 1;
    }

    fn remove(&mut self, id: &TaskId) -> Option<Progress> {
        let (at, progress) = self.by_id.remove(id)?;
        self.order.remove(&at);
        Some(progress)
    }

    fn pop_oldest(&mut self) -> Option<TaskId> {
        let (_, id) = self.order.pop_first()?;
        self.by_id.remove(&id);
        Some(id)
    }
}

#[cfg(test)]
mod tests;
