//! Fencing: who guards an app that asks for at most one runner a slot.
//!
//! A fenced app (`partition.policy = "fence"`) has *guards*, members that are chosen once, when a
//! generation of it is created, and stand in its document. A node runs a task of it only while a
//! majority of them grants it the *lease* of the slot. Since two majorities of one set have a
//! member in common, no two nodes hold a lease at the same time.

use crate::{NodeId, TypeError, cbor, change::MAX_VALUE_BYTES};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Guards of one set, at most. Seven may lose three; more would only cost messages.
pub const MAX_GUARDS: usize = 7;
/// How long a lease lasts when the manifest does not say (`partition.after`).
pub const DEFAULT_LEASE: Duration = Duration::from_secs(10);
/// The shortest lease: a third of it, the time between renewals, must be long against a bad link.
pub const MIN_LEASE: Duration = Duration::from_secs(5);
/// The longest lease: so long nobody else runs what a lost node had.
pub const MAX_LEASE: Duration = Duration::from_secs(3600);

/// How much faster or slower than another node's clock a node's may run, in percent. A crystal is
/// a thousand times better; a virtual machine that is starved may be this bad for a while.
const DRIFT_PERCENT: u32 = 5;
/// What the end of a task may take after its lease has ended: the supervisor's timer, and the kill.
const SLACK: Duration = Duration::from_millis(500);

/// The guards of an app, and how long a lease of theirs lasts: fixed for one generation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GuardSet {
    /// The guards: sorted, 1 to [`MAX_GUARDS`].
    pub members: Vec<NodeId>,
    /// The lease, in milliseconds: from [`MIN_LEASE`] to [`MAX_LEASE`].
    pub lease_ms: u32,
}

impl GuardSet {
    /// The first of `ranked` (the best guard first), an odd number of them: with an even number, one
    /// more would have to agree and no more might be lost. None when nobody is there.
    pub fn choose(ranked: &[NodeId], lease: Duration) -> Option<GuardSet> {
        let most = ranked.len().min(MAX_GUARDS);
        let count = most - usize::from(most.is_multiple_of(2) && most > 0);
        let mut members = ranked[..count].to_vec();
        members.sort_unstable();
        let lease_ms = u32::try_from(lease.clamp(MIN_LEASE, MAX_LEASE).as_millis()).unwrap_or(u32::MAX);
        (count > 0).then_some(GuardSet { members, lease_ms })
    }

    /// How many of the guards have to agree.
    pub fn majority(&self) -> usize {
        self.members.len() / 2 + 1
    }

    /// How long a lease lasts, from the moment in which it was asked for.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(u64::from(self.lease_ms))
    }

    /// As it stands in the document.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn encode(&self) -> Result<Vec<u8>, TypeError> {
        cbor::to_vec("guards", self)
    }

    /// Reads what [`GuardSet::encode`] wrote.
    ///
    /// # Errors
    /// Malformed, or over a bound.
    pub fn decode(bytes: &[u8]) -> Result<GuardSet, TypeError> {
        let set: GuardSet = cbor::from_canonical("guards", bytes, MAX_VALUE_BYTES)?;
        let counted = (1..=MAX_GUARDS).contains(&set.members.len());
        let sorted = set.members.is_sorted_by(|a, b| a < b);
        if counted && sorted && (MIN_LEASE..=MAX_LEASE).contains(&set.lease()) {
            Ok(set)
        } else {
            Err(TypeError::Decode { what: "guards", why: "their number, order or lease is out of bounds".into() })
        }
    }
}

/// How long a guard remembers that it granted a lease of this length: until, by any clock, it is over
/// and its task is dead.
pub fn guarded_for(lease: Duration) -> Duration {
    lease + lease * DRIFT_PERCENT / 100 + SLACK
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: u8) -> Vec<NodeId> {
        (0..count).rev().map(|n| NodeId([n; 32])).collect()
    }

    #[test]
    fn guards_are_an_odd_number_of_the_best() {
        let counts: Vec<usize> =
            (0..10).map(|n| GuardSet::choose(&ids(n), DEFAULT_LEASE).map_or(0, |set| set.members.len())).collect();
        assert_eq!(counts, [0, 1, 1, 3, 3, 5, 5, 7, 7, 7]);
        let set = GuardSet::choose(&ids(4), DEFAULT_LEASE).unwrap();
        assert_eq!((set.members.clone(), set.majority()), (vec![NodeId([1; 32]), NodeId([2; 32]), NodeId([3; 32])], 2));
        assert_eq!(GuardSet::decode(&set.encode().unwrap()), Ok(set));
    }

    #[test]
    fn what_no_honest_member_writes_is_refused() {
        let good = GuardSet::choose(&ids(3), DEFAULT_LEASE).unwrap();
        let bad = [
            GuardSet { members: Vec::new(), ..good.clone() },
            GuardSet { members: ids(3), ..good.clone() },
            GuardSet { members: (0..8).map(|n| NodeId([n; 32])).collect(), ..good.clone() },
            GuardSet { lease_ms: 10, ..good.clone() },
            GuardSet { lease_ms: u32::MAX, ..good },
        ];
        for set in bad {
            assert!(GuardSet::decode(&set.encode().unwrap()).is_err(), "{set:?}");
        }
        assert!(GuardSet::decode(b"what is this").is_err());
    }

    #[test]
    fn a_guard_remembers_longer_than_any_holder_believes() {
        assert_eq!(guarded_for(DEFAULT_LEASE), Duration::from_secs(11));
    }
}
