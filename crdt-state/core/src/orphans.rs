//! Changes that cannot be judged yet, held outside automerge, which would keep them without
//! bound. Anti-entropy brings back whatever is dropped here.

use holm_types::{Digest, NodeId, change::SignedChange};
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
    by_hash: BTreeMap<Digest, u64>,
    ready: VecDeque<SignedChange>,
    bytes: usize,
    next: u64,
}

impl Orphans {
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn contains(&self, hash: &Digest) -> bool {
        self.by_hash.contains_key(hash)
    }

    /// Holds a change of `size` bytes until `want` comes; says how many old ones it pushed out.
    pub(crate) fn hold(&mut self, change: SignedChange, size: usize, want: Want) -> usize {
        if self.contains(&change.hash) {
            return 0;
        }
        let number = self.next;
        self.next += 1;
        self.bytes += size;
        self.by_hash.insert(change.hash, number);
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

    /// A held change.
    pub(crate) fn get(&self, hash: &Digest) -> Option<&SignedChange> {
        self.by_hash.get(hash).and_then(|number| self.held.get(number)).map(|orphan| &orphan.change)
    }

    /// Takes a change out.
    pub(crate) fn take(&mut self, hash: &Digest) -> Option<SignedChange> {
        let number = *self.by_hash.get(hash)?;
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
        self.by_hash.remove(&orphan.change.hash);
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
        ActorId, DocId, Incarnation, MeshId, Scope,
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
        assert!(!pool.contains(&change(4).hash) && pool.contains(&change(5).hash));
        let dropped = pool.hold(change(9_999), MAX_ORPHAN_BYTES - 1_000, want(1));
        assert_eq!(pool.len(), 11, "ten small ones and the large one fit");
        assert_eq!(dropped, MAX_ORPHANS - 10);
        assert!(pool.bytes <= MAX_ORPHAN_BYTES);
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
