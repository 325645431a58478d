//! The actor: turns requests and ends of processes into inputs of the [`Table`], and carries out its effects.

use crate::{
    ExecError, RunnerConfig,
    launch::{Launched, Launcher, Watch},
    recover::{self, Leftover, LeftoverState},
    sys,
    table::{Counters, Effect, FoundTask, Input, NotStarted, Rules, Table},
    task::{Exit, Found, FoundState, RunnerEvent, TaskSpec},
};
use holm_types::{Mono, TaskId, Wall};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::Signal,
};
use std::{
    collections::VecDeque,
    future::pending,
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep, sleep_until},
};

/// Events kept for an owner that does not take them; beyond it, only what is due goes on.
const OUTBOX: usize = 1024;

/// Launches and collections that use the disk at the same time: what they wait for is mostly the processor,
/// and each takes a thread.
const AT_ONCE: usize = 8;

/// How often a shim is looked at that cannot be watched.
const LOOK: Duration = Duration::from_millis(500);

/// A request of the owner.
#[derive(Debug)]
pub(crate) enum Command {
    Run(TaskSpec),
    Stop(TaskId),
    Extend(TaskId, u64),
    Forget(TaskId),
}

/// What a job brought about.
enum Report {
    Launched { id: TaskId, result: Result<Launched, ExecError> },
    Ended { id: TaskId, exit: Exit, output: Vec<u8> },
    Removed,
}

enum Branch {
    Delivered,
    Report(Report),
    Due,
    Command(Command),
    Closed,
}

type Clock = Arc<dyn Fn() -> Wall + Send + Sync>;

pub(crate) struct Actor {
    launcher: Arc<Launcher>,
    table: Table,
    jobs: JoinSet<Report>,
    disk: Arc<Semaphore>,
    outbox: VecDeque<RunnerEvent>,
    inbox: mpsc::Receiver<Command>,
    events: mpsc::Sender<RunnerEvent>,
    counters: Arc<Mutex<Counters>>,
    clock: Clock,
    origin: Instant,
    removals: u64,
}

impl Actor {
    pub fn new(
        config: &RunnerConfig,
        launcher: Arc<Launcher>,
        inbox: mpsc::Receiver<Command>,
        events: mpsc::Sender<RunnerEvent>,
        counters: Arc<Mutex<Counters>>,
    ) -> Actor {
        let rules = Rules { backoff: config.backoff, max_tasks: config.max_tasks, max_dirs: config.max_dirs };
        Actor {
            launcher,
            table: Table::new(rules),
            jobs: JoinSet::new(),
            disk: Arc::new(Semaphore::new(AT_ONCE)),
            outbox: VecDeque::new(),
            inbox,
            events,
            counters,
            clock: Arc::clone(&config.clock),
            origin: Instant::now(),
            removals: 0,
        }
    }

    /// Takes in what was found on disk.
    pub fn take_up(&mut self, leftover: Leftover) -> Found {
        let Leftover { spec, progress, ran, state } = leftover;
        let (id, now, restarts) = (spec.id.clone(), self.now(), progress.restarts);
        let task = FoundTask { spec: spec.clone(), progress, ran };
        let state = match state {
            LeftoverState::Alive { process, started_at, watch } => {
                self.watch(id, watch);
                let effects = self.table.adopt(now, task, process, started_at);
                self.carry_out(effects);
                FoundState::Alive { pid: process.pid, started_at, restarts }
            }
            LeftoverState::Exited { exit, output } => {
                let will_restart_in = self.table.resume(now, task, exit.clone(), output.clone());
                FoundState::Exited { exit, output, restarts, will_restart_in }
            }
            LeftoverState::Gone => {
                self.table.note_gone(id, progress);
                FoundState::Gone
            }
        };
        Found { spec, state }
    }

    /// Takes note of what was wrong on disk.
    pub fn note_damage(&mut self, damaged_folders: u64, stray_processes: u64) {
        self.table.note_damage(damaged_folders, stray_processes);
        self.publish_counters();
    }

    /// Until every handle or the owner of the events is gone. The tasks stay.
    pub async fn run(mut self) {
        let effects = self.table.expire_folders();
        self.carry_out(effects);
        loop {
            match self.next().await {
                Branch::Closed => break,
                Branch::Delivered => {}
                Branch::Report(report) => self.handle_report(report),
                Branch::Due => {
                    let effects = self.table.expire(self.now());
                    self.carry_out(effects);
                }
                Branch::Command(Command::Run(spec)) => self.handle(Input::Run(spec)),
                Branch::Command(Command::Stop(id)) => self.handle(Input::Stop(id)),
                Branch::Command(Command::Extend(id, until_ms)) => self.handle(Input::Extend { id, until_ms }),
                Branch::Command(Command::Forget(id)) => self.handle(Input::Forget(id)),
            }
        }
        self.inbox.close();
    }

    async fn next(&mut self) -> Branch {
        let room = self.outbox.len() < OUTBOX;
        let due = self.table.next_deadline().map(|at| self.origin + at.0);
        tokio::select! {
            biased;
            permit = self.events.reserve(), if !self.outbox.is_empty() => match (permit, self.outbox.pop_front()) {
                (Ok(permit), Some(event)) => {
                    permit.send(event);
                    Branch::Delivered
                }
                _ => Branch::Closed,
            },
            () = self.events.closed() => Branch::Closed,
            () = async { match due { Some(at) => sleep_until(at).await, None => pending().await } } => Branch::Due,
            Some(report) = self.jobs.join_next(), if room => match report {
                Ok(report) => Branch::Report(report),
                // Jobs turn the panics of their workers into errors, and nobody cancels them.
                Err(e) => {
                    tracing::error!("a job of the runner failed: {e}");
                    Branch::Delivered
                }
            },
            command = self.inbox.recv(), if room => command.map_or(Branch::Closed, Branch::Command),
        }
    }

    fn now(&self) -> Mono {
        Mono(self.origin.elapsed())
    }

    fn handle(&mut self, input: Input) {
        let effects = self.table.handle(self.now(), input);
        self.publish_counters();
        self.carry_out(effects);
    }

    fn publish_counters(&self) {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner) = self.table.counters();
    }

    fn handle_report(&mut self, report: Report) {
        match report {
            Report::Launched { id, result: Ok(Launched { process, started_at, watch }) } => {
                self.watch(id.clone(), watch);
                self.handle(Input::Launched { id, result: Ok((process, started_at)) });
            }
            Report::Launched { id, result: Err(e) } => {
                let why = NotStarted::from(&e);
                self.handle(Input::Launched { id, result: Err(why) });
            }
            Report::Ended { id, exit, output } => self.handle(Input::Ended { id, exit, output }),
            Report::Removed => {}
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Emit(event) => self.outbox.push_back(event),
                Effect::Launch { spec, progress, lease } => {
                    let (launcher, disk) = (Arc::clone(&self.launcher), Arc::clone(&self.disk));
                    self.jobs.spawn(async move {
                        let id = spec.id.clone();
                        let result = on_disk(disk, move || launcher.launch(&spec, &progress, lease)).await;
                        Report::Launched { id, result: result.and_then(|launched| launched) }
                    });
                }
                // Written here and now: the mark must be on disk before the TERM, and before a later launch.
                Effect::Terminate { id, progress, process } => {
                    if let Err(e) = self.launcher.folder(&id).write_progress(&progress) {
                        tracing::warn!(task = %id, "a restarted agent would not know that it is to stop: {e}");
                    }
                    if let Some(process) = process {
                        process.signal_group(Signal::SIGTERM);
                    }
                }
                Effect::Kill { process } => {
                    process.signal_group(Signal::SIGKILL);
                }
                // Written here and now: a shim that does not find it kills its task.
                Effect::Extend { id, until_ms } => {
                    if let Err(e) = self.launcher.folder(&id).write_lease(until_ms) {
                        tracing::warn!(task = %id, "its lease is not extended: {e}");
                    }
                }
                Effect::Remove { id } => self.remove(&id),
            }
        }
    }

    fn remove(&mut self, id: &TaskId) {
        self.removals += 1;
        let folder = self.launcher.folder(id);
        if let Some(trash) = recover::set_aside(&folder, &self.launcher.dir, self.removals) {
            let disk = Arc::clone(&self.disk);
            self.jobs.spawn(async move {
                if let Err(e) = on_disk(disk, move || recover::remove_all(&trash)).await {
                    tracing::warn!("a folder is left for the next start: {e}");
                }
                Report::Removed
            });
        }
    }

    fn watch(&mut self, id: TaskId, watch: Watch) {
        let (launcher, disk, clock) = (Arc::clone(&self.launcher), Arc::clone(&self.disk), Arc::clone(&self.clock));
        self.jobs.spawn(async move {
            let watch = ended(watch).await;
            let now = clock();
            let task = id.clone();
            let (exit, output) = on_disk(disk, move || launcher.collect(&task, &watch, now))
                .await
                .unwrap_or_else(|e| (unknown_end(now, &e), Vec::new()));
            Report::Ended { id, exit, output }
        });
    }
}

/// The end of a task of which nothing could be learnt.
fn unknown_end(now: Wall, e: &ExecError) -> Exit {
    Exit { code: 255, finished_at: now, reason: Some(e.to_string()), lease_ended: false }
}

/// Does blocking work, when it is its turn.
async fn on_disk<T: Send + 'static>(
    disk: Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ExecError> {
    let _turn = disk.acquire().await.map_err(|e| ExecError::Worker(e.to_string()))?;
    spawn_blocking(work).await.map_err(|e| ExecError::Worker(e.to_string()))
}

/// Waits for the end of a shim.
async fn ended(watch: Watch) -> Watch {
    let mut watch = watch;
    if let Watch::PidFd(fd) = watch {
        match sys::watch_readable(fd) {
            Ok(fd) => {
                // An error means that the runtime is shutting down; the loop below then ends at its first sleep.
                let _ = fd.readable().await.map(drop);
                watch = Watch::PidFd(fd.into_inner());
            }
            Err(fd) => watch = Watch::PidFd(fd),
        }
    }
    while !has_ended(&watch) {
        sleep(LOOK).await;
    }
    watch
}

fn has_ended(watch: &Watch) -> bool {
    match watch {
        Watch::PidFd(fd) => {
            poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).is_ok_and(|n| n > 0)
        }
        Watch::Look(shim) => !shim.is_alive(),
    }
}
