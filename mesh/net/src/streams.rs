//! Streams of bytes between two members: `/holm/stream/1`.
//!
//! Frames are for messages that somebody else can repeat; a stream is for a conversation of its own,
//! such as a log that is read page by page at the pace of the reader. What is said on it is the
//! owner's affair. It ends with the connection that carries it.
//!
//! libp2p-stream does the same, but keeps a sender of every connection there ever was, which a
//! node on a link that flaps for years cannot afford.

mod handler;
mod stream;

use crate::{api::StreamError, counters::Counters, limits::Limits};
use handler::StreamHandler;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    task::{Context, Poll},
};
pub use stream::NetStream;
use tokio::sync::oneshot;

/// The name under which peers agree on streams.
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/holm/stream/1");

/// Where an opened stream is handed over.
pub(crate) type Opened = oneshot::Sender<Result<NetStream, StreamError>>;

/// A stream that a peer opened.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) from: PeerId,
    pub(crate) stream: NetStream,
}

/// The behaviour that carries streams.
pub(crate) struct Streams {
    /// Connections of each peer, and whether a relay carries them.
    connections: BTreeMap<PeerId, BTreeMap<ConnectionId, bool>>,
    /// Held by this, the connection's handler, and every stream that is open on it.
    in_use: BTreeMap<ConnectionId, Arc<()>>,
    events: VecDeque<ToSwarm<Arrived, THandlerInEvent<Streams>>>,
    max_inbound: usize,
    counters: Arc<Counters>,
}

impl Streams {
    pub(crate) fn new(limits: &Limits, counters: Arc<Counters>) -> Streams {
        let (connections, in_use, events) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        Streams { connections, in_use, events, max_inbound: limits.streams_per_connection, counters }
    }

    /// Opens a stream to a connected peer, over its direct connection if it has one.
    pub(crate) fn open(&mut self, peer_id: PeerId, opened: Opened) {
        let connections = self.connections.get(&peer_id).into_iter().flatten();
        let Some((connection, _)) = connections.min_by_key(|(_, relayed)| **relayed) else {
            // Who asked may have given up.
            let _ = opened.send(Err(StreamError::NotConnected));
            return;
        };
        let handler = NotifyHandler::One(*connection);
        self.events.push_back(ToSwarm::NotifyHandler { peer_id, handler, event: opened });
    }

    /// Whether a stream is open on the connection.
    pub(crate) fn uses(&self, connection: ConnectionId) -> bool {
        const NOT_STREAMS: usize = 2;
        self.in_use.get(&connection).is_some_and(|held| Arc::strong_count(held) > NOT_STREAMS)
    }

    fn handler(&mut self, connection: ConnectionId) -> StreamHandler {
        let held = self.in_use.entry(connection).or_default().clone();
        StreamHandler::new(self.max_inbound, self.counters.clone(), held)
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = StreamHandler;
    type ToSwarm = Arrived;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(connection))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(connection))
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(up) => {
                let connections = self.connections.entry(up.peer_id).or_default();
                connections.insert(up.connection_id, up.endpoint.is_relayed());
            }
            // Another behaviour has refused it.
            FromSwarm::DialFailure(failed) => drop(self.in_use.remove(&failed.connection_id)),
            FromSwarm::ListenFailure(failed) => drop(self.in_use.remove(&failed.connection_id)),
            FromSwarm::ConnectionClosed(down) => {
                self.in_use.remove(&down.connection_id);
                if let Some(connections) = self.connections.get_mut(&down.peer_id) {
                    connections.remove(&down.connection_id);
                    if connections.is_empty() {
                        self.connections.remove(&down.peer_id);
                    }
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, from: PeerId, _: ConnectionId, stream: THandlerOutEvent<Self>) {
        self.events.push_back(ToSwarm::GenerateEvent(Arrived { from, stream }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.events.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
