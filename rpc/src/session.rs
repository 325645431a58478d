//! One WebSocket connection: messages in, answers and notifications out, everything bounded.

use crate::{
    budget::{Reservation, Share},
    counters::Counters,
    dispatch::{Connection, Dispatcher, Feed, Reply},
    error::ErrorBody,
    jsonrpc,
    socket::{Hangup, Socket},
};
use axum::body::Bytes;
use futures::{
    FutureExt, SinkExt, Stream, StreamExt,
    future::BoxFuture,
    stream::{self, FuturesUnordered, SelectAll, SplitSink, SplitStream},
};
use serde_json::{Value, value::RawValue};
use std::{pin::Pin, sync::Arc, time::Duration};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message, Utf8Bytes,
        error::ProtocolError,
        protocol::{
            CloseFrame,
            frame::{
                Frame,
                coding::{CloseCode, Data, OpCode},
            },
        },
    },
};
use tokio_util::sync::CancellationToken;

/// Calls of one connection that run at a time; while so many do, no more are read.
const MAX_CALLS: usize = 32;
/// How often the peer is asked for a sign of life. Without one until the next time, it is gone.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long running calls may go on after the node was told to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(3);
/// Bytes of a frame. A long text goes out in several: the WebSocket copies each into a buffer that keeps its
/// size for as long as the connection lives.
const FRAME: usize = 64 << 10;

type Notifications = Pin<Box<dyn Stream<Item = Box<RawValue>> + Send>>;

/// The connection and what goes on over it.
pub(crate) struct Session {
    out: SplitSink<WebSocketStream<Socket>, Message>,
    incoming: SplitStream<WebSocketStream<Socket>>,
    hangup: Hangup,
    dispatcher: Arc<Dispatcher>,
    connection: Arc<Connection>,
    share: Arc<Share>,
    counters: Arc<Counters>,
    max_message: usize,
    /// A message that waits for room for its answer. Nothing more is read meanwhile.
    waiting: Option<BoxFuture<'static, (Bytes, Reservation)>>,
    calls: FuturesUnordered<BoxFuture<'static, Reply>>,
    feeds: SelectAll<Notifications>,
    heard: bool,
}

/// What happens next.
enum Branch {
    Stop,
    Gone,
    Incoming(Option<Result<Message, tungstenite::Error>>),
    Admitted(Bytes, Reservation),
    Reply(Reply),
    Notification(Box<RawValue>),
    Ping,
}

/// Why the session ends.
enum End {
    /// The peer is gone or does not keep up: nothing more can be said to it.
    Lost,
    /// With a close frame.
    Close(CloseCode, &'static str),
}

impl Session {
    pub(crate) fn new(
        socket: WebSocketStream<Socket>,
        hangup: Hangup,
        id: usize,
        dispatcher: Arc<Dispatcher>,
        counters: Arc<Counters>,
        max_message: usize,
    ) -> Session {
        let (out, incoming) = socket.split();
        Session {
            out,
            incoming,
            hangup,
            share: Arc::new(dispatcher.budget().share()),
            dispatcher,
            connection: Arc::new(Connection::new(id)),
            counters,
            max_message,
            waiting: None,
            calls: FuturesUnordered::new(),
            feeds: SelectAll::new(),
            heard: true,
        }
    }

    /// Serves the connection until either side ends it. Calls that run then are dropped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.reset();
        let end = loop {
            let branch = self.next(&stop, &mut ping).await;
            if let Err(end) = self.handle(branch).await {
                break end;
            }
        };
        self.waiting = None;
        if let End::Close(code, reason) = end {
            let _ = timeout(DRAIN_WITHIN, self.drain()).await;
            let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
            let _ = self.send(Message::Close(Some(frame))).await;
        }
    }

    fn reads(&self) -> bool {
        self.waiting.is_none() && self.calls.len() < MAX_CALLS
    }

    async fn next(&mut self, stop: &CancellationToken, ping: &mut Interval) -> Branch {
        let reads = self.reads();
        let admitted = async {
            match &mut self.waiting {
                Some(waiting) => waiting.await,
                None => std::future::pending().await,
            }
        };
        // That the peer has left comes before anything that would be done for it.
        tokio::select! {
            biased;
            () = stop.cancelled() => Branch::Stop,
            () = self.hangup.happened(), if !reads => Branch::Gone,
            _ = ping.tick() => Branch::Ping,
            Some(reply) = self.calls.next() => Branch::Reply(reply),
            (message, reservation) = admitted => Branch::Admitted(message, reservation),
            message = self.incoming.next(), if reads => Branch::Incoming(message),
            Some(notification) = self.feeds.next() => Branch::Notification(notification),
        }
    }

    async fn handle(&mut self, branch: Branch) -> Result<(), End> {
        match branch {
            Branch::Stop => Err(End::Close(CloseCode::Away, "the node is stopping")),
            Branch::Incoming(Some(Ok(message))) => self.received(message),
            Branch::Incoming(Some(Err(tungstenite::Error::Capacity(_)))) => self.too_large().await,
            // A client that is done may just hang up.
            Branch::Incoming(Some(Err(tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)))) => {
                Err(End::Lost)
            }
            Branch::Incoming(Some(Err(tungstenite::Error::Protocol(_) | tungstenite::Error::Utf8(_)))) => {
                self.counters.malformed();
                Err(End::Close(CloseCode::Protocol, "what was sent is no WebSocket message"))
            }
            Branch::Gone | Branch::Incoming(Some(Err(_)) | None) => Err(End::Lost),
            Branch::Admitted(message, reservation) => {
                self.waiting = None;
                let (dispatcher, connection) = (Arc::clone(&self.dispatcher), Arc::clone(&self.connection));
                let call = async move { dispatcher.answer(&message, Some(&connection), reservation).await };
                self.calls.push(call.boxed());
                Ok(())
            }
            Branch::Reply(reply) => self.reply(reply).await,
            Branch::Notification(json) => self.send_text(String::from(Box::<str>::from(json))).await,
            Branch::Ping if !self.heard => Err(End::Lost),
            Branch::Ping => {
                // A peer that is not read, because enough of it is under way, cannot be heard either.
                self.heard = !self.reads();
                self.send(Message::Ping(Bytes::new())).await
            }
        }
    }

    fn received(&mut self, message: Message) -> Result<(), End> {
        self.heard = true;
        let text: Bytes = match message {
            Message::Text(text) => text.into(),
            Message::Binary(bytes) => bytes,
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) | Message::Frame(_) => return Err(End::Lost),
        };
        let (dispatcher, share) = (Arc::clone(&self.dispatcher), Arc::clone(&self.share));
        let admitted = async move {
            let reservation = dispatcher.reserve(&text, &share).await;
            (text, reservation)
        };
        self.waiting = Some(admitted.boxed());
        Ok(())
    }

    /// A message over the limit is not read to its end, so nothing after it can be read either.
    async fn too_large(&mut self) -> Result<(), End> {
        self.counters.too_large();
        let answer = jsonrpc::failure(&Value::Null, &ErrorBody::too_large(self.max_message));
        self.send_text(answer).await?;
        Err(End::Close(CloseCode::Size, "the message is too large"))
    }

    async fn reply(&mut self, reply: Reply) -> Result<(), End> {
        if let Some(text) = reply.text {
            self.send_text(text).await?;
        }
        drop(reply.held);
        self.feeds.extend(reply.feeds.into_iter().map(notifications));
        Ok(())
    }

    async fn drain(&mut self) {
        while let Some(reply) = self.calls.next().await {
            if self.reply(reply).await.is_err() {
                return;
            }
        }
    }

    async fn send_text(&mut self, text: String) -> Result<(), End> {
        let mut rest = Bytes::from(text);
        let mut kind = Data::Text;
        loop {
            let part = rest.split_to(rest.len().min(FRAME));
            let frame = Frame::message(part, OpCode::Data(kind), rest.is_empty());
            self.out.feed(Message::Frame(frame)).await.map_err(|_| End::Lost)?;
            if rest.is_empty() {
                return self.out.flush().await.map_err(|_| End::Lost);
            }
            kind = Data::Continue;
        }
    }

    /// The socket sees to it that this does not take for ever.
    async fn send(&mut self, message: Message) -> Result<(), End> {
        self.out.send(message).await.map_err(|_| End::Lost)
    }
}

fn notifications(feed: Feed) -> Notifications {
    Box::pin(stream::unfold(feed, |mut feed| async move { feed.recv().await.map(|json| (json, feed)) }))
}
