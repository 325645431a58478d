//! Streams on one connection.

use super::{NetStream, Opened, PROTOCOL};
use crate::{
    api::StreamError,
    counters::{Count, Counters},
};
use libp2p::{
    StreamProtocol,
    core::upgrade::ReadyUpgrade,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::Semaphore;

/// Streams that wait to be opened or handed over, at most.
const MAX_WAITING: usize = 16;

/// The handler of one connection.
pub(crate) struct StreamHandler {
    places: Arc<Semaphore>,
    counters: Arc<Counters>,
    wanted: VecDeque<Opened>,
    arrived: VecDeque<NetStream>,
    held: Arc<()>,
}

type Event = ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, Opened, NetStream>;

impl StreamHandler {
    pub(super) fn new(max_inbound: usize, counters: Arc<Counters>, held: Arc<()>) -> StreamHandler {
        StreamHandler {
            places: Arc::new(Semaphore::new(max_inbound)),
            counters,
            wanted: VecDeque::new(),
            arrived: VecDeque::new(),
            held,
        }
    }
}

impl ConnectionHandler for StreamHandler {
    type FromBehaviour = Opened;
    type ToBehaviour = NetStream;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Opened;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<Event> {
        if let Some(stream) = self.arrived.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(stream));
        }
        match self.wanted.pop_front() {
            Some(opened) => {
                let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), opened);
                Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
            }
            None => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, opened: Opened) {
        if self.wanted.len() < MAX_WAITING {
            self.wanted.push_back(opened);
        } else {
            let _ = opened.send(Err(StreamError::Busy));
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol, (), Opened>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                match self.places.clone().try_acquire_owned() {
                    Ok(place) => self.arrived.push_back(NetStream::new(protocol, Some(place), self.held.clone())),
                    Err(_) => self.counters.bump(Count::StreamsRefused),
                }
            }
            // Who asked may have given up: then the stream is dropped.
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                let _ = info.send(Ok(NetStream::new(protocol, None, self.held.clone())));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let why = match error {
                    StreamUpgradeError::NegotiationFailed => StreamError::Unsupported,
                    StreamUpgradeError::Timeout => StreamError::Failed("the peer did not answer in time".to_owned()),
                    StreamUpgradeError::Io(error) => StreamError::Failed(error.to_string()),
                    StreamUpgradeError::Apply(never) => match never {},
                };
                let _ = info.send(Err(why));
            }
            _ => {}
        }
    }
}
