//! The protocols of a connection, in the order in which they are asked: who may deny comes first,
//! frames come last (see `Wire`).

use crate::{
    NetError,
    api::ReachConfig,
    counters::Counters,
    gossip,
    limits::{Limits, RelayLimits},
    meet::{Meet, OwnCard},
    pulse::Pulse,
    streams::Streams,
    wire::Wire,
};
use libp2p::{
    connection_limits::{self, ConnectionLimits},
    identify, identity, mdns, relay,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
    upnp,
};
use std::{num::NonZeroU32, sync::Arc, time::Duration};

/// What peers must agree on, beyond each protocol's own name.
const PROTOCOL_VERSION: &str = "/holm/1";

/// Each node of a LAN answers each question, and all hear it. Who is new asks soon and often at first; neighbours that know each
/// other need not ask again.
const MDNS_INTERVAL: Duration = Duration::from_secs(1200);
/// How long others may remember an answer: longer than until it is asked for again.
const MDNS_TTL: Duration = Duration::from_secs(1500);

/// All protocols of a node.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(crate) identify: identify::Behaviour,
    pub(crate) pulse: Pulse,
    pub(crate) gossip: gossip::Gossip,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
    /// The same over IPv6: libp2p's asks over one or the other, and a site may have IPv6 alone.
    pub(crate) mdns6: Toggle<mdns::tokio::Behaviour>,
    pub(crate) paths: Paths,
    pub(crate) streams: Streams,
    pub(crate) wire: Wire,
}

/// Those that are about how others are reached. Apart from the rest also because the compiler's time grows with the
/// depth of one such list.
#[derive(NetworkBehaviour)]
pub(crate) struct Paths {
    pub(crate) relay: relay::Behaviour,
    pub(crate) relay_client: relay::client::Behaviour,
    pub(crate) upnp: Toggle<upnp::tokio::Behaviour>,
    pub(crate) meet: Meet,
}

impl Behaviour {
    pub(crate) fn new(
        key: &identity::Keypair,
        mdns: bool,
        (reach, relay_client, card): (&ReachConfig, relay::client::Behaviour, OwnCard),
        limits: &Limits,
        counters: Arc<Counters>,
    ) -> Result<Behaviour, NetError> {
        let connections = ConnectionLimits::default()
            .with_max_pending_incoming(Some(limits.pending_incoming))
            .with_max_pending_outgoing(Some(limits.pending_outgoing))
            .with_max_established(Some(limits.established))
            .with_max_established_per_peer(Some(limits.established_per_peer));
        // Addresses of peers are the owner's to remember; a cache here would only be a second list. Own private
        // ones are not told to everybody: see `reach`.
        let identify = identify::Config::new(PROTOCOL_VERSION.to_owned(), key.public())
            .with_agent_version(concat!("holm/", env!("CARGO_PKG_VERSION")).to_owned())
            .with_push_listen_addr_updates(true)
            .with_hide_listen_addrs(reach.enabled)
            .with_cache_size(0);
        Ok(Behaviour {
            limits: connection_limits::Behaviour::new(connections),
            identify: identify::Behaviour::new(identify),
            pulse: Pulse::new(limits),
            gossip: gossip::behaviour(limits)?,
            mdns: mdns.then(|| multicast(key, false)).flatten().into(),
            mdns6: mdns.then(|| multicast(key, true)).flatten().into(),
            paths: Paths {
                relay: forwarding(key, &limits.relay),
                relay_client,
                upnp: (reach.enabled && reach.upnp).then(upnp::tokio::Behaviour::default).into(),
                meet: Meet::new(card),
            },
            streams: Streams::new(limits, counters.clone()),
            wire: Wire::new(limits, counters),
        })
    }
}

/// The relay's server. It is off until the swarm's task finds that others can reach it.
fn forwarding(key: &identity::Keypair, limits: &RelayLimits) -> relay::Behaviour {
    let minute = Duration::from_secs(60);
    let everybody = limits.circuits_per_minute.saturating_mul(NonZeroU32::MIN.saturating_add(15));
    let config = relay::Config {
        max_reservations: limits.reservations,
        // One for each connection, and a node that comes back before its old ones are gone has more for a while.
        max_reservations_per_peer: 4,
        reservation_duration: limits.reservation_time,
        reservation_rate_limiters: Vec::new(),
        max_circuits: limits.circuits,
        // It compares with "more than".
        max_circuits_per_peer: limits.circuits_per_peer.saturating_sub(1),
        max_circuit_duration: limits.circuit_time,
        max_circuit_bytes: limits.circuit_bytes,
        circuit_src_rate_limiters: Vec::new(),
    };
    // A member is a key, so its own rate comes first; a whole site may be behind one address.
    let config = config
        .reservation_rate_per_peer(limits.circuits_per_minute, minute)
        .reservation_rate_per_ip(everybody, minute)
        .circuit_src_per_peer(limits.circuits_per_minute, minute)
        .circuit_src_per_ip(everybody, minute);
    let mut relay = relay::Behaviour::new(key.public().to_peer_id(), config);
    relay.set_status(Some(relay::Status::Disable));
    relay
}

/// A host without multicast still works: mDNS is a convenience.
fn multicast(key: &identity::Keypair, enable_ipv6: bool) -> Option<mdns::tokio::Behaviour> {
    let config = mdns::Config { enable_ipv6, query_interval: MDNS_INTERVAL, ttl: MDNS_TTL };
    mdns::tokio::Behaviour::new(config, key.public().to_peer_id())
        .inspect_err(|error| tracing::warn!(%error, "no mDNS: peers on the LAN are not discovered"))
        .ok()
}
