//! Placement from both ends: decisions for the apps that this node coordinates, and
//! reconciliation of what this node runs with what it should run.

use crate::{
    Effect, Node, StartTask,
    queries::Facts,
    tasks::{Local, group_of},
};
use holm_scheduler::{Decision, LocalAction, LocalTask, among, coordinator, decide, reconcile};
use holm_state::TasksOf;
use holm_types::{
    DocId, DocKind, Epoch, Mono, NodeId, Now, Scope, Slot, TaskId, cbor,
    change::{Value, keys_of},
    event::EventKind,
    manifest::Run,
    sometimes,
    view::{AppView, Assignment, Liveness, NodeView, TaskState, TaskStatus, View},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Two runs of the scheduler are so far apart at least, and so much more for each app that is known.
pub(crate) const DECIDE_GAP: Duration = Duration::from_millis(25);
const DECIDE_GAP_OF_APP: Duration = Duration::from_micros(15);
/// Of so many known apps the looks at what should run here are a millisecond further apart: each looks at all of them.
const APPS_OF_A_MS: u64 = 125;
/// Decisions in one run of the scheduler, at most.
const BUDGET: usize = 512;
/// How long the document of a node that holds a slot is waited for, or the heartbeat of one that is connected.
const UNKNOWN_GRACE: Duration = Duration::from_secs(30);
/// How long the heartbeat of a node of another site that holds a slot is waited for, once it is held for dead.
const SILENT_GRACE: Duration = Duration::from_secs(5);
/// A found task that no document speaks of (yet) is left alone this long.
const STRAY_GRACE: Duration = Duration::from_secs(60);

impl Node {
    /// Runs the scheduler for the apps that this node coordinates.
    pub(crate) fn decide(&mut self, now: Now, out: &mut Vec<Effect>) {
        if !self.deciding.take(now.mono) || self.reads_only || self.is_settling() {
            return;
        }
        if let Some(until) = self.merging.holds(now.mono) {
            sometimes!("decisions wait while parts of the mesh merge");
            self.deciding.request_at(until);
            return;
        }
        // A look at all apps takes longer the more there are: it may not take all the time.
        let apps = u32::try_from(self.state.apps().len()).unwrap_or(u32::MAX);
        self.deciding.set_gap(DECIDE_GAP + DECIDE_GAP_OF_APP.saturating_mul(apps));
        let only = self.undecided.replace(BTreeSet::new());
        // Most nodes decide for nothing most of the time, and look here at least once a heartbeat.
        if !self.with_view(|node, view| coordinates_any(view, &node.me, only.as_ref())) {
            if only.is_none() {
                self.unknown_since.clear();
            }
            return;
        }
        let facts = Facts { held: self.held_back(now, only.as_ref()), ..self.scheduling_facts(now) };
        let decisions = self.with_view(|node, view| decide(view, &facts.context(node.me, BUDGET, only.as_ref())));
        if decisions.len() >= BUDGET {
            self.look_at_all(now.mono);
        }
        let mut groups: BTreeMap<TasksOf, Vec<(String, Option<Value>)>> = BTreeMap::new();
        for Decision::Assign { app, generation, slot, epoch, placement } in decisions {
            let Some(view) = self.state.apps().get(&app) else { continue };
            let name = view.manifest.name.clone();
            let Some(site) = self.nodes.get(&placement.node).map(|node| &node.site) else { continue };
            let Ok(bytes) = cbor::to_vec("placement", &placement) else { continue };
            let group = group_of(view, slot, site);
            let key = keys_of::assignment(slot, epoch, &self.me);
            groups.entry(group).or_default().push((key, Some(Value::Bytes(bytes))));
            let id = TaskId::new(&name, &app, generation, slot, epoch, &placement.node);
            let detail = format!("to {}", self.name_of(&placement.node));
            out.push(self.event(now.wall, EventKind::Assigned, Some(&name), Some(&id), detail));
        }
        for (group, ops) in groups {
            self.write_group(&group, ops, now);
        }
    }

    /// Decides for all apps, soon.
    pub(crate) fn look_at_all(&mut self, now: Mono) {
        self.undecided = None;
        self.deciding.request(now);
    }

    /// Documents have changed. A new or edited app concerns no other one; whatever else changes may concern all.
    pub(crate) fn look_at_changed(&mut self, changed: &BTreeSet<DocId>, now: Mono) {
        if !changed.iter().all(|doc| doc.kind() == DocKind::App) {
            self.reconciling.request(now);
            return self.look_at_all(now);
        }
        if changed.iter().any(|app| self.has_a_part_in(app)) {
            self.reconciling.request(now);
        }
        if let Some(undecided) = &mut self.undecided {
            undecided.extend(changed);
        }
        self.deciding.request(now);
    }

    /// Whether this node runs an app, or should run it.
    fn has_a_part_in(&self, app: &DocId) -> bool {
        let own = |view: &AppView| {
            let mut assignments = view.slots.values().flat_map(|slot| &slot.assignments);
            assignments.any(|assignment| assignment.placement.node == self.me)
        };
        self.state.apps().get(app).is_some_and(own) || self.tasks.running.values().any(|task| task.app == *app)
    }

    /// Whether too little is known to decide anything. A node that has just started, or just
    /// joined, has heard nobody and knows only a part of the documents: it would hold the mesh
    /// for missing and take everything on itself. It gives members that it has never heard the
    /// usual time to speak.
    pub(crate) fn is_settling(&self) -> bool {
        let unheard = |node: &NodeView| {
            node.described && node.liveness == Liveness::Suspect && self.members.presence(&node.id).is_none()
        };
        let settling = self.nodes.values().any(unheard);
        if settling {
            sometimes!("decisions wait for members that were never heard");
        }
        settling
    }

    /// Apps with a slot that is held by a node of which nothing is known or heard here: its document, or its
    /// heartbeats if it is of another site, may be on their way. They are waited for, but not for ever.
    fn held_back(&mut self, now: Now, only: Option<&BTreeSet<DocId>>) -> BTreeSet<DocId> {
        let (silent, missing) = self.with_view(|node, view| {
            let silent = silent_holders(node, view, only);
            let missing: BTreeSet<NodeId> = silent.iter().map(|(_, holder)| *holder).collect();
            (silent, missing)
        });
        if only.is_none() {
            self.unknown_since.retain(|node, _| missing.contains(node));
        }
        let mut held = BTreeSet::new();
        for (app, node) in silent {
            sometimes!("a slot is held by a node of which nothing is known");
            let since = *self.unknown_since.entry(node).or_insert(now.mono);
            // One that this node is connected with was there a moment ago, and its heartbeat may only be late.
            let silent = self.nodes.contains_key(&node) && !self.peers.contains_key(&node);
            let grace = if silent { SILENT_GRACE } else { UNKNOWN_GRACE };
            if now.mono.since(since) < grace {
                held.insert(app);
            }
        }
        held
    }

    /// Starts, stops and refuses tasks so that what runs here is what should run here.
    pub(crate) fn reconcile(&mut self, now: Now, out: &mut Vec<Effect>) {
        if !self.reconciling.take(now.mono) {
            return;
        }
        let apps = u64::try_from(self.state.apps().len()).unwrap_or(u64::MAX);
        self.reconciling.set_gap(Duration::from_millis(apps / APPS_OF_A_MS));
        self.refresh_guards();
        self.say_again(now);
        self.place_found();
        let actions = self.with_view(|node, view| {
            reconcile(view, &node.me, &node.tasks.running, &node.config.info.capacity, node.config.max_tasks)
        });
        for action in actions {
            match action {
                LocalAction::Stop { id, .. } if self.is_stray(now.mono, &id) => {
                    self.reconciling.request_at(self.started.after(STRAY_GRACE));
                }
                LocalAction::Start { app, slot, epoch, id } => self.start(now, app, slot, epoch, id, out),
                LocalAction::Stop { id, as_state, reason } => self.stop(now, id, as_state, reason, out),
                LocalAction::Refuse { app, slot, epoch, reason } => self.refuse(now, app, slot, epoch, reason, out),
            }
        }
    }

    /// Whether nothing is known of a task that was found. Its documents were lost, and what is left of them is no reason to stop
    /// it: they may come back.
    fn is_stray(&self, now: Mono, id: &TaskId) -> bool {
        let unplaced = self.tasks.locals.get(id).is_some_and(|local| local.unplaced);
        unplaced && now.since(self.started) < STRAY_GRACE
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
        let group = group_of(view, slot, &self.claims.site);
        let everywhere = group.scope == Scope::Mesh;
        let local = Local { status, leased, waiting: leased, ..Local::new(group, view) };
        if everywhere && !self.spoke_to_all {
            // Other sites wait to hear of it.
            self.far.at = Some(now.mono);
        }
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
            ("HOLM_SCOPE", app.scope.to_string()),
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
        let (group, name) = (group_of(view, slot, &self.claims.site), view.manifest.name.clone());
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

fn coordinates_any(view: &View, me: &NodeId, only: Option<&BTreeSet<DocId>>) -> bool {
    among(view, only).any(|app| app.live && coordinator(view, app) == Some(*me))
}

/// Apps that this node decides for, with the nodes that were given one of their slots and of which nothing
/// is known, or nothing is heard though they are of a site that is not this node's concern.
fn silent_holders(node: &Node, view: &View, only: Option<&BTreeSet<DocId>>) -> BTreeSet<(DocId, NodeId)> {
    let silent = |id: &NodeId| match view.nodes.get(id) {
        Some(known) => known.liveness == Liveness::Dead && !known.is_keeper() && !view.covers(&known.site),
        None => true,
    };
    let mut found = BTreeSet::new();
    for app in among(view, only).filter(|app| app.live) {
        let assignments = app.slots.values().flat_map(|slot| &slot.assignments);
        let holders = assignments.filter(|a| !a.state().is_terminal()).map(|a| a.placement.node);
        let missing: BTreeSet<NodeId> = holders.filter(|holder| silent(holder)).collect();
        if !missing.is_empty() && coordinator(view, app) == Some(node.me) {
            found.extend(missing.into_iter().map(|holder| (app.doc, holder)));
        }
    }
    found
}

fn assignment_of<'a>(app: &'a AppView, slot: Slot, epoch: Epoch, me: &holm_types::NodeId) -> Option<&'a Assignment> {
    app.slots.get(&slot)?.assignments.iter().find(|a| a.epoch == epoch && a.placement.node == *me)
}
