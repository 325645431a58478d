//! From a configuration to a listening swarm.

use super::{Task, reach::Reaching, watchdog};
use crate::{
    Net, NetConfig, NetError, NetHandle, ReachConfig,
    behaviour::{Behaviour, BehaviourEvent},
    counters::Counters,
    gate::{CLOCK_SLACK, Gate, GateShared},
    ground::Ground,
    hints::Hints,
    ids,
    limits::Limits,
    meet::OwnCard,
    outlet::Outlet,
    peers::Peers,
    transport,
};
use futures::StreamExt;
use libp2p::{
    Multiaddr, Swarm, Transport,
    core::transport::{ListenerId, TransportError},
    identity, relay,
    swarm::SwarmEvent,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    num::NonZeroU8,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

/// A listener that has no address after this time does not get one.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Restarted peers that wait for their old connections to be closed.
const MAX_STALE: usize = 64;

/// Opens the listeners on `ground`. The network lives while its task runs.
pub(crate) async fn open(config: NetConfig, ground: Ground) -> Result<(Net, Task), NetError> {
    config.limits.check()?;
    check_identity(&config)?;
    for text in &config.reach.advertise {
        let why = |why: String| NetError::Address { address: text.clone(), why };
        text.parse::<Multiaddr>().map_err(|e| why(e.to_string()))?;
    }
    let NetConfig { key, chain, mesh, incarnation, listen, mdns, clock, reach, limits } = config;
    let counters = Arc::new(Counters::default());
    let (enrol_sender, enrolments) = mpsc::channel(limits.enrolments);
    let (renew_sender, renewals) = mpsc::channel(limits.enrolments);
    let doors = (enrol_sender, renew_sender);
    let (stale_sender, stale) = mpsc::channel(MAX_STALE);
    let gate = GateShared::new(mesh, &chain, clock, &limits, counters.clone(), doors, (incarnation, stale_sender))?;
    let gate = Arc::new(gate);
    let (probe, ground_again) = (ground.probe, ground.again);
    let (identity, card) = (ids::keypair_of(&key)?, OwnCard::default());
    let mut swarm = swarm(&identity, ground, (mdns, &reach, &card), &gate, &limits)?;
    let seen = open_listeners(&mut swarm, probe, &listen).await?;

    let (outlet, events) = Outlet::new(&limits);
    let (command_sender, commands) = mpsc::channel(limits.commands);
    let (incoming, streams) = mpsc::channel(limits.streams_waiting);
    let handle = NetHandle {
        commands: command_sender,
        counters: counters.clone(),
        reach: Arc::default(),
        frame_bytes: limits.frame_bytes,
        gossip_bytes: limits.gossip_bytes,
    };
    let peers = Peers::new(*swarm.local_peer_id());
    let (hints, topics) = (Hints::default(), BTreeSet::new());
    let reaching = Reaching::new(&reach, &identity, card.clone(), handle.reach.clone());
    let configured: Vec<Multiaddr> = listen.iter().filter_map(|text| text.parse().ok()).collect();
    let real: Vec<Multiaddr> = swarm.listeners().cloned().collect();
    let listen = watchdog::fixed(&configured, &real);
    let again = ground_again.map(|ground| {
        let (gate, limits, shared) = (gate.clone(), limits.clone(), handle.reach.clone());
        let again = move || -> Result<_, NetError> {
            let swarm = self::swarm(&identity, ground()?, (mdns, &reach, &card), &gate, &limits)?;
            Ok((swarm, Reaching::new(&reach, &identity, card.clone(), shared.clone())))
        };
        Box::new(again) as watchdog::Again
    });
    let mut task = Task {
        key,
        swarm,
        commands,
        incoming,
        outlet,
        gate,
        stale,
        peers,
        hints,
        dials: BTreeMap::new(),
        reaching,
        watchdog: watchdog::Watchdog::new(limits.lonely),
        again,
        listen,
        unlistened: Vec::new(),
        topics,
        counters,
        limits,
        started: Instant::now(),
    };
    seen.into_iter().for_each(|event| task.handle_event(event));
    Ok((Net { handle, events, streams, enrolments, renewals }, task))
}

/// A certificate that no peer would accept is an error now, not a riddle later. One that has
/// merely expired is not: the node must run to have it renewed.
fn check_identity(config: &NetConfig) -> Result<(), NetError> {
    let claims = config.chain.verify(&config.mesh)?;
    let key = config.key.node_id();
    if claims.subject != key {
        return Err(NetError::Subject { certified: claims.subject, key });
    }
    if let Err(error) = config.chain.verify_at(&config.mesh, (config.clock)(), CLOCK_SLACK) {
        tracing::warn!(%error, "peers will refuse this node until its certificate is renewed");
    }
    Ok(())
}

fn swarm(
    key: &identity::Keypair,
    ground: Ground,
    (mdns, reach, card): (bool, &ReachConfig, &OwnCard),
    gate: &Arc<GateShared>,
    limits: &Limits,
) -> Result<Swarm<Behaviour>, NetError> {
    let direct = (ground.transport)(key, limits)?;
    let (relays, client) = relay::client::new(key.public().to_peer_id());
    let links = transport::with_relays(direct, relays, key, limits)?;
    let transport = Gate::new(links, gate.clone()).boxed();
    let behaviour = Behaviour::new(key, mdns, (reach, client, card.clone()), limits, gate.counters.clone())?;
    let config = ground
        .executor
        .with_idle_connection_timeout(limits.idle_timeout)
        .with_max_negotiating_inbound_streams(limits.streams() / 2)
        .with_dial_concurrency_factor(NonZeroU8::MIN.saturating_add(3))
        .with_smart_dial();
    Ok(Swarm::new(transport, behaviour, key.public().to_peer_id(), config))
}

/// Opens every listener and waits until each has its first address. Peers may be quicker than the
/// last listener, so whatever happens meanwhile is handed back, in order.
async fn open_listeners(
    swarm: &mut Swarm<Behaviour>,
    probe: fn(&Multiaddr) -> io::Result<()>,
    listen: &[String],
) -> Result<Vec<SwarmEvent<BehaviourEvent>>, NetError> {
    let mut waiting: Vec<(ListenerId, &String)> = Vec::new();
    for text in listen {
        let address: Multiaddr =
            text.parse().map_err(|e| NetError::Address { address: text.clone(), why: format!("{e}") })?;
        probe(&address).map_err(|e| NetError::Listen { address: text.clone(), why: e.to_string() })?;
        let id = swarm.listen_on(address).map_err(|e| refused(text, e))?;
        waiting.push((id, text));
    }
    let mut seen = Vec::new();
    let opening = async {
        while !waiting.is_empty() {
            let event = swarm.select_next_some().await;
            match &event {
                SwarmEvent::NewListenAddr { listener_id, .. } => waiting.retain(|(id, _)| id != listener_id),
                SwarmEvent::ListenerError { listener_id, error }
                | SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. } => {
                    if let Some((_, text)) = waiting.iter().find(|(id, _)| id == listener_id) {
                        return Err(NetError::Listen { address: (*text).clone(), why: error.to_string() });
                    }
                }
                _ => {}
            }
            seen.push(event);
        }
        Ok(())
    };
    match timeout(LISTEN_TIMEOUT, opening).await {
        Ok(outcome) => outcome.map(|()| seen),
        Err(_) => {
            let address = listen.join(", ");
            Err(NetError::Listen { address, why: "no address came up in time".to_owned() })
        }
    }
}

fn refused(text: &str, error: TransportError<io::Error>) -> NetError {
    let why = match error {
        TransportError::MultiaddrNotSupported(_) => "only /tcp/PORT and /udp/PORT/quic-v1 are supported".to_owned(),
        TransportError::Other(error) => error.to_string(),
    };
    NetError::Listen { address: text.to_owned(), why }
}
