//! What stays in memory of every document, loaded or not: where it belongs, how far it is, and
//! what it says.

use crate::{digest::DocDigest, registers::Registers};
use holm_types::{ActorId, Digest, DocId, Scope, Sorted};

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
    pub(crate) tips: Sorted<ActorId, Tip>,
    pub(crate) registers: Registers,
    /// Of its changes, as they travel.
    pub(crate) bytes: u64,
}

impl Entity {
    pub(crate) fn new(scope: Scope, heads: Vec<Digest>) -> Entity {
        Entity { scope, heads, tips: Sorted::new(), registers: Registers::new(), bytes: 0 }
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
