//! The protocols of a connection, in the order in which they are asked: who may deny comes first,
//! frames come last (see `Wire`).

use crate::{NetError, counters::Counters, gossip, limits::Limits, streams::Streams, wire::Wire};
use libp2p::{
    connection_limits::{self, ConnectionLimits},
    identify, identity, mdns, ping,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};
use std::sync::Arc;

/// What peers must agree on, beyond each protocol's own name.
const PROTOCOL_VERSION: &str = "/holm/1";

/// All protocols of a node.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) gossip: gossip::Gossip,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
    pub(crate) streams: Streams,
    pub(crate) wire: Wire,
}

impl Behaviour {
    pub(crate) fn new(
        key: &identity::Keypair,
        mdns: bool,
        limits: &Limits,
        counters: Arc<Counters>,
    ) -> Result<Behaviour, NetError> {
        let connections = ConnectionLimits::default()
            .with_max_pending_incoming(Some(limits.pending_incoming))
            .with_max_pending_outgoing(Some(limits.pending_outgoing))
            .with_max_established(Some(limits.established))
            .with_max_established_per_peer(Some(limits.established_per_peer));
        // Addresses of peers are the owner's to remember; a cache here would only be a second list.
        let identify = identify::Config::new(PROTOCOL_VERSION.to_owned(), key.public())
            .with_agent_version(concat!("holm/", env!("CARGO_PKG_VERSION")).to_owned())
            .with_push_listen_addr_updates(true)
            .with_cache_size(0);
        let ping = ping::Config::new().with_interval(limits.ping_interval).with_timeout(limits.ping_timeout);
        Ok(Behaviour {
            limits: connection_limits::Behaviour::new(connections),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping),
            gossip: gossip::behaviour(limits)?,
            mdns: mdns.then(|| multicast(key)).flatten().into(),
            streams: Streams::new(limits, counters.clone()),
            wire: Wire::new(limits, counters),
        })
    }
}

/// A host without multicast still works: mDNS is a convenience.
fn multicast(key: &identity::Keypair) -> Option<mdns::tokio::Behaviour> {
    mdns::tokio::Behaviour::new(mdns::Config::default(), key.public().to_peer_id())
        .inspect_err(|error| tracing::warn!(%error, "no mDNS: peers on the LAN are not discovered"))
        .ok()
}
