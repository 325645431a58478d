//! When to try to leave a relay for a direct connection.
//!
//! Of two peers the one with the smaller id tries, with growing patience, since most that fail once fail
//! always: a symmetric NAT does not change. A network that changes is another matter: then both try at
//! once. Each attempt changes the roles of the two: with a NAT that maps each destination anew, only
//! its own side can play the one that dials.

use holm_types::Mono;
use libp2p::PeerId;
use std::{collections::BTreeMap, time::Duration};

/// Waits between attempts. The second comes when the first has timed out.
const WAITS: [Duration; 5] = [
    Duration::from_secs(12),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(900),
    Duration::from_secs(1800),
];
/// While own candidates are not known yet: this often, this many times.
const POSTPONE: Duration = Duration::from_millis(250);
const MAX_POSTPONED: u32 = 40;

#[derive(Debug)]
struct Plan {
    tries: u32,
    postponed: u32,
    /// None: the peer's turn.
    next: Option<Mono>,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Schedule {
    me: PeerId,
    plans: BTreeMap<PeerId, Plan>,
}

impl Schedule {
    pub(crate) fn new(me: PeerId) -> Schedule {
        Schedule { me, plans: BTreeMap::new() }
    }

    /// All connections with the peer are relayed.
    pub(crate) fn relayed(&mut self, peer: PeerId, now: Mono) {
        let next = (self.me < peer).then_some(now);
        self.plans.entry(peer).or_insert(Plan { tries: 0, postponed: 0, next });
    }

    /// There is a direct connection, or none at all.
    pub(crate) fn settled(&mut self, peer: &PeerId) {
        self.plans.remove(peer);
    }

    /// The network changed: what failed may work now.
    pub(crate) fn nudge(&mut self, now: Mono) {
        for plan in self.plans.values_mut() {
            *plan = Plan { tries: 0, postponed: 0, next: Some(now) };
        }
    }

    /// Whom to meet half-way now, and whether with changed roles.
    pub(crate) fn due(&mut self, now: Mono, ready: bool) -> Vec<(PeerId, bool)> {
        let me = self.me;
        let mut due = Vec::new();
        for (peer, plan) in &mut self.plans {
            if plan.next.is_none_or(|next| next > now) {
                continue;
            }
            if !ready && plan.postponed < MAX_POSTPONED {
                plan.postponed += 1;
                plan.next = Some(now.after(POSTPONE));
                continue;
            }
            due.push((*peer, plan.tries % 2 == 1));
            let wait = WAITS.get(plan.tries as usize).unwrap_or(&WAITS[WAITS.len() - 1]);
            plan.tries = plan.tries.saturating_add(1);
            plan.next = (me < *peer).then(|| now.after(*wait));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Mono {
        Mono(Duration::from_secs(s))
    }

    fn pair() -> (PeerId, PeerId) {
        let (a, b) = (PeerId::random(), PeerId::random());
        if a < b { (a, b) } else { (b, a) }
    }

    #[test]
    fn the_smaller_id_tries_at_once_then_less_and_less_with_changing_roles() {
        let (small, large) = pair();
        let mut schedule = Schedule::new(small);
        schedule.relayed(large, at(0));
        let mut tries = Vec::new();
        for s in 0..1400 {
            tries.extend(schedule.due(at(s), true).into_iter().map(|(_, swapped)| (s, swapped)));
        }
        assert_eq!(tries, [(0, false), (12, true), (72, false), (372, true), (1272, false)]);
        schedule.settled(&large);
        assert!(schedule.due(at(99_999), true).is_empty());
    }

    #[test]
    fn the_larger_id_waits_until_the_network_changes() {
        let (small, large) = pair();
        let mut schedule = Schedule::new(large);
        schedule.relayed(small, at(0));
        assert!(schedule.due(at(99), true).is_empty());
        schedule.nudge(at(100));
        assert_eq!(schedule.due(at(100), true), [(small, false)]);
        assert!(schedule.due(at(9999), true).is_empty(), "once");
    }

    #[test]
    fn an_attempt_waits_for_candidates_but_not_for_ever() {
        let (small, large) = pair();
        let mut schedule = Schedule::new(small);
        schedule.relayed(large, at(0));
        assert!(schedule.due(at(0), false).is_empty());
        assert_eq!(schedule.due(at(1), true).len(), 1);
        let mut schedule = Schedule::new(small);
        schedule.relayed(large, at(0));
        assert!((0..60).any(|s| !schedule.due(at(s), false).is_empty()));
    }
}
