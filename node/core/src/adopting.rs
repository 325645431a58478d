//! Tasks that outlived the last run of the agent: a task says in its environment what it is, and the documents say whether it should
//! be. Some of them may have been lost, and come back.

use crate::{Effect, Found, FoundState, Node, RunnerInput, tasks::Local};
use holm_scheduler::LocalTask;
use holm_state::TasksOf;
use holm_types::{
    Digest, DocId, Epoch, Label, Now, Scope, Slot, TaskId,
    event::EventKind,
    manifest::AppType,
    sometimes,
    view::{AppView, TaskState, TaskStatus},
};
use std::collections::BTreeMap;

impl Node {
    /// Takes over the tasks that outlived the last run of the agent.
    pub(crate) fn adopt(&mut self, found: Vec<Found>, now: Now, out: &mut Vec<Effect>) {
        for Found { id, env, leased, state } in found {
            let Some((task, mut local)) = self.recognise(&id, &env) else {
                // Nothing is known of it: it was not started by this mesh's node.
                sometimes!("a found task is not known");
                out.push(Effect::Stop(id));
                continue;
            };
            (local.leased, local.fencing) = (leased, local.fencing && leased);
            let told = self.end_was_told(&task, &local.group);
            let ended = |exit_code, finished_at, restarts, output, lease_ended| RunnerInput::Ended {
                id: id.clone(),
                exit_code,
                finished_at,
                restarts,
                restarting: false,
                output,
                reason: String::new(),
                lease_ended,
            };
            let app_name = local.app_name.clone();
            match state {
                // It says no more.
                FoundState::Exited { .. } if told => {}
                FoundState::Alive { pid, started_at, restarts } => {
                    sometimes!("a running task is adopted");
                    let stopping = local.stop_as.is_some() || local.fencing;
                    self.tasks.insert(task, local);
                    if leased {
                        self.claim_lease(now, &id, true);
                    }
                    if let Some(pid) = pid {
                        self.on_started(now, &id, pid, restarts, started_at, out);
                        let detail = format!("pid {pid}");
                        out.push(self.event(now.wall, EventKind::Adopted, Some(&app_name), Some(&id), detail));
                    }
                    if stopping {
                        sometimes!("a task is found that was being stopped");
                        self.holder.set_stopping(&id);
                        out.push(Effect::Stop(id));
                    }
                }
                FoundState::Exited { exit_code, finished_at, restarts, output, lease_ended } => {
                    sometimes!("the end of a task is found");
                    let waits = lease_ended || local.fencing;
                    self.tasks.insert(task, local);
                    if waits {
                        self.claim_lease(now, &id, false);
                    }
                    self.on_runner(now, ended(Some(exit_code), finished_at, restarts, output, lease_ended), out);
                }
                // What was being stopped has stopped with the host.
                FoundState::Gone if local.stop_as.is_some() => {
                    sometimes!("the host went down while a task was being stopped");
                    let restarts = local.status.restarts;
                    self.tasks.insert(task, local);
                    self.on_runner(now, ended(None, now.wall, restarts, Vec::new(), false), out);
                }
                // Reconciliation starts it again if it is still wanted.
                FoundState::Gone => {}
            }
        }
    }

    /// A found task says in its environment what it is.
    fn recognise(&self, id: &TaskId, env: &BTreeMap<String, String>) -> Option<(LocalTask, Local)> {
        let name: Label = env.get("HOLM_APP")?.parse().ok()?;
        let namespace: Label = env.get("HOLM_NAMESPACE")?.parse().ok()?;
        let slot: Slot = env.get("HOLM_SLOT")?.parse().ok()?;
        let epoch: Epoch = env.get("HOLM_EPOCH")?.parse().ok()?;
        let generation: u64 = env.get("HOLM_GENERATION")?.parse().ok()?;
        let scope: Scope = env.get("HOLM_SCOPE")?.parse().ok()?;
        let app = DocId::app(&scope, &namespace, &name);
        let view = self.state.apps().get(&app);
        let kind = view.map_or(AppType::Service, |view| view.manifest.kind);
        let scope = view.map_or(scope, |view| view.task_scope(&self.claims.site));
        let group = TasksOf { scope, app, generation, group: AppView::group_of(kind, slot), volume: 0 };
        let template = self.template_of(&group, slot, epoch);
        let (unplaced, template) = (template.is_none(), template.unwrap_or(Digest([0; 32])));
        let status = self.last_said(&group, slot, epoch).filter(|said| !said.state.is_terminal());
        let status = status.unwrap_or_else(|| TaskStatus::new(TaskState::Starting));
        let resources = view.map(|view| view.manifest.resources.amounts()).unwrap_or_default();
        // What was being stopped when the agent went is stopped: its state never goes back. What it
        // would have become is not known any more, but it was this node that ended it.
        let stopping = status.state == TaskState::Stopping;
        let stop_as = stopping.then(|| (TaskState::Cancelled, status.reason.clone()));
        // One that starts has no process yet: this one was being stopped because its lease ran out.
        let fencing = status.state == TaskState::Starting && status.pid.is_some();
        let state = if stopping || fencing { TaskState::Stopping } else { TaskState::Starting };
        let task = LocalTask { id: id.clone(), app, generation, slot, epoch, template, state };
        let (leased, waiting, told_at) = (false, false, None);
        let local =
            Local { group, app_name: name, resources, status, stop_as, leased, waiting, fencing, told_at, unplaced };
        Some((task, local))
    }

    /// The template of the assignment of a task to this node, if it is known.
    fn template_of(&self, group: &TasksOf, slot: Slot, epoch: Epoch) -> Option<Digest> {
        let view = self.state.apps().get(&group.app).filter(|view| view.generation == group.generation)?;
        let mut assignments = view.slots.get(&slot)?.assignments.iter();
        let own = assignments.find(|a| a.epoch == epoch && a.placement.node == self.me)?;
        Some(own.placement.template)
    }

    /// Looks for the assignments of tasks that were found without one: the documents that were lost come back in pieces.
    pub(crate) fn place_found(&mut self) {
        let unplaced = self.tasks.locals.iter().filter(|(_, local)| local.unplaced);
        for id in unplaced.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.place(&id);
        }
    }

    fn place(&mut self, id: &TaskId) -> Option<()> {
        let task = self.tasks.running.get(id)?;
        let mut group = self.tasks.locals.get(id)?.group.clone();
        let view = self.state.apps().get(&task.app)?;
        group.group = AppView::group_of(view.manifest.kind, task.slot);
        group.scope = view.task_scope(&self.claims.site);
        let template = self.template_of(&group, task.slot, task.epoch)?;
        let resources = view.manifest.resources.amounts();
        sometimes!("a found task learns what it was started for");
        self.tasks.running.get_mut(id)?.template = template;
        let local = self.tasks.locals.get_mut(id)?;
        (local.group, local.resources, local.unplaced) = (group, resources, false);
        Some(())
    }
}
