//! Branches: parts of a scope's documents, by the end of their ids, which are ends of hashes whatever kind a document is of. Two
//! replicas compare branches to find the few documents in which they differ.

use crate::{DocId, TypeError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Branches that a branch divides into.
pub const FAN_OUT: usize = 16;
/// Nibbles of an id: a branch of this depth holds one document.
pub const MAX_DEPTH: usize = 32;

/// The documents whose ids, read from their end nibble by nibble, begin with these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Branch {
    depth: u8,
    /// As of [`Branch::key`], the rest 0.
    key: [u8; 16],
}

impl Branch {
    /// All documents.
    pub const ROOT: Branch = Branch { depth: 0, key: [0; 16] };

    /// An id in the order of branches: its bytes from the last to the first.
    pub fn key(doc: &DocId) -> [u8; 16] {
        let mut key = doc.0;
        key.reverse();
        key
    }

    /// The id of a key.
    pub fn doc(key: &[u8; 16]) -> DocId {
        DocId(Branch::key(&DocId(*key)))
    }

    /// How many nibbles it names.
    pub fn depth(&self) -> usize {
        usize::from(self.depth)
    }

    /// Which of this branch's branches holds a document; 0 beyond the last nibble.
    pub fn nibble(&self, doc: &DocId) -> usize {
        nibble(&Branch::key(doc), self.depth())
    }

    /// One of the branches that it divides into; itself when it cannot be divided.
    pub fn child(&self, nibble: usize) -> Branch {
        let mut child = *self;
        if let Some(byte) = child.key.get_mut(self.depth() / 2) {
            let low = (nibble % FAN_OUT) as u8;
            *byte |= if self.depth().is_multiple_of(2) { low << 4 } else { low };
            child.depth += 1;
        }
        child
    }

    /// The first and the last key that it may hold.
    pub fn span(&self) -> ([u8; 16], [u8; 16]) {
        let mut last = self.key;
        for n in self.depth()..MAX_DEPTH {
            last[n / 2] |= if n.is_multiple_of(2) { 0xf0 } else { 0x0f };
        }
        (self.key, last)
    }
}

fn nibble(key: &[u8; 16], n: usize) -> usize {
    key.get(n / 2).map_or(0, |byte| usize::from(if n.is_multiple_of(2) { byte >> 4 } else { byte & 0x0f }))
}

/// As bytes: one nibble each.
impl Serialize for Branch {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let nibbles: Vec<u8> = (0..self.depth()).map(|n| nibble(&self.key, n) as u8).collect();
        s.serialize_bytes(&nibbles)
    }
}

impl<'de> Deserialize<'de> for Branch {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Branch, D::Error> {
        let nibbles = serde_bytes::ByteBuf::deserialize(d)?;
        if nibbles.len() > MAX_DEPTH || nibbles.iter().any(|nibble| usize::from(*nibble) >= FAN_OUT) {
            let why = "at most 32 nibbles".to_owned();
            return Err(serde::de::Error::custom(TypeError::Decode { what: "branch", why }));
        }
        Ok(nibbles.iter().fold(Branch::ROOT, |branch, nibble| branch.child(usize::from(*nibble))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_document_is_in_one_branch_of_each_depth(bytes: [u8; 16], other: [u8; 16]) {
            let (doc, other) = (DocId(bytes), DocId(other));
            let mut branch = Branch::ROOT;
            for depth in 0..=MAX_DEPTH {
                prop_assert_eq!(branch.depth(), depth);
                let (first, last) = branch.span();
                let holds = |doc: &DocId| (first..=last).contains(&Branch::key(doc));
                prop_assert!(holds(&doc));
                let n = branch.nibble(&doc);
                if depth < MAX_DEPTH {
                    let held = (0..FAN_OUT).filter(|n| {
                        let (first, last) = branch.child(*n).span();
                        (first..=last).contains(&Branch::key(&other))
                    });
                    prop_assert_eq!(held.count(), usize::from(holds(&other)));
                }
                let bytes = crate::cbor::to_vec("branch", &branch).unwrap();
                prop_assert_eq!(crate::cbor::from_canonical::<Branch>("branch", &bytes, 64).unwrap(), branch);
                branch = branch.child(n);
            }
            prop_assert_eq!(Branch::doc(&Branch::key(&doc)), doc);
        }

        #[test]
        fn any_bytes_are_a_branch_or_refused(bytes: Vec<u8>) {
            let encoded = crate::cbor::to_vec("bytes", &serde_bytes::ByteBuf::from(bytes)).unwrap();
            if let Ok(branch) = crate::cbor::from_canonical::<Branch>("branch", &encoded, 4096) {
                prop_assert_eq!(crate::cbor::to_vec("branch", &branch).unwrap(), encoded);
            }
        }
    }
}
