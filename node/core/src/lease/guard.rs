//! A guard's memory: whom it granted which lease, and until when it grants it to nobody else.
//!
//! Nothing of it is on disk. A guard that starts may have granted anything a moment before, so it
//! grants nothing until every such lease is over.

use holm_mesh_core::lease::{LeaseKey, Verdict};
use holm_types::{
    DocId, Epoch, Mono, NodeId, Slot,
    fence::{MAX_LEASE, guarded_for},
    sometimes,
};
use std::{collections::BTreeMap, time::Duration};

/// Leases that a guard remembers, at most; beyond, it grants no new ones.
const MAX_GRANTS: usize = 16 * 1024;

/// A node numbers its asks from a random multiple of this.
pub(crate) const ASKS_OF_A_LIFE: u64 = 1 << 32;

#[derive(Debug, Clone, Copy)]
struct Grant {
    node: NodeId,
    generation: u64,
    epoch: Epoch,
    /// The last ask that it answers.
    seq: u64,
    /// By this guard's clock: then the lease is over by any clock.
    until: Mono,
}

/// How long leases last that a guard does not remember.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unseen {
    /// The longest that it may have granted for the app before it was started.
    pub(crate) own: Duration,
    /// The longest of the app's last generation, where that had other guards.
    pub(crate) of_others: Option<Duration>,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Guard {
    opened: Mono,
    /// When it was first asked about a generation of an app whose last one had other guards.
    asked: BTreeMap<(DocId, u64), Mono>,
    /// One a slot, whatever the generation: the tasks of a removed app may still run.
    grants: BTreeMap<(DocId, Slot), Grant>,
}

impl Guard {
    /// A guard that starts now.
    pub(crate) fn new(now: Mono) -> Guard {
        Guard { opened: now, asked: BTreeMap::new(), grants: BTreeMap::new() }
    }

    /// `node` asks for a lease of this length.
    pub(crate) fn ask(
        &mut self,
        now: Mono,
        node: NodeId,
        key: LeaseKey,
        lease: Duration,
        unseen: Unseen,
        seq: u64,
    ) -> Verdict {
        let LeaseKey(app, generation, slot, epoch) = key;
        let old = self.grants.get(&(app, slot)).filter(|grant| grant.until > now).copied();
        match old {
            None if now.since(self.opened) < guarded_for(unseen.own.max(lease)) => {
                sometimes!("a guard that has just started grants nothing");
                return Verdict::Young;
            }
            None if self.is_new_to(now, app, generation, unseen.of_others) => {
                sometimes!("a guard that is new to an app grants nothing");
                return Verdict::Young;
            }
            // The same node asks for a later task of its own: it has ended the one before. An ask that
            // comes late must not take its place.
            Some(old) if old.node != node || (old.generation, old.epoch) > (generation, epoch) => {
                return Verdict::Held(old.node);
            }
            None if !self.has_room(now) => return Verdict::Unknown,
            _ => {}
        }
        let until = old.map_or(Mono::default(), |old| old.until).max(now.after(guarded_for(lease)));
        self.grants.insert((app, slot), Grant { node, generation, epoch, seq, until });
        Verdict::Granted
    }

    /// A task of this guard's own node was found running, which proves that its lease is live: where this
    /// node is the only guard, nobody else can have it, though the guard has just started.
    pub(crate) fn vouch(&mut self, now: Mono, node: NodeId, key: LeaseKey, lease: Duration) {
        let LeaseKey(app, generation, slot, epoch) = key;
        let until = now.after(guarded_for(lease));
        self.grants.entry((app, slot)).or_insert(Grant { node, generation, epoch, seq: 0, until });
    }

    /// `node` says that the task of its lease has ended, after its ask `seq`. A release that comes late says
    /// nothing about a later ask, nor about one of another life of the node.
    pub(crate) fn release(&mut self, node: NodeId, key: LeaseKey, seq: u64) {
        let LeaseKey(app, generation, slot, epoch) = key;
        let Some(grant) = self.grants.get(&(app, slot)) else { return };
        let same = (grant.node, grant.generation, grant.epoch) == (node, generation, epoch);
        if same && seq.checked_sub(grant.seq).is_some_and(|later| later < ASKS_OF_A_LIFE) {
            self.grants.remove(&(app, slot));
        }
    }

    /// Whether leases of the app's last generation, which others granted, may still last: those have refused
    /// to renew them since they heard of this one.
    fn is_new_to(&mut self, now: Mono, app: DocId, generation: u64, lease: Option<Duration>) -> bool {
        let Some(lease) = lease else { return false };
        if self.asked.len() >= MAX_GRANTS && !self.asked.contains_key(&(app, generation)) {
            self.asked.retain(|_, since| now.since(*since) < guarded_for(MAX_LEASE));
            if self.asked.len() >= MAX_GRANTS {
                return true;
            }
        }
        now.since(*self.asked.entry((app, generation)).or_insert(now)) < guarded_for(lease)
    }

    fn has_room(&mut self, now: Mono) -> bool {
        if self.grants.len() >= MAX_GRANTS {
            self.grants.retain(|_, grant| grant.until > now);
        }
        self.grants.len() < MAX_GRANTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);
    const A: NodeId = NodeId([1; 32]);
    const B: NodeId = NodeId([2; 32]);

    fn at(ms: u64) -> Mono {
        Mono(Duration::from_millis(ms))
    }

    fn key(generation: u64, epoch: Epoch) -> LeaseKey {
        LeaseKey(DocId([2; 16]), generation, 0, epoch)
    }

    fn ask(guard: &mut Guard, ms: u64, node: NodeId, key: LeaseKey, seq: u64) -> Verdict {
        guard.ask(at(ms), node, key, LEASE, Unseen { own: LEASE, of_others: None }, seq)
    }

    #[test]
    fn a_guard_grants_a_slot_to_one_node_until_the_lease_is_over_by_any_clock() {
        let mut guard = Guard::new(at(0));
        assert_eq!(ask(&mut guard, 10_999, A, key(1, 1), 1), Verdict::Young);
        assert_eq!(ask(&mut guard, 11_000, A, key(1, 1), 2), Verdict::Granted);
        assert_eq!(ask(&mut guard, 14_000, B, key(1, 2), 1), Verdict::Held(A));
        assert_eq!(ask(&mut guard, 15_000, A, key(1, 1), 3), Verdict::Granted, "renewed");
        assert_eq!(ask(&mut guard, 25_999, B, key(3, 1), 2), Verdict::Held(A), "in a later generation too");
        assert_eq!(ask(&mut guard, 26_000, B, key(1, 2), 3), Verdict::Granted);
        assert_eq!(ask(&mut guard, 26_001, B, key(1, 3), 4), Verdict::Granted, "a later task of the same node");
        assert_eq!(ask(&mut guard, 26_002, B, key(1, 2), 5), Verdict::Held(B), "not an ask from before");
    }

    #[test]
    fn a_release_takes_back_the_last_ask_and_no_later_one() {
        let mut guard = Guard::new(at(0));
        assert_eq!(ask(&mut guard, 20_000, A, key(1, 1), 7), Verdict::Granted);
        assert_eq!(ask(&mut guard, 21_000, A, key(1, 1), 8), Verdict::Granted);
        guard.release(A, key(1, 1), 7);
        guard.release(B, key(1, 1), 8);
        assert_eq!(ask(&mut guard, 22_000, B, key(1, 2), 1), Verdict::Held(A));
        guard.release(A, key(1, 1), 8);
        assert_eq!(ask(&mut guard, 22_000, B, key(1, 2), 2), Verdict::Granted);
    }

    #[test]
    fn a_guard_that_is_new_to_an_app_waits_until_the_leases_of_the_others_are_over() {
        let mut guard = Guard::new(at(0));
        let unseen = Unseen { own: LEASE, of_others: Some(LEASE * 2) };
        let mut ask = |ms, generation| guard.ask(at(ms), A, key(generation, 1), LEASE, unseen, 1);
        assert_eq!(ask(50_000, 3), Verdict::Young);
        assert_eq!(ask(71_499, 3), Verdict::Young);
        assert_eq!(ask(71_500, 3), Verdict::Granted);
        assert_eq!(ask(90_000, 5), Verdict::Young, "for each generation anew");
    }

    #[test]
    fn what_a_guard_remembers_is_bounded() {
        let mut guard = Guard::new(at(0));
        let of = |n: usize| LeaseKey(DocId([2; 16]), 1, n as Slot, 1);
        for n in 0..MAX_GRANTS {
            assert_eq!(ask(&mut guard, 20_000, A, of(n), 1), Verdict::Granted);
        }
        assert_eq!(ask(&mut guard, 20_000, A, of(MAX_GRANTS), 1), Verdict::Unknown);
        assert_eq!(ask(&mut guard, 20_000, A, of(5), 1), Verdict::Granted, "what is held can be renewed");
        assert_eq!(ask(&mut guard, 31_000, A, of(MAX_GRANTS), 1), Verdict::Granted, "what is over makes room");
    }
}
