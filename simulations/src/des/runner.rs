//! Processes: fakes that run for as long as their environment says, with the exit code it says,
//! and are restarted in place, stopped and found again as `exec/` does it.

use super::queue::At;
use holm_node_core::{Found, FoundState, StartTask};
use holm_types::{TaskId, Wall, manifest::RestartPolicy};
use std::{collections::BTreeMap, time::Duration};

/// A process ends by itself after so many milliseconds.
pub(crate) const RUN_MS: &str = "SIM_RUN_MS";
/// With this exit code.
pub(crate) const EXIT_CODE: &str = "SIM_EXIT";
/// Told to stop, it takes so many milliseconds.
pub(crate) const STOP_MS: &str = "SIM_STOP_MS";
/// Records of ended tasks kept on a host, as `exec/` keeps folders.
const ENDED_MAX: usize = 500;
/// How exec waits between restarts in place.
const BACKOFF_FIRST: At = 500_000;
const BACKOFF_LONGEST: At = 60_000_000;

fn micros(time: Duration) -> At {
    At::try_from(time.as_micros()).unwrap_or(At::MAX)
}

/// What a process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Runs,
    /// It was told to stop.
    Stops,
    /// It ended, and will be restarted in place.
    Waits,
    Ended {
        code: i32,
        at: Wall,
        /// Its supervisor killed it, because its lease was over.
        fenced: bool,
    },
    /// The host went down under it.
    Gone,
}

/// A process, or what is left of it.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) task: StartTask,
    pub(crate) pid: u32,
    pub(crate) started_at: Wall,
    pub(crate) since: At,
    pub(crate) phase: Phase,
    pub(crate) restarts: u32,
    /// When its lease ends, if it runs under one. Its supervisor knows that, and needs no agent for it.
    pub(crate) lease: Option<At>,
    streak: u32,
}

impl Process {
    pub(crate) fn new(task: StartTask, pid: u32, started_at: Wall, since: At) -> Process {
        let lease = task.lease.map(|until| micros(until.0));
        Process { task, pid, started_at, since, phase: Phase::Runs, restarts: 0, lease, streak: 0 }
    }

    /// It is the next run of `old`, restarted in place.
    pub(crate) fn carry_on(&mut self, old: &Process) {
        self.streak = old.streak;
        self.lease = self.lease.max(old.lease);
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Runs | Phase::Stops)
    }

    fn millis(&self, key: &str) -> Option<At> {
        self.task.env.get(key).and_then(|ms| ms.parse::<u64>().ok()).map(|ms| ms * 1_000)
    }

    /// How long it runs, if not for ever, and how it ends.
    pub(crate) fn course(&self) -> Option<(At, i32)> {
        let code = self.task.env.get(EXIT_CODE).and_then(|code| code.parse().ok()).unwrap_or(0);
        Some((self.millis(RUN_MS)?.max(6_000), code))
    }

    /// How long it takes to stop, and how it ends then: killed when its grace is over.
    pub(crate) fn stopping(&self) -> (At, i32) {
        let grace = micros(self.task.grace);
        match self.millis(STOP_MS).unwrap_or(20_000).max(20_000) {
            takes if takes < grace => (takes, 143),
            _ => (grace, 137),
        }
    }

    /// The lease lasts longer; answers whether that is of use.
    pub(crate) fn extend(&mut self, until: holm_types::Mono) -> bool {
        let longer = self.lease.is_some_and(|old| old < micros(until.0));
        if longer {
            self.lease = Some(micros(until.0));
        }
        longer
    }

    /// The wait before it is restarted in place after it ended with `code`, if it is.
    pub(crate) fn restart_wait(&mut self, code: i32, now: At) -> Option<At> {
        let again = match self.task.restart {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => code != 0,
            RestartPolicy::Never => false,
        };
        if !again {
            return None;
        }
        if now.saturating_sub(self.since) >= BACKOFF_LONGEST {
            self.streak = 0;
        }
        let wait = BACKOFF_FIRST.saturating_mul(1u64.checked_shl(self.streak).unwrap_or(u64::MAX)).min(BACKOFF_LONGEST);
        self.streak = self.streak.saturating_add(1).min(40);
        Some(wait)
    }

    pub(crate) fn app(&self) -> &str {
        self.task.env.get("HOLM_APP").map_or("", String::as_str)
    }

    pub(crate) fn slot(&self) -> u32 {
        self.task.env.get("HOLM_SLOT").and_then(|slot| slot.parse().ok()).unwrap_or(u32::MAX)
    }
}

/// The processes of one host.
#[derive(Debug, Default)]
pub(crate) struct Processes(pub(crate) BTreeMap<TaskId, Process>);

impl Processes {
    /// What an agent that starts finds.
    pub(crate) fn found(&self) -> Vec<Found> {
        let found = |process: &Process| {
            let (started_at, restarts) = (process.started_at, process.restarts);
            let state = match process.phase {
                Phase::Runs | Phase::Stops => FoundState::Alive { pid: Some(process.pid), started_at, restarts },
                Phase::Waits => FoundState::Alive { pid: None, started_at, restarts },
                Phase::Ended { code, at, fenced: lease_ended } => {
                    let (exit_code, finished_at, output) = (code, at, Vec::new());
                    FoundState::Exited { exit_code, finished_at, restarts, output, lease_ended }
                }
                Phase::Gone => FoundState::Gone,
            };
            let leased = process.task.lease.is_some();
            Found { id: process.task.id.clone(), env: process.task.env.clone(), leased, state }
        };
        self.0.values().map(found).collect()
    }

    /// The host goes down: nothing runs on.
    pub(crate) fn lose_power(&mut self) {
        for process in self.0.values_mut().filter(|p| !matches!(p.phase, Phase::Ended { .. })) {
            process.phase = Phase::Gone;
        }
    }

    /// Drops the oldest records of what ended.
    pub(crate) fn forget_old(&mut self) {
        let ended = |p: &Process| match p.phase {
            Phase::Ended { at, .. } => Some(at),
            _ => None,
        };
        while self.0.len() > ENDED_MAX {
            let oldest = self.0.values().filter_map(|p| Some((ended(p)?, p.task.id.clone()))).min();
            match oldest {
                Some((_, id)) => self.0.remove(&id),
                None => return,
            };
        }
    }

    pub(crate) fn up(&self) -> impl Iterator<Item = &Process> {
        self.0.values().filter(|process| process.is_up())
    }
}

/// The time that a task has between TERM and KILL.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
