//! Both conversations on one connection.

use super::{
    Card, OwnCard, PROTOCOL,
    message::{Message, receive, send},
};
use crate::hello::clip;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use libp2p::{
    Multiaddr, Stream, StreamProtocol,
    core::upgrade::ReadyUpgrade,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use std::{
    collections::VecDeque,
    io,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

/// A conversation takes no longer. A test may wait for a dial to time out at the other end.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Conversations at once on one connection, in each direction.
const MAX_AT_ONCE: usize = 2;
/// However long the way, both wait no longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// What the behaviour asks of a connection.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Call { swapped: bool },
    Test { address: Multiaddr },
}

/// What a connection tells the behaviour.
#[derive(Debug)]
pub(crate) enum Told {
    Go { card: Card, listens: bool },
    TestAsked { address: Multiaddr, reached: oneshot::Sender<bool> },
    Tested { address: Multiaddr, reached: bool },
    Failed { why: String },
}

/// How a conversation ended, or its first part.
enum Step {
    Tell(Told),
    /// A test: the answer is to be sent when the dial has ended.
    Answer {
        stream: Stream,
        address: Multiaddr,
    },
    Done,
}

type Event = ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, Ask, Told>;

/// The handler.
pub(crate) struct MeetHandler {
    relayed: bool,
    card: OwnCard,
    asks: VecDeque<Ask>,
    told: VecDeque<Told>,
    outgoing: FuturesUnordered<BoxFuture<'static, io::Result<Step>>>,
    incoming: FuturesUnordered<BoxFuture<'static, io::Result<Step>>>,
    waker: Option<Waker>,
}

impl MeetHandler {
    pub(super) fn new(relayed: bool, card: OwnCard) -> MeetHandler {
        MeetHandler {
            relayed,
            card,
            asks: VecDeque::new(),
            told: VecDeque::new(),
            outgoing: FuturesUnordered::new(),
            incoming: FuturesUnordered::new(),
            waker: None,
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn fail(&mut self, why: &str) {
        self.told.push_back(Told::Failed { why: clip(why) });
        self.wake();
    }

    fn converse(&mut self, stream: Stream, ask: Ask) {
        let card = self.card.clone();
        self.outgoing.push(in_time(async move {
            match ask {
                Ask::Call { swapped } => call(stream, &card, swapped).await,
                Ask::Test { address } => test(stream, address).await,
            }
        }));
        self.wake();
    }

    fn accept(&mut self, stream: Stream) {
        if self.incoming.len() >= MAX_AT_ONCE {
            return;
        }
        let (relayed, card) = (self.relayed, self.card.clone());
        self.incoming.push(in_time(async move { answer(stream, &card, relayed).await }));
        self.wake();
    }

    fn take(&mut self, step: io::Result<Step>) {
        match step {
            Ok(Step::Tell(told)) => self.told.push_back(told),
            Ok(Step::Answer { mut stream, address }) => {
                let (reached, verdict) = oneshot::channel();
                self.told.push_back(Told::TestAsked { address, reached });
                self.incoming.push(in_time(async move {
                    // A refusal is no verdict.
                    let refused = |_| io::Error::other("the test was refused");
                    let reached = verdict.await.map_err(refused)?;
                    send(&mut stream, &Message::Tested { reached }).await?;
                    Ok(Step::Done)
                }));
            }
            Ok(Step::Done) => {}
            Err(error) => self.told.push_back(Told::Failed { why: clip(&error.to_string()) }),
        }
    }
}

fn in_time(work: impl Future<Output = io::Result<Step>> + Send + 'static) -> BoxFuture<'static, io::Result<Step>> {
    async move { timeout(TIMEOUT, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) }.boxed()
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the peer said something else")
}

/// The caller's part of a call.
async fn call(mut stream: Stream, own: &OwnCard, swapped: bool) -> io::Result<Step> {
    let mine = own.get();
    send(&mut stream, &Message::Call { card: mine.tell(false), swapped }).await?;
    let sent = Instant::now();
    let Message::Card(told) = receive(&mut stream).await? else { return Err(unexpected()) };
    let half = (sent.elapsed() / 2).min(LONGEST_WAIT);
    let card = told.read();
    send(&mut stream, &Message::Go(mine.tell(mine.shares_nat_with(&card)))).await?;
    sleep(half).await;
    Ok(Step::Tell(Told::Go { card, listens: !swapped }))
}

/// The caller's part of a test.
async fn test(mut stream: Stream, address: Multiaddr) -> io::Result<Step> {
    send(&mut stream, &Message::Test { address: address.to_string() }).await?;
    let Message::Tested { reached } = receive(&mut stream).await? else { return Err(unexpected()) };
    Ok(Step::Tell(Told::Tested { address, reached }))
}

/// The other part of either.
async fn answer(mut stream: Stream, own: &OwnCard, relayed: bool) -> io::Result<Step> {
    match receive(&mut stream).await? {
        Message::Call { card, swapped } if relayed => {
            let (mine, theirs) = (own.get(), card.read());
            send(&mut stream, &Message::Card(mine.tell(mine.shares_nat_with(&theirs)))).await?;
            let Message::Go(told) = receive(&mut stream).await? else { return Err(unexpected()) };
            Ok(Step::Tell(Told::Go { card: told.read(), listens: swapped }))
        }
        Message::Test { address } if !relayed => {
            let address = address.parse().map_err(|_| unexpected())?;
            Ok(Step::Answer { stream, address })
        }
        _ => Err(unexpected()),
    }
}

impl ConnectionHandler for MeetHandler {
    type FromBehaviour = Ask;
    type ToBehaviour = Told;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Ask;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            if let Some(told) = self.told.pop_front() {
                return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(told));
            }
            if let Some(ask) = self.asks.pop_front() {
                let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ask);
                return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
            }
            if let Poll::Ready(Some(step)) = self.outgoing.poll_next_unpin(cx) {
                self.take(step);
                continue;
            }
            if let Poll::Ready(Some(step)) = self.incoming.poll_next_unpin(cx) {
                self.take(step);
                continue;
            }
            self.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
    }

    fn on_behaviour_event(&mut self, ask: Ask) {
        if self.outgoing.len() + self.asks.len() >= MAX_AT_ONCE {
            return self.fail("busy");
        }
        self.asks.push_back(ask);
        self.wake();
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol, (), Ask>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => self.accept(protocol),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                self.converse(protocol, info);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => self.fail(&error.to_string()),
            _ => {}
        }
    }
}
