//! What this node has said of its tasks, as the documents have it: it reads it when it starts, and says it
//! again where words of a life that it does not remember came back to it.

use crate::{Node, tasks::group_of};
use holm_scheduler::LocalTask;
use holm_state::TasksOf;
use holm_types::{
    Epoch, Now, Slot, TaskId,
    change::{Value, keys_of},
    sometimes,
    view::{Assignment, TaskStatus},
};

impl Node {
    /// Whether the end of a task was told before, or concerns nobody any more.
    pub(crate) fn end_was_told(&self, task: &LocalTask, group: &TasksOf) -> bool {
        if let Some(said) = self.last_said(group, task.slot, task.epoch) {
            return said.state.is_terminal();
        }
        let app = self.state.apps().get(&task.app).filter(|app| app.generation == task.generation);
        let assignments = app.and_then(|app| app.slots.get(&task.slot)).map(|slot| &slot.assignments);
        !assignments.into_iter().flatten().any(|a| a.epoch == task.epoch && a.placement.node == self.me)
    }

    /// What this node last said of a task. Read from the document, not from the view: the view knows
    /// only the present generation of an app, and tasks of an older one may be found as well.
    pub(crate) fn last_said(&self, group: &TasksOf, slot: Slot, epoch: Epoch) -> Option<TaskStatus> {
        let key = keys_of::status(slot, epoch, &self.me);
        let volumes = self.state.volumes(group);
        let said = volumes.iter().find_map(|doc| self.state.registers(doc)?.get(&*key)?.first());
        match &said?.value {
            Value::Bytes(bytes) => TaskStatus::decode(bytes).ok(),
            Value::Uint(_) | Value::Text(_) => None,
        }
    }

    /// A node whose disk is an old backup speaks of its tasks before the others tell it what it had said since.
    /// Neither word knows of the other then, and the old one may be the one that counts: others go by a task that
    /// is gone, and judge it otherwise than this node does, which was there. What it says once more knows both.
    pub(crate) fn say_again(&mut self, now: Now) {
        let outdated: Vec<TaskId> = self
            .tasks
            .running
            .values()
            .filter(|task| !task.state.is_terminal() && self.is_outdated(task))
            .map(|task| task.id.clone())
            .collect();
        for id in outdated {
            sometimes!("words of a lost life about a task are corrected");
            self.queue_status(now, &id);
        }
    }

    /// Whether what counts of a task is what was said in an earlier life. An end stays what it was: a result that was
    /// read does not change.
    fn is_outdated(&self, task: &LocalTask) -> bool {
        let Some(app) = self.state.apps().get(&task.app).filter(|app| app.generation == task.generation) else {
            return false;
        };
        let own = |a: &&Assignment| a.epoch == task.epoch && a.placement.node == self.me;
        let Some(said) = app.slots.get(&task.slot).and_then(|seen| seen.assignments.iter().find(own)) else {
            return false;
        };
        // Its life goes on as a later one when it hears of words that its disk has lost.
        let earlier = said.told_in < self.state.incarnation();
        let lasts = said.status.as_ref().is_some_and(|status| !status.state.is_terminal());
        let group = group_of(app, task.slot, &self.claims.site);
        let queued = || {
            let key = keys_of::status(task.slot, task.epoch, &self.me);
            self.tasks.queue.get(&group).is_some_and(|queued| queued.contains_key(&key))
        };
        earlier && lasts && !queued()
    }
}
