//! This node's own tasks: what it runs, what the runner says about them, and the statuses that
//! it writes, in batches so that the cost of a signature is shared.

use crate::{Effect, Node, RunnerInput};
use holm_scheduler::LocalTask;
use holm_state::{TASKS_APP, TasksOf};
use holm_types::{
    DocId, Epoch, Label, Mono, Now, Scope, Slot, TaskId,
    change::{MAX_VALUE_BYTES, Value, keys_of},
    event::EventKind,
    manifest::Amounts,
    sometimes,
    view::{AppView, TaskState, TaskStatus},
};
use std::{collections::BTreeMap, time::Duration};

/// Operations and bytes of one batch of statuses, within what one change may hold.
const BATCH_OPS: usize = 60;
const BATCH_BYTES: usize = 10 * 1024;
/// A task that was started again and has run for so long keeps running.
const STEADY: Duration = Duration::from_secs(10);

/// Said of a task that the runner starts again, before and after it has.
const WILL_BE: &str = "; will be restarted";
const WAS: &str = "; was restarted";
/// Why a task that had no lease any more does not run.
const FENCED: &str = "its lease was over: it was stopped";

/// Where the assignments and statuses of a slot are written that concern a node at `site`: its first volume.
pub(crate) fn group_of(app: &AppView, slot: Slot, site: &Label) -> TasksOf {
    let group = AppView::group_of(app.manifest.kind, slot);
    TasksOf { scope: app.task_scope(site), app: app.doc, generation: app.generation, group, volume: 0 }
}

/// A task that this node runs, starts, stops, or has just seen end.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    pub(crate) group: TasksOf,
    pub(crate) app_name: Label,
    pub(crate) resources: Amounts,
    pub(crate) status: TaskStatus,
    /// Set while it is being stopped: what it will have become.
    pub(crate) stop_as: Option<(TaskState, String)>,
    /// It runs under a lease only.
    pub(crate) leased: bool,
    /// It has not been started, because it waits for its lease.
    pub(crate) waiting: bool,
    /// It is being stopped because its lease runs out; it will wait for it again then.
    pub(crate) fencing: bool,
    /// When it was last told what it waits for.
    pub(crate) told_at: Option<Mono>,
    /// It was found running, and no document that this node has says that it should: some of them were lost.
    pub(crate) unplaced: bool,
}

impl Local {
    /// A task of `app` that starts.
    pub(crate) fn new(group: TasksOf, app: &AppView) -> Local {
        Local {
            group,
            app_name: app.manifest.name.clone(),
            resources: app.manifest.resources.amounts(),
            status: TaskStatus::new(TaskState::Starting),
            stop_as: None,
            leased: false,
            waiting: false,
            fencing: false,
            told_at: None,
            unplaced: false,
        }
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    pub(crate) locals: BTreeMap<TaskId, Local>,
    /// The same tasks as the scheduler sees them.
    pub(crate) running: BTreeMap<TaskId, LocalTask>,
    pub(crate) queue: BTreeMap<TasksOf, BTreeMap<String, Vec<u8>>>,
    /// Tasks that were started again, and when they have run for long enough.
    unsteady: BTreeMap<TaskId, Mono>,
}

impl Tasks {
    pub(crate) fn insert(&mut self, task: LocalTask, local: Local) {
        self.locals.insert(task.id.clone(), local);
        self.running.insert(task.id.clone(), task);
    }

    /// What tasks may still use of `capacity`.
    pub(crate) fn free(&self, capacity: &Amounts) -> Amounts {
        let mut free = capacity.clone();
        for local in self.locals.values().filter(|local| !local.status.state.is_terminal()) {
            free.subtract(&local.resources);
        }
        free
    }

    /// Whether a task lasts here whose app is in `scope`.
    pub(crate) fn any_in(&self, scope: &Scope) -> bool {
        self.locals.values().any(|local| local.group.scope == *scope && !local.status.state.is_terminal())
    }

    pub(crate) fn running_count(&self) -> u32 {
        let running = self.locals.values().filter(|local| local.status.state == TaskState::Running).count();
        u32::try_from(running).unwrap_or(u32::MAX)
    }

    pub(crate) fn set_state(&mut self, id: &TaskId, state: TaskState) {
        if let Some(task) = self.running.get_mut(id) {
            task.state = state;
        }
        if let Some(local) = self.locals.get_mut(id) {
            local.status.state = state;
        }
    }

    /// When the next task that was started again has run for long enough.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.unsteady.values().min().copied()
    }

    /// Drops what has ended and whose end is written.
    fn forget_ended(&mut self) {
        self.locals.retain(|_, local| !local.status.state.is_terminal());
        let locals = &self.locals;
        self.running.retain(|id, _| locals.contains_key(id));
    }
}

impl Node {
    pub(crate) fn on_runner(&mut self, now: Now, event: RunnerInput, out: &mut Vec<Effect>) {
        match event {
            RunnerInput::Started { id, pid, restarts, started_at } => {
                self.on_started(now, &id, pid, restarts, started_at, out);
                let kind = if restarts > 0 { EventKind::Restarted } else { EventKind::Started };
                let app = self.tasks.locals.get(&id).map(|local| local.app_name.clone());
                out.push(self.event(now.wall, kind, app.as_ref(), Some(&id), format!("pid {pid}")));
            }
            RunnerInput::Ended { id, exit_code, finished_at, restarts, restarting, output, reason, lease_ended } => {
                let Some(local) = self.tasks.locals.get_mut(&id) else { return };
                local.status.restarts = restarts;
                local.status.exit_code = exit_code;
                local.status.output = output;
                local.status.pid = None;
                local.status.crashes = local.status.crashes.saturating_add(u32::from(restarting));
                self.tasks.unsteady.remove(&id);
                let fenced = (local.fencing || lease_ended) && local.stop_as.is_none() && !restarting;
                let state = if fenced { TaskState::Starting } else { local.end_state(exit_code, restarting) };
                local.status.reason = match fenced {
                    true => FENCED.to_owned(),
                    false => local.end_reason(exit_code, restarting, &reason),
                };
                if state.is_terminal() {
                    local.status.finished_at = Some(finished_at);
                }
                // It starts again when it has a lease again.
                (local.waiting, local.fencing) = (fenced, local.fencing && restarting);
                local.told_at = Some(now.mono);
                let (app, detail) = (local.app_name.clone(), format!("{state}: {}", local.status.reason));
                self.tasks.set_state(&id, state);
                self.queue_status(now, &id);
                let kind = if fenced { EventKind::Fenced } else { EventKind::Finished };
                out.push(self.event(now.wall, kind, Some(&app), Some(&id), detail));
                if fenced {
                    sometimes!("a task has ended with its lease");
                    self.holder.set_running(&id, false);
                } else if state.is_terminal() {
                    self.give_up_lease(&id, out);
                }
            }
            RunnerInput::Unable { id, reason } => self.on_unable(now, &id, &reason, out),
        }
        self.reconciling.request(now.mono);
    }

    /// This host cannot start a task: that is a refusal, and no attempt of the task.
    fn on_unable(&mut self, now: Now, id: &TaskId, reason: &str, out: &mut Vec<Effect>) {
        let Some(local) = self.tasks.locals.get_mut(id) else { return };
        let state = local.stop_as.as_ref().map_or(TaskState::Failed, |(state, _)| *state);
        local.status.refused = local.stop_as.is_none();
        local.status.reason = local.end_reason(None, false, reason);
        local.status.finished_at = Some(now.wall);
        let (app, detail) = (local.app_name.clone(), local.status.reason.clone());
        sometimes!("a host cannot start a task");
        self.tasks.set_state(id, state);
        self.queue_status(now, id);
        self.give_up_lease(id, out);
        out.push(self.event(now.wall, EventKind::Refused, Some(&app), Some(id), detail));
    }

    pub(crate) fn on_started(
        &mut self,
        now: Now,
        id: &TaskId,
        pid: u32,
        restarts: u32,
        started_at: holm_types::Wall,
        out: &mut Vec<Effect>,
    ) {
        let Some(local) = self.tasks.locals.get_mut(id) else {
            out.push(Effect::Stop(id.clone()));
            return;
        };
        local.status.pid = Some(pid);
        local.status.restarts = restarts;
        local.status.started_at = Some(started_at);
        if local.is_kept() {
            // What it ended of last time is of interest until it keeps running.
            match local.status.crashes {
                0 => local.status.reason.clear(),
                _ => {
                    local.status.reason = local.status.reason.replace(WILL_BE, WAS);
                    self.tasks.unsteady.insert(id.clone(), now.mono.after(STEADY));
                }
            }
            self.tasks.set_state(id, TaskState::Running);
        }
        self.queue_status(now, id);
    }

    /// Tasks that were started again, and have run for a while since.
    pub(crate) fn note_steady(&mut self, now: Now) {
        let steady: Vec<TaskId> =
            self.tasks.unsteady.iter().filter(|(_, at)| **at <= now.mono).map(|(id, _)| id.clone()).collect();
        for id in steady {
            self.tasks.unsteady.remove(&id);
            let Some(local) = self.tasks.locals.get_mut(&id).filter(|local| local.is_kept()) else { continue };
            sometimes!("a task keeps running after crashes");
            local.status.crashes = 0;
            local.status.reason.clear();
            self.queue_status(now, &id);
        }
    }

    /// The status of a local task is to be written with the next batch.
    pub(crate) fn queue_status(&mut self, now: Now, id: &TaskId) {
        let (Some(task), Some(local)) = (self.tasks.running.get(id), self.tasks.locals.get(id)) else { return };
        let (group, slot, epoch) = (local.group.clone(), task.slot, task.epoch);
        let status = local.status.clone();
        self.queue_status_of(now, group, slot, epoch, &status);
    }

    pub(crate) fn queue_status_of(&mut self, now: Now, group: TasksOf, slot: Slot, epoch: Epoch, status: &TaskStatus) {
        match status.encode() {
            Ok(bytes) if bytes.len() <= MAX_VALUE_BYTES => {
                let key = keys_of::status(slot, epoch, &self.me);
                self.tasks.queue.entry(group).or_default().insert(key, bytes);
                self.status_flush.request(now.mono);
            }
            _ => self.count("status_unencodable"),
        }
    }

    /// Writes the queued statuses, when it is time.
    pub(crate) fn flush_statuses(&mut self, now: Now) {
        // They wait, the last of each task, until this node may write again.
        if self.reads_only || !self.status_flush.take(now.mono) {
            return;
        }
        for (group, statuses) in std::mem::take(&mut self.tasks.queue) {
            let ops = statuses.into_iter().map(|(key, bytes)| (key, Some(Value::Bytes(bytes)))).collect();
            self.write_group(&group, ops, now);
        }
        self.tasks.forget_ended();
        self.reconciling.request(now.mono);
    }

    /// Writes to the latest volume of a tasks document.
    pub(crate) fn write_group(&mut self, group: &TasksOf, ops: Vec<(String, Option<Value>)>, now: Now) {
        let latest = self.state.latest_volume(group);
        self.write_volume(&latest, ops, now);
    }

    /// Writes to one volume of a tasks document, in changes that fit.
    pub(crate) fn write_volume(&mut self, group: &TasksOf, ops: Vec<(String, Option<Value>)>, now: Now) {
        let doc = group.doc();
        let mut batch = Vec::new();
        let mut bytes = 0;
        if self.state.registers(&doc).is_none_or(|registers| !registers.contains_key(TASKS_APP)) {
            batch.push((TASKS_APP.to_owned(), Some(group.value())));
        }
        for op in ops {
            let size = op.0.len() + op.1.as_ref().map_or(0, Value::size);
            if batch.len() >= BATCH_OPS || (bytes + size > BATCH_BYTES && !batch.is_empty()) {
                self.write_batch(&group.scope, doc, std::mem::take(&mut batch), now);
                bytes = 0;
            }
            bytes += size;
            batch.push(op);
        }
        if !batch.is_empty() {
            self.write_batch(&group.scope, doc, batch, now);
        }
    }

    fn write_batch(&mut self, scope: &Scope, doc: DocId, ops: Vec<(String, Option<Value>)>, now: Now) {
        if self.write(scope, doc, ops, now).is_err() {
            self.count("writes_failed");
        }
    }
}

impl Local {
    /// Nobody wants it to end.
    fn is_kept(&self) -> bool {
        self.stop_as.is_none() && !self.fencing
    }

    fn end_state(&self, exit_code: Option<i32>, restarting: bool) -> TaskState {
        match (&self.stop_as, restarting, exit_code) {
            (Some((state, _)), _, _) => *state,
            (None, true, _) => TaskState::Starting,
            (None, false, Some(0)) => TaskState::Succeeded,
            (None, false, _) => TaskState::Failed,
        }
    }

    fn end_reason(&self, exit_code: Option<i32>, restarting: bool, reason: &str) -> String {
        let ended = match exit_code {
            Some(0) => "exit code 0".to_owned(),
            Some(code) if code > 128 => format!("ended by signal {}", code - 128),
            Some(code) => format!("exit code {code}"),
            None => format!("could not be started: {reason}"),
        };
        match &self.stop_as {
            Some((_, why)) => why.clone(),
            None if restarting => match self.status.crashes {
                0 | 1 => format!("{ended}{WILL_BE}"),
                n => format!("{ended}, the {n}. time in a row{WILL_BE}"),
            },
            None => ended,
        }
    }
}
