//! What the swarm reports. One small handler for each kind.

use super::Task;
use crate::{
    IncomingStream, NetEvent, address,
    behaviour::{BehaviourEvent, PathsEvent},
    counters::Count,
    gate::GateError,
    gossip::Envelope,
    hello::clip,
    ids,
    peers::Connection,
    pulse::{Answer, Felt},
    reach::{Carrier, carrier},
    streams,
    wire::Arrived,
};
use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, transport::TransportError},
    gossipsub, identify, mdns,
    swarm::{ConnectionId, DialError, SwarmEvent, behaviour::toggle::Toggle},
};
use std::{collections::BTreeMap, error::Error};

/// Nodes that mDNS may remember before it is turned off: it forgets only with time.
const MAX_MDNS_NODES: usize = 1024;

impl Task {
    pub(super) fn handle_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.handle_behaviour(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.handle_up(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                tracing::debug!(peer = %peer_id, ?cause, "a connection closed");
                self.handle_down(peer_id, connection_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error, .. } => {
                self.handle_dial_error(connection_id, peer_id, &error);
            }
            SwarmEvent::IncomingConnectionError { error, send_back_addr, .. } => {
                tracing::debug!(from = %send_back_addr, error = %clip(&error.to_string()), "no connection came of it");
                self.counters.bump(Count::InboundFailed);
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                self.reach_listening(listener_id, &address);
                if let Some(address) = address::text(&address).filter(|_| !address::relayed(&address)) {
                    self.outlet.fact(NetEvent::Listening { address }, None);
                }
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => self.reach_not_listening(&address),
            // Whoever sends rubbish to the port brings this about.
            SwarmEvent::ListenerError { error, .. } => {
                tracing::debug!(%error, "a listener reports an error");
                self.counters.bump(Count::InboundFailed);
            }
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                if self.reach_listener_closed(listener_id, &addresses) {
                    tracing::debug!(?addresses, ?reason, "a relay does not forward to this node any more");
                } else {
                    tracing::error!(?addresses, ?reason, "a listener closed");
                }
            }
            _ => {}
        }
    }

    fn handle_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Wire(frame) => self.handle_frame(frame),
            BehaviourEvent::Streams(arrived) => self.handle_stream(arrived),
            BehaviourEvent::Gossip(event) => self.handle_gossip(event),
            BehaviourEvent::Pulse(felt) => self.handle_pulse(felt),
            BehaviourEvent::Identify(event) => self.handle_identify(event),
            BehaviourEvent::Mdns(event) | BehaviourEvent::Mdns6(event) => match event {
                mdns::Event::Discovered(found) => self.handle_discovered(found),
                mdns::Event::Expired(_) => {}
            },
            BehaviourEvent::Paths(PathsEvent::Meet(met)) => self.handle_met(met),
            BehaviourEvent::Paths(PathsEvent::Relay(event)) => self.handle_relay(&event),
            BehaviourEvent::Paths(PathsEvent::RelayClient(event)) => self.handle_relay_client(&event),
            BehaviourEvent::Paths(PathsEvent::Upnp(event)) => self.handle_upnp(event),
        }
    }

    fn handle_up(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        self.dial_ended(peer, id);
        if self.reach_up(id, endpoint) {
            return;
        }
        // The gate let it pass, so both are known, unless it was denied in between.
        let known = ids::node_of(&peer).zip(self.gate.shown_by(&peer));
        let trusted = |node: &_, chain: &_| !self.gate.is_denied(node) && !self.gate.is_void(chain);
        let Some((node, (chain, bond))) = known.filter(|(node, (chain, _))| trusted(node, chain)) else {
            self.swarm.close_connection(id);
            return;
        };
        let relayed = endpoint.is_relayed();
        let address = address::text(&address_of(endpoint)).unwrap_or_default();
        let quic = carrier(&address_of(endpoint)) == Some(Carrier::Quic);
        let connection = Connection { id, dialled: endpoint.is_dialer(), relayed, quic, address: address.clone() };
        let now = self.now();
        let was = self.peers.way(&peer);
        if self.peers.up(peer, node, &chain, connection, now) {
            self.gate.lives.up(peer, bond);
            self.outlet.fact(NetEvent::PeerUp { node, chain, address, relayed }, None);
        }
        self.reach_path(peer, was.as_ref());
    }

    fn handle_down(&mut self, peer: PeerId, id: ConnectionId) {
        let was = self.peers.way(&peer);
        if let Some(node) = self.peers.down(&peer, id) {
            self.gate.lives.down(&peer);
            self.outlet.fact(NetEvent::PeerDown { node }, None);
        }
        self.reach_down(&peer, id);
        self.reach_path(peer, was.as_ref());
    }

    fn dial_ended(&mut self, peer: PeerId, id: ConnectionId) {
        if self.dials.get(&peer) == Some(&id) {
            self.dials.remove(&peer);
        }
    }

    fn handle_dial_error(&mut self, id: ConnectionId, peer: Option<PeerId>, error: &DialError) {
        if let Some(peer) = peer {
            self.dial_ended(peer, id);
        }
        // Of a peer that is connected all the same the owner need not hear.
        if self.reach_dial_failed(id) || peer.is_some_and(|peer| self.peers.is_connected(&peer)) {
            tracing::debug!(?peer, error = explain(error), "a further connection failed");
            return;
        }
        if let Some(node) = peer.and_then(|peer| ids::node_of(&peer)) {
            if failures(error).any(|failure| matches!(failure, GateError::Superseded)) {
                self.outlet.fact(NetEvent::Superseded { by: node }, None);
            }
            self.dial_failed(node, explain(error));
        }
    }

    fn handle_frame(&mut self, frame: Arrived) {
        let Arrived { from, bytes, permit } = frame;
        match ids::node_of(&from).filter(|_| self.peers.is_connected(&from)) {
            Some(from) => self.outlet.fact(NetEvent::Frame { from, bytes }, Some(permit)),
            None => self.counters.bump(Count::FramesUnroutable),
        }
    }

    fn handle_stream(&mut self, arrived: streams::Arrived) {
        let streams::Arrived { from, stream } = arrived;
        let from = ids::node_of(&from).filter(|_| self.peers.is_connected(&from));
        let taken = from.is_some_and(|from| self.incoming.try_send(IncomingStream { from, stream }).is_ok());
        if !taken {
            self.counters.bump(Count::StreamsRefused);
        }
    }

    fn handle_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                let topic = message.topic.into_string();
                let opened = self.open_envelope(&topic, message.data);
                // Good messages travel on whether or not our own owner keeps up.
                let verdict = match opened {
                    Ok(_) => gossipsub::MessageAcceptance::Accept,
                    Err(_) => gossipsub::MessageAcceptance::Reject,
                };
                let gossip = &mut self.swarm.behaviour_mut().gossip;
                gossip.report_message_validation_result(&message_id, &propagation_source, verdict);
                match opened {
                    Ok(Envelope { author: source, payload: bytes, .. }) => {
                        self.hint(NetEvent::Gossip { source, topic, bytes });
                    }
                    Err(why) => self.counters.bump(why),
                }
            }
            gossipsub::Event::SlowPeer { .. } => self.counters.bump(Count::GossipSlowPeers),
            _ => {}
        }
    }

    /// The words of somebody else, if he said them: the one check of a message's signature, since
    /// gossipsub shows only the first copy of each.
    fn open_envelope(&self, topic: &str, bytes: Vec<u8>) -> Result<Envelope, Count> {
        let envelope = Envelope::read(bytes).ok_or(Count::GossipRefused)?;
        let fits = envelope.payload.len() <= self.limits.gossip_bytes && self.topics.contains(topic);
        if !fits || envelope.author == self.key.node_id() {
            return Err(Count::GossipRefused);
        }
        if !envelope.is_genuine(&self.gate.mesh, topic) {
            return Err(Count::GossipForged);
        }
        Ok(envelope)
    }

    /// Where there is another way the first silence is enough. Behind another public address than before all old connections
    /// are dead, as a rule.
    fn handle_pulse(&mut self, felt: Felt) {
        let Felt { peer, connection, pulse } = felt;
        let dead = match pulse {
            Answer::Answered(rtt) => {
                self.peers.measured(&peer, connection, rtt);
                false
            }
            Answer::Silent(1) => self.is_doubtful(&peer) || self.peers.has_another_way(&peer, connection),
            Answer::Silent(_) => true,
        };
        if dead && self.swarm.close_connection(connection) {
            self.counters.bump(Count::PingClosed);
        }
    }

    fn handle_identify(&mut self, event: identify::Event) {
        let identify::Event::Received { connection_id, peer_id, info } = event else { return };
        self.reach_identified(peer_id, connection_id, &info);
        let Some(node) = ids::node_of(&peer_id) else { return };
        if !address::relayed(&info.observed_addr)
            && let Some(address) = address::text(&info.observed_addr)
        {
            self.hint(NetEvent::Observed { address });
        }
        let addresses = address::texts(&info.listen_addrs);
        if !addresses.is_empty() {
            self.hint(NetEvent::PeerAddresses { node, addresses });
        }
    }

    fn handle_discovered(&mut self, found: Vec<(PeerId, Multiaddr)>) {
        let mut nodes: BTreeMap<PeerId, Vec<Multiaddr>> = BTreeMap::new();
        for (peer, address) in found {
            nodes.entry(peer).or_default().push(address);
        }
        for (peer, addresses) in nodes {
            let direct = self.peers.is_connected(&peer) && !self.peers.is_relayed(&peer);
            if direct || peer == *self.swarm.local_peer_id() {
                continue;
            }
            let (Some(node), now) = (ids::node_of(&peer), self.now()) else { continue };
            if self.hints.admit(node, now) {
                // The owner dials nobody who is connected.
                if self.peers.is_relayed(&peer) {
                    self.dial_beside(peer, addresses.clone());
                }
                self.hint(NetEvent::Discovered { node, addresses: address::texts(&addresses) });
            } else {
                self.counters.bump(Count::MdnsSuppressed);
            }
        }
        let behaviour = self.swarm.behaviour_mut();
        for mdns in [&mut behaviour.mdns, &mut behaviour.mdns6] {
            if mdns.as_ref().is_some_and(|mdns| mdns.discovered_nodes().len() > MAX_MDNS_NODES) {
                tracing::error!("too many nodes announce themselves over mDNS: it is turned off");
                *mdns = Toggle::from(None);
            }
        }
    }
}

/// Where a connection leads. One that came over a relay says only who is at its end, and which way it came.
fn address_of(endpoint: &ConnectedPoint) -> Multiaddr {
    match endpoint {
        ConnectedPoint::Listener { local_addr, .. } if endpoint.is_relayed() => local_addr.clone(),
        _ => endpoint.get_remote_address().clone(),
    }
}

/// A dial error in one line, with the gate's own words where it was the gate.
pub(super) fn explain(error: &DialError) -> String {
    let text = match error {
        DialError::Transport(failures) => failures
            .iter()
            .map(|(address, error)| format!("{}: {}", address::bare(address.clone()), transport_text(error)))
            .collect::<Vec<_>>()
            .join("; "),
        other => other.to_string(),
    };
    clip(&text)
}

/// What the gate said, of all the addresses that were tried.
fn failures(error: &DialError) -> impl Iterator<Item = &GateError> {
    let tried = match error {
        DialError::Transport(tried) => tried.as_slice(),
        _ => &[],
    };
    tried.iter().filter_map(|(_, error)| match error {
        TransportError::Other(error) => at_the_gate(error),
        TransportError::MultiaddrNotSupported(_) => None,
    })
}

fn at_the_gate(error: &std::io::Error) -> Option<&GateError> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

fn transport_text(error: &TransportError<std::io::Error>) -> String {
    let TransportError::Other(error) = error else { return "the address is not supported".to_owned() };
    let mut cause: &dyn Error = match at_the_gate(error) {
        Some(GateError::Transport(below)) => below,
        Some(at_the_gate) => return at_the_gate.to_string(),
        None => error,
    };
    // The layers below wrap each other's errors; the innermost one says what happened.
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
