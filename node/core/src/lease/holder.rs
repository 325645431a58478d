//! The other side: the leases that this node wants or has, each for one task of its own.
//!
//! A lease lasts from the moment in which it was asked for, by this node's own clock: that is before any
//! guard has granted it. It is live while a majority of each set of guards has granted it.

use super::guard::ASKS_OF_A_LIFE;
use holm_mesh_core::lease::{LeaseKey, Verdict};
use holm_types::{Mono, NodeId, TaskId, fence::GuardSet, sometimes};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

/// A node that has no answer asks again after this time.
const RETRY: Duration = Duration::from_secs(1);
/// A guard that does not know the app yet hears of it soon.
const RETRY_SOON: Duration = Duration::from_millis(250);
/// Two that ask for one lease at the same time may each get a part of the guards. Both let go, and
/// one comes back before the other.
const CONTENTION: Duration = Duration::from_secs(3);
/// Rounds of asks whose time is remembered: an answer to an older one is of no use.
const MAX_ROUNDS: usize = 64;
/// Between the end of a task and that of its lease.
pub(super) const MARGIN: Duration = Duration::from_millis(250);

/// Asks of one round: by guard, the leases and how many milliseconds each.
pub(crate) type Asks = BTreeMap<NodeId, Vec<(LeaseKey, u32)>>;
/// What is given back: the guard, the lease, and the last ask for it.
pub(crate) type Releases = Vec<(NodeId, LeaseKey, u64)>;

/// A lease that a task needs.
#[derive(Debug)]
struct Claim {
    key: LeaseKey,
    sets: Vec<GuardSet>,
    lease: Duration,
    /// A process of the task may be there.
    running: bool,
    /// It is being stopped, because the lease runs out.
    stopping: bool,
    since: Mono,
    /// By guard: until when.
    granted: BTreeMap<NodeId, Mono>,
    refused: BTreeMap<NodeId, Verdict>,
    /// The last ask that each guard was sent.
    asked: BTreeMap<NodeId, u64>,
    /// Answers to asks up to this one do not count: what they granted was given back.
    void: u64,
    next: Mono,
}

impl Claim {
    fn guards(&self) -> BTreeSet<NodeId> {
        self.sets.iter().flat_map(|set| set.members.iter().copied()).collect()
    }

    /// Until when a majority of each set has granted it.
    fn until(&self) -> Option<Mono> {
        let of_set = |set: &GuardSet| {
            let granted = set.members.iter().filter_map(|guard| self.granted.get(guard).copied());
            let mut granted: Vec<Mono> = granted.collect();
            granted.sort_unstable_by(|a, b| b.cmp(a));
            granted.get(set.majority() - 1).copied()
        };
        self.sets.iter().map(of_set).collect::<Option<Vec<_>>>()?.into_iter().min()
    }

    /// When a task that runs has to be asked to end.
    fn stop_at(&self, grace: Duration) -> Mono {
        // A task that was found running had a lease of an earlier life of this agent, which its supervisor knows.
        let until = self.until().unwrap_or_else(|| self.since.after(self.lease));
        Mono(until.0.saturating_sub(grace + MARGIN))
    }
}

/// How a claim stands, for people: with the set of guards that most is missing of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Guards of the set.
    pub(crate) guards: usize,
    /// How many of them have granted it.
    pub(crate) granted: usize,
    /// How many must.
    pub(crate) needed: usize,
    /// How many guards do not know yet what was granted before.
    pub(crate) young: usize,
    /// Another node that has it.
    pub(crate) held_by: Option<NodeId>,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Holder {
    claims: BTreeMap<TaskId, Claim>,
    by_key: BTreeMap<LeaseKey, TaskId>,
    seq: u64,
    rounds: VecDeque<(u64, Mono)>,
    rng: ChaCha8Rng,
}

impl Holder {
    /// Wants nothing yet. The seed makes the numbers of its asks differ from those of the node's other lives.
    pub(crate) fn new(seed: u64) -> Holder {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let seq = u64::from(rng.random::<u32>()) * ASKS_OF_A_LIFE;
        Holder { claims: BTreeMap::new(), by_key: BTreeMap::new(), seq, rounds: VecDeque::new(), rng }
    }

    /// A task needs its lease. `running`: a process of it may be there already.
    pub(crate) fn claim(&mut self, now: Mono, id: TaskId, key: LeaseKey, lease: Duration, running: bool) {
        self.by_key.insert(key, id.clone());
        let claim = Claim {
            key,
            sets: Vec::new(),
            lease,
            running,
            stopping: false,
            since: now,
            granted: BTreeMap::new(),
            refused: BTreeMap::new(),
            asked: BTreeMap::new(),
            void: self.seq,
            next: now,
        };
        self.claims.insert(id, claim);
    }

    /// Who guards the app of a task, as far as is known now.
    pub(crate) fn set_guards(&mut self, id: &TaskId, sets: &[GuardSet]) {
        let Some(claim) = self.claims.get_mut(id) else { return };
        if claim.sets != sets {
            claim.sets = sets.to_vec();
            let guards = claim.guards();
            claim.granted.retain(|guard, _| guards.contains(guard));
            claim.refused.retain(|guard, _| guards.contains(guard));
            claim.lease = sets.iter().map(GuardSet::lease).min().unwrap_or(claim.lease);
        }
    }

    /// A process of the task may be there from now on, or is not there any more.
    pub(crate) fn set_running(&mut self, id: &TaskId, running: bool) {
        if let Some(claim) = self.claims.get_mut(id) {
            claim.running = running;
            claim.stopping = false;
        }
    }

    /// The task is being stopped, because its lease runs out.
    pub(crate) fn set_stopping(&mut self, id: &TaskId) {
        if let Some(claim) = self.claims.get_mut(id) {
            claim.stopping = true;
        }
    }

    /// The task has ended and needs no lease any more: the guards are told, so that nobody waits for its end.
    pub(crate) fn give_up(&mut self, id: &TaskId) -> Releases {
        let Some(claim) = self.claims.remove(id) else { return Releases::new() };
        if self.by_key.get(&claim.key) == Some(id) {
            self.by_key.remove(&claim.key);
        }
        claim.asked.iter().map(|(guard, seq)| (*guard, claim.key, *seq)).collect()
    }

    /// A guard can be talked to again.
    pub(crate) fn hurry(&mut self, now: Mono, guard: &NodeId) {
        for claim in self.claims.values_mut().filter(|claim| claim.sets.iter().any(|s| s.members.contains(guard))) {
            claim.next = claim.next.min(now);
        }
    }

    /// The asks that are due, to those guards that `reaches` says can be talked to, with the number of the
    /// round; and what is let go.
    pub(crate) fn due(&mut self, now: Mono, reaches: impl Fn(&NodeId) -> bool) -> (u64, Asks, Releases) {
        let (mut asks, mut releases) = (Asks::new(), Releases::new());
        self.seq += 1;
        for claim in self.claims.values_mut().filter(|claim| claim.next <= now) {
            let live = claim.until().is_some_and(|until| until > now);
            let contended = claim.refused.values().any(|verdict| matches!(verdict, Verdict::Held(_)));
            claim.refused.retain(|guard, _| reaches(guard));
            if !live && !claim.running && contended && !claim.granted.is_empty() {
                sometimes!("two ask for one lease and both let go");
                let given =
                    claim.granted.keys().filter_map(|guard| Some((*guard, claim.key, *claim.asked.get(guard)?)));
                releases.extend(given);
                claim.granted.clear();
                claim.refused.clear();
                claim.void = self.seq;
                claim.next = now.after(CONTENTION.mul_f64(self.rng.random_range(0.1..1.0)));
                continue;
            }
            claim.next = now.after(RETRY.min(claim.lease / 10));
            let lease_ms = u32::try_from(claim.lease.as_millis()).unwrap_or(u32::MAX);
            for guard in claim.guards().into_iter().filter(&reaches) {
                claim.asked.insert(guard, self.seq);
                asks.entry(guard).or_default().push((claim.key, lease_ms));
            }
        }
        if !asks.is_empty() {
            self.rounds.push_back((self.seq, now));
            if self.rounds.len() > MAX_ROUNDS {
                self.rounds.pop_front();
            }
        }
        (self.seq, asks, releases)
    }

    /// A guard answers the asks of a round. Gives the tasks whose lease lasts longer now.
    pub(crate) fn answered(
        &mut self,
        now: Mono,
        guard: NodeId,
        seq: u64,
        verdicts: &[(LeaseKey, Verdict)],
    ) -> Vec<TaskId> {
        let Some(asked_at) = self.rounds.iter().find(|(round, _)| *round == seq).map(|(_, at)| *at) else {
            return Vec::new();
        };
        let mut extended = Vec::new();
        for (key, verdict) in verdicts {
            let Some(id) = self.by_key.get(key) else { continue };
            let Some(claim) = self.claims.get_mut(id) else { continue };
            if seq <= claim.void || !claim.sets.iter().any(|set| set.members.contains(&guard)) {
                continue;
            }
            if *verdict != Verdict::Granted {
                claim.refused.insert(guard, *verdict);
                if *verdict == Verdict::Unknown && claim.until().is_none_or(|until| until <= now) {
                    claim.next = claim.next.min(now.after(RETRY_SOON));
                }
                continue;
            }
            let before = claim.until();
            let until = asked_at.after(claim.lease);
            let granted = claim.granted.entry(guard).or_default();
            *granted = until.max(*granted);
            claim.refused.remove(&guard);
            if claim.until() > before {
                // What was just granted is renewed when a third of it is over.
                let renew = claim.until().map_or(now, |until| Mono(until.0.saturating_sub(claim.lease * 2 / 3)));
                claim.next = renew.max(claim.next.min(now.after(RETRY.min(claim.lease / 10))));
                extended.push(id.clone());
            }
        }
        extended
    }

    /// Until when a task has its lease.
    pub(crate) fn until(&self, id: &TaskId) -> Option<Mono> {
        self.claims.get(id)?.until()
    }

    /// Whether a task that does not run may be started: its lease is live, and not about to end.
    pub(crate) fn may_start(&self, id: &TaskId, now: Mono, grace: Duration) -> bool {
        self.claims.get(id).is_some_and(|claim| claim.until().is_some() && claim.stop_at(grace) > now)
    }

    /// Whether a task that runs has to be stopped, so that it is dead when its lease ends.
    pub(crate) fn must_stop(&self, id: &TaskId, now: Mono, grace: Duration) -> bool {
        self.claims.get(id).is_some_and(|claim| claim.running && !claim.stopping && claim.stop_at(grace) <= now)
    }

    /// The time that a task with this lease has between TERM and KILL, at most.
    pub(crate) fn grace(lease: Duration, usual: Duration) -> Duration {
        usual.min(lease / 4)
    }

    /// The length of a task's lease.
    pub(crate) fn lease(&self, id: &TaskId) -> Option<Duration> {
        self.claims.get(id).map(|claim| claim.lease)
    }

    /// All guards that are needed now.
    pub(crate) fn guards(&self) -> BTreeSet<NodeId> {
        self.claims.values().flat_map(|claim| claim.sets.iter().flat_map(|set| set.members.iter().copied())).collect()
    }

    /// Whether there is anything to do at all.
    pub(crate) fn is_idle(&self) -> bool {
        self.claims.is_empty()
    }

    /// How a claim stands, counting what is granted for longer than until `at`.
    pub(crate) fn progress(&self, id: &TaskId, at: Mono) -> Option<Progress> {
        let claim = self.claims.get(id)?;
        let granted_by = |set: &GuardSet| {
            set.members.iter().filter(|guard| claim.granted.get(guard).is_some_and(|until| *until > at)).count()
        };
        let sets = claim.sets.iter().map(|set| (granted_by(set), set));
        let (granted, set) = sets.max_by_key(|(granted, set)| set.majority().saturating_sub(*granted))?;
        Some(Progress {
            guards: set.members.len(),
            granted,
            needed: set.majority(),
            young: claim.refused.values().filter(|verdict| **verdict == Verdict::Young).count(),
            held_by: claim.refused.values().find_map(|verdict| match verdict {
                Verdict::Held(node) => Some(*node),
                _ => None,
            }),
        })
    }

    /// When there is something to do: an ask, or the stop of a task whose lease runs out.
    pub(crate) fn deadline(&self, usual_grace: Duration) -> Option<Mono> {
        let of = |claim: &Claim| {
            let stop =
                (claim.running && !claim.stopping).then(|| claim.stop_at(Holder::grace(claim.lease, usual_grace)));
            stop.map_or(claim.next, |stop| stop.min(claim.next))
        };
        self.claims.values().map(of).min()
    }
}
