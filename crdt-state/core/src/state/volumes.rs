//! A tasks document that has become long is continued in another one, and then ends: its *volumes*.
//!
//! A service that restarts now and then writes to its document for years, and whoever joins would have to read all of it. So one
//! node opens the next volume, everybody writes to the latest that it knows, and each says again there what still counts of its own: a
//! writer's keys are its own to say. When everything that counts stands in it, the volume is marked ([`holm_types::change::keys_of::CUT`]), and the
//! earlier ones have ended, as the tasks of a removed app have ([`super::ended`]). While an earlier volume is held it
//! is read beside the later ones, so that nothing is missing while it is said again; and a node that was away for weeks says
//! again what goes on of its own, by the same rule.

use super::State;
use crate::authority::TasksOf;
use holm_types::DocId;

impl State {
    /// The latest volume that is known of the same tasks, where they are written to; the one given if none is.
    pub fn latest_volume(&self, of: &TasksOf) -> TasksOf {
        self.views.volumes(of).first().map_or_else(|| of.clone(), |latest| (*latest).clone())
    }

    /// The volumes that are held of the same tasks, the latest first.
    pub fn volumes(&self, of: &TasksOf) -> Vec<DocId> {
        self.views.volumes(of).into_iter().map(TasksOf::doc).collect()
    }

    /// All volumes that are held but the first ones.
    pub fn later_volumes(&self) -> impl Iterator<Item = &TasksOf> {
        self.views.all_tasks().filter(|of| of.volume > 0)
    }

    /// Whether a life is over, or a later volume has taken the place of this one.
    pub fn has_ended(&self, of: &TasksOf) -> bool {
        self.views.has_ended(of)
    }

    /// The latest volumes of tasks of live apps that hold more than `limit` changes, or that have not taken the place of
    /// the earlier ones yet.
    pub fn long_volumes(&self, limit: u64) -> Vec<TasksOf> {
        let due = |of: &&TasksOf| {
            let Some(entity) = self.docs.get(&of.doc()).filter(|_| !self.views.has_ended(of)) else { return false };
            let opened = of.volume > self.views.cut(of);
            let changes: u64 = entity.tips.values().map(|tip| tip.seq).sum();
            (opened || changes > limit)
                && self.views.volumes(of).first().is_some_and(|latest| latest.volume == of.volume)
        };
        self.views.all_tasks().filter(due).cloned().collect()
    }

    /// Whether a volume has taken the place of the earlier ones; the first has none.
    pub fn is_cut(&self, of: &TasksOf) -> bool {
        of.volume <= self.views.cut(of)
    }
}
