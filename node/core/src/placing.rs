//! Placement from both ends: decisions for the apps that this node coordinates, and
//! reconciliation of what this node runs with what it should run.

use crate::{
    Effect, Node, StartTask,
    tasks::{Group, Local},
};
use holm_scheduler::{Context, Decision, LocalAction, LocalTask, decide, reconcile};
use holm_types::{
    DocId, Epoch, Now, Slot, TaskId, cbor,
    change::{Value, keys_of},
    event::EventKind,
    manifest::Run,
    sometimes,
    view::{AppView, Assignment, Liveness, NodeView, TaskState, TaskStatus, View},
};
use std::{collections::BTreeMap, time::Duration};

/// Decisions in one run of the scheduler, at most.
const BUDGET: usize = 512;
/// How long the document of a node that holds a slot is waited for.
const UNKNOWN_GRACE: Duration = Duration::from_secs(30);
/// A found task whose app is not known (yet) is left alone this long.
const STRAY_GRACE: Duration = Duration::from_secs(60);

impl Node {
    /// Runs the scheduler for the apps that this node coordinates.
    pub(crate) fn decide(&mut self, now: Now, out: &mut Vec<Effect>) {
        if !self.deciding.take(now.mono) || self.is_settling(now) {
            return;
        }
        if let Some(until) = self.merging.holds(now.mono) {
            sometimes!("decisions wait while parts of the mesh merge");
            self.deciding.request_at(until);
            return;
        }
        let (free, dead_for) = self.scheduling_facts(now);
        let decisions = self.with_view(|node, view| {
            decide(view, &Context { me: node.me, free: &free, dead_for: &dead_for, budget: BUDGET })
        });
        if decisions.len() >= BUDGET {
            self.deciding.request(now.mono);
        }
        let mut groups: BTreeMap<Group, Vec<(String, Option<Value>)>> = BTreeMap::new();
        for Decision::Assign { app, generation, slot, epoch, placement } in decisions {
            let Some(view) = self.state.apps().get(&app) else { continue };
            let (kind, name) = (view.manifest.kind, view.manifest.name.clone());
            let Ok(bytes) = cbor::to_vec("placement", &placement) else { continue };
            let group = Group { app, generation, index: AppView::group_of(kind, slot) };
            let key = keys_of::assignment(slot, epoch, &self.me);
            groups.entry(group).or_default().push((key, Some(Value::Bytes(bytes))));
            let id = TaskId::new(&name, &app, generation, slot, epoch, &placement.node);
            let detail = format!("to {}", self.name_of(&placement.node));
            out.push(self.event(now.wall, EventKind::Assigned, Some(&name), Some(&id), detail));
        }
        for (group, ops) in groups {
            self.write_group(group, ops, now);
        }
    }

    /// Whether too little is known to decide anything. A node that has just started, or just
    /// joined, has heard nobody and knows only a part of the documents: it would hold the mesh
    /// for missing and take everything on itself. It gives members that it has never heard the
    /// usual time to speak, and waits for the documents of nodes that hold a slot.
    pub(crate) fn is_settling(&mut self, now: Now) -> bool {
        let unheard = |node: &NodeView| {
            node.described && node.liveness == Liveness::Suspect && self.members.presence(&node.id).is_none()
        };
        if self.nodes.values().any(unheard) {
            sometimes!("decisions wait for members that were never heard");
            return true;
        }
        if !self.with_view(|_, view| names_unknown_nodes(view)) {
            self.unknown_since = None;
            return false;
        }
        let since = *self.unknown_since.get_or_insert(now.mono);
        sometimes!("a slot is held by a node of which nothing is known");
        now.mono.since(since) < UNKNOWN_GRACE
    }

    /// Starts, stops and refuses tasks so that what runs here is what should run here.
    pub(crate) fn reconcile(&mut self, now: Now, out: &mut Vec<Effect>) {
        if !std::mem::take(&mut self.local_dirty) {
            return;
        }
        self.refresh_guards();
        let mut running = self.tasks.running.clone();
        if now.mono.since(self.started) < STRAY_GRACE {
            running.retain(|_, task| self.state.apps().contains_key(&task.app));
        }
        let actions = self.with_view(|node, view| {
            reconcile(view, &node.me, &running, &node.config.info.capacity, node.config.max_tasks)
        });
        for action in actions {
            match action {
                LocalAction::Start { app, slot, epoch, id } => self.start(now, app, slot, epoch, id, out),
                LocalAction::Stop { id, as_state, reason } => self.stop(now, id, as_state, reason, out),
                LocalAction::Refuse { app, slot, epoch, reason } => self.refuse(now, app, slot, epoch, reason, out),
            }
        }
    }

    /// Takes a task on. One of a fenced app is started when it has its lease, others at once.
    fn start(&mut self, now: Now, app: DocId, slot: Slot, epoch: Epoch, id: TaskId, out: &mut Vec<Effect>) {
        let Some(view) = self.state.apps().get(&app) else { return };
        let Some(assignment) = assignment_of(view, slot, epoch, &self.me) else { return };
        let mut status = assignment.status.clone().unwrap_or_else(|| TaskStatus::new(TaskState::Starting));
        // A process that it had is not there any more.
        (status.state, status.pid) = (TaskState::Starting, None);
        let task = LocalTask {
            id: id.clone(),
            app,
            generation: view.generation,
            slot,
            epoch,
            template: assignment.placement.template,
            state: TaskState::Starting,
        };
        let leased = view.manifest.is_fenced();
        let local = Local { status, leased, waiting: leased, ..Local::new(Group::of(view, slot), view) };
        self.tasks.insert(task, local);
        self.queue_status(now, &id);
        if leased {
            self.claim_lease(now, &id, false);
        } else {
            self.launch(now, &id, out);
        }
    }

    /// Has the runner start a task that was taken on.
    pub(crate) fn launch(&mut self, now: Now, id: &TaskId, out: &mut Vec<Effect>) {
        let Some(task) = self.tasks.running.get(id) else { return };
        let Some(view) = self.state.apps().get(&task.app) else { return };
        let Some(assignment) = assignment_of(view, task.slot, task.epoch, &self.me) else { return };
        let Run::Process(run) = &view.manifest.run else { return };
        let lease = self.lease_end(now, id);
        let start = StartTask {
            id: id.clone(),
            command: run.command.clone(),
            env: self.environment(view, id, task.slot, assignment),
            restart: view.manifest.restart_policy(),
            grace: self.grace_of(id),
            lease,
        };
        if let Some(local) = self.tasks.locals.get_mut(id) {
            local.waiting = false;
        }
        self.holder.set_running(id, true);
        out.push(Effect::Start(start));
    }

    fn environment(&self, app: &AppView, id: &TaskId, slot: Slot, assignment: &Assignment) -> BTreeMap<String, String> {
        let mut env = app.manifest.env.clone();
        let own = [
            ("HOLM_APP", app.manifest.name.to_string()),
            ("HOLM_NAMESPACE", app.manifest.namespace.to_string()),
            ("HOLM_TASK", id.to_string()),
            ("HOLM_SLOT", slot.to_string()),
            ("HOLM_ATTEMPT", assignment.placement.attempt.to_string()),
            ("HOLM_EPOCH", assignment.epoch.to_string()),
            ("HOLM_GENERATION", app.generation.to_string()),
            ("HOLM_NODE", self.claims.name.to_string()),
            ("HOLM_SITE", self.claims.site.to_string()),
        ];
        env.extend(own.map(|(key, value)| (key.to_owned(), value)));
        env
    }

    fn stop(&mut self, now: Now, id: TaskId, as_state: TaskState, reason: String, out: &mut Vec<Effect>) {
        let Some(local) = self.tasks.locals.get_mut(&id) else { return };
        local.stop_as = Some((as_state, reason.clone()));
        local.status.reason.clone_from(&reason);
        let (app, waiting) = (local.app_name.clone(), local.waiting);
        if waiting {
            sometimes!("a task that waits for its lease is not wanted any more");
            local.status.finished_at = Some(now.wall);
            self.give_up_lease(&id, out);
        }
        self.tasks.set_state(&id, if waiting { as_state } else { TaskState::Stopping });
        self.holder.set_stopping(&id);
        self.queue_status(now, &id);
        out.push(self.event(now.wall, EventKind::Stopping, Some(&app), Some(&id), reason));
        if !waiting {
            out.push(Effect::Stop(id));
        }
    }

    fn refuse(&mut self, now: Now, app: DocId, slot: Slot, epoch: Epoch, reason: String, out: &mut Vec<Effect>) {
        let Some(view) = self.state.apps().get(&app) else { return };
        let (group, name) = (Group::of(view, slot), view.manifest.name.clone());
        let key = keys_of::status(slot, epoch, &self.me);
        if self.tasks.queue.get(&group).is_some_and(|queued| queued.contains_key(&key)) {
            return;
        }
        sometimes!("an assignment is refused");
        let status = TaskStatus {
            refused: true,
            reason: reason.clone(),
            finished_at: Some(now.wall),
            ..TaskStatus::new(TaskState::Failed)
        };
        self.queue_status_of(now, group, slot, epoch, &status);
        out.push(self.event(now.wall, EventKind::Refused, Some(&name), None, format!("slot {slot}: {reason}")));
    }
}

/// Whether a slot was given to a node of which nothing is known.
fn names_unknown_nodes(view: &View) -> bool {
    let mut assignments =
        view.apps.values().filter(|app| app.live).flat_map(|app| app.slots.values().flat_map(|slot| &slot.assignments));
    assignments.any(|a| !a.state().is_terminal() && !view.nodes.contains_key(&a.placement.node))
}

fn assignment_of<'a>(app: &'a AppView, slot: Slot, epoch: Epoch, me: &holm_types::NodeId) -> Option<&'a Assignment> {
    app.slots.get(&slot)?.assignments.iter().find(|a| a.epoch == epoch && a.placement.node == *me)
}
