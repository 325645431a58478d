//! Connections and frames, as `mesh/net` and libp2p make them: a stream keeps its order and waits for a cut link until a ping
//! finds it dead.

use super::{
    engine::Engine,
    event::{Event, HostIndex},
    host::End,
    links::PING_PATIENCE,
    nat::{Way, way},
    queue::At,
};
use holm_mesh_core::beat::Beat;
use holm_node_core::Input;
use holm_types::{NodeId, distrust::Distrust};
use std::{collections::VecDeque, sync::Arc};

/// Frames that wait for one peer, at most (`mesh/net`'s `outbox_frames`).
const HELD_MAX: usize = 256;

impl Engine {
    /// A host dials another: what comes of it is known after a round trip and a half.
    pub(super) fn dial(&mut self, from: HostIndex, peer: &NodeId) {
        let Some(to) = self.index_of(peer) else { return };
        let trip = self.links.delay(from, to, self.now, 1) * 3;
        let life = self.hosts[from].life;
        self.push(self.now + trip, Event::Dialled { from, life, to });
    }

    pub(super) fn dialled(&mut self, from: HostIndex, to: HostIndex) {
        let both = self.hosts[from].answers() && self.hosts[to].answers();
        if !both || !self.links.open_both_ways(from, to) {
            return self.record.count("dials_failed", 1);
        }
        if self.refuses(from, to) || self.refuses(to, from) {
            return self.record.count("dials_refused", 1);
        }
        let relay = match self.route(from, to) {
            Some(relay) => relay,
            None => return self.record.count("dials_unroutable", 1),
        };
        self.next_connection += 1;
        let no = self.next_connection;
        let lives = (self.hosts[from].life, self.hosts[to].life);
        if self.is_in_use(from, to, lives) {
            return self.record.count("dials_crossed", 1);
        }
        self.attach(from, to, no, lives.1, relay);
        self.attach(to, from, no, lives.0, relay);
    }

    /// Whether there is a connection between two that works: a second one beside it changes nothing.
    fn is_in_use(&self, a: HostIndex, b: HostIndex, lives: (u32, u32)) -> bool {
        let ends = self.hosts[a].ends.get(&b).zip(self.hosts[b].ends.get(&a));
        ends.is_some_and(|(to_b, to_a)| {
            to_b.no == to_a.no && (to_a.peer_life, to_b.peer_life) == lives && self.carries(a, b, to_b.relay)
        })
    }

    /// Whether the gate of a host lets another one in no more.
    fn refuses(&self, host: HostIndex, peer: HostIndex) -> bool {
        self.hosts[host].distrust.voids(&self.hosts[peer].config.chain)
    }

    /// A host trusts some no more: it closes its connections with them.
    pub(super) fn distrust(&mut self, host: HostIndex, distrust: Arc<Distrust>) {
        self.hosts[host].distrust = distrust;
        let peers = self.hosts[host].ends.keys().copied();
        let cut: Vec<HostIndex> = peers.filter(|peer| self.refuses(host, *peer)).collect();
        cut.into_iter().for_each(|peer| self.detach(host, peer, true));
    }

    /// The way to another host: direct (`Some(None)`), over a relay, or none.
    fn route(&self, from: HostIndex, to: HostIndex) -> Option<Option<HostIndex>> {
        if self.links.same_site(from, to) {
            return Some(None);
        }
        match way(self.hosts[from].plan.nat, self.hosts[to].plan.nat) {
            Way::Direct => Some(None),
            Way::Punched => self.relay_of(from, to).map(|_| None),
            Way::Relayed => self.relay_of(from, to).map(Some),
        }
    }

    fn relay_of(&self, a: HostIndex, b: HostIndex) -> Option<HostIndex> {
        let serves = |relay: &HostIndex| {
            let host = &self.hosts[*relay];
            *relay != a && *relay != b && host.relays() && host.answers() && host.ends.contains_key(&a)
        };
        self.hosts[b].ends.keys().copied().find(serves)
    }

    /// Whether the bytes of a connection get through both ways now.
    pub(super) fn carries(&self, a: HostIndex, b: HostIndex, relay: Option<HostIndex>) -> bool {
        self.links.open_both_ways(a, b)
            && relay.is_none_or(|r| {
                let host = &self.hosts[r];
                host.relays() && host.answers() && self.links.open_both_ways(a, r) && self.links.open_both_ways(b, r)
            })
    }

    /// One end of a new connection. The agent hears of it as `mesh/net` tells it: of the first
    /// connection to a peer; of another only if it leads to a later life of the peer (then the old
    /// ones are closed first).
    fn attach(&mut self, host: HostIndex, peer: HostIndex, no: u64, peer_life: u32, relay: Option<HostIndex>) {
        let end = End { no, peer_life, relay, last_arrival: self.now, held: VecDeque::new(), mute_since: None };
        let old = self.hosts[host].ends.insert(peer, end);
        self.hosts[peer].ends_here.insert(host);
        self.meets(host, peer);
        let node = self.hosts[peer].id;
        let (address, relayed) = (self.address(peer), relay.is_some());
        match old {
            // What was under way on the old one is lost; what waited for the peer goes on.
            Some(old) if old.peer_life == peer_life => {
                self.deliver(host, Input::PathChanged { node, address, relayed });
                return old.held.into_iter().for_each(|bytes| self.send_frame(host, peer, bytes));
            }
            Some(_) => self.deliver(host, Input::PeerDown { node }),
            None => {}
        }
        let chain = self.hosts[peer].config.chain.clone();
        self.note(Some(host), "peer-up", &self.hosts[peer].plan.name.clone());
        self.deliver(host, Input::PeerUp { node, chain, address, relayed });
    }

    /// A host gives a connection up; the other end hears of it, if anything gets there.
    pub(super) fn detach(&mut self, host: HostIndex, peer: HostIndex, tell: bool) {
        let Some(end) = self.hosts[host].ends.remove(&peer) else { return };
        self.hosts[peer].ends_here.remove(&host);
        self.parts(host, peer);
        if tell && self.links.open(host, peer) {
            let at = self.now + self.links.delay(host, peer, self.now, 2);
            self.push(at, Event::Closed { host: peer, peer: host, connection: end.no });
        }
        if self.hosts[host].is_up() {
            let node = self.hosts[peer].id;
            self.note(Some(host), "peer-down", &self.hosts[peer].plan.name.clone());
            self.deliver(host, Input::PeerDown { node });
        }
    }

    pub(super) fn closed(&mut self, host: HostIndex, peer: HostIndex, no: u64) {
        if self.hosts[host].ends.get(&peer).is_some_and(|end| end.no == no) {
            self.detach(host, peer, false);
        }
    }

    /// A host misses another one, and asks on the connection with it.
    pub(super) fn check(&mut self, host: HostIndex, peer: &NodeId) {
        let Some(peer) = self.index_of(peer) else { return };
        if let Some(connection) = self.hosts[host].ends.get(&peer).map(|end| end.no) {
            self.push(self.now + PING_PATIENCE, Event::Probe { host, peer, connection });
        }
    }

    /// A host's pings went unanswered for long enough, or not.
    pub(super) fn probe(&mut self, host: HostIndex, peer: HostIndex, no: u64) {
        let Some(end) = self.hosts[host].ends.get(&peer).filter(|end| end.no == no) else { return };
        let other = self.hosts[peer].ends.get(&host).is_some_and(|other| other.no == no);
        let alive = other && self.hosts[peer].answers() && self.carries(host, peer, end.relay);
        let relayed = end.relay.is_some();
        let silent = end.mute_since.is_some_and(|since| self.now - since >= 5_000_000);
        if !other || (!alive && silent) {
            self.detach(host, peer, true);
        } else if !alive {
            let at = self.now + self.links.ping_timeout(host, peer, relayed, self.now);
            self.push(at, Event::Probe { host, peer, connection: no });
        }
    }

    /// Something about links or hosts has changed: connections that nothing comes through any more
    /// will be found dead, and what waited for the others goes on.
    pub(crate) fn look_at_connections(&mut self) {
        for host in 0..self.hosts.len() {
            let peers: Vec<HostIndex> = self.hosts[host].ends.keys().copied().collect();
            for peer in peers {
                self.look_at(host, peer);
            }
        }
    }

    fn look_at(&mut self, host: HostIndex, peer: HostIndex) {
        let Some(end) = self.hosts[host].ends.get(&peer) else { return };
        let (no, relay, muted) = (end.no, end.relay, end.mute_since.is_some());
        let other = self.hosts[peer].ends.get(&host).is_some_and(|other| other.no == no);
        let alive = other && self.hosts[peer].answers() && self.carries(host, peer, relay);
        let now = self.now;
        if !alive && !muted {
            if let Some(end) = self.hosts[host].ends.get_mut(&peer) {
                end.mute_since = Some(now);
            }
            let at = now + self.links.ping_timeout(host, peer, relay.is_some(), now);
            self.push(at, Event::Probe { host, peer, connection: no });
        }
        if alive && muted {
            let held = self.hosts[host].ends.get_mut(&peer).map(|end| {
                end.mute_since = None;
                std::mem::take(&mut end.held)
            });
            for bytes in held.into_iter().flatten() {
                self.send_frame(host, peer, bytes);
            }
        }
    }

    /// Sends a frame to a connected peer.
    pub(super) fn send(&mut self, from: HostIndex, peer: &NodeId, bytes: Vec<u8>) {
        if let Some(to) = self.index_of(peer) {
            self.send_frame(from, to, bytes.into());
        }
    }

    pub(super) fn send_frame(&mut self, from: HostIndex, to: HostIndex, bytes: Arc<[u8]>) {
        let Some((no, relay)) = self.hosts[from].ends.get(&to).map(|end| (end.no, end.relay)) else {
            return self.record.count("frames_unroutable", 1);
        };
        if !self.carries(from, to, relay) {
            let Some(end) = self.hosts[from].ends.get_mut(&to) else { return };
            if end.held.len() < HELD_MAX {
                end.held.push_back(bytes);
            } else {
                self.record.count("frames_dropped", 1);
            }
            return;
        }
        self.hosts[from].sent += 1;
        self.record.message(1, bytes.len() as u64, !Beat::is_marked(&bytes));
        let hop = |engine: &mut Engine, a, b| engine.travel(a, b, bytes.len(), engine.now, 3);
        let mut arrives = match relay {
            Some(relay) => hop(self, from, relay) + self.links.delay(relay, to, self.now, 3),
            None => hop(self, from, to),
        };
        if let Some(end) = self.hosts[to].ends.get_mut(&from) {
            arrives = arrives.max(end.last_arrival + 1);
            end.last_arrival = arrives;
        }
        self.push(arrives, Event::Frame { to, from, connection: no, bytes });
    }

    /// When bytes that leave at `at` arrive, after those that left the host's uplink before them.
    pub(super) fn travel(&mut self, from: HostIndex, to: HostIndex, bytes: usize, at: At, salt: u64) -> At {
        let mut waits = 0;
        if !self.links.same_site(from, to) {
            let now = self.now;
            let host = &mut self.hosts[from];
            // An envelope of about 100 bytes goes round every message.
            let takes = (bytes as u64 + 100) * 8_000 / host.plan.kbps.max(1);
            // What waits is counted from now, though the message may come by a little later: hosts that
            // pass messages on to each other would push each other's queues into the future without end.
            host.uplink_free = host.uplink_free.max(now) + takes;
            waits = host.uplink_free - now;
        }
        at + waits + self.links.delay(from, to, at, salt)
    }

    pub(super) fn frame(&mut self, to: HostIndex, from: HostIndex, no: u64, bytes: &Arc<[u8]>) {
        if self.hosts[to].ends.get(&from).is_some_and(|end| end.no == no) {
            self.judges.heard(self.now, to, from);
            let input = Input::Frame { from: self.hosts[from].id, bytes: bytes.to_vec() };
            self.deliver(to, input);
        } else {
            self.record.count("frames_lost", 1);
        }
    }
}
