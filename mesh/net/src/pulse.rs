//! Pulse: `/holm/pulse/1`. A byte goes to the peer and comes back, now and then, to see that a connection is not dead.
//!
//! libp2p's ping asks on all connections equally often. Most connections of a site stand idle next to each other, and whoever is
//! missed is found by other means; but a relay that is gone has to be noticed within seconds, and so has an old connection beside a
//! new one. So each connection has a [`Pace`] of its own here, and can be asked at once.

mod handler;

use crate::{address, limits::Limits};
pub(crate) use handler::FromHandler as Answer;
use handler::{PulseHandler, ToHandler};
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    task::{Context, Poll},
    time::Duration,
};

/// How closely a connection is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Between an answer and the next question.
    pub(crate) interval: Duration,
    /// A question that is not answered in this time is reported, again and again.
    pub(crate) timeout: Duration,
}

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Felt {
    pub(crate) peer: PeerId,
    pub(crate) connection: ConnectionId,
    pub(crate) pulse: Answer,
}

struct Connection {
    peer: PeerId,
    relayed: bool,
}

/// The behaviour that asks.
pub(crate) struct Pulse {
    connections: BTreeMap<ConnectionId, Connection>,
    /// Peers that are looked at closely.
    close: BTreeSet<PeerId>,
    seldom: Pace,
    often: Pace,
    events: VecDeque<ToSwarm<Felt, THandlerInEvent<Pulse>>>,
}

impl Pulse {
    pub(crate) fn new(limits: &Limits) -> Pulse {
        Pulse {
            connections: BTreeMap::new(),
            close: BTreeSet::new(),
            seldom: Pace { interval: limits.quiet_interval, timeout: limits.ping_timeout },
            often: Pace { interval: limits.ping_interval, timeout: limits.relay_timeout },
            events: VecDeque::new(),
        }
    }

    fn pace(&self, peer: &PeerId, relayed: bool) -> Pace {
        if relayed || self.close.contains(peer) { self.often } else { self.seldom }
    }

    /// Looks closely at the connections with these peers, and at no others but relayed ones.
    pub(crate) fn watch(&mut self, close: BTreeSet<PeerId>) {
        if close == self.close {
            return;
        }
        let changed: BTreeSet<PeerId> = self.close.symmetric_difference(&close).copied().collect();
        self.close = close;
        let affected = self.connections.iter().filter(|(_, connection)| changed.contains(&connection.peer));
        let tell = affected.map(|(id, to)| notify(*id, to.peer, ToHandler::Pace(self.pace(&to.peer, to.relayed))));
        self.events.extend(tell.collect::<Vec<_>>());
    }

    /// Asks on all connections with a peer now, and reports after the shorter time when nothing comes.
    pub(crate) fn ask(&mut self, peer: &PeerId) {
        self.ask_those(|connection| connection.peer == *peer);
    }

    /// Asks everybody now.
    pub(crate) fn ask_all(&mut self) {
        self.ask_those(|_| true);
    }

    fn ask_those(&mut self, whom: impl Fn(&Connection) -> bool) {
        let asked = self.connections.iter().filter(|(_, connection)| whom(connection));
        self.events
            .extend(asked.map(|(id, connection)| notify(*id, connection.peer, ToHandler::Ask(self.often.timeout))));
    }

    fn handler(&self, peer: &PeerId, address: &Multiaddr) -> PulseHandler {
        PulseHandler::new(self.pace(peer, address::relayed(address)))
    }
}

fn notify(id: ConnectionId, peer_id: PeerId, event: ToHandler) -> ToSwarm<Felt, ToHandler> {
    ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(id), event }
}

impl NetworkBehaviour for Pulse {
    type ConnectionHandler = PulseHandler;
    type ToSwarm = Felt;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(&peer, local))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(&peer, address))
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(up) => {
                // Those that were there before may have died, which is why there is a new one.
                self.ask(&up.peer_id);
                let connection = Connection { peer: up.peer_id, relayed: up.endpoint.is_relayed() };
                self.connections.insert(up.connection_id, connection);
            }
            FromSwarm::ConnectionClosed(down) => {
                self.connections.remove(&down.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, pulse: THandlerOutEvent<Self>) {
        self.events.push_back(ToSwarm::GenerateEvent(Felt { peer, connection, pulse }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.events.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
