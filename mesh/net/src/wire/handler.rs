//! Frames on one connection.

use super::{
    PROTOCOL,
    frame::{FrameReader, FrameWriter},
    outbox::Outbox,
};
use crate::{
    counters::{Count, Counters},
    limits::MIN_FRAME_COST,
};
use libp2p::{
    Stream, StreamProtocol,
    core::upgrade::ReadyUpgrade,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, ConnectionId, SubstreamProtocol,
        handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use std::{
    convert::Infallible,
    io,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// Incoming streams that a connection may have: the one in use, and its successor.
const MAX_INBOUND: usize = 2;
/// After this many failures in a row to open or keep the outgoing stream the connection is given up.
const MAX_FAILURES: u8 = 3;

/// What a handler tells its behaviour.
#[derive(Debug)]
pub(crate) enum FromHandler {
    /// A frame, with its share of the intake.
    Frame { bytes: Vec<u8>, permit: OwnedSemaphorePermit },
    /// No frame can be sent on this connection, or the peer sent what is no frame.
    Broken,
}

type Event = ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, (), FromHandler>;

enum Outbound {
    Idle,
    Opening,
    Open(FrameWriter<Stream>),
}

/// One incoming stream. It reads no further while its last frame waits for the intake.
struct Inbound {
    reader: FrameReader<Stream>,
    intake: PollSemaphore,
    ready: Option<Vec<u8>>,
}

impl Inbound {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<FromHandler>, io::Error>> {
        if self.ready.is_none() {
            match ready!(self.reader.poll_frame(cx))? {
                Some(frame) => self.ready = Some(frame),
                None => return Poll::Ready(Ok(None)),
            }
        }
        let cost = self.ready.as_ref().map_or(0, Vec::len).max(MIN_FRAME_COST);
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        let permit = ready!(self.intake.poll_acquire_many(cx, cost));
        Poll::Ready(Ok(permit.zip(self.ready.take()).map(|(permit, bytes)| FromHandler::Frame { bytes, permit })))
    }
}

/// The handler of one connection.
pub(crate) struct WireHandler {
    connection: ConnectionId,
    outbox: Arc<Outbox>,
    intake: PollSemaphore,
    max_frame: usize,
    counters: Arc<Counters>,
    inbound: Vec<Inbound>,
    outbound: Outbound,
    failures: u8,
    broken: bool,
    reported: bool,
}

impl WireHandler {
    pub(super) fn new(
        connection: ConnectionId,
        outbox: Arc<Outbox>,
        intake: &Arc<Semaphore>,
        max_frame: usize,
        counters: Arc<Counters>,
    ) -> WireHandler {
        WireHandler {
            connection,
            outbox,
            intake: PollSemaphore::new(intake.clone()),
            max_frame,
            counters,
            inbound: Vec::new(),
            outbound: Outbound::Idle,
            failures: 0,
            broken: false,
            reported: false,
        }
    }

    fn accept(&mut self, stream: Stream) {
        if self.inbound.len() >= MAX_INBOUND {
            self.counters.bump(Count::FramesRefused);
            return;
        }
        self.inbound.push(Inbound {
            reader: FrameReader::new(stream, self.max_frame),
            intake: self.intake.clone(),
            ready: None,
        });
    }

    fn outbound_failed(&mut self) {
        if let Outbound::Open(writer) = std::mem::replace(&mut self.outbound, Outbound::Idle)
            && let Some(frame) = writer.into_unsent()
        {
            self.outbox.put_back(frame);
        }
        self.failures += 1;
        self.broken |= self.failures >= MAX_FAILURES;
    }

    fn poll_inbound(&mut self, cx: &mut Context<'_>) -> Option<FromHandler> {
        let mut at = 0;
        while let Some(inbound) = self.inbound.get_mut(at) {
            match inbound.poll(cx) {
                Poll::Pending => at += 1,
                Poll::Ready(Ok(Some(frame))) => {
                    // The other stream comes first next time.
                    self.inbound.rotate_left(1);
                    return Some(frame);
                }
                Poll::Ready(Ok(None)) => {
                    self.inbound.remove(at);
                }
                Poll::Ready(Err(error)) => {
                    self.inbound.remove(at);
                    if error.kind() == io::ErrorKind::InvalidData {
                        tracing::debug!(%error, "a peer broke the frame protocol");
                        self.counters.bump(Count::FramesRefused);
                        self.broken = true;
                    }
                }
            }
        }
        None
    }

    fn poll_outbound(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            match &mut self.outbound {
                Outbound::Opening => return Poll::Pending,
                Outbound::Idle if self.broken || !self.outbox.has_work(self.connection, cx) => return Poll::Pending,
                Outbound::Idle => {
                    self.outbound = Outbound::Opening;
                    let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ());
                    return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
                }
                Outbound::Open(_) => {
                    let error = ready!(self.poll_sending(cx));
                    tracing::debug!(%error, "the stream for frames broke");
                    self.outbound_failed();
                }
            }
        }
    }

    /// Sends what waits; comes back only with the error that ends the stream.
    fn poll_sending(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Outbound::Open(writer) = &mut self.outbound else { return Poll::Pending };
        loop {
            if let Err(error) = ready!(writer.poll_write(cx)) {
                return Poll::Ready(error);
            }
            match self.outbox.pop(self.connection, cx) {
                Some(frame) => writer.start(frame),
                None => break,
            }
        }
        match ready!(writer.poll_flush(cx)) {
            Ok(()) => {
                self.failures = 0;
                Poll::Pending
            }
            Err(error) => Poll::Ready(error),
        }
    }
}

impl ConnectionHandler for WireHandler {
    type FromBehaviour = Infallible;
    type ToBehaviour = FromHandler;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    /// A connection between members stays, though nothing is said: it is their liveness.
    fn connection_keep_alive(&self) -> bool {
        !self.broken
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Some(frame) = self.poll_inbound(cx) {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(frame));
        }
        let event = self.poll_outbound(cx);
        if event.is_pending() && self.broken && !self.reported {
            self.reported = true;
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(FromHandler::Broken));
        }
        event
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => self.accept(protocol),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                self.outbound = Outbound::Open(FrameWriter::new(protocol));
            }
            ConnectionEvent::DialUpgradeError(_) => self.outbound_failed(),
            _ => {}
        }
    }
}
