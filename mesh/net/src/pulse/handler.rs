//! The pulse of one connection.

use super::Pace;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt, future::BoxFuture};
use libp2p::{
    Stream, StreamProtocol,
    core::upgrade::ReadyUpgrade,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/holm/pulse/1");

/// What a handler is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToHandler {
    /// How closely to look from now on.
    Pace(Pace),
    /// Ask now, and report after this time when nothing comes.
    Ask(Duration),
}

/// What a handler tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FromHandler {
    /// The byte came back after this time.
    Answered(Duration),
    /// It did not, for so many times the timeout.
    Silent(u32),
}

type Event = ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, (), FromHandler>;

enum Asking {
    /// Nothing is asked until the timer ends.
    Rests(Option<Stream>),
    Opens,
    Waits(BoxFuture<'static, io::Result<(Stream, Duration)>>),
    /// The peer does not answer such questions.
    Never,
}

/// See the module above.
pub(crate) struct PulseHandler {
    pace: Pace,
    /// For the question that is asked now, in place of the pace's.
    patience: Option<Duration>,
    /// The end of the rest, or of the patience.
    timer: Pin<Box<Sleep>>,
    asking: Asking,
    silent: u32,
    answering: Option<BoxFuture<'static, io::Result<Stream>>>,
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<(S, Duration)> {
    let begin = Instant::now();
    stream.write_all(&[1]).await?;
    stream.flush().await?;
    stream.read_exact(&mut [0]).await?;
    Ok((stream, begin.elapsed()))
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<S> {
    let mut byte = [0];
    stream.read_exact(&mut byte).await?;
    stream.write_all(&byte).await?;
    stream.flush().await?;
    Ok(stream)
}

impl PulseHandler {
    pub(super) fn new(pace: Pace) -> PulseHandler {
        // The first question measures the round trip of a new connection.
        let timer = Box::pin(sleep(Duration::ZERO));
        PulseHandler { pace, patience: None, timer, asking: Asking::Rests(None), silent: 0, answering: None }
    }

    fn after(&mut self, time: Duration) {
        self.timer.as_mut().reset(Instant::now() + time);
    }

    fn wait(&mut self) {
        self.after(self.patience.unwrap_or(self.pace.timeout));
    }

    /// Answers one question a turn: a peer that asks without end does not keep the others waiting.
    fn poll_answering(&mut self, cx: &mut Context<'_>) {
        let Some(answering) = &mut self.answering else { return };
        match answering.poll_unpin(cx) {
            Poll::Pending => {}
            Poll::Ready(Ok(stream)) => {
                self.answering = Some(answer(stream).boxed());
                cx.waker().wake_by_ref();
            }
            Poll::Ready(Err(_)) => self.answering = None,
        }
    }

    fn poll_asking(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Asking::Waits(waits) = &mut self.asking
            && let Poll::Ready(result) = waits.poll_unpin(cx)
        {
            return match result {
                Ok((stream, trip)) => {
                    (self.asking, self.silent, self.patience) = (Asking::Rests(Some(stream)), 0, None);
                    self.after(self.pace.interval);
                    tell(FromHandler::Answered(trip))
                }
                Err(error) => {
                    tracing::debug!(%error, "the stream for the pulse broke");
                    self.failed()
                }
            };
        }
        if matches!(self.asking, Asking::Never) || self.timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        match &mut self.asking {
            Asking::Rests(stream) => {
                let stream = stream.take();
                self.wait();
                // Polls again at once: what waits has to know whom to wake.
                cx.waker().wake_by_ref();
                match stream {
                    Some(stream) => self.asking = Asking::Waits(ask(stream).boxed()),
                    None => {
                        self.asking = Asking::Opens;
                        let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ());
                        return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
                    }
                }
                Poll::Pending
            }
            Asking::Opens | Asking::Waits(_) => {
                self.silent += 1;
                self.wait();
                tell(FromHandler::Silent(self.silent))
            }
            Asking::Never => Poll::Pending,
        }
    }

    /// No stream: it is tried again soon, which is as good as no answer.
    fn failed(&mut self) -> Poll<Event> {
        self.asking = Asking::Rests(None);
        self.silent += 1;
        self.wait();
        tell(FromHandler::Silent(self.silent))
    }

    fn not_opened(&mut self, unsupported: bool) {
        self.asking = if unsupported { Asking::Never } else { Asking::Rests(None) };
        self.wait();
    }
}

fn tell(event: FromHandler) -> Poll<Event> {
    Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event))
}

impl ConnectionHandler for PulseHandler {
    type FromBehaviour = ToHandler;
    type ToBehaviour = FromHandler;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        self.poll_answering(cx);
        self.poll_asking(cx)
    }

    fn on_behaviour_event(&mut self, event: ToHandler) {
        let rests = matches!(self.asking, Asking::Rests(_));
        match event {
            ToHandler::Pace(pace) => {
                self.pace = pace;
                if rests && self.timer.deadline() > Instant::now() + pace.interval {
                    self.after(pace.interval);
                }
            }
            ToHandler::Ask(patience) if rests => {
                self.patience = Some(patience);
                self.after(Duration::ZERO);
            }
            ToHandler::Ask(_) => {}
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>) {
        match event {
            // A peer has one such stream at a time; the latest is it.
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                self.answering = Some(answer(protocol).boxed());
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                self.asking = Asking::Waits(ask(protocol).boxed());
            }
            ConnectionEvent::DialUpgradeError(failed) => {
                self.not_opened(matches!(failed.error, StreamUpgradeError::NegotiationFailed));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{executor::block_on, future::join};
    use tokio_util::compat::TokioAsyncReadCompatExt;

    #[test]
    fn a_byte_comes_back_on_the_same_stream_again_and_again() {
        let (near, far) = tokio::io::duplex(4);
        let (near, far) = (near.compat(), far.compat());
        block_on(async {
            let (asked, answered) = join(ask(near), answer(far)).await;
            let (near, far) = (asked.unwrap().0, answered.unwrap());
            let (asked, answered) = join(ask(near), answer(far)).await;
            drop(asked.unwrap());
            assert!(answer(answered.unwrap()).await.is_err(), "the end of the stream");
        });
    }
}
