//! How much is held of each scope, and how much may be: no member can fill another's disk.
//!
//! What counts are the bytes of the changes, as they travel. A budget is a node's own business and part of no verdict: what
//! a node does not take for want of room, it takes when it has more, from whoever has it.

use crate::state::State;
use holm_types::{
    DocId, DocKind, Scope,
    api::Room,
    change::{SignedChange, Value, keys_of},
};
use std::collections::BTreeMap;

/// What is held of a scope.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Documents.
    pub documents: u64,
    /// Bytes of their changes.
    pub bytes: u64,
}

/// What is held of all scopes, and the budget of each.
#[derive(Debug)]
pub(crate) struct Ledger {
    scopes: BTreeMap<Scope, Usage>,
    budget: u64,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger { scopes: BTreeMap::new(), budget: u64::MAX }
    }
}

impl Ledger {
    pub(crate) fn add_document(&mut self, scope: &Scope, bytes: u64) {
        let usage = self.scopes.entry(scope.clone()).or_default();
        usage.documents += 1;
        usage.bytes += bytes;
    }

    pub(crate) fn add_bytes(&mut self, scope: &Scope, bytes: u64) {
        if let Some(usage) = self.scopes.get_mut(scope) {
            usage.bytes += bytes;
        }
    }

    pub(crate) fn remove_document(&mut self, scope: &Scope, bytes: u64) {
        let Some(usage) = self.scopes.get_mut(scope) else { return };
        usage.documents -= 1;
        usage.bytes -= bytes;
        if usage.documents == 0 {
            self.scopes.remove(scope);
        }
    }

    fn room(&self, scope: &Scope) -> Room {
        match self.scopes.get(scope).map_or(0, |usage| usage.bytes) {
            held if held < self.budget => Room::Free,
            // A node that only just reached it goes on to hear what the others do.
            held if held < self.budget.saturating_add(self.budget / 4) => Room::Full,
            _ => Room::Over,
        }
    }
}

impl State {
    /// Sets how many bytes of changes may be held of each scope.
    pub fn set_budget(&mut self, bytes: u64) {
        self.ledger.budget = bytes;
    }

    /// How many bytes of changes may be held of each scope.
    pub fn budget(&self) -> u64 {
        self.ledger.budget
    }

    /// What is held of each scope of which something is.
    pub fn usage(&self) -> &BTreeMap<Scope, Usage> {
        &self.ledger.scopes
    }

    /// What the budget of a scope leaves.
    pub fn room(&self, scope: &Scope) -> Room {
        self.ledger.room(scope)
    }

    /// Whether more of a document is wanted of others. Who is a member, and who is none any more, is always heard.
    pub fn has_room_for(&self, scope: &Scope, doc: &DocId) -> bool {
        matches!(doc.kind(), DocKind::Node | DocKind::Revocation) || self.room(scope) != Room::Over
    }

    /// The same for a change that is there already: what removes an app ends more than it adds.
    pub(crate) fn has_room_for_change(&self, change: &SignedChange) -> bool {
        let removes = |op: &holm_types::change::WireOp| {
            op.key == keys_of::LIFE && matches!(op.value, Some(Value::Uint(life)) if life % 2 == 0)
        };
        self.has_room_for(&change.scope, &change.doc)
            || (change.doc.kind() == DocKind::App
                && self.registers(&change.doc).is_some()
                && change.change.ops.iter().any(removes))
    }
}
