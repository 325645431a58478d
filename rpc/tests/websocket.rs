//! `/rpc` over WebSocket: the same answers, and the two subscriptions.

mod common;

use common::{Node, event, label, task, token};
use futures::StreamExt;
use holm_rpc::{LogStream, LogsItem, LogsParams, RpcError};
use holm_types::api::{ApiError, Request};
use http::{HeaderMap, HeaderValue, header};
use jsonrpsee_client_transport::ws::WsTransportClientBuilder;
use jsonrpsee_core::client::{ReceivedMessage, TransportReceiverT, TransportSenderT};
use serde_json::{Value, json};
use std::sync::atomic::Ordering::SeqCst;
use tokio::net::TcpStream;

/// A WebSocket that sends and receives text as it is.
struct Raw<S, R> {
    out: S,
    incoming: R,
}

async fn raw(node: &Node) -> Raw<impl TransportSenderT, impl TransportReceiverT> {
    let bearer = HeaderValue::from_str(&format!("Bearer {}", token())).expect("a header");
    let builder = WsTransportClientBuilder {
        headers: HeaderMap::from_iter([(header::AUTHORIZATION, bearer)]),
        ..WsTransportClientBuilder::default()
    };
    let url = format!("ws://{}/rpc", node.address).parse().expect("a URL");
    let socket = TcpStream::connect(node.address).await.expect("connected");
    let (out, incoming) = builder.build_with_stream(url, socket).await.expect("a WebSocket");
    Raw { out, incoming }
}

impl<S: TransportSenderT, R: TransportReceiverT> Raw<S, R> {
    async fn send(&mut self, text: impl ToString) {
        self.out.send(text.to_string()).await.expect("sent");
    }

    async fn receive(&mut self) -> Option<Value> {
        match self.incoming.receive().await.ok()? {
            ReceivedMessage::Text(text) => Some(serde_json::from_str(&text).expect("JSON")),
            other => panic!("{other:?}"),
        }
    }

    async fn ask(&mut self, text: impl ToString) -> Value {
        self.send(text).await;
        self.receive().await.expect("an answer")
    }

    async fn subscribe(&mut self, method: &str, params: Value) -> Value {
        self.ask(json!({ "jsonrpc": "2.0", "id": 0, "method": method, "params": params })).await
    }
}

fn call(id: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "mesh.status" })
}

#[tokio::test]
async fn answers_are_the_same_as_over_http() {
    let node = Node::start().await;
    let mut socket = raw(&node).await;
    let invalid = json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32600, "message": "Invalid Request" } });
    for id in [json!(1.5), json!("x"), json!(null), json!(-7)] {
        let expected = json!({ "jsonrpc": "2.0", "result": "done", "id": id });
        assert_eq!(socket.ask(call(id.clone())).await, expected);
    }
    assert_eq!(socket.ask("{nonsense").await["error"]["code"], -32700);
    assert_eq!(socket.ask(r#"{"foo":"boo"}"#).await, invalid);
    assert_eq!(socket.ask("[]").await, invalid);
    let mixed = json!([1, call(json!(1)), { "jsonrpc": "2.0", "method": "mesh.status" }]);
    assert_eq!(socket.ask(&mixed).await, json!([invalid, { "jsonrpc": "2.0", "result": "done", "id": 1 }]));

    node.fake.take_asked();
    socket.send(json!({ "jsonrpc": "2.0", "method": "node.list" })).await;
    socket.send(json!([{ "jsonrpc": "2.0", "method": "node.list" }])).await;
    assert_eq!(socket.ask(call(json!(9))).await["id"], 9, "notifications are not answered");
    assert_eq!(node.fake.take_asked().len(), 3, "but they are run");
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_connection() {
    let node = Node::with(|config| config.max_body = 1000).await;
    let mut socket = raw(&node).await;
    let answer = socket.ask(" ".repeat(2000)).await;
    assert_eq!(answer["error"]["data"]["reason"], "too_large");
    assert_eq!(socket.receive().await, None);
    assert!(node.get("/metrics").await.body.contains("holm_rpc_too_large_total 1\n"));
}

/// The clock stands still while anything can go on, and jumps to the next deadline when nothing can.
#[tokio::test(start_paused = true)]
async fn a_peer_without_a_sign_of_life_is_let_go() {
    let node = Node::start().await;
    let head = format!(
        "GET /rpc HTTP/1.1\r\nhost: node\r\nconnection: upgrade\r\nupgrade: websocket\r\nauthorization: Bearer {}\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        token()
    );
    let begun = tokio::time::Instant::now();
    let answer = node.raw_bytes(head.as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    assert!(answer.ends_with(&[0x89, 0]), "the last that it hears is a ping");
    assert_eq!(begun.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_peer_that_answers_pings_stays() {
    let node = Node::start().await;
    let client = node.client().await;
    let mut events = client.subscribe_events(false, true).await.expect("subscribed").boxed();
    let quiet = tokio::time::timeout(std::time::Duration::from_secs(600), events.next()).await;
    assert!(quiet.is_err(), "no event, and no end either");
    node.fake.events.send(event("a")).expect("somebody listens");
    assert_eq!(events.next().await.expect("an event").expect("an event").detail, "a");
}

#[tokio::test]
async fn calls_run_side_by_side_up_to_a_limit() {
    let node = Node::start().await;
    let mut socket = raw(&node).await;
    node.fake.open.send_replace(false);
    for id in 0..40 {
        socket.send(call(json!(id))).await;
    }
    node.fake.running.subscribe().wait_for(|running| *running == 32).await.expect("running");
    node.fake.open.send_replace(true);
    for _ in 0..40 {
        assert_eq!(socket.receive().await.expect("an answer")["result"], "done");
    }
    assert_eq!(node.fake.most_running.load(SeqCst), 32);
}

#[tokio::test]
async fn events_come_as_they_happen_after_the_recent_ones() {
    let node = Node::start().await;
    let client = node.client().await;
    *node.fake.recent.lock().expect("unpoisoned") = vec![event("a"), event("b")];
    let mut all = client.subscribe_events(true, true).await.expect("subscribed").boxed();
    let mut live = client.subscribe_events(false, true).await.expect("subscribed").boxed();
    // "b" happened in between: it is among the recent ones and comes live too, but is shown once.
    for detail in ["b", "c"] {
        node.fake.events.send(event(detail)).expect("somebody listens");
    }
    for detail in ["a", "b", "c"] {
        assert_eq!(all.next().await.expect("an event").expect("an event").detail, detail);
    }
    for detail in ["b", "c"] {
        assert_eq!(live.next().await.expect("an event").expect("an event").detail, detail);
    }
}

#[tokio::test]
async fn recent_events_alone_come_to_an_end() {
    let node = Node::start().await;
    *node.fake.recent.lock().expect("unpoisoned") = vec![event("a"), event("b")];
    let events = node.client().await.subscribe_events(true, false).await.expect("subscribed");
    let details: Vec<_> = events.map(|item| item.expect("an event").detail).collect().await;
    assert_eq!(details, ["a", "b"]);
}

#[tokio::test]
async fn a_subscriber_that_lags_is_told_how_much_it_lost() {
    let node = Node::start().await;
    let client = node.client().await;
    let mut events = client.subscribe_events(false, true).await.expect("subscribed").boxed();
    for n in 0..10 {
        node.fake.events.send(event(&n.to_string())).expect("somebody listens");
    }
    let Some(Err(RpcError::Remote { code, message, .. })) = events.next().await else { panic!("lost events") };
    assert_eq!((code, message.contains("6 events")), (1029, true), "{message}");
    assert!(events.next().await.is_none());
    assert!(node.get("/metrics").await.body.contains("holm_rpc_events_lost_total 6\n"));
}

#[tokio::test]
async fn unsubscribing_ends_the_notifications() {
    let node = Node::start().await;
    let mut socket = raw(&node).await;
    let subscription = socket.subscribe("event.watch", json!({})).await["result"].clone();
    assert!(subscription.is_u64(), "{subscription}");
    node.fake.events.send(event("a")).expect("somebody listens");
    let notification = socket.receive().await.expect("a notification");
    assert_eq!(notification["method"], "event.watch");
    assert_eq!(notification["params"]["subscription"], subscription);
    assert_eq!(notification["params"]["result"]["item"]["detail"], "a");
    assert!(notification.get("id").is_none());

    let stop = json!({ "jsonrpc": "2.0", "id": 1, "method": "event.watch.stop", "params": [subscription] });
    assert_eq!(socket.ask(&stop).await["result"], true);
    assert_eq!(socket.ask(&stop).await["result"], false);
    assert_eq!(socket.ask(call(json!(2))).await["id"], 2);
}

#[tokio::test]
async fn a_subscription_may_have_any_legal_id_and_be_in_a_batch() {
    let node = Node::start().await;
    let mut socket = raw(&node).await;
    let subscribe = json!({ "jsonrpc": "2.0", "id": 1.5, "method": "event.watch" });
    assert_eq!(socket.ask(&subscribe).await["id"], 1.5);
    let both = socket.ask(json!([subscribe, call(json!("x"))])).await;
    assert_eq!((&both[0]["id"], &both[1]["id"]), (&json!(1.5), &json!("x")));
    assert!(both[0]["result"].is_u64());
}

#[tokio::test]
async fn subscriptions_of_a_connection_are_limited() {
    let node = Node::start().await;
    let mut socket = raw(&node).await;
    let first = socket.subscribe("event.watch", json!({})).await["result"].clone();
    for _ in 1..16 {
        assert!(socket.subscribe("event.watch", json!({})).await["result"].is_u64());
    }
    let refused = socket.subscribe("event.watch", json!({})).await;
    assert_eq!((&refused["error"]["code"], &refused["error"]["data"]["retryable"]), (&json!(1029), &json!(true)));
    let stop = json!({ "jsonrpc": "2.0", "id": 1, "method": "event.watch.stop", "params": [first] });
    assert_eq!(socket.ask(stop).await["result"], true);
    // Its place becomes free once the server's task for it has seen that it ended.
    while socket.subscribe("event.watch", json!({})).await.get("error").is_some() {}
}

#[tokio::test]
async fn a_closed_connection_ends_its_subscriptions() {
    let node = Node::start().await;
    let mut socket = raw(&node).await;
    socket.subscribe("event.watch", json!({})).await;
    assert_eq!(node.fake.events.receiver_count(), 1);
    drop(socket);
    while node.fake.events.receiver_count() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn parameters_of_subscriptions_are_checked() {
    let node = Node::start().await;
    let mut socket = raw(&node).await;
    for (method, params) in [
        ("event.watch", json!({ "recents": true })),
        ("event.watch", json!([true])),
        ("task.logs", json!({})),
        ("task.logs", json!({ "id": "web-0-a", "app": "web" })),
        ("task.logs", json!({ "id": "web-0-a", "namespace": "x" })),
        ("task.logs", json!({ "id": "../x" })),
        ("task.logs", json!({ "id": "web-0-a", "stream": "stdin" })),
    ] {
        assert_eq!(socket.subscribe(method, params.clone()).await["error"]["code"], -32602, "{method} {params}");
    }
}

fn logs_of(id: &str) -> LogsParams {
    LogsParams { id: Some(task(id)), ..LogsParams::default() }
}

async fn collect(stream: impl futures::Stream<Item = Result<LogsItem, RpcError>>) -> Vec<Result<LogsItem, RpcError>> {
    stream.collect().await
}

#[tokio::test]
async fn a_log_comes_in_order_to_its_end() {
    let node = Node::start().await;
    let client = node.client().await;
    let out = node.fake.log("web-0-a", LogStream::Stdout);
    let lines: Vec<String> = (0..1000).map(|n| format!("line {n}")).collect();
    for line in &lines {
        out.try_send(Ok(line.clone())).expect("room");
    }
    drop(out);
    let params = LogsParams { stream: Some(LogStream::Stdout), ..logs_of("web-0-a") };
    let items = collect(client.subscribe_logs(&params).await.expect("subscribed")).await;
    assert!(items.len() < 100, "lines that are there together come together: {}", items.len());
    let read: Vec<String> = items.into_iter().flat_map(|item| item.expect("lines").lines).collect();
    assert_eq!(read, lines);
}

#[tokio::test]
async fn a_followed_log_goes_on() {
    let node = Node::start().await;
    let client = node.client().await;
    let out = node.fake.log("web-0-a", LogStream::Stderr);
    let params = LogsParams { stream: Some(LogStream::Stderr), follow: true, ..logs_of("web-0-a") };
    let mut items = client.subscribe_logs(&params).await.expect("subscribed").boxed();
    for line in ["first", "second"] {
        out.send(Ok(line.into())).await.expect("read");
        let item = items.next().await.expect("an item").expect("lines");
        assert_eq!((item.task, item.stream, item.lines), (task("web-0-a"), LogStream::Stderr, vec![line.to_owned()]));
    }
    drop(out);
    assert!(items.next().await.is_none());
}

#[tokio::test]
async fn one_output_that_fails_does_not_end_the_others() {
    let node = Node::start().await;
    let client = node.client().await;
    let out = node.fake.log("web-0-a", LogStream::Stdout);
    out.try_send(Ok("still here".into())).expect("room");
    drop(out);
    let items = collect(client.subscribe_logs(&logs_of("web-0-a")).await.expect("subscribed")).await;
    let items: Vec<LogsItem> = items.into_iter().map(|item| item.expect("an item")).collect();
    assert_eq!(items.len(), 2, "{items:?}");
    for item in items {
        match item.stream {
            LogStream::Stdout => assert_eq!((item.lines, item.error), (vec!["still here".to_owned()], None)),
            LogStream::Stderr => assert_eq!(item.error.map(|e| e.code), Some(1004)),
        }
    }
}

#[tokio::test]
async fn a_log_that_nobody_has_ends_with_the_error() {
    let node = Node::start().await;
    let client = node.client().await;
    let params = LogsParams { stream: Some(LogStream::Stdout), ..logs_of("web-0-a") };
    let items = collect(client.subscribe_logs(&params).await.expect("subscribed")).await;
    assert!(matches!(items.as_slice(), [Err(RpcError::Remote { code: 1004, .. })]), "{items:?}");

    let broken = node.fake.log("web-0-a", LogStream::Stdout);
    for line in [Ok("read".into()), Err(ApiError::Internal("disk".into())), Ok("never shown".into())] {
        broken.try_send(line).expect("room");
    }
    let items = collect(client.subscribe_logs(&params).await.expect("subscribed")).await;
    let [Ok(item), Err(RpcError::Remote { code: 1050, .. })] = items.as_slice() else { panic!("{items:?}") };
    assert_eq!(item.lines, ["read"]);
}

#[tokio::test]
async fn an_app_stands_for_its_tasks() {
    let node = Node::start().await;
    let client = node.client().await;
    for id in ["web-0-a", "web-1-b"] {
        node.fake.has_task(id);
        node.fake.log(id, LogStream::Stdout).try_send(Ok(id.to_owned())).expect("room");
    }
    let params = LogsParams { app: Some(label("web")), stream: Some(LogStream::Stdout), ..LogsParams::default() };
    let items = collect(client.subscribe_logs(&params).await.expect("subscribed")).await;
    let mut lines: Vec<_> = items.into_iter().flat_map(|item| item.expect("lines").lines).collect();
    lines.sort();
    assert_eq!(lines, ["web-0-a", "web-1-b"]);
    let asked = node.fake.take_asked();
    let [Request::TaskList(list)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(
        (list.app.clone(), list.namespace.clone(), list.all),
        (Some(label("web")), Some(label("default")), false)
    );

    for n in 0..100 {
        node.fake.has_task(&format!("web-{n}-c"));
    }
    let refused = client.subscribe_logs(&params).await.err().expect("too many");
    assert_eq!(refused.code(), Some(1003), "{refused}");
}

#[tokio::test]
async fn an_app_without_tasks_has_no_log() {
    let node = Node::start().await;
    node.fake.answers(Ok(json!({ "items": [] })));
    let params = LogsParams { app: Some(label("web")), ..LogsParams::default() };
    let refused = node.client().await.subscribe_logs(&params).await.err().expect("nothing to read");
    assert_eq!(refused.code(), Some(1004), "{refused}");
    assert_eq!(node.fake.take_asked().len(), 2, "those that ended were looked for too");
}
