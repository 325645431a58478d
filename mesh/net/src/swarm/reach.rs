//! Reachability in the swarm's task: feeds `reach` with what happens, carries out what it decides.

mod act;
mod look;

use super::Task;
use crate::{
    NetEvent,
    address::{self, MAX_ADDRESSES},
    api::ReachConfig,
    counters::Count,
    meet::{Met, OwnCard},
    peers::Way,
    reach::{Book, Carrier, Relays, Schedule, Seen, carrier, is_near, socket},
};
use holm_types::{Mono, api::Reach};
use libp2p::{
    Multiaddr, PeerId,
    core::{
        ConnectedPoint,
        transport::{ListenerId, PortUse},
    },
    identify, identity,
    multiaddr::Protocol,
    relay,
    swarm::ConnectionId,
    upnp,
};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::oneshot;

/// Wait before a relay is dialled again over the transport that did not work: doubled each time, up to the second.
const SECOND_DELAY: Duration = Duration::from_secs(60);
const SECOND_LONGEST: Duration = Duration::from_secs(1800);

/// What is known of a connection's end.
#[derive(Debug, Clone, Copy)]
struct End {
    remote: Option<IpAddr>,
    own_port: bool,
    near: bool,
}

/// Attempts to reach a relay over the other transport.
#[derive(Debug, Default)]
struct Second {
    addresses: Vec<Multiaddr>,
    failures: u32,
    next: Mono,
    dialling: Option<(ConnectionId, Carrier)>,
}

/// The state.
pub(super) struct Reaching {
    enabled: bool,
    may_relay: bool,
    reserve: bool,
    book: Book,
    relays: Relays,
    schedule: Schedule,
    card: OwnCard,
    ends: BTreeMap<ConnectionId, End>,
    announced: Option<Vec<String>>,
    /// Whether anybody can dial this node, and over which transports it can be met half-way.
    strength: [bool; 3],
    /// What the swarm was told of, and identify tells.
    external: Vec<Multiaddr>,
    /// When the network changed.
    changed: Option<Mono>,
    relaying: bool,
    circuits: u32,
    /// Dials for peers that asked for a test.
    tests: BTreeMap<ConnectionId, oneshot::Sender<bool>>,
    served: BTreeMap<PeerId, Mono>,
    /// When the next own test may begin: when the last one has an answer, or gets none any more.
    next_test: Mono,
    asked: usize,
    seconds: BTreeMap<PeerId, Second>,
    udp_failed: bool,
    upnp: &'static str,
    shared: Arc<Mutex<Reach>>,
    looked_at: Mono,
}

impl Reaching {
    pub(super) fn new(config: &ReachConfig, key: &identity::Keypair, card: OwnCard, shared: Arc<Mutex<Reach>>) -> Self {
        let me = key.public().to_peer_id();
        // What is no address was refused when the configuration was read.
        let advertised = config.advertise.iter().filter_map(|text| text.parse().ok()).map(address::bare).collect();
        Reaching {
            enabled: config.enabled,
            may_relay: config.relay,
            reserve: config.reserve,
            book: Book::new(advertised),
            relays: Relays::new(me),
            schedule: Schedule::new(me),
            card,
            ends: BTreeMap::new(),
            announced: None,
            strength: [false; 3],
            external: Vec::new(),
            changed: None,
            relaying: false,
            circuits: 0,
            tests: BTreeMap::new(),
            served: BTreeMap::new(),
            next_test: Mono::default(),
            asked: 0,
            seconds: BTreeMap::new(),
            udp_failed: false,
            upnp: if config.upnp { "no answer yet" } else { "off" },
            shared,
            looked_at: Mono::default(),
        }
    }

    fn end_of(&self, endpoint: &ConnectedPoint) -> End {
        let remote = socket(&address::bare(endpoint.get_remote_address().clone())).map(|(ip, ..)| ip);
        let own = self.book.own_ips();
        let near = remote.is_some_and(|ip| own.iter().any(|own| *own == ip || is_near(*own, ip)));
        let own_port = match endpoint {
            ConnectedPoint::Dialer { port_use, .. } => *port_use == PortUse::Reuse,
            ConnectedPoint::Listener { .. } => true,
        };
        End { remote, own_port, near }
    }
}

impl Task {
    /// An own listener has an address, or a relay forwards to this node.
    pub(super) fn reach_listening(&mut self, listener: ListenerId, address: &Multiaddr) {
        let bare = address::bare(address.clone());
        if address::relayed(&bare) {
            let circuits = bare.iter().filter(|part| *part == Protocol::P2pCircuit).count();
            self.reaching.relays.held(listener);
            if circuits == 1 {
                self.reaching.book.circuit(bare);
            }
        } else if self.reaching.book.listen(bare) {
            self.network_changed();
        }
        self.refresh_reach();
    }

    /// An interface went away.
    pub(super) fn reach_not_listening(&mut self, address: &Multiaddr) {
        if self.reaching.book.unlisten(&address::bare(address.clone())) {
            self.network_changed();
            self.refresh_reach();
        }
    }

    /// A listener closed; true when it was a reservation, which is made anew.
    pub(super) fn reach_listener_closed(&mut self, listener: ListenerId, addresses: &[Multiaddr]) -> bool {
        let now = self.now();
        for address in addresses {
            let bare = address::bare(address.clone());
            self.reaching.book.no_circuit(&bare);
            self.reaching.book.unlisten(&bare);
        }
        let circuit = self.reaching.relays.closed(listener, now);
        if circuit {
            self.counters.bump(Count::ReservationLost);
        }
        self.reserve();
        self.refresh_reach();
        circuit
    }

    /// A connection stands. True when it was only a test for the peer, and is closed again.
    pub(super) fn reach_up(&mut self, id: ConnectionId, endpoint: &ConnectedPoint) -> bool {
        if let Some(reached) = self.reaching.tests.remove(&id) {
            // Who asked may be gone.
            let _ = reached.send(true);
            self.swarm.close_connection(id);
            return true;
        }
        let mut seconds = self.reaching.seconds.values_mut();
        if let Some(second) = seconds.find(|second| second.dialling.is_some_and(|(dialled, _)| dialled == id)) {
            (second.dialling, second.failures) = (None, 0);
        }
        if !endpoint.is_relayed() {
            let end = self.reaching.end_of(endpoint);
            self.reaching.ends.insert(id, end);
        }
        false
    }

    /// A connection is gone.
    pub(super) fn reach_down(&mut self, peer: &PeerId, id: ConnectionId) {
        self.reaching.ends.remove(&id);
        let forgot = self.reaching.book.forget(id);
        let (quic, tcp) = self.peers.carriers(peer);
        if !quic && !tcp {
            self.reaching.relays.withdrawn(peer);
            self.reaching.seconds.remove(peer);
            self.reaching.served.remove(peer);
        }
        if forgot {
            self.refresh_reach();
        }
    }

    /// The way to a peer may have changed from what it was.
    pub(super) fn reach_path(&mut self, peer: PeerId, was: Option<&Way>) {
        let way = self.peers.way(&peer);
        let (relayed, was_relayed) = (way.as_ref().map(|way| way.relayed), was.map(|was| was.relayed));
        let now = self.now();
        match relayed {
            Some(true) if relayed != was_relayed => {
                self.reaching.schedule.relayed(peer, now);
                self.meet();
            }
            _ if relayed != was_relayed => self.reaching.schedule.settled(&peer),
            _ => {}
        }
        let Some((was, way)) = was.zip(way).filter(|(was, way)| was.id != way.id) else { return };
        if was.relayed && !way.relayed {
            self.counters.bump(Count::BecameDirect);
        }
        tracing::debug!(%peer, address = way.address, relayed = way.relayed, "the way to a peer has changed");
        let event = NetEvent::PathChanged { node: way.node, address: way.address, relayed: way.relayed };
        self.outlet.fact(event, None);
    }

    /// A dial came to nothing; true when it was one of this module's own.
    pub(super) fn reach_dial_failed(&mut self, id: ConnectionId) -> bool {
        if let Some(reached) = self.reaching.tests.remove(&id) {
            let _ = reached.send(false);
            return true;
        }
        let now = self.now();
        let mut seconds = self.reaching.seconds.values_mut();
        let Some(second) = seconds.find(|second| second.dialling.is_some_and(|(dialled, _)| dialled == id)) else {
            return false;
        };
        let failed = second.dialling.take();
        second.next = now.after((SECOND_DELAY * 2u32.pow(second.failures.min(5))).min(SECOND_LONGEST));
        second.failures = second.failures.saturating_add(1);
        self.reaching.udp_failed |= failed.is_some_and(|(_, carrier)| carrier == Carrier::Quic);
        true
    }

    /// A peer says what it is, and how it sees this node.
    pub(super) fn reach_identified(&mut self, peer: PeerId, connection: ConnectionId, info: &identify::Info) {
        if !self.reaching.enabled {
            return;
        }
        let Some(end) = self.reaching.ends.get(&connection).copied() else { return };
        let address = address::bare(info.observed_addr.clone());
        if socket(&address).is_some() {
            let seen = Seen { peer, address, own_port: end.own_port, near: end.near };
            if self.reaching.book.observe(connection, seen) {
                tracing::info!("this node has another public address than before");
                self.network_changed();
            }
        }
        self.note_relay(peer, info);
        self.refresh_reach();
        self.reserve();
        self.meet();
    }

    fn note_relay(&mut self, peer: PeerId, info: &identify::Info) {
        let forwards = info.protocols.contains(&relay::HOP_PROTOCOL_NAME);
        let told = info.listen_addrs.iter().map(|address| address::bare(address.clone()));
        let direct: Vec<Multiaddr> = told
            .filter(|address| !address::relayed(address) && carrier(address).is_some())
            .take(MAX_ADDRESSES)
            .collect();
        match direct.first().cloned() {
            Some(address) if forwards => {
                let now = self.now();
                self.reaching.relays.offered(peer, address, now);
                self.reaching.seconds.entry(peer).or_default().addresses = direct;
            }
            _ => self.reaching.relays.withdrawn(&peer),
        }
    }

    pub(super) fn handle_relay_client(&mut self, event: &relay::client::Event) {
        if let relay::client::Event::ReservationReqAccepted { relay_peer_id, renewal: false, .. } = event {
            tracing::info!(relay = %relay_peer_id, "a relay forwards to this node");
            self.counters.bump(Count::Reserved);
        }
    }

    pub(super) fn handle_relay(&mut self, event: &relay::Event) {
        match event {
            relay::Event::CircuitReqAccepted { .. } => {
                self.reaching.circuits = self.reaching.circuits.saturating_add(1);
                self.counters.bump(Count::CircuitsOpened);
            }
            relay::Event::CircuitClosed { .. } => self.reaching.circuits = self.reaching.circuits.saturating_sub(1),
            relay::Event::ReservationReqDenied { .. } | relay::Event::CircuitReqDenied { .. } => {
                self.counters.bump(Count::RelayRefused);
            }
            _ => {}
        }
    }

    pub(super) fn handle_upnp(&mut self, event: upnp::Event) {
        match event {
            upnp::Event::NewExternalAddr { external_addr, .. } => {
                self.reaching.upnp = "the router has mapped a port";
                self.reaching.book.map(address::bare(external_addr));
            }
            upnp::Event::ExpiredExternalAddr { external_addr, .. } => {
                self.reaching.book.unmap(&address::bare(external_addr));
            }
            upnp::Event::GatewayNotFound => self.reaching.upnp = "no router answers",
            upnp::Event::NonRoutableGateway => self.reaching.upnp = "the router itself is behind a NAT",
        }
        self.refresh_reach();
    }

    pub(super) fn handle_met(&mut self, met: Met) {
        if !self.reaching.enabled {
            return;
        }
        match met {
            Met::Go { peer, card, listens } => self.dial_half_way(peer, card, listens),
            Met::TestAsked { peer, connection, address, reached } => {
                if !self.serve_test(peer, connection, address, reached) {
                    self.counters.bump(Count::TestsRefused);
                }
            }
            Met::Tested { address, reached } => {
                let now = self.now();
                tracing::debug!(%address, reached, "a peer has tested an address of this node");
                self.reaching.book.judge(address, reached, now);
                self.reaching.next_test = now;
                self.refresh_reach();
            }
            Met::Failed { peer, why } => {
                tracing::debug!(%peer, why, "no use of a peer for reachability");
                self.counters.bump(Count::MeetFailed);
            }
        }
    }

    /// What failed before may work now.
    fn network_changed(&mut self) {
        let now = self.now();
        self.reaching.changed = Some(now);
        self.swarm.behaviour_mut().pulse.ask_all();
        self.reaching.book.doubt();
        self.reaching.schedule.nudge(now);
        self.reaching.seconds.values_mut().for_each(|second| (second.failures, second.next) = (0, now));
        self.reaching.udp_failed = false;
        self.reaching.next_test = now;
    }
}
