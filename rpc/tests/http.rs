//! `/rpc` over HTTP, and the paths beside it.

mod common;

use common::{Answer, Node, credential, token};
use holm_rpc::{RpcError, ServerConfig, serve};
use holm_types::api::{ApiError, Request};
use serde_json::{Value, json};
use std::sync::{Arc, atomic::Ordering::SeqCst};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

const STATUS: &str = r#"{"jsonrpc":"2.0","id":1,"method":"mesh.status"}"#;

#[tokio::test]
async fn the_server_stays_on_loopback() {
    for address in ["0.0.0.0:0", "192.0.2.1:0", "[::]:0"] {
        let config = ServerConfig::new(address.parse().expect("an address"), credential());
        let mut tasks = JoinSet::new();
        let refused = serve(config, Arc::new(common::Fake::default()), &mut tasks, CancellationToken::new()).await;
        assert!(matches!(refused, Err(RpcError::NotLoopback(_))), "{address}");
        assert!(tasks.is_empty());
    }
}

#[tokio::test]
async fn an_address_in_use_is_an_error() {
    let node = Node::start().await;
    let config = ServerConfig::new(node.address, credential());
    let refused = serve(config, Arc::new(common::Fake::default()), &mut JoinSet::new(), CancellationToken::new()).await;
    assert!(matches!(refused, Err(RpcError::Listen { .. })));
}

#[tokio::test]
async fn without_the_credential_nothing_is_read() {
    let node = Node::start().await;
    let nearly = format!("Bearer {}", token().replacen('5', "6", 1));
    for authorization in [None, Some("Bearer"), Some("Bearer 00"), Some("Basic Og=="), Some(nearly.as_str())] {
        for body in [STATUS, "{garbage"] {
            let answer = node.post_as(authorization, body).await;
            assert_eq!(answer.status, 401, "{authorization:?}");
            assert!(answer.head.contains("www-authenticate: bearer"));
            let error = &answer.json()["error"];
            assert_eq!(error["code"], 1006);
            assert_eq!(error["data"], json!({ "reason": "not_authorised", "retryable": false }));
        }
    }
    let head = "GET /rpc HTTP/1.1\r\nhost: node\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut socket = TcpStream::connect(node.address).await.expect("connected");
    socket.write_all(head.as_bytes()).await.expect("sent");
    let mut start = [0; 12];
    socket.read_exact(&mut start).await.expect("an answer");
    assert_eq!(&start, b"HTTP/1.1 401");
    assert!(node.fake.take_asked().is_empty());
}

#[tokio::test]
async fn health_readiness_and_metrics_need_no_credential_and_show_none() {
    let node = Node::start().await;
    assert_eq!(node.get("/healthz").await.body, "ok\n");
    assert_eq!(node.get("/readyz").await.status, 200);
    node.fake.ready.store(false, SeqCst);
    assert_eq!(node.get("/readyz").await.status, 503);
    assert_eq!(node.get("/healthz").await.status, 200);

    node.post_as(None, STATUS).await;
    node.post(STATUS).await;
    let metrics = node.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    for line in ["holm_tasks 3", "holm_rpc_calls_total 1", "holm_rpc_unauthorised_total 1"] {
        assert!(metrics.body.lines().any(|l| l == line), "{line} in {}", metrics.body);
    }
    assert!(!metrics.body.contains(&token()));
    assert_eq!(node.get("/other").await.status, 404);
}

#[tokio::test]
async fn the_specification_over_the_wire() {
    let node = Node::start().await;
    let call = |id: Value| json!({ "jsonrpc": "2.0", "id": id, "method": "mesh.status" });
    let invalid = json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32600, "message": "Invalid Request" } });
    for id in [json!(1.5), json!("x"), json!(null), json!(-7)] {
        let answer = node.post(call(id.clone()).to_string()).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "jsonrpc": "2.0", "result": "done", "id": id })));
        assert!(answer.head.contains("content-type: application/json"));
    }
    for garbage in ["", "{", "nonsense", "\u{0}", "{\"a\":1}{"] {
        let answer = node.post(garbage).await;
        assert_eq!((answer.status, answer.json()["error"]["code"].clone()), (200, json!(-32700)), "{garbage:?}");
    }
    assert_eq!(node.post("[]").await.json(), invalid);
    let mixed = json!([1, call(json!(1)), { "jsonrpc": "2.0", "method": "mesh.status" }]);
    let expected = json!([invalid, { "jsonrpc": "2.0", "result": "done", "id": 1 }]);
    assert_eq!(node.post(mixed.to_string()).await.json(), expected);

    node.fake.take_asked();
    let notifications =
        json!([{ "jsonrpc": "2.0", "method": "mesh.status" }, { "jsonrpc": "2.0", "method": "node.list" }]);
    for (body, run) in [(notifications.to_string(), 2), (notifications[0].to_string(), 1)] {
        let answer = node.post(body).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""));
        assert_eq!(node.fake.take_asked().len(), run, "notifications are run");
    }
    assert_eq!(node.call("mesh.statuses", json!({})).await.expect_err("unknown")["code"], -32601);
    assert_eq!(node.call("app.get", json!(["web"])).await.expect_err("positional")["code"], -32602);
}

#[tokio::test]
async fn a_subscription_needs_a_websocket() {
    let node = Node::start().await;
    let error = node.call("event.watch", json!({})).await.expect_err("no subscription");
    assert_eq!((&error["code"], &error["data"]["reason"]), (&json!(-32601), &json!("needs_websocket")));
}

#[tokio::test]
async fn errors_of_the_node_carry_code_and_reason() {
    let node = Node::start().await;
    for (error, code, reason, retryable) in [
        (ApiError::Invalid("a".into()), 1003, "invalid", false),
        (ApiError::NotFound("b".into()), 1004, "not_found", false),
        (ApiError::NotAuthorised("c".into()), 1006, "not_authorised", false),
        (ApiError::RevisionConflict { expected: 1, current: 2 }, 1009, "revision_conflict", false),
        (ApiError::Busy("e".into()), 1029, "busy", true),
        (ApiError::Internal("f".into()), 1050, "internal", false),
    ] {
        let message = error.to_string();
        node.fake.answers(Err(error));
        let expected =
            json!({ "code": code, "message": message, "data": { "reason": reason, "retryable": retryable } });
        assert_eq!(node.call("mesh.status", json!({})).await, Err(expected));
    }
}

#[tokio::test]
async fn too_large_too_deep_and_too_many_are_refused() {
    let node = Node::start().await;
    let large = node.post(vec![b' '; 10 << 20]).await;
    assert_eq!((large.status, &large.json()["error"]["data"]["reason"]), (413, &json!("too_large")));

    let fits = format!("{STATUS}{}", " ".repeat((1 << 20) - STATUS.len()));
    assert_eq!(node.post(&fits).await.status, 200);
    assert_eq!(node.post(fits + " ").await.status, 413);

    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"mesh.status","params":{}{}}}"#,
        "[".repeat(1000),
        "]".repeat(1000)
    );
    assert_eq!(node.post(deep).await.json()["error"]["code"], -32700);

    node.fake.take_asked();
    let many = format!("[{}]", vec![STATUS; 1000].join(","));
    let refused = node.post(many).await.json();
    assert_eq!((&refused["error"]["code"], &refused["id"]), (&json!(-32600), &Value::Null));
    assert!(node.fake.take_asked().is_empty(), "nothing of it is run");
    let allowed = format!("[{}]", vec![STATUS; 64].join(","));
    assert_eq!(node.post(allowed).await.json().as_array().map(Vec::len), Some(64));
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_before_it_sends() {
    let node = Node::start().await;
    let head = format!(
        "POST /rpc HTTP/1.1\r\nhost: node\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
         content-length: 10000000\r\nexpect: 100-continue\r\n\r\n",
        token()
    );
    assert_eq!(node.raw(head.as_bytes()).await.status, 413);
}

#[tokio::test]
async fn a_chunked_body_is_limited_too() {
    let node = Node::with(|config| config.max_body = 100).await;
    let head = format!(
        "POST /rpc HTTP/1.1\r\nhost: node\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
         transfer-encoding: chunked\r\n\r\n",
        token()
    );
    let body = format!("40\r\n{0}\r\n40\r\n{0}\r\n0\r\n\r\n", " ".repeat(64));
    assert_eq!(node.raw(format!("{head}{body}").as_bytes()).await.status, 413);
    let body = format!("{:x}\r\n{STATUS}\r\n0\r\n\r\n", STATUS.len());
    assert_eq!(node.raw(format!("{head}{body}").as_bytes()).await.json()["result"], "done");
}

#[tokio::test]
async fn other_verbs_and_bare_gets_are_refused() {
    let node = Node::start().await;
    for (verb, status) in [("PUT", 405), ("DELETE", 405), ("GET", 400)] {
        let head = format!(
            "{verb} /rpc HTTP/1.1\r\nhost: node\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
            token()
        );
        assert_eq!(node.raw(head.as_bytes()).await.status, status, "{verb}");
    }
}

/// The clock stands still while anything can go on, and jumps to the next deadline when nothing can.
#[tokio::test(start_paused = true)]
async fn slow_bodies_are_given_up() {
    let node = Node::start().await;
    let mut socket = TcpStream::connect(node.address).await.expect("connected");
    let head = format!(
        "POST /rpc HTTP/1.1\r\nhost: node\r\nconnection: close\r\nauthorization: Bearer {}\r\ncontent-length: 100\r\n\r\n{{",
        token()
    );
    socket.write_all(head.as_bytes()).await.expect("sent");
    let answer = Answer::read(&mut socket).await;
    assert_eq!((answer.status, &answer.json()["error"]["data"]["reason"]), (408, &json!("too_slow")));
}

#[tokio::test(start_paused = true)]
async fn slow_heads_are_cut_off() {
    let node = Node::start().await;
    let mut socket = TcpStream::connect(node.address).await.expect("connected");
    socket.write_all(b"POST /rpc HT").await.expect("sent");
    let begun = tokio::time::Instant::now();
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest).await;
    assert_eq!(begun.elapsed().as_secs(), 3, "closed when the time is up");
}

#[tokio::test]
async fn connections_with_the_credential_are_limited() {
    let node = Node::with(|config| config.max_connections = 2).await;
    let head = format!(
        "POST /rpc HTTP/1.1\r\nhost: node\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{STATUS}",
        token(),
        STATUS.len()
    );
    // Each has been answered once, so each holds its place.
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut socket = TcpStream::connect(node.address).await.expect("connected");
        socket.write_all(head.as_bytes()).await.expect("sent");
        let mut start = [0; 12];
        socket.read_exact(&mut start).await.expect("an answer");
        assert_eq!(&start, b"HTTP/1.1 200");
        open.push(socket);
    }
    let refused = node.raw(head.as_bytes()).await;
    assert_eq!((refused.status, &refused.json()["error"]["data"]["retryable"]), (503, &json!(true)));
    assert!(node.get("/metrics").await.body.contains("holm_rpc_connections_refused_total 1\n"));
    drop(open);
    // The server notices that they are gone, at some time.
    while node.post(STATUS).await.status != 200 {}
}

#[tokio::test]
async fn a_stop_ends_the_server() {
    let mut node = Node::start().await;
    let mut idle = TcpStream::connect(node.address).await.expect("connected");
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: node\r\n\r\n").await.expect("sent");
    let mut start = [0; 12];
    idle.read_exact(&mut start).await.expect("an answer");
    let watching = node.client().await.subscribe_events(false, true).await.expect("subscribed");
    node.stop.cancel();
    node.tasks.join_next().await.expect("one task").expect("it ends in order");
    assert!(TcpStream::connect(node.address).await.is_err(), "nobody listens any more");
    drop(watching);
}

#[tokio::test]
async fn a_manifest_reaches_the_node_as_an_object() {
    let node = Node::start().await;
    let manifest = json!({ "name": "web", "type": "service", "run": { "process": { "command": ["/bin/true"] } } });
    node.call("app.apply", json!({ "manifest": manifest, "expected_revision": 0 })).await.expect("applied");
    let asked = node.fake.take_asked();
    let [Request::AppApply(params)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(params.manifest.as_ref().map(|m| m.name.to_string()).as_deref(), Some("web"));
    assert_eq!(params.expected_revision, Some(0));
}
