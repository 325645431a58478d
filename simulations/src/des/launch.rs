//! What the runner of a host does with its processes, in whatever layer the host lives: starts, ends, restarts
//! in place, and what the judges and the record have to know of it.

use super::{
    event::HostIndex,
    host::Host,
    queue::At,
    record::Record,
    runner::{Phase, Process},
};
use crate::judge::Judges;
use holm_node_core::{RunnerInput, StartTask};
use holm_types::{Mono, TaskId};

/// Launching a process takes so long.
const LAUNCH: At = 5_000;

/// What will happen to a process. It happens whether or not an agent is there to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Due {
    /// It is up.
    Launched { task: TaskId, pid: u32 },
    /// It ends.
    Ended { task: TaskId, pid: u32, code: i32 },
    /// Its lease is over, unless it was extended.
    LeaseEnds { task: TaskId, pid: u32 },
    /// The wait before a restart in place is over.
    Restart { task: TaskId, after_pid: u32 },
}

/// The runner of one host, for the time of one event.
pub(crate) struct Bench<'a> {
    pub(crate) now: At,
    pub(crate) host: HostIndex,
    pub(crate) hosts: &'a mut [Host],
    pub(crate) judges: &'a mut Judges,
    pub(crate) record: &'a mut Record,
    pub(crate) next_pid: &'a mut u32,
    /// What comes of it, and when.
    pub(crate) later: &'a mut Vec<(At, Due)>,
}

impl Bench<'_> {
    fn there(&mut self) -> &mut Host {
        &mut self.hosts[self.host]
    }

    fn after(&mut self, wait: At, due: Due) {
        self.later.push((self.now.saturating_add(wait), due));
    }

    /// The agent has a task started. What it is told at once, if anything.
    pub(crate) fn spawn(&mut self, task: StartTask) -> Option<RunnerInput> {
        let there = &self.hosts[self.host].processes.0;
        if there.get(&task.id).is_some_and(|p| p.is_up() || p.phase == Phase::Waits) {
            self.record.count("duplicate_starts", 1);
            return None;
        }
        self.judges.asked_to_start(self.now, self.host, self.hosts, &task);
        self.launch(task, 0)
    }

    fn launch(&mut self, task: StartTask, restarts: u32) -> Option<RunnerInput> {
        *self.next_pid += 1;
        let (now, pid, id) = (self.now, *self.next_pid, task.id.clone());
        let there = self.there();
        let no = there.plan.no;
        let mut process = Process::new(task, pid, there.clocks(now).wall, now);
        if let Some(old) = there.processes.0.remove(&id).filter(|_| restarts > 0) {
            process.carry_on(&old);
        }
        process.restarts = restarts;
        if process.lease.is_some_and(|until| until <= now) {
            return Some(self.not_launched(process));
        }
        let (app, slot, course, lease) = (process.app().to_owned(), process.slot(), process.course(), process.lease);
        there.processes.0.insert(id.clone(), process);
        there.processes.forget_old();
        self.record.count("starts", 1);
        self.record.run_began(now, no, &id, pid, &app, slot);
        self.judges.process_began(now, self.host, self.hosts, &id, pid);
        if let Some(until) = lease {
            self.later.push((until, Due::LeaseEnds { task: id.clone(), pid }));
        }
        self.after(LAUNCH, Due::Launched { task: id.clone(), pid });
        if let Some((after, code)) = course {
            self.after(after, Due::Ended { task: id, pid, code });
        }
        None
    }

    /// The supervisor of a process does not start it when its lease is over.
    fn not_launched(&mut self, mut process: Process) -> RunnerInput {
        self.record.count("starts_without_lease", 1);
        let now = self.now;
        let there = self.there();
        let (id, wall, restarts) = (process.task.id.clone(), there.clocks(now).wall, process.restarts);
        process.phase = Phase::Ended { code: 125, at: wall, fenced: true };
        there.processes.0.insert(id.clone(), process);
        RunnerInput::Ended {
            id,
            exit_code: None,
            finished_at: wall,
            restarts,
            restarting: false,
            output: Vec::new(),
            reason: "its lease is over".to_owned(),
            lease_ended: true,
        }
    }

    /// The agent has learned that the lease of a task lasts longer.
    pub(crate) fn extend(&mut self, id: &TaskId, until: Mono) {
        let Some(process) = self.there().processes.0.get_mut(id) else { return };
        let (longer, pid, lease) = (process.extend(until), process.pid, process.lease);
        if let Some(lease) = lease.filter(|_| longer) {
            self.later.push((lease, Due::LeaseEnds { task: id.clone(), pid }));
        }
    }

    /// The agent has a task stopped. What it is told at once, if anything.
    pub(crate) fn stop(&mut self, id: &TaskId) -> Option<RunnerInput> {
        let no = self.there().plan.no;
        self.judges.asked_to_stop(self.now, self.host, no, id);
        let process = self.there().processes.0.get_mut(id)?;
        let pid = process.pid;
        match process.phase {
            Phase::Runs => {
                process.phase = Phase::Stops;
                let (takes, code) = process.stopping();
                self.after(takes, Due::Ended { task: id.clone(), pid, code });
                None
            }
            Phase::Waits => self.ended(id, pid, 143, false),
            Phase::Stops | Phase::Ended { .. } | Phase::Gone => None,
        }
    }

    /// Something is due. What an agent is told of it, if one runs.
    pub(crate) fn happen(&mut self, due: &Due) -> Option<RunnerInput> {
        match due {
            Due::Launched { task, pid } => self.launched(task, *pid),
            Due::Ended { task, pid, code } => self.ended(task, *pid, *code, false),
            Due::LeaseEnds { task, pid } => self.lease_ends(task, *pid),
            Due::Restart { task, after_pid } => self.restart_in_place(task, *after_pid),
        }
    }

    fn launched(&mut self, id: &TaskId, pid: u32) -> Option<RunnerInput> {
        let process = self.there().processes.0.get(id).filter(|p| p.pid == pid && p.is_up())?;
        let (restarts, started_at) = (process.restarts, process.started_at);
        Some(RunnerInput::Started { id: id.clone(), pid, restarts, started_at })
    }

    /// The time has come that a process's supervisor was told once: it looks whether that still holds, and kills.
    fn lease_ends(&mut self, id: &TaskId, pid: u32) -> Option<RunnerInput> {
        let now = self.now;
        let over = |p: &&Process| p.pid == pid && p.is_up() && p.lease.is_some_and(|until| until <= now);
        self.there().processes.0.get(id).filter(over)?;
        self.record.count("killed_with_lease", 1);
        self.ended(id, pid, 137, true)
    }

    /// A process has ended, by itself or (`fenced`) because its lease did.
    fn ended(&mut self, id: &TaskId, pid: u32, code: i32, fenced: bool) -> Option<RunnerInput> {
        let now = self.now;
        let there = self.there();
        let (no, wall) = (there.plan.no, there.clocks(now).wall);
        let process = there.processes.0.get_mut(id)?;
        if process.pid != pid || matches!(process.phase, Phase::Ended { .. } | Phase::Gone) {
            return None;
        }
        let was_up = process.is_up();
        let wait = if process.phase == Phase::Runs && !fenced { process.restart_wait(code, now) } else { None };
        process.phase = if wait.is_some() { Phase::Waits } else { Phase::Ended { code, at: wall, fenced } };
        let restarts = process.restarts;
        if was_up {
            self.record.run_ended(now, no, id, pid, Some(code));
            self.judges.process_ended(now, self.host, id, pid);
        }
        if let Some(wait) = wait {
            self.after(wait, Due::Restart { task: id.clone(), after_pid: pid });
        }
        Some(RunnerInput::Ended {
            id: id.clone(),
            exit_code: Some(code),
            finished_at: wall,
            restarts,
            restarting: wait.is_some(),
            output: Vec::new(),
            reason: String::new(),
            lease_ended: fenced,
        })
    }

    /// The wait is over. It is the agent that starts the process again: without one it waits on.
    fn restart_in_place(&mut self, id: &TaskId, after_pid: u32) -> Option<RunnerInput> {
        let there = self.there();
        if !there.is_up() {
            return None;
        }
        let waits = |p: &&Process| p.pid == after_pid && p.phase == Phase::Waits;
        let process = there.processes.0.get(id).filter(waits)?;
        let (task, restarts) = (process.task.clone(), process.restarts + 1);
        self.record.count("restarts_in_place", 1);
        self.launch(task, restarts)
    }

    /// An agent that starts takes up the restarts that its last life left.
    pub(crate) fn relaunch_waiting(&mut self) {
        let waits = self.hosts[self.host].processes.0.values().filter(|p| p.phase == Phase::Waits);
        let waiting: Vec<(TaskId, u32)> = waits.map(|p| (p.task.id.clone(), p.pid)).collect();
        for (task, after_pid) in waiting {
            self.after(LAUNCH, Due::Restart { task, after_pid });
        }
    }

    /// The host is without power: its disk keeps so many of the batches that were not synced, and nothing runs on.
    pub(crate) fn lose_power(&mut self, survivors: impl FnOnce(u64) -> u64) {
        let now = self.now;
        let there = self.there();
        let survivors = survivors(there.disk.unsynced() as u64) as usize;
        there.disk.lose_power(survivors);
        there.disk_free = now;
        let no = there.plan.no;
        let up: Vec<(TaskId, u32)> = there.processes.up().map(|p| (p.task.id.clone(), p.pid)).collect();
        for (task, pid) in up {
            self.record.run_ended(now, no, &task, pid, None);
            self.judges.process_ended(now, self.host, &task, pid);
        }
        self.there().processes.lose_power();
    }
}
