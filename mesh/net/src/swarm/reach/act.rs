//! What is done to be reached, and to reach others without a relay.

use super::{Carrier, SECOND_DELAY, Task, carrier};
use crate::{
    address,
    counters::Count,
    meet::Card,
    reach::{dialable, socket},
};
use libp2p::{
    Multiaddr, PeerId,
    multiaddr::Protocol,
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use std::time::Duration;
use tokio::sync::oneshot;

/// An own test of an address that has no answer by then has none.
const TEST_TIMEOUT: Duration = Duration::from_secs(25);
/// Tests served at once, and how often to one peer.
const MAX_TESTS: usize = 32;
const TEST_AGAIN: Duration = Duration::from_secs(2);
/// Relays that are asked how they see this node over its other transport, where none forwards to it.
const OBSERVERS: usize = 2;
/// For so long after a change of the network every connection has to answer soon.
const SUSPICIOUS: Duration = Duration::from_secs(60);

impl Task {
    /// Does what is due.
    pub(in crate::swarm) fn reach_tick(&mut self) {
        if !self.reaching.enabled {
            return;
        }
        self.reserve();
        self.dial_seconds();
        self.ask_for_test();
        self.meet();
        self.refresh_reach();
        self.show_reach();
    }

    fn needs_relay(&self) -> bool {
        self.reaching.reserve || self.reaching.book.needs_relay(self.now())
    }

    /// Asks relays to forward, where that is needed.
    pub(super) fn reserve(&mut self) {
        let now = self.now();
        if !self.reaching.enabled || !self.needs_relay() {
            return;
        }
        for (peer, address) in self.reaching.relays.due(now) {
            let through = address.with(Protocol::P2p(peer)).with(Protocol::P2pCircuit);
            match self.swarm.listen_on(through) {
                Ok(listener) => self.reaching.relays.asked(&peer, listener),
                Err(error) => {
                    tracing::debug!(relay = %peer, %error, "the relay cannot be asked");
                    self.reaching.relays.failed(&peer, now);
                }
            }
        }
    }

    /// A relay sees this node's address only for the transport that it is connected over; each
    /// transport can be met half-way only at the address of its own.
    fn dial_seconds(&mut self) {
        let now = self.now();
        // Whoever can be dialled over one transport needs no relay, and still wants to be found over the other: a peer
        // whose network lets no UDP through knows nothing else.
        if !self.needs_relay() && !self.reaching.book.is_behind_nat() {
            return;
        }
        let mut observers: Vec<PeerId> = self.reaching.relays.holding().map(|(peer, _)| *peer).collect();
        if observers.is_empty() {
            observers.extend(self.reaching.seconds.keys().take(OBSERVERS));
        }
        for peer in observers {
            let missing = match self.peers.carriers(&peer) {
                (true, false) => Carrier::Tcp,
                (false, true) => Carrier::Quic,
                _ => continue,
            };
            let Some(second) = self.reaching.seconds.get_mut(&peer) else { continue };
            let addresses: Vec<Multiaddr> =
                second.addresses.iter().filter(|address| carrier(address) == Some(missing)).cloned().collect();
            if second.next > now || second.dialling.is_some() || addresses.is_empty() {
                continue;
            }
            // Where it works out nothing needs to be done again, until that connection is lost.
            second.next = now.after(SECOND_DELAY);
            let options = DialOpts::peer_id(peer).addresses(addresses).condition(PeerCondition::Always).build();
            second.dialling = Some((options.connection_id(), missing));
            let id = options.connection_id();
            if self.swarm.dial(options).is_err() {
                self.reach_dial_failed(id);
            }
        }
    }

    /// Has one own address tested at a time, by peers in turn.
    fn ask_for_test(&mut self) {
        let now = self.now();
        if self.reaching.next_test > now {
            return;
        }
        let untested = self.reaching.book.untested(now);
        let turn = self.reaching.asked;
        let Some((address, servers)) = untested.get(turn % untested.len().max(1)) else { return };
        let Some((peer, connection)) = servers.get(turn % servers.len().max(1)) else { return };
        self.reaching.asked = turn.wrapping_add(1);
        self.reaching.next_test = now.after(TEST_TIMEOUT);
        self.swarm.behaviour_mut().paths.meet.test(*peer, *connection, address.clone());
    }

    /// Dials a peer that asks for it, at an address on the host that it is connected from and no other.
    pub(super) fn serve_test(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        address: Multiaddr,
        reached: oneshot::Sender<bool>,
    ) -> bool {
        let now = self.now();
        let address = address::bare(address);
        let from = self.reaching.ends.get(&connection).and_then(|end| end.remote);
        let its_own = from.is_some() && socket(&address).map(|(ip, ..)| ip) == from && dialable(&address);
        let too_soon = self.reaching.served.get(&peer).is_some_and(|last| now.since(*last) < TEST_AGAIN);
        if !its_own || too_soon || self.reaching.tests.len() >= MAX_TESTS {
            return false;
        }
        self.reaching.served.insert(peer, now);
        // From another port: where only who was spoken to gets in, this one does not.
        let options = DialOpts::peer_id(peer)
            .addresses(vec![address])
            .condition(PeerCondition::Always)
            .allocate_new_port()
            .build();
        let id = options.connection_id();
        self.reaching.tests.insert(id, reached);
        self.counters.bump(Count::TestsServed);
        if self.swarm.dial(options).is_err() {
            self.reach_dial_failed(id);
        }
        true
    }

    /// Calls the relayed peers whose turn it is.
    pub(super) fn meet(&mut self) {
        let now = self.now();
        let card = self.reaching.card.get();
        let ready = !(card.open.is_empty() && card.half_way.is_empty());
        for (peer, swapped) in self.reaching.schedule.due(now, ready) {
            if self.swarm.behaviour_mut().paths.meet.call(peer, swapped) {
                self.counters.bump(Count::MeetTried);
            }
        }
    }

    /// The moment has come: the peer does the same now.
    pub(super) fn dial_half_way(&mut self, peer: PeerId, card: Card, listens: bool) {
        // The peer has none but relayed connections; what this side takes for a direct one may be dead.
        tracing::debug!(%peer, ?card, listens, "meeting a peer half-way");
        let plain: Vec<Multiaddr> = card.open.into_iter().chain(card.near).collect();
        self.dial_beside(peer, plain);
        if !card.half_way.is_empty() {
            let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(card.half_way);
            self.dial_quietly(if listens { options.override_role().build() } else { options.build() });
        }
    }

    /// Dials a peer that is reached over a relay, at addresses that anybody could dial. From another port than the
    /// one that opens the NAT: else the two kinds of dials collide.
    pub(in crate::swarm) fn dial_beside(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        if !addresses.is_empty() {
            let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses);
            self.dial_quietly(options.allocate_new_port().build());
        }
    }

    fn dial_quietly(&mut self, options: DialOpts) {
        if let Err(error) = self.swarm.dial(options) {
            tracing::debug!(%error, "cannot dial");
        }
    }

    /// Whether connections with a peer may be given up at their first silence: this node is reached through it, or has moved to
    /// another public address.
    pub(in crate::swarm) fn is_doubtful(&self, peer: &PeerId) -> bool {
        let now = self.now();
        let moved = self.reaching.changed.is_some_and(|changed| now.since(changed) < SUSPICIOUS);
        moved || self.reaching.relays.holds(peer)
    }

    /// Closes relayed connections whose peers have a direct one, and keeps an eye on the relays.
    pub(in crate::swarm) fn leave_relays(&mut self) {
        let now = self.now();
        let relays = self.reaching.relays.in_use();
        self.swarm.behaviour_mut().pulse.watch(relays);
        let at_last = self.peers.superfluous(now, self.limits.moved_at_last);
        for id in self.peers.superfluous(now, self.limits.moved_grace) {
            let busy = self.swarm.behaviour().streams.uses(id) && !at_last.contains(&id);
            if !busy && self.swarm.close_connection(id) {
                self.counters.bump(Count::MovedToDirect);
            }
        }
    }
}
