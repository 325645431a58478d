//! What a node does about its own tasks: it starts what it holds, refuses what does not fit, and
//! stops what has lost its slot, but not before the winner runs.

use crate::{filter::wanted_text, reduce::acting_among, rendezvous::live_in, standing::unsupported};
use holm_types::{
    Digest, DocId, Epoch, NodeId, Slot, TaskId,
    manifest::{Amounts, AppType, PriorityClass},
    sometimes,
    view::{AppView, Assignment, Liveness, SlotView, TaskState, View},
};
use std::collections::{BTreeMap, BTreeSet};

/// A task that this node started, and has not forgotten yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalTask {
    /// Its id.
    pub id: TaskId,
    /// Its app.
    pub app: DocId,
    /// The generation of the app that it belongs to.
    pub generation: u64,
    /// Its slot.
    pub slot: Slot,
    /// The epoch of its assignment.
    pub epoch: Epoch,
    /// The template of the manifest that it was started from.
    pub template: Digest,
    /// Its state.
    pub state: TaskState,
}

impl LocalTask {
    /// It uses what it was given.
    fn lasts(&self) -> bool {
        !self.state.is_terminal()
    }
}

/// Something for this node to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalAction {
    /// Start the task of an assignment.
    Start {
        /// The app.
        app: DocId,
        /// The slot.
        slot: Slot,
        /// The epoch of the assignment.
        epoch: Epoch,
        /// The task.
        id: TaskId,
    },
    /// Stop a task.
    Stop {
        /// The task.
        id: TaskId,
        /// The state that it ends in: `Superseded` or `Cancelled`.
        as_state: TaskState,
        /// Why, for people.
        reason: String,
    },
    /// Say no to an assignment.
    Refuse {
        /// The app.
        app: DocId,
        /// The slot.
        slot: Slot,
        /// The epoch of the assignment.
        epoch: Epoch,
        /// Why, for people.
        reason: String,
    },
}

/// What `me` has to do so that it runs what it holds, given the tasks it has, what all tasks
/// together may use, and how many there may be. Stops come first.
///
/// Called again before its actions had an effect, it gives them again, except that a task which
/// is stopping already is not stopped twice.
pub fn reconcile(
    view: &View,
    me: &NodeId,
    running: &BTreeMap<TaskId, LocalTask>,
    capacity: &Amounts,
    max_tasks: u32,
) -> Vec<LocalAction> {
    let mut desk = Desk::new(view, me, running, capacity, max_tasks);
    let mut starts = Vec::new();
    let mut yielding = BTreeSet::new();
    for (app, slot, holder) in desk.assignments_to_start() {
        match desk.admit(app, slot, holder) {
            Admission::Start => starts.push(LocalAction::Start {
                app: app.doc,
                slot,
                epoch: holder.epoch,
                id: app.task_id(slot, holder),
            }),
            Admission::AfterTheOld => {
                yielding.insert((app.doc, slot));
            }
            Admission::NotYet => {}
            Admission::Refuse(reason) => {
                starts.push(LocalAction::Refuse { app: app.doc, slot, epoch: holder.epoch, reason });
            }
        }
    }
    let stoppable = running.values().filter(|task| task.lasts() && task.state != TaskState::Stopping);
    let stops = stoppable.filter_map(|task| {
        let (as_state, reason) = desk.stop(task, &yielding)?;
        Some(LocalAction::Stop { id: task.id.clone(), as_state, reason })
    });
    let mut actions: Vec<LocalAction> = stops.collect();
    actions.extend(starts);
    actions
}

enum Admission {
    Start,
    /// Once the task that this node still has in the slot has ended.
    AfterTheOld,
    /// Once the documents agree.
    NotYet,
    Refuse(String),
}

/// What one call looks at.
struct Desk<'a> {
    view: &'a View,
    me: &'a NodeId,
    running: &'a BTreeMap<TaskId, LocalTask>,
    capacity: &'a Amounts,
    max_tasks: u32,
    /// What the tasks that last use, and those that this call starts.
    used: Amounts,
    count: u32,
    /// Slots in which a task of this node lasts.
    occupied: BTreeSet<(DocId, Slot)>,
}

impl<'a> Desk<'a> {
    fn new(
        view: &'a View,
        me: &'a NodeId,
        running: &'a BTreeMap<TaskId, LocalTask>,
        capacity: &'a Amounts,
        max_tasks: u32,
    ) -> Desk<'a> {
        let (mut used, mut count, mut occupied) = (Amounts::default(), 0u32, BTreeSet::new());
        for task in running.values().filter(|task| task.lasts()) {
            if let Some(app) = view.apps.get(&task.app) {
                used.add(&app.manifest.resources.amounts());
            }
            count = count.saturating_add(1);
            occupied.insert((task.app, task.slot));
        }
        Desk { view, me, running, capacity, max_tasks, used, count, occupied }
    }

    /// The acting holder of a slot. This node is live to itself, even while it leaves.
    fn acting<'s>(&self, app: &AppView, seen: &'s SlotView) -> Option<&'s Assignment> {
        acting_among(self.view, app, seen, |node| node == self.me || live_in(self.view, node))
    }

    /// Slots that this node holds and has no task for, the more important apps first.
    fn assignments_to_start(&self) -> Vec<(&'a AppView, Slot, &'a Assignment)> {
        let mut found: Vec<(PriorityClass, &'a AppView, Slot, &'a Assignment)> = Vec::new();
        for app in self.view.apps.values().filter(|app| app.live) {
            for (&slot, seen) in &app.slots {
                if !seen.assignments.iter().any(|a| a.placement.node == *self.me) || !wants(app, slot, self.me) {
                    continue;
                }
                let Some(holder) = self.acting(app, seen) else { continue };
                let mine = holder.placement.node == *self.me && !holder.state().is_terminal();
                if mine && !self.running.contains_key(&app.task_id(slot, holder)) {
                    found.push((app.manifest.priority.class, app, slot, holder));
                }
            }
        }
        found.sort_by_key(|(class, app, slot, _)| (*class, app.doc, *slot));
        found.into_iter().map(|(_, app, slot, holder)| (app, slot, holder)).collect()
    }

    fn admit(&mut self, app: &AppView, slot: Slot, holder: &Assignment) -> Admission {
        if let Some(reason) = unsupported(app) {
            return Admission::Refuse(reason.to_owned());
        }
        // An app and its assignments are different documents, and either may come first. What was
        // decided for another template than this node knows is not started under a false name:
        // either the newer manifest is on its way, or the coordinator decides again.
        if holder.status.is_none() && holder.placement.template != app.template {
            sometimes!("an assignment comes before its manifest");
            return Admission::NotYet;
        }
        let request = app.manifest.resources.amounts();
        let seated = self.occupied.contains(&(app.doc, slot));
        if let Some(reason) = self.no_room(&request, seated) {
            return Admission::Refuse(reason);
        }
        if seated {
            sometimes!("a task waits until its predecessor here has ended");
            return Admission::AfterTheOld;
        }
        self.used.add(&request);
        self.count = self.count.saturating_add(1);
        Admission::Start
    }

    /// Why one more task does not fit. With `seated` it takes the place of one that is counted.
    fn no_room(&self, request: &Amounts, seated: bool) -> Option<String> {
        if !seated && self.count >= self.max_tasks {
            return Some(format!("no place for another task: {} of {} are taken", self.count, self.max_tasks));
        }
        let mut needed = self.used.clone();
        if !seated {
            needed.add(request);
        }
        let name = self.capacity.lacks(&needed)?;
        let mut left = self.capacity.clone();
        left.subtract(&self.used);
        Some(format!("not enough {name}: {} wanted, {} left", wanted_text(&name, request), wanted_text(&name, &left)))
    }

    /// Whether a task has to stop: the state that it ends in, and why.
    fn stop(&self, task: &LocalTask, yielding: &BTreeSet<(DocId, Slot)>) -> Option<(TaskState, String)> {
        let cancelled = |reason: String| Some((TaskState::Cancelled, reason));
        let Some(app) = self.view.apps.get(&task.app).filter(|app| app.live) else {
            return cancelled("its app was removed".into());
        };
        if app.generation != task.generation {
            return cancelled("its app was removed and submitted anew".into());
        }
        if !wants(app, task.slot, self.me) {
            let count = app.manifest.desired_slots().unwrap_or(0);
            return cancelled(format!("its app was scaled down to {count}"));
        }
        let holder = app.slots.get(&task.slot).and_then(|seen| self.acting(app, seen))?;
        let own = holder.epoch == task.epoch && holder.placement.node == *self.me;
        if own {
            return self.is_mislabelled(app, task, holder).then(|| {
                (TaskState::Cancelled, "it was started from another revision than the one it was assigned for".into())
            });
        }
        self.superseded(app, task, holder, yielding)
    }

    /// Two coordinators may give one node the same slot in one epoch, but for different revisions.
    /// That is one task; when it runs the wrong one, it makes way for a next decision.
    fn is_mislabelled(&self, app: &AppView, task: &LocalTask, holder: &Assignment) -> bool {
        let right = holder.placement.template;
        right == app.template && task.template != right
    }

    fn superseded(
        &self,
        app: &AppView,
        task: &LocalTask,
        holder: &Assignment,
        yielding: &BTreeSet<(DocId, Slot)>,
    ) -> Option<(TaskState, String)> {
        let node = holder.placement.node;
        let by = || format!("epoch {} on {} holds its slot", holder.epoch, self.name(&node));
        if node == *self.me {
            let id = app.task_id(task.slot, holder);
            let runs = self.running.get(&id).is_some_and(LocalTask::lasts);
            let replaces = runs || yielding.contains(&(task.app, task.slot));
            return replaces.then(|| (TaskState::Superseded, format!("epoch {} replaces it here", holder.epoch)));
        }
        match holder.state() {
            TaskState::Succeeded if app.manifest.kind == AppType::Job => {
                Some((TaskState::Cancelled, format!("its slot was done by {}", self.name(&node))))
            }
            TaskState::Succeeded => Some((TaskState::Superseded, by())),
            // A runner that is merely suspect may be gone: until that is known, this one stays.
            TaskState::Running if self.is_alive(&node) => {
                sometimes!("the loser of a slot stops itself");
                Some((TaskState::Superseded, by()))
            }
            // The winner waits for the lease that this task has, so this one cannot wait for it to run.
            state if app.manifest.is_fenced() && !state.is_terminal() && self.is_alive(&node) => {
                sometimes!("the loser of a fenced slot stops before the winner runs");
                Some((TaskState::Superseded, by()))
            }
            _ => None,
        }
    }

    fn is_alive(&self, node: &NodeId) -> bool {
        self.view.nodes.get(node).is_some_and(|node| node.liveness == Liveness::Alive)
    }

    fn name(&self, node: &NodeId) -> String {
        self.view.nodes.get(node).map_or_else(|| node.mark(), |node| node.name.to_string())
    }
}

/// Whether `app` wants `slot` on `me`.
fn wants(app: &AppView, slot: Slot, me: &NodeId) -> bool {
    match app.manifest.desired_slots() {
        Some(count) => slot < count,
        None => slot == AppView::daemon_slot(me),
    }
}
