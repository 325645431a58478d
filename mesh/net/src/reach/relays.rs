//! Which members forward, and with which of them to keep a reservation.
//!
//! libp2p renews a reservation while its connection stands; nothing makes a new one after a loss. That
//! is done here: of the members that offer to forward, those of highest weight for this node (so that
//! nodes spread over the relays) are asked until enough have agreed, each again after a back-off.

use holm_types::Mono;
use libp2p::{Multiaddr, PeerId, core::transport::ListenerId};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Reservations to keep.
const WANTED: usize = 2;
/// Relays remembered.
const MAX_RELAYS: usize = 64;
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// Asked; the listener closes if it refuses.
    Asked(ListenerId),
    Held(ListenerId),
}

#[derive(Debug)]
struct Relay {
    address: Multiaddr,
    /// It still offers. One that does not is kept until its listener has closed.
    offers: bool,
    state: State,
    failures: u32,
    next: Mono,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Relays {
    me: PeerId,
    relays: BTreeMap<PeerId, Relay>,
    /// Listeners on relays that have not closed yet, those of relays that are gone included.
    listeners: Vec<ListenerId>,
}

impl Relays {
    pub(crate) fn new(me: PeerId) -> Relays {
        Relays { me, relays: BTreeMap::new(), listeners: Vec::new() }
    }

    /// A directly connected member offers to forward.
    pub(crate) fn offered(&mut self, relay: PeerId, address: Multiaddr, now: Mono) {
        if self.relays.len() >= MAX_RELAYS && !self.relays.contains_key(&relay) {
            return;
        }
        let new = Relay { address: address.clone(), offers: true, state: State::Idle, failures: 0, next: now };
        let known = self.relays.entry(relay).or_insert(new);
        (known.address, known.offers) = (address, true);
    }

    /// It offers no more, or is not connected any more. A listener on it closes by itself.
    pub(crate) fn withdrawn(&mut self, relay: &PeerId) {
        if let Some(known) = self.relays.get_mut(relay) {
            known.offers = false;
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        self.relays.retain(|_, relay| relay.offers || relay.state != State::Idle);
    }

    /// Whom to ask now.
    pub(crate) fn due(&self, now: Mono) -> Vec<(PeerId, Multiaddr)> {
        let busy = self.relays.values().filter(|relay| relay.state != State::Idle).count();
        let mut free: Vec<_> = self
            .relays
            .iter()
            .filter(|(_, relay)| relay.state == State::Idle && relay.next <= now && relay.offers)
            .collect();
        free.sort_by_key(|(peer, relay)| (relay.failures, std::cmp::Reverse(self.weight(peer))));
        let wanted = WANTED.saturating_sub(busy);
        free.into_iter().take(wanted).map(|(peer, relay)| (*peer, relay.address.clone())).collect()
    }

    /// The relay was asked; its answer comes through this listener.
    pub(crate) fn asked(&mut self, relay: &PeerId, listener: ListenerId) {
        self.listeners.push(listener);
        if let Some(relay) = self.relays.get_mut(relay) {
            relay.state = State::Asked(listener);
        }
    }

    /// The relay could not even be asked.
    pub(crate) fn failed(&mut self, relay: &PeerId, now: Mono) {
        if let Some(relay) = self.relays.get_mut(relay) {
            relay.lose(now);
        }
    }

    /// The relay behind this listener has agreed.
    pub(crate) fn held(&mut self, listener: ListenerId) {
        for relay in self.relays.values_mut().filter(|relay| relay.is_at(listener)) {
            relay.state = State::Held(listener);
            relay.failures = 0;
        }
    }

    /// The listener closed: a refusal or a loss. True when it was one of ours.
    pub(crate) fn closed(&mut self, listener: ListenerId, now: Mono) -> bool {
        for relay in self.relays.values_mut().filter(|relay| relay.is_at(listener)) {
            relay.lose(now);
        }
        self.tidy();
        let before = self.listeners.len();
        self.listeners.retain(|known| *known != listener);
        before != self.listeners.len()
    }

    /// Those that forward for this node now.
    pub(crate) fn holding(&self) -> impl Iterator<Item = (&PeerId, &Multiaddr)> {
        let held = |relay: &Relay| matches!(relay.state, State::Held(_));
        self.relays.iter().filter(move |(_, relay)| held(relay)).map(|(peer, relay)| (peer, &relay.address))
    }

    /// Whether a member forwards for this node now.
    pub(crate) fn holds(&self, relay: &PeerId) -> bool {
        self.relays.get(relay).is_some_and(|relay| matches!(relay.state, State::Held(_)))
    }

    /// The members that forward for this node now.
    pub(crate) fn in_use(&self) -> BTreeSet<PeerId> {
        self.relays.keys().copied().filter(|relay| self.holds(relay)).collect()
    }

    /// All that offer.
    pub(crate) fn offering(&self) -> usize {
        self.relays.len()
    }

    /// Rendezvous hashing (FNV-1a): stable, and different for each node.
    fn weight(&self, relay: &PeerId) -> u64 {
        let bytes = self.me.to_bytes().into_iter().chain(relay.to_bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

impl Relay {
    fn is_at(&self, listener: ListenerId) -> bool {
        matches!(self.state, State::Asked(at) | State::Held(at) if at == listener)
    }

    fn lose(&mut self, now: Mono) {
        let delay = FIRST_DELAY * 2u32.pow(self.failures.min(6));
        self.state = State::Idle;
        self.next = now.after(delay.min(LONGEST_DELAY));
        self.failures = self.failures.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Mono {
        Mono(Duration::from_secs(s))
    }

    fn with(n: usize) -> (Relays, Vec<PeerId>) {
        let mut relays = Relays::new(PeerId::random());
        let peers: Vec<PeerId> = (0..n).map(|_| PeerId::random()).collect();
        for peer in &peers {
            relays.offered(*peer, "/ip4/11.0.1.2/tcp/1".parse().unwrap(), at(0));
        }
        (relays, peers)
    }

    #[test]
    fn two_are_asked_and_a_loss_goes_to_a_third() {
        let (mut relays, _) = with(3);
        let asked = relays.due(at(0));
        assert_eq!(asked.len(), 2);
        let listeners = [ListenerId::next(), ListenerId::next()];
        for ((peer, _), listener) in asked.iter().zip(listeners) {
            relays.asked(peer, listener);
            relays.held(listener);
        }
        assert!(relays.due(at(9)).is_empty());
        assert!(relays.closed(listeners[0], at(9)) && !relays.closed(ListenerId::next(), at(9)));
        let next = relays.due(at(9));
        assert_eq!(next.len(), 1);
        assert_ne!(next[0].0, asked[0].0, "not the one that was just lost");
        assert_eq!(relays.holding().count(), 1);
    }

    #[test]
    fn a_relay_that_goes_away_is_forgotten_when_its_listener_closes() {
        let (mut relays, peers) = with(1);
        let listener = ListenerId::next();
        relays.asked(&peers[0], listener);
        relays.held(listener);
        relays.withdrawn(&peers[0]);
        assert!(relays.holds(&peers[0]) && relays.due(at(9)).is_empty(), "never a second listener on one relay");
        assert!(relays.closed(listener, at(9)));
        assert_eq!(relays.offering(), 0);
    }

    #[test]
    fn a_relay_that_refuses_is_asked_less_and_less() {
        let (mut relays, peers) = with(1);
        let mut now = at(0);
        let mut gaps = Vec::new();
        for _ in 0..9 {
            let begin = now;
            while relays.due(now).is_empty() {
                now = now.after(Duration::from_secs(1));
            }
            gaps.push(now.since(begin).as_secs());
            let listener = ListenerId::next();
            relays.asked(&peers[0], listener);
            relays.closed(listener, now);
        }
        assert_eq!(gaps, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn nodes_spread_over_the_relays() {
        let relays: Vec<PeerId> = (0..8).map(|_| PeerId::random()).collect();
        let mut load: BTreeMap<PeerId, usize> = BTreeMap::new();
        for _ in 0..400 {
            let mut node = Relays::new(PeerId::random());
            for relay in &relays {
                node.offered(*relay, "/ip4/11.0.1.2/tcp/1".parse().unwrap(), at(0));
            }
            for (relay, _) in node.due(at(0)) {
                *load.entry(relay).or_default() += 1;
            }
        }
        assert!(load.len() == 8 && load.values().all(|n| (50..160).contains(n)), "{load:?}");
    }
}
