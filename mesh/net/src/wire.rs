//! Frames: `/holm/wire/1`.
//!
//! A frame is up to 1 MiB of bytes to one connected peer. Every connection has at most one outgoing
//! stream, held open, and frames follow each other on it behind their length (`u32`). They wait in
//! an [`outbox`] of the peer, not of the connection: when the connection in use closes, the
//! next one carries on. The direct connection is used first, a relayed one only when there is no other.
//!
//! Nothing waits without bound: an outbox that is full refuses, and a receiver reads the next frame
//! only after it got a share of the intake for the last one, so a slow owner slows its peers.

pub(crate) mod frame;
mod handler;
mod outbox;

use crate::{
    counters::{Count, Counters},
    limits::Limits,
};
use handler::{FromHandler, WireHandler};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
};
use outbox::{Outbox, Path};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The name under which peers agree on frames.
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/holm/wire/1");

/// A frame that arrived, with its share of the intake: dropping the permit lets others be read.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) from: PeerId,
    pub(crate) bytes: Vec<u8>,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// The behaviour that carries frames.
pub(crate) struct Wire {
    outboxes: BTreeMap<PeerId, Arc<Outbox>>,
    /// Drained by the swarm before it takes the next event of a connection, so it stays short.
    events: VecDeque<ToSwarm<Arrived, THandlerInEvent<Wire>>>,
    intake: Arc<Semaphore>,
    limits: Limits,
    counters: Arc<Counters>,
}

impl Wire {
    pub(crate) fn new(limits: &Limits, counters: Arc<Counters>) -> Wire {
        Wire {
            outboxes: BTreeMap::new(),
            events: VecDeque::new(),
            intake: Arc::new(Semaphore::new(limits.intake_bytes)),
            limits: limits.clone(),
            counters,
        }
    }

    /// Queues a frame for a peer. What cannot be queued is dropped and counted.
    pub(crate) fn send(&mut self, peer: &PeerId, bytes: Vec<u8>) {
        let dropped = match self.outboxes.get(peer) {
            None => Some(Count::FramesUnroutable),
            Some(_) if bytes.len() > self.limits.frame_bytes => Some(Count::OversizeRefused),
            Some(outbox) => (!outbox.push(bytes)).then_some(Count::FramesDropped),
        };
        if let Some(why) = dropped {
            self.counters.bump(why);
        }
    }

    /// The handler of a new connection. This is the last behaviour, so nobody can deny the
    /// connection after this call.
    fn handler(&mut self, peer: PeerId, connection: ConnectionId) -> WireHandler {
        let limits = &self.limits;
        let outbox = self
            .outboxes
            .entry(peer)
            .or_insert_with(|| Arc::new(Outbox::new(limits.outbox_frames, limits.outbox_bytes)))
            .clone();
        WireHandler::new(connection, outbox, &self.intake, limits.frame_bytes, self.counters.clone())
    }

    fn closed(&mut self, peer: PeerId, connection: ConnectionId, remaining: usize) {
        let Some(outbox) = self.outboxes.get(&peer) else { return };
        outbox.remove(connection);
        if remaining == 0 {
            self.counters.add(Count::FramesDropped, outbox.len() as u64);
            self.outboxes.remove(&peer);
        }
    }
}

impl NetworkBehaviour for Wire {
    type ConnectionHandler = WireHandler;
    type ToSwarm = Arrived;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, connection))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, connection))
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(up) => {
                if let Some(outbox) = self.outboxes.get(&up.peer_id) {
                    let path = if up.endpoint.is_relayed() { Path::Relayed } else { Path::Direct };
                    outbox.add(up.connection_id, path);
                }
            }
            FromSwarm::ConnectionClosed(down) => {
                self.closed(down.peer_id, down.connection_id, down.remaining_established);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, from: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        self.events.push_back(match event {
            FromHandler::Frame { bytes, permit } => ToSwarm::GenerateEvent(Arrived { from, bytes, permit }),
            FromHandler::Broken => {
                ToSwarm::CloseConnection { peer_id: from, connection: CloseConnection::One(connection) }
            }
        });
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.events.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
