//! The documents that are loaded: a bounded number, the least recently used leave first.

use crate::document::Document;
use holm_types::DocId;
use std::collections::BTreeMap;

/// Loaded documents, at most.
pub const MAX_LOADED_DOCUMENTS: usize = 512;
/// Changes in all loaded documents, at most (about 16 MB); one document may be larger alone.
pub const MAX_LOADED_CHANGES: usize = 32_768;

/// A document of fewer changes is not kept: most of a fleet's are written once and then read from the views alone, and
/// replaying one change is quick. (A few more to replay made a simulated fleet slower, and saved nothing beside this.)
pub(crate) const WORTH_KEEPING: usize = 2;

/// Loaded documents by recency. A document is taken out to be worked on and put back after, so
/// that one that is in doubt is simply not put back and read from the log at its next use.
#[derive(Default)]
pub(crate) struct Cache {
    docs: BTreeMap<DocId, (u64, Document)>,
    order: BTreeMap<u64, DocId>,
    tick: u64,
    changes: usize,
}

impl Cache {
    pub(crate) fn take(&mut self, doc: &DocId) -> Option<Document> {
        let (tick, document) = self.docs.remove(doc)?;
        self.order.remove(&tick);
        self.changes -= document.len();
        Some(document)
    }

    pub(crate) fn put(&mut self, doc: DocId, document: Document) {
        self.take(&doc);
        self.tick += 1;
        self.changes += document.len();
        self.order.insert(self.tick, doc);
        self.docs.insert(doc, (self.tick, document));
        while self.docs.len() > 1 && (self.docs.len() > MAX_LOADED_DOCUMENTS || self.changes > MAX_LOADED_CHANGES) {
            let Some(oldest) = self.order.first_key_value().map(|(_, doc)| *doc) else { break };
            self.take(&oldest);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.docs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_leave_first() {
        let mut cache = Cache::default();
        let doc = |n: usize| DocId((n as u128).to_be_bytes());
        for n in 0..MAX_LOADED_DOCUMENTS {
            cache.put(doc(n), Document::default());
        }
        let first = cache.take(&doc(0)).unwrap();
        cache.put(doc(0), first);
        cache.put(doc(MAX_LOADED_DOCUMENTS), Document::default());
        assert_eq!(cache.len(), MAX_LOADED_DOCUMENTS);
        assert!(cache.take(&doc(1)).is_none(), "the oldest left");
        assert!(cache.take(&doc(0)).is_some(), "what was used stayed");
    }
}
