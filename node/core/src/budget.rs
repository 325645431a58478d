//! The disk budget of each scope: what is refused when it is reached, and who is told.

use crate::{Effect, Node};
use holm_types::{
    DocId, Scope, Wall,
    api::{ApiError, Held, Room},
    event::EventKind,
};
use std::collections::{BTreeMap, BTreeSet};

impl Node {
    /// Refuses a submission that this node has no room for. A removal is not asked about.
    pub(crate) fn must_have_room(&self, scope: &Scope) -> Result<(), ApiError> {
        if self.state.room(scope) == Room::Free {
            return Ok(());
        }
        let (what, held) = (named(scope), self.held_of(scope).unwrap_or(0));
        Err(ApiError::NoRoom(format!(
            "this node holds {} of {what}, and its budget is {}: give it more with holm up --disk-budget, or submit at another node",
            mebibytes(held),
            mebibytes(self.state.budget()),
        )))
    }

    fn held_of(&self, scope: &Scope) -> Option<u64> {
        self.state.usage().get(scope).map(|usage| usage.bytes)
    }

    /// What is held of each scope.
    pub(crate) fn held(&self) -> BTreeMap<String, Held> {
        let held = self.state.usage().iter().map(|(scope, usage)| {
            let held = Held {
                documents: usage.documents,
                bytes: usage.bytes,
                budget: self.state.budget(),
                room: self.state.room(scope),
            };
            (scope.to_string(), held)
        });
        held.collect()
    }

    /// Tells once that a budget is reached, and once that it is passed by so much that this node falls behind.
    pub(crate) fn watch_budget(&mut self, now: Wall, changed: &BTreeSet<DocId>, out: &mut Vec<Effect>) {
        let scopes: Option<BTreeSet<&Scope>> = changed.iter().map(|doc| self.state.scope_of(doc)).collect();
        // Of a document that is gone it is not known whose it was.
        let scopes = scopes.unwrap_or_else(|| self.state.usage().keys().chain(self.rooms.keys()).collect());
        let rooms: Vec<(Scope, Room)> =
            scopes.into_iter().map(|scope| (scope.clone(), self.state.room(scope))).collect();
        for (scope, room) in &rooms {
            if *room > self.rooms.get(scope).copied().unwrap_or(Room::Free) {
                let lacks = if *room == Room::Over {
                    "what others write to it is not taken any more"
                } else {
                    "no apps are submitted to it here"
                };
                let what = named(scope);
                let detail = format!(
                    "{} of {what}, of {}: {lacks}",
                    mebibytes(self.held_of(scope).unwrap_or(0)),
                    mebibytes(self.state.budget())
                );
                out.push(self.event(now, EventKind::NoRoom, None, None, detail));
            }
        }
        self.rooms.extend(rooms);
    }
}

fn named(scope: &Scope) -> String {
    match scope.site() {
        Some(site) => format!("site {site}"),
        None => "what belongs to no site".to_owned(),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
