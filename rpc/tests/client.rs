//! What a client makes of everything that can go wrong.

mod common;

use common::{Node, credential};
use futures::StreamExt;
use holm_rpc::{Client, Credential, RpcError};
use holm_types::api::{ApiError, AppRef, TaskRow};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

#[tokio::test]
async fn a_refused_credential_is_told_from_an_absent_node() {
    let node = Node::start().await;
    let url = format!("http://{}", node.address);
    let other = Credential::generate([1; 32]);
    let refused = Client::connect(&url, &other).await.expect_err("another credential");
    assert!(matches!(refused, RpcError::Unauthorised), "{refused:?}");
    assert_eq!(refused.code(), Some(1006));

    let free = TcpListener::bind("127.0.0.1:0").await.expect("bound").local_addr().expect("an address");
    let absent = Client::connect(&format!("ws://{free}"), &credential()).await.expect_err("nobody there");
    assert!(matches!(absent, RpcError::Unreachable(_)), "{absent:?}");

    let remote = Client::connect("http://192.0.2.1:7070", &credential()).await.expect_err("not of this host");
    assert!(matches!(remote, RpcError::Url { .. }), "{remote:?}");
}

#[tokio::test]
async fn a_full_node_is_unreachable() {
    let node = Node::with(|config| config.max_connections = 0).await;
    let full = Client::connect(&format!("http://{}", node.address), &credential()).await.expect_err("full");
    assert!(matches!(full, RpcError::Unreachable(_)), "{full:?}");
}

#[tokio::test]
async fn something_else_on_the_port_is_no_node() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let server = async move {
        let (mut socket, _) = listener.accept().await.expect("a client");
        let mut head = [0; 16];
        socket.read_exact(&mut head).await.expect("a request");
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("sent");
        socket
    };
    let (url, credential) = (format!("http://{address}"), credential());
    let (other, _socket) = tokio::join!(Client::connect(&url, &credential), server);
    let other = other.expect_err("no node");
    assert!(matches!(other, RpcError::Protocol(_)), "{other:?}");
}

#[tokio::test]
async fn errors_of_the_node_keep_their_code() {
    let node = Node::start().await;
    let client = node.client().await;
    for (error, expected, hint) in [
        (ApiError::NotFound("no app web".into()), 1004, "not_found"),
        (ApiError::NotAuthorised("not a deployer".into()), 1006, "not_authorised"),
        (ApiError::RevisionConflict { expected: 1, current: 2 }, 1009, "revision_conflict"),
        (ApiError::Busy("later".into()), 1029, "busy"),
    ] {
        let text = error.to_string();
        node.fake.answers(Err(error));
        let app = AppRef { name: common::label("web"), namespace: None, site: None };
        let failed = client.call::<_, Value>("app.get", &app).await.expect_err("an error");
        let RpcError::Remote { code, reason, message, retryable } = failed else { panic!("{failed:?}") };
        assert_eq!((code, reason.as_str(), message, retryable), (expected, hint, text, hint == "busy"));
    }
    let unknown = client.call::<_, Value>("no.such", &()).await.expect_err("unknown");
    assert_eq!(unknown.code(), Some(-32601));
}

#[tokio::test]
async fn an_answer_of_another_shape_is_a_protocol_error() {
    let node = Node::start().await;
    node.fake.answers(Ok(json!({ "id": 7 })));
    let params = json!({ "id": "web-0-a" });
    let failed = node.client().await.call::<_, TaskRow>("task.get", &params).await.expect_err("no row");
    assert!(matches!(failed, RpcError::Protocol(_)), "{failed:?}");
}

#[tokio::test]
async fn an_answer_may_be_large() {
    let node = Node::start().await;
    let large = "x".repeat(12 << 20);
    node.fake.answers(Ok(json!(large)));
    let answer: String = node.client().await.call("mesh.status", &()).await.expect("it fits");
    assert_eq!(answer.len(), large.len());
}

#[tokio::test]
async fn a_node_that_stops_is_unreachable() {
    let mut node = Node::start().await;
    let client = node.client().await;
    let mut events = client.subscribe_events(false, true).await.expect("subscribed").boxed();
    node.stop.cancel();
    while node.tasks.join_next().await.is_some() {}
    let Some(Err(RpcError::Unreachable(_))) = events.next().await else { panic!("the connection was lost") };
    assert!(events.next().await.is_none());
    let failed = client.call::<_, Value>("mesh.status", &()).await.expect_err("gone");
    assert!(matches!(failed, RpcError::Unreachable(_)), "{failed:?}");
}

#[tokio::test]
async fn a_call_that_runs_is_answered_before_the_node_stops() {
    let mut node = Node::start().await;
    let client = node.client().await;
    node.fake.open.send_replace(false);
    let (answer, ()) = tokio::join!(client.call::<_, String>("mesh.status", &()), async {
        node.fake.running.subscribe().wait_for(|running| *running == 1).await.expect("running");
        node.stop.cancel();
        node.fake.open.send_replace(true);
    });
    assert_eq!(answer.expect("answered"), "done");
    while node.tasks.join_next().await.is_some() {}
}
