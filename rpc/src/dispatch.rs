//! The shim between the wire and jsonrpsee's registry of methods, the same for HTTP and WebSocket.
//!
//! jsonrpsee's own servers deviate from the specification (they do not run notifications, take a
//! fractional id for no id, and call a well-formed non-request a parse error), so the requests are read
//! by [`crate::jsonrpc`] and each is given to the callback that jsonrpsee registered for it, under an id
//! of ours; the answer then gets the caller's id back.

use crate::{
    budget::{Budget, Reservation, Share, Weight},
    counters::Counters,
    error::{self, ErrorBody},
    jsonrpc::{self, Call, Entry, Message, Outcome},
    methods,
};
use futures::FutureExt;
use holm_types::api::ApiError;
use jsonrpsee_core::{
    id_providers::RandomIntegerIdProvider,
    server::{
        BoundedSubscriptions, ConnectionId, Extensions, MethodCallback, MethodResponse, MethodSink, Methods,
        SubscriptionState,
    },
};
use jsonrpsee_types::{Id, Params};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Bytes of all the answers to one message, at most.
pub(crate) const MAX_ANSWER: usize = 32 << 20;
/// Subscriptions of one connection, at most.
pub(crate) const MAX_SUBSCRIPTIONS: u32 = 16;
/// Notifications of one subscription that wait for the connection; then its source has to wait. One of a log may
/// have 100 KiB, and a connection 16 subscriptions.
const FEED_CAPACITY: usize = 4;
/// A longer message is not read before bytes are set aside for it, as one whose answer is long: JSON takes
/// many times its length in memory.
const SHORT: usize = 16 << 10;

/// Notifications of one subscription, as text.
pub(crate) type Feed = mpsc::Receiver<Box<RawValue>>;

/// What a message led to.
#[derive(Default)]
pub(crate) struct Reply {
    /// The answer; none if the message held only notifications.
    pub text: Option<String>,
    /// Subscriptions that have begun. Their notifications go out after the answer.
    pub feeds: Vec<Feed>,
    /// Bytes that the answer takes of the budget until it is sent.
    pub held: Option<Reservation>,
}

/// Counts a call that is dropped before it is done, because its client left.
struct Unfinished<'a>(Option<&'a Counters>);

impl Unfinished<'_> {
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(counters) = self.0 {
            counters.cancelled();
        }
    }
}

/// A WebSocket connection, which alone can subscribe.
pub(crate) struct Connection {
    id: ConnectionId,
    subscriptions: BoundedSubscriptions,
}

impl Connection {
    pub(crate) fn new(id: usize) -> Connection {
        Connection { id: ConnectionId(id), subscriptions: BoundedSubscriptions::new(MAX_SUBSCRIPTIONS) }
    }
}

/// The methods, and how to call them by the specification.
pub(crate) struct Dispatcher {
    methods: Methods,
    max_batch: usize,
    budget: Budget,
    counters: Arc<Counters>,
}

impl Dispatcher {
    pub(crate) fn new(
        methods: impl Into<Methods>,
        max_batch: usize,
        budget: Budget,
        counters: Arc<Counters>,
    ) -> Dispatcher {
        Dispatcher { methods: methods.into(), max_batch, budget, counters }
    }

    /// The bytes that unsent answers take, of all connections and of a new one.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Waits until there is room for the answer to a message. Nothing is asked of the node before.
    pub(crate) async fn reserve(&self, message: &[u8], own: &Share) -> Reservation {
        let weight = self.weigh(message);
        if let Some(at_once) = self.budget.reserve(own, weight).now_or_never() {
            return at_once;
        }
        self.counters.held_back();
        let waiting = Unfinished(Some(&self.counters));
        let reservation = self.budget.reserve(own, weight).await;
        waiting.done();
        reservation
    }

    fn weigh(&self, message: &[u8]) -> Weight {
        if message.len() > SHORT {
            return Weight::Bulk;
        }
        match jsonrpc::parse(message, self.max_batch) {
            Ok(Message::One(Entry::Call { call, .. } | Entry::Notification(call))) => methods::weight(&call.method),
            Ok(Message::Batch(entries)) if entries.len() > 1 => Weight::Bulk,
            Ok(Message::Batch(entries)) => match entries.as_slice() {
                [Entry::Call { call, .. } | Entry::Notification(call)] => methods::weight(&call.method),
                _ => Weight::Brief,
            },
            Ok(Message::One(Entry::Invalid { .. })) | Err(_) => Weight::Brief,
        }
    }

    /// Does what a message asks for, and keeps what was set aside for it as far as the answer needs it.
    pub(crate) async fn answer(
        &self,
        message: &[u8],
        connection: Option<&Connection>,
        mut reservation: Reservation,
    ) -> Reply {
        let mut reply = self.handle(message, connection).await;
        reservation.settle(reply.text.as_ref().map_or(0, String::len));
        reply.held = Some(reservation);
        reply
    }

    /// What a message leads to. `connection` is there if notifications can be sent back.
    async fn handle(&self, message: &[u8], connection: Option<&Connection>) -> Reply {
        match jsonrpc::parse(message, self.max_batch) {
            Ok(Message::One(entry)) => {
                let mut reply = Reply::default();
                reply.text = self.entry(entry, connection, MAX_ANSWER, &mut reply.feeds).await;
                reply
            }
            Ok(Message::Batch(entries)) => self.batch(entries, connection).await,
            Err(error) => {
                self.counters.failed();
                Reply { text: Some(jsonrpc::failure(&Value::Null, &error)), ..Reply::default() }
            }
        }
    }

    /// One after the other, in their order. Once the answers fill a connection's share, the node is not asked any more.
    async fn batch(&self, entries: Vec<Entry>, connection: Option<&Connection>) -> Reply {
        let mut reply = Reply::default();
        let mut text = String::new();
        for entry in entries {
            let room = MAX_ANSWER.saturating_sub(text.len());
            let full = text.len() >= self.budget.bytes_each();
            let entry = match entry {
                Entry::Call { id, .. } if full => {
                    self.counters.failed();
                    let refused = jsonrpc::failure(&id, &ErrorBody::share_is_full(text.len()));
                    text.push(',');
                    text.push_str(&refused);
                    continue;
                }
                entry => entry,
            };
            if let Some(answer) = self.entry(entry, connection, room, &mut reply.feeds).await {
                text.push(if text.is_empty() { '[' } else { ',' });
                text.push_str(&answer);
            }
        }
        if !text.is_empty() {
            text.push(']');
            reply.text = Some(text);
        }
        reply
    }

    async fn entry(
        &self,
        entry: Entry,
        connection: Option<&Connection>,
        room: usize,
        feeds: &mut Vec<Feed>,
    ) -> Option<String> {
        match entry {
            Entry::Invalid { id } => {
                self.counters.failed();
                Some(jsonrpc::failure(&id, &ErrorBody::invalid_request()))
            }
            Entry::Notification(call) => {
                // Nobody would learn the id of a subscription begun by a notification.
                let _ = self.execute(call, None, room, &mut Vec::new()).await;
                None
            }
            Entry::Call { id, call } => Some(jsonrpc::answer(&id, &self.execute(call, connection, room, feeds).await)),
        }
    }

    async fn execute(
        &self,
        call: Call,
        connection: Option<&Connection>,
        room: usize,
        feeds: &mut Vec<Feed>,
    ) -> Outcome {
        self.counters.called();
        let running = Unfinished(Some(&self.counters));
        let text = call.params.as_ref().map(Value::to_string);
        let params = Params::new(text.as_deref());
        let connection_id = connection.map_or(ConnectionId(0), |c| c.id);
        let response = match self.methods.method(&call.method) {
            Some(MethodCallback::Sync(run)) => run(ID, params, room, Extensions::new()),
            Some(MethodCallback::Async(run)) => {
                run(ID, params.into_owned(), connection_id, room, Extensions::new()).await
            }
            Some(MethodCallback::Unsubscription(run)) => run(ID, params, connection_id, room, Extensions::new()),
            Some(MethodCallback::Subscription(_)) => match connection {
                Some(connection) => self.subscribe(&call.method, params, connection, feeds).await,
                None => MethodResponse::error(ID, ErrorBody::needs_websocket(&call.method)),
            },
            None => MethodResponse::error(ID, ErrorBody::method_not_found()),
        };
        running.done();
        let outcome = outcome(&response);
        if outcome.is_err() {
            self.counters.failed();
        }
        outcome
    }

    async fn subscribe(
        &self,
        method: &str,
        params: Params<'_>,
        connection: &Connection,
        feeds: &mut Vec<Feed>,
    ) -> MethodResponse {
        let Some(MethodCallback::Subscription(run)) = self.methods.method(method) else {
            return MethodResponse::error(ID, ErrorBody::method_not_found());
        };
        let Some(permit) = connection.subscriptions.acquire() else {
            let message = format!("a connection holds at most {MAX_SUBSCRIPTIONS} subscriptions");
            return MethodResponse::error(ID, ErrorBody::from(ApiError::Busy(message)));
        };
        let state = SubscriptionState {
            conn_id: connection.id,
            id_provider: &RandomIntegerIdProvider,
            subscription_permit: permit,
        };
        let (sender, mut feed) = mpsc::channel(FEED_CAPACITY);
        let response = run(ID, params, MethodSink::new(sender), state, Extensions::new()).await;
        // jsonrpsee sends the answer through the sink too, ahead of the notifications.
        let _ = feed.recv().await;
        if response.is_success() {
            feeds.push(feed);
        }
        response
    }
}

/// The id under which jsonrpsee's callbacks run.
const ID: Id<'static> = Id::Number(0);

#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

fn outcome(response: &MethodResponse) -> Outcome {
    let internal = || error::ErrorBody::internal();
    match serde_json::from_str::<Parts<'_>>(response.as_json().get()) {
        Ok(Parts { error: Some(error), .. }) => Err(error.to_owned()),
        Ok(Parts { result: Some(result), .. }) => Ok(result.to_owned()),
        // A result of `null` reads as none.
        Ok(Parts { .. }) => Ok(RawValue::NULL.to_owned()),
        Err(_) => Err(jsonrpc::raw(&internal())),
    }
}

#[cfg(test)]
#[path = "dispatch_tests.rs"]
mod tests;
