//! What stays in memory of every document, loaded or not: where it belongs, how far it is, and
//! what it says.

use crate::{digest::DocDigest, registers::Registers};
use holm_types::{ActorId, Digest, DocId, Scope, change::WireChange};
use std::collections::BTreeMap;

/// An actor's last change of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) seq: u64,
    pub(crate) hash: Digest,
}

/// A document, seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entity {
    pub(crate) scope: Scope,
    /// Sorted.
    pub(crate) heads: Vec<Digest>,
    /// Lamport number of the last operation; unknown after rows of an earlier version were read, until
    /// the log is.
    pub(crate) last_op: Option<u64>,
    pub(crate) tips: BTreeMap<ActorId, Tip>,
    pub(crate) registers: Registers,
}

impl Entity {
    pub(crate) fn new(scope: Scope, heads: Vec<Digest>, last_op: Option<u64>) -> Entity {
        Entity { scope, heads, last_op, tips: BTreeMap::new(), registers: Registers::new() }
    }

    /// Takes note that a valid change is part of it now.
    pub(crate) fn follow(&mut self, hash: Digest, change: &WireChange) {
        self.heads.retain(|head| !change.deps.contains(head));
        let place = self.heads.partition_point(|head| *head < hash);
        self.heads.insert(place, hash);
        let last = change.start_op + change.ops.len() as u64 - 1;
        self.last_op = self.last_op.map(|before| before.max(last));
    }

    /// Digest of the document id and the heads: equal on two nodes means that they hold the same.
    pub(crate) fn digest(&self, doc: &DocId) -> DocDigest {
        let mut hasher = blake3::Hasher::new_derive_key("holm document heads v1");
        hasher.update(&doc.0);
        for head in &self.heads {
            hasher.update(&head.0);
        }
        crate::digest::truncated(&hasher)
    }
}
