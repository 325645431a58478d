//! What the owner asks for.

use super::Task;
use crate::{
    NetCommand, NetEvent, StreamError, address,
    api::Ask,
    counters::Count,
    gossip::{Envelope, MAX_TOPIC},
    ids,
};
use holm_types::{NodeId, distrust::Distrust};
use libp2p::{
    PeerId,
    gossipsub::{IdentTopic, PublishError},
    multiaddr::Protocol,
    swarm::{
        DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use std::sync::Arc;

impl Task {
    pub(super) fn handle_ask(&mut self, ask: Ask) {
        match ask {
            Ask::Command(command) => self.handle_command(command),
            Ask::Open(node, opened) => match ids::peer_of(&node).filter(|peer| self.peers.is_connected(peer)) {
                Some(peer) => self.swarm.behaviour_mut().streams.open(peer, opened),
                None => {
                    // Who asked may have given up.
                    let _ = opened.send(Err(StreamError::NotConnected));
                }
            },
        }
    }

    fn handle_command(&mut self, command: NetCommand) {
        match command {
            NetCommand::Subscribe(topic) => self.subscribe(topic),
            NetCommand::Publish { topic, bytes } => self.publish(topic, bytes),
            NetCommand::Send { peer, bytes } => match ids::peer_of(&peer) {
                Some(peer) => self.swarm.behaviour_mut().wire.send(&peer, bytes),
                None => self.counters.bump(Count::FramesUnroutable),
            },
            NetCommand::Dial { peer, addresses } => self.dial(peer, &addresses),
            NetCommand::Check { peer } => {
                if let Some(peer) = ids::peer_of(&peer) {
                    self.swarm.behaviour_mut().pulse.ask(&peer);
                }
            }
            NetCommand::Disconnect { peer } => self.disconnect(&peer),
            NetCommand::Deny { peer } => {
                if !self.gate.deny(peer) {
                    tracing::error!(%peer, "too many denied nodes: this one can come back");
                }
                self.disconnect(&peer);
            }
            NetCommand::Allow { peer } => self.gate.allow(&peer),
            NetCommand::Distrust(distrust) => self.distrust(distrust),
            NetCommand::Renewed(chain) => self.peers.renewed(&chain),
            NetCommand::Present(chain) => {
                if let Err(error) = self.gate.present(&chain) {
                    tracing::error!(%error, "the renewed certificate cannot be shown");
                }
            }
        }
    }

    fn distrust(&mut self, distrust: Arc<Distrust>) {
        self.gate.distrust(distrust);
        let void = |peer: &&PeerId| self.gate.shown_by(peer).is_some_and(|(chain, _)| self.gate.is_void(&chain));
        let cut: Vec<PeerId> = self.swarm.connected_peers().filter(void).copied().collect();
        for peer in cut {
            // Gone meanwhile is as good.
            let _ = self.swarm.disconnect_peer_id(peer);
            self.counters.bump(Count::RevokedClosed);
        }
    }

    fn subscribe(&mut self, topic: String) {
        if topic.len() > MAX_TOPIC || self.topics.len() >= self.limits.topics {
            tracing::error!(topic = %topic.chars().take(MAX_TOPIC).collect::<String>(), "the topic is over a limit");
            return;
        }
        match self.swarm.behaviour_mut().gossip.subscribe(&IdentTopic::new(&topic)) {
            Ok(_) => {
                self.topics.insert(topic);
            }
            Err(error) => tracing::error!(%topic, %error, "cannot subscribe"),
        }
    }

    fn publish(&mut self, topic: String, bytes: Vec<u8>) {
        let sealed = Envelope::seal(&self.key, &self.gate.mesh, &topic, &bytes);
        match self.swarm.behaviour_mut().gossip.publish(IdentTopic::new(topic), sealed) {
            // The same words were said a moment ago: that is what was wanted.
            Ok(_) | Err(PublishError::Duplicate) => {}
            // Nobody there, queues full: repair brings it to those who missed it.
            Err(error) => {
                tracing::trace!(%error, "not published");
                self.counters.bump(Count::GossipUnpublished);
            }
        }
    }

    fn dial(&mut self, node: NodeId, addresses: &[String]) {
        let Some(peer) = ids::peer_of(&node) else {
            return self.dial_failed(node, "the node id is not a valid key".to_owned());
        };
        if peer == *self.swarm.local_peer_id() || self.gate.is_denied(&node) {
            return self.dial_failed(node, "the node is this one, or is denied".to_owned());
        }
        let mut addresses = address::for_dialling(peer, addresses);
        // A way over a relay that is this very node is none.
        let me = *self.swarm.local_peer_id();
        addresses.retain(|address| !address.iter().any(|part| part == Protocol::P2p(me)));
        if addresses.is_empty() {
            return self.dial_failed(node, "no usable address".to_owned());
        }
        self.watchdog.dialled();
        if self.dials.contains_key(&peer) {
            return;
        }
        // Attempts to meet the peer half-way may go on for seconds after the relay that arranged them is gone: they
        // are no reason to wait.
        let options = DialOpts::peer_id(peer).addresses(addresses).condition(PeerCondition::Disconnected).build();
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(peer, id);
            }
            // That is what was wanted.
            Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => self.dial_failed(node, super::events::explain(&error)),
        }
    }

    pub(super) fn dial_failed(&mut self, node: NodeId, error: String) {
        self.counters.bump(Count::DialFailed);
        self.hint(NetEvent::DialFailed { node, error });
    }

    fn disconnect(&mut self, node: &NodeId) {
        let peer: Option<PeerId> = ids::peer_of(node);
        if let Some(peer) = peer {
            // Not connected is what was wanted.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    /// Passes a hint on, or counts that it was dropped.
    pub(super) fn hint(&mut self, event: NetEvent) {
        let count = if matches!(event, NetEvent::Gossip { .. }) { Count::GossipDropped } else { Count::HintsDropped };
        if !self.outlet.hint(event) {
            self.counters.bump(count);
        }
    }
}
