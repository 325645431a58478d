//! Edits of one app that did not see each other: each side was told that its own was accepted, so that one of
//! them lost is told as well, once, on every node that holds the app.

use crate::{Effect, Node};
use holm_types::{
    DocId, NodeId, Wall,
    event::EventKind,
    view::{AppView, Conflict},
};
use std::collections::{BTreeMap, BTreeSet};

/// Characters of a value that an event shows; `status` shows all of it.
const SHOWN: usize = 120;

/// What was told of each app that has conflicts.
pub(crate) type Told = BTreeMap<DocId, Vec<Conflict>>;

impl Node {
    /// Those that are known when the node starts were told before.
    pub(crate) fn recall_conflicts(&mut self) {
        let known = self.state.apps().iter().filter(|(_, app)| !app.conflicts.is_empty());
        self.told_conflicts = known.map(|(doc, app)| (*doc, app.conflicts.clone())).collect();
    }

    pub(crate) fn tell_conflicts(&mut self, now: Wall, changed: &BTreeSet<DocId>, out: &mut Vec<Effect>) {
        for doc in changed {
            let Some(app) = self.state.apps().get(doc).filter(|app| app.live && !app.conflicts.is_empty()) else {
                // The next edit settles a conflict, and so does the end of the app.
                self.told_conflicts.remove(doc);
                continue;
            };
            let told = self.told_conflicts.get(doc);
            if told == Some(&app.conflicts) {
                continue;
            }
            let is_new = |conflict: &&Conflict| told.is_none_or(|told| !told.contains(conflict));
            out.extend(app.conflicts.iter().filter(is_new).map(|conflict| self.conflict_event(now, app, conflict)));
            let conflicts = app.conflicts.clone();
            self.told_conflicts.insert(*doc, conflicts);
        }
    }

    fn conflict_event(&self, now: Wall, app: &AppView, conflict: &Conflict) -> Effect {
        let mut writers = conflict.writers.iter().map(|writer| match writer.parse::<NodeId>() {
            Ok(id) => self.name_of(&id),
            Err(_) => writer.clone(),
        });
        let mut written =
            |value: &serde_json::Value| format!("{} (written by {})", short(value), writers.next().unwrap_or_default());
        let kept = written(&conflict.kept);
        let lost: Vec<String> = conflict.lost.iter().map(written).collect();
        let detail = format!("{} is {kept}; lost is {}", conflict.field, lost.join(" and "));
        self.event(now, EventKind::Conflict, Some(&app.manifest.name), None, detail)
    }
}

fn short(value: &serde_json::Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
