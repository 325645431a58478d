//! Tasks of apps that were removed, and of earlier lives of apps: of use for a while, then collected.
//!
//! A tasks document has *ended* when its app's document says that the life it belongs to has. That is a function of
//! the app's document alone, so all nodes that hold the same agree, and no mark and no watermark is needed: what
//! has ended is in no digest, is repaired by nobody, and each node deletes it when it has no use for it any more.
//! A node that was away comes with what was deleted elsewhere; the others, who know that it has ended, do not take
//! it, and the node itself learns the same from the app's document.
//!
//! A life can be over on one side of a cut only: an edit wins over a removal that it could not see
//! ([`crate::life_of`]). What was deleted of it comes back then, from the side where it lived on.

use super::State;
use crate::{
    authority::{TASKS_APP, TasksOf},
    error::StateError,
    layout,
    orphans::Want,
    reduce::Source,
    store::Table,
};
use holm_types::{DocId, DocKind, change::SignedChange, sometimes};
use smol_str::SmolStr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Collected documents that are remembered, so that what still comes of them is told from what waits for more.
const REMEMBERED: usize = 4096;

/// What has ended, and what was deleted of it since this state was opened.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    held: BTreeSet<DocId>,
    collected: BTreeMap<DocId, TasksOf>,
    order: VecDeque<DocId>,
    /// Documents that are gone and that this node's present actor wrote to. Their sequence numbers are used.
    pub(super) spent: BTreeSet<DocId>,
}

impl Ended {
    pub(super) fn forget(&mut self, doc: &DocId) {
        self.held.remove(doc);
    }

    fn remember(&mut self, doc: DocId, of: TasksOf) {
        if self.collected.insert(doc, of).is_none() {
            self.order.push_back(doc);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.collected.remove(&oldest);
        }
    }
}

impl State {
    /// The tasks documents whose lives have ended and that are still held.
    pub fn ended(&self) -> &BTreeSet<DocId> {
        &self.ended.held
    }

    /// Whose tasks a document held that was collected, or that came too late; the last few thousand are known.
    pub fn collected(&self, doc: &DocId) -> Option<&TasksOf> {
        self.ended.collected.get(doc)
    }

    /// Whether a document is one of tasks that have ended, held or not, as far as that is known: a peer that has not
    /// heard of it yet may offer it, and nobody needs it.
    pub fn is_over(&self, doc: &DocId) -> bool {
        let gone = || self.ended.collected.get(doc).is_some_and(|of| self.views.has_ended(of));
        self.ended.held.contains(doc) || (gone() && !self.docs.contains_key(doc))
    }

    /// Whose tasks a document holds, if it has said so.
    pub fn tasks_of(&self, doc: &DocId) -> Option<&TasksOf> {
        self.views.tasks_of(doc)
    }

    /// A document has become another: it counts in the digests, unless it has ended. With an app its tasks' documents
    /// end, or live again.
    pub(super) fn note_digest(&mut self, doc: &DocId) {
        match doc.kind() {
            DocKind::App => self.note_ends(doc),
            DocKind::Tasks => {
                let app = self.views.tasks_of(doc).filter(|of| of.volume > 0).map(|of| of.app);
                app.into_iter().for_each(|app| self.note_ends(&app));
            }
            DocKind::Node | DocKind::Revocation | DocKind::Other(_) => {}
        }
        self.set_digest(doc);
    }

    fn set_digest(&mut self, doc: &DocId) {
        let Some(entity) = self.docs.get(doc) else { return };
        if self.views.tasks_of(doc).is_some_and(|of| self.views.has_ended(of)) {
            self.ended.held.insert(*doc);
            self.digests.remove(&entity.scope, doc);
        } else {
            if self.ended.held.remove(doc) {
                sometimes!("a life of an app that had ended goes on");
            }
            self.digests.set(&entity.scope, doc, entity.digest(doc));
        }
    }

    /// Looks at which of an app's tasks documents have ended, or have not any more.
    pub(super) fn note_ends(&mut self, app: &DocId) {
        let ends = |doc: &&DocId| {
            let ended = self.views.tasks_of(doc).is_some_and(|of| self.views.has_ended(of));
            ended != self.ended.held.contains(*doc)
        };
        let tasks: Vec<DocId> = self.views.all_tasks_of(app).filter(ends).copied().collect();
        for doc in tasks {
            self.set_digest(&doc);
        }
    }

    /// Deletes a tasks document that has ended ([`State::ended`]); any other is left as it is.
    ///
    /// # Errors
    /// The store failed.
    pub fn collect(&mut self, doc: &DocId) -> Result<bool, StateError> {
        let collected = self.delete_ended(doc);
        collected.inspect_err(|error| self.note_damage(error))
    }

    fn delete_ended(&mut self, doc: &DocId) -> Result<bool, StateError> {
        if !self.ended.held.contains(doc) {
            return Ok(false);
        }
        let mut rows = Vec::new();
        self.overlay.each(Table::Changes, &doc.0, |key, _| {
            rows.push((Table::Changes, key.to_vec()));
            Ok::<(), StateError>(())
        })?;
        let Some(entity) = self.docs.remove(doc) else { return Ok(false) };
        self.ledger.remove_document(&entity.scope, entity.bytes);
        self.cache.take(doc);
        self.ended.held.remove(doc);
        rows.push((Table::Heads, doc.0.to_vec()));
        rows.extend(entity.tips.keys().map(|actor| (Table::Actors, layout::actor_key(doc, actor))));
        rows.extend(entity.registers.keys().map(|key| (Table::Views, layout::view_key(doc, key))));
        for (table, key) in rows {
            self.overlay.put(table, key, None);
        }
        if entity.tips.contains_key(&self.actor) {
            self.ended.spent.insert(*doc);
        }
        if let Some(of) = self.views.tasks_of(doc).cloned() {
            self.ended.remember(*doc, of);
        }
        let source = Source { docs: &self.docs, authors: &self.authors };
        let app = self.views.update_tasks(source, doc, entity.registers.keys().map(SmolStr::as_str));
        self.changed.extend(app);
        self.counters.add("collected", 1);
        sometimes!("tasks of an app that was removed are collected");
        Ok(true)
    }

    /// Whether this belongs to tasks that have ended and are not held any more: somebody was away. What waits
    /// for it need not wait then.
    pub(super) fn is_late(&mut self, change: &SignedChange) -> bool {
        if change.doc.kind() != DocKind::Tasks || self.docs.contains_key(&change.doc) {
            return false;
        }
        let says = change.change.ops.iter().filter(|op| op.key == TASKS_APP);
        let said = says.filter_map(|op| op.value.as_ref().and_then(TasksOf::read)).find(|of| of.doc() == change.doc);
        let Some(of) = said.or_else(|| self.ended.collected.get(&change.doc).cloned()) else { return false };
        let late = self.views.has_ended(&of);
        if late {
            sometimes!("tasks that were collected come from a node that was away");
            self.counters.add("late_tasks", 1);
            self.ended.remember(change.doc, of);
            self.orphans.wake(&Want::Change(change.hash));
        }
        late
    }
}
