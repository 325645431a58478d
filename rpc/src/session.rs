//! One WebSocket connection: messages in, answers and notifications out, everything bounded.

use crate::{
    counters::Counters,
    dispatch::{Connection, Dispatcher, Feed, Reply},
    error::ErrorBody,
    jsonrpc,
};
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use futures::{
    FutureExt, SinkExt, Stream, StreamExt,
    future::BoxFuture,
    stream::{self, FuturesUnordered, SelectAll, SplitSink, SplitStream},
};
use serde_json::{Value, value::RawValue};
use std::{pin::Pin, sync::Arc, time::Duration};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

/// Calls of one connection that run at a time; while so many do, no more are read.
const MAX_CALLS: usize = 32;
/// How often the peer is asked for a sign of life. Without one until the next time, it is gone.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long a peer may take to receive a message.
const SEND_WITHIN: Duration = Duration::from_secs(20);
/// How long running calls may go on after the node was told to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(3);

type Notifications = Pin<Box<dyn Stream<Item = Box<RawValue>> + Send>>;

/// The connection and what goes on over it.
pub(crate) struct Session {
    out: SplitSink<WebSocket, Message>,
    incoming: SplitStream<WebSocket>,
    dispatcher: Arc<Dispatcher>,
    connection: Arc<Connection>,
    counters: Arc<Counters>,
    max_message: usize,
    calls: FuturesUnordered<BoxFuture<'static, Reply>>,
    feeds: SelectAll<Notifications>,
    heard: bool,
}

/// What happens next.
enum Branch {
    Stop,
    Incoming(Option<Result<Message, axum::Error>>),
    Reply(Reply),
    Notification(Box<RawValue>),
    Ping,
}

/// Why the session ends.
enum End {
    /// The peer is gone or does not keep up: nothing more can be said to it.
    Lost,
    /// With a close frame.
    Close(u16, &'static str),
}

impl Session {
    pub(crate) fn new(
        socket: WebSocket,
        id: usize,
        dispatcher: Arc<Dispatcher>,
        counters: Arc<Counters>,
        max_message: usize,
    ) -> Session {
        let (out, incoming) = socket.split();
        Session {
            out,
            incoming,
            dispatcher,
            connection: Arc::new(Connection::new(id)),
            counters,
            max_message,
            calls: FuturesUnordered::new(),
            feeds: SelectAll::new(),
            heard: true,
        }
    }

    /// Serves the connection until either side ends it.
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
        if let End::Close(code, reason) = end {
            let _ = timeout(DRAIN_WITHIN, self.drain()).await;
            let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
            let _ = self.send(Message::Close(Some(frame))).await;
        }
    }

    async fn next(&mut self, stop: &CancellationToken, ping: &mut Interval) -> Branch {
        tokio::select! {
            () = stop.cancelled() => Branch::Stop,
            message = self.incoming.next(), if self.calls.len() < MAX_CALLS => Branch::Incoming(message),
            Some(reply) = self.calls.next() => Branch::Reply(reply),
            Some(notification) = self.feeds.next() => Branch::Notification(notification),
            _ = ping.tick() => Branch::Ping,
        }
    }

    async fn handle(&mut self, branch: Branch) -> Result<(), End> {
        match branch {
            Branch::Stop => Err(End::Close(close_code::AWAY, "the node is stopping")),
            Branch::Incoming(Some(Ok(message))) => self.received(message),
            Branch::Incoming(Some(Err(error))) if is_too_large(&error) => self.too_large().await,
            Branch::Incoming(Some(Err(_))) => Err(End::Lost),
            Branch::Incoming(None) => Err(End::Lost),
            Branch::Reply(reply) => self.reply(reply).await,
            Branch::Notification(json) => self.send_text(String::from(Box::<str>::from(json))).await,
            Branch::Ping if !self.heard => Err(End::Lost),
            Branch::Ping => {
                // A peer whose calls fill the connection is not read, so it cannot be heard either.
                self.heard = self.calls.len() >= MAX_CALLS;
                self.send(Message::Ping(axum::body::Bytes::new())).await
            }
        }
    }

    fn received(&mut self, message: Message) -> Result<(), End> {
        self.heard = true;
        let text = match message {
            Message::Text(text) => text.into(),
            Message::Binary(bytes) => bytes,
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => return Err(End::Lost),
        };
        let (dispatcher, connection) = (Arc::clone(&self.dispatcher), Arc::clone(&self.connection));
        self.calls.push(async move { dispatcher.handle(&text, Some(&connection)).await }.boxed());
        Ok(())
    }

    /// A message over the limit is not read to its end, so nothing after it can be read either.
    async fn too_large(&mut self) -> Result<(), End> {
        self.counters.too_large();
        let answer = jsonrpc::failure(&Value::Null, &ErrorBody::too_large(self.max_message));
        self.send_text(answer).await?;
        Err(End::Close(close_code::SIZE, "the message is too large"))
    }

    async fn reply(&mut self, reply: Reply) -> Result<(), End> {
        if let Some(text) = reply.text {
            self.send_text(text).await?;
        }
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
        self.send(Message::Text(text.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(SEND_WITHIN, self.out.send(message)).await {
            Ok(sent) => sent.map_err(|_| End::Lost),
            Err(_) => {
                self.counters.too_slow();
                Err(End::Lost)
            }
        }
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<tungstenite::Error>());
    matches!(cause, Some(tungstenite::Error::Capacity(_)))
}

fn notifications(feed: Feed) -> Notifications {
    Box::pin(stream::unfold(feed, |mut feed| async move { feed.recv().await.map(|json| (json, feed)) }))
}
