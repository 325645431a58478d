//! Changes that cannot be judged yet, held outside automerge, which would keep them without
//! bound. Anti-entropy brings back whatever is dropped here.

use holm_types::{Digest, DocId, NodeId, Scope, change::SignedChange};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Orphans held, at most.
pub const MAX_ORPHANS: usize = 1024;
/// Bytes of orphans held, at most, as they travel.
pub const MAX_ORPHAN_BYTES: usize = 4 * 1024 * 1024;

/// What an orphan waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Want {
    Change(Digest),
    Member(NodeId),
}

/// A change by what its author signed: a liar signs one change for several documents, and none of these may
/// stand in the way of another.
type Signed = (Scope, DocId, Digest);

fn signed(change: &SignedChange) -> Signed {
    (change.scope.clone(), change.doc, change.hash)
}

struct Orphan {
    change: SignedChange,
    size: usize,
    want: Want,
}

/// The pool.
#[derive(Default)]
pub(crate) struct Orphans {
    held: BTreeMap<u64, Orphan>,
    by_want: BTreeMap<Want, BTreeSet<u64>>,
    by_signed: BTreeMap<Signed, u64>,
    ready: VecDeque<SignedChange>,
    bytes: usize,
    next: u64,
}

impl Orphans {
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn contains(&self, change: &SignedChange) -> bool {
        self.by_signed.contains_key(&signed(change))
    }

    /// Holds a change of `size` bytes until `want` comes; says how many old ones it pushed out.
    pub(crate) fn hold(&mut self, change: SignedChange, size: usize, want: Want) -> usize {
        if self.contains(&change) {
            return 0;
        }
        let number = self.next;
        self.next += 1;
        self.bytes += size;
        self.by_signed.insert(signed(&change), number);
        self.by_want.entry(want).or_default().insert(number);
        self.held.insert(number, Orphan { change, size, want });
        let mut dropped = 0;
        while self.held.len() > MAX_ORPHANS || self.bytes > MAX_ORPHAN_BYTES {
            let Some(oldest) = self.held.first_key_value().map(|(number, _)| *number) else { break };
            self.remove(oldest);
            dropped += 1;
        }
        dropped
    }

    /// `want` has come: those that waited for it are ready to be judged again.
    pub(crate) fn wake(&mut self, want: &Want) {
        for number in self.by_want.get(want).cloned().unwrap_or_default() {
            if let Some(orphan) = self.remove(number) {
                self.ready.push_back(orphan.change);
            }
        }
    }

    /// A change that waited elsewhere is ready to be judged again.
    pub(crate) fn ready(&mut self, change: SignedChange) {
        self.ready.push_back(change);
    }

    /// The held change of the document of `other` that has this hash.
    pub(crate) fn beside(&self, other: &SignedChange, hash: Digest) -> Option<&SignedChange> {
        let number = self.by_signed.get(&(other.scope.clone(), other.doc, hash))?;
        self.held.get(number).map(|orphan| &orphan.change)
    }

    /// Takes a change out.
    pub(crate) fn take(&mut self, change: &SignedChange) -> Option<SignedChange> {
        let number = *self.by_signed.get(&signed(change))?;
        self.remove(number).map(|orphan| orphan.change)
    }

    /// Takes all out, the oldest first.
    pub(crate) fn drain(&mut self) -> Vec<SignedChange> {
        let numbers: Vec<u64> = self.held.keys().copied().collect();
        numbers.into_iter().filter_map(|number| self.remove(number)).map(|orphan| orphan.change).collect()
    }

    pub(crate) fn pop_ready(&mut self) -> Option<SignedChange> {
        self.ready.pop_front()
    }

    fn remove(&mut self, number: u64) -> Option<Orphan> {
        let orphan = self.held.remove(&number)?;
        self.bytes -= orphan.size;
        self.by_signed.remove(&signed(&orphan.change));
        if let Some(numbers) = self.by_want.get_mut(&orphan.want) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_want.remove(&orphan.want);
            }
        }
        Some(orphan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holm_types::{
        ActorId, Incarnation, MeshId,
        change::{Value, WireChange, WireOp},
        keys::KeyPair,
    };

    fn change(n: u64) -> SignedChange {
        let key = KeyPair::from_secret(&[7; 32]);
        let wire = WireChange {
            actors: vec![ActorId::new(&key.node_id(), Incarnation(0))],
            seq: n + 1,
            start_op: 1,
            time: 0,
            deps: vec![],
            ops: vec![WireOp { key: "k".into(), value: Some(Value::Uint(n)), preds: vec![] }],
        };
        let hash = Digest::of("test", &[&n.to_be_bytes()]);
        SignedChange::sign(&MeshId([0; 32]), Scope::Mesh, DocId([9; 16]), hash, wire, &key)
    }

    fn want(n: u8) -> Want {
        Want::Change(Digest([n; 32]))
    }

    #[test]
    fn both_bounds_push_out_the_oldest() {
        let mut pool = Orphans::default();
        let dropped: usize = (0..MAX_ORPHANS as u64 + 5).map(|n| pool.hold(change(n), 100, want(n as u8))).sum();
        assert_eq!((dropped, pool.len()), (5, MAX_ORPHANS));
        assert!(!pool.contains(&change(4)) && pool.contains(&change(5)));
        let dropped = pool.hold(change(9_999), MAX_ORPHAN_BYTES - 1_000, want(1));
        assert_eq!(pool.len(), 11, "ten small ones and the large one fit");
        assert_eq!(dropped, MAX_ORPHANS - 10);
        assert!(pool.bytes <= MAX_ORPHAN_BYTES);
    }

    #[test]
    fn one_change_signed_for_two_documents_is_held_for_both() {
        let mut pool = Orphans::default();
        let (one, mut other) = (change(0), change(0));
        other.doc = DocId([8; 16]);
        pool.hold(other.clone(), 10, want(1));
        assert!(!pool.contains(&one));
        pool.hold(one.clone(), 10, want(1));
        assert_eq!(pool.beside(&one, one.hash), Some(&one));
        assert_eq!(pool.take(&other), Some(other));
        assert_eq!((pool.len(), pool.bytes), (1, 10));
    }

    #[test]
    fn waking_releases_those_that_waited_for_just_this() {
        let mut pool = Orphans::default();
        for n in 0..6 {
            pool.hold(change(n), 10, want((n % 2) as u8));
            assert_eq!(pool.hold(change(n), 10, want(0)), 0, "held once");
        }
        pool.wake(&want(1));
        let woken: Vec<u64> = std::iter::from_fn(|| pool.pop_ready()).map(|c| c.change.seq - 1).collect();
        assert_eq!(woken, [1, 3, 5]);
        assert_eq!((pool.len(), pool.bytes), (3, 30));
    }
}
