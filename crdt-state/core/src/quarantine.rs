//! The last refused changes: what, by whom, why. For people who ask why something is missing.

use crate::{
    error::StateError,
    overlay::Overlay,
    store::{StoreError, Table},
};
use holm_types::{Digest, DocId, NodeId, Wall, cbor, change::SignedChange};
use serde::{Deserialize, Serialize};

/// Refused changes that are remembered.
pub const MAX_QUARANTINED: u64 = 256;

/// A refused change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Counts the refused changes of this store.
    pub number: u64,
    /// When it was refused, by this node's clock.
    pub at: Wall,
    /// Its document.
    pub doc: DocId,
    /// Who signed it.
    pub author: NodeId,
    /// Its hash.
    pub hash: Digest,
    /// Why it was refused.
    pub why: String,
}

/// The ring's writing end.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    next: u64,
}

impl Quarantine {
    pub(crate) fn open(overlay: &Overlay) -> Result<Quarantine, StateError> {
        let next = Quarantine::read(overlay)?.last().map_or(0, |last| last.number + 1);
        Ok(Quarantine { next })
    }

    pub(crate) fn add(&mut self, overlay: &mut Overlay, change: &SignedChange, why: &str, at: Wall) {
        let row = Quarantined {
            number: self.next,
            at,
            doc: change.doc,
            author: change.author,
            hash: change.hash,
            why: why.chars().take(240).collect(),
        };
        if let Ok(bytes) = cbor::to_vec("quarantined change", &row) {
            overlay.put(Table::Quarantine, (self.next % MAX_QUARANTINED).to_be_bytes().to_vec(), Some(bytes));
            self.next += 1;
        }
    }

    /// The oldest first.
    pub(crate) fn read(overlay: &Overlay) -> Result<Vec<Quarantined>, StateError> {
        let mut found: Vec<Quarantined> = Vec::new();
        overlay.each(Table::Quarantine, b"", |_, row| {
            let row = cbor::from_canonical("quarantined change", row, 4096)
                .map_err(|e| StateError::Store(StoreError::Corrupt(e.to_string())))?;
            found.push(row);
            Ok::<(), StateError>(())
        })?;
        found.sort_by_key(|row| row.number);
        Ok(found)
    }
}
