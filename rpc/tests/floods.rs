//! Clients that take nothing, send nothing, or leave: the others, and the node, do not notice.

mod common;

use common::{Node, token};
use futures::future::join_all;
use holm_rpc::Client;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const MIB: usize = 1 << 20;
/// How long a state may take to come about.
const SOON: Duration = Duration::from_secs(30);

/// A WebSocket that nobody reads from, written by hand.
struct Deaf(TcpStream);

impl Deaf {
    async fn connect(node: &Node) -> Deaf {
        let mut socket = TcpStream::connect(node.address).await.expect("connected");
        let head = format!(
            "GET /rpc HTTP/1.1\r\nhost: node\r\nconnection: upgrade\r\nupgrade: websocket\r\nauthorization: Bearer {}\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            token()
        );
        socket.write_all(head.as_bytes()).await.expect("sent");
        let mut status = [0; 12];
        socket.read_exact(&mut status).await.expect("an answer");
        assert_eq!(&status, b"HTTP/1.1 101");
        Deaf(socket)
    }

    /// A text in one frame, masked with zeros.
    async fn send(&mut self, text: &str) {
        let length = u16::try_from(text.len()).expect("a short message");
        let mut frame = vec![0x81, 0x80 | 126];
        frame.extend(length.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        self.0.write_all(&frame).await.expect("sent");
    }
}

fn call(method: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": { "name": "big" } }).to_string()
}

/// The value of a counter or gauge.
async fn metric(node: &Node, name: &str) -> usize {
    let text = node.get("/metrics").await.body;
    let line =
        text.lines().find(|line| line.split(' ').next() == Some(name)).unwrap_or_else(|| panic!("no {name}: {text}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

async fn wait_for(node: &Node, name: &str, reached: impl Fn(usize) -> bool) -> usize {
    let seen = async {
        loop {
            let value = metric(node, name).await;
            if reached(value) {
                return value;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, seen).await.unwrap_or_else(|_| panic!("{name} does not get there"))
}

#[tokio::test]
async fn answers_that_nobody_takes_are_not_made() {
    let node = Node::start().await;
    node.fake.answers(Ok(json!("x".repeat(7 * MIB))));
    let batch = format!("[{}]", vec![call("app.result"); 64].join(","));
    let mut deaf = Vec::new();
    for _ in 0..20 {
        let mut socket = Deaf::connect(&node).await;
        for _ in 0..3 {
            socket.send(&batch).await;
        }
        deaf.push(socket);
    }
    wait_for(&node, "holm_rpc_held_back_total", |waiting| waiting >= 17).await;
    // Three shares of long answers are handed out at most, and two answers fill what a batch may lead to.
    let asked = || node.fake.asked.lock().expect("unpoisoned").len();
    assert!(asked() <= 3 * 2, "the node was asked {} times", asked());
    assert!(metric(&node, "holm_rpc_unsent_bytes").await <= 32 * MIB);

    let begun = Instant::now();
    assert_eq!(node.get("/healthz").await.status, 200);
    assert_eq!(node.get("/readyz").await.status, 200);
    node.fake.answers(Ok(json!("short")));
    assert_eq!(
        node.call("mesh.status", json!({})).await,
        Ok(json!("short")),
        "short answers do not wait for long ones"
    );
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());

    drop(deaf);
    wait_for(&node, "holm_rpc_unsent_bytes", |bytes| bytes == 0).await;
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_given_up_and_others_get_their_turn() {
    let node = Node::with(|config| config.patience = Duration::from_millis(300)).await;
    node.fake.answers(Ok(json!("x".repeat(7 * MIB))));
    let mut deaf = Vec::new();
    for _ in 0..6 {
        let mut socket = Deaf::connect(&node).await;
        for _ in 0..3 {
            socket.send(&call("app.result")).await;
        }
        deaf.push(socket);
    }
    let post = format!(
        "POST /rpc HTTP/1.1\r\nhost: node\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{}",
        token(),
        call("app.result").len(),
        call("app.result")
    );
    for _ in 0..2 {
        let mut socket = TcpStream::connect(node.address).await.expect("connected");
        socket.write_all(post.as_bytes()).await.expect("sent");
        deaf.push(Deaf(socket));
    }
    let client = node.client().await;
    let answer: String = timeout(SOON, client.call("app.result", &json!({ "name": "big" })))
        .await
        .expect("its turn comes")
        .expect("answered");
    assert_eq!(answer.len(), 7 * MIB);
    wait_for(&node, "holm_rpc_too_slow_total", |given_up| given_up == 8).await;
    wait_for(&node, "holm_rpc_unsent_bytes", |bytes| bytes == 0).await;
}

#[tokio::test]
async fn calls_of_those_who_leave_are_never_made() {
    let node = Node::start().await;
    node.fake.open.send_replace(false);
    let mut sockets = Vec::new();
    for _ in 0..10 {
        let mut socket = Deaf::connect(&node).await;
        for _ in 0..3 {
            socket.send(&call("app.result")).await;
        }
        sockets.push(socket);
    }
    node.fake.running.subscribe().wait_for(|running| *running == 3).await.expect("running");
    wait_for(&node, "holm_rpc_held_back_total", |waiting| waiting == 10).await;
    // They go away behind messages that nobody has read.
    drop(sockets);
    wait_for(&node, "holm_rpc_clients", |clients| clients == 0).await;
    wait_for(&node, "holm_rpc_unsent_bytes", |bytes| bytes == 0).await;
    node.fake.open.send_replace(true);
    assert_eq!(node.call("mesh.status", json!({})).await, Ok(json!("done")));
    assert_eq!(node.fake.take_asked().len(), 3 + 1, "three were under way, and one came now");
    assert_eq!(metric(&node, "holm_rpc_cancelled_total").await, 3 + 10);
}

#[tokio::test]
async fn a_batch_does_not_exceed_the_share() {
    let node = Node::with(|config| config.max_unsent_each = MIB).await;
    node.fake.answers(Ok(json!("x".repeat(MIB / 2))));
    let batch = format!("[{}]", vec![call("app.result"); 5].join(","));
    let answers = node.post(batch).await.json();
    let told: Vec<Option<i64>> =
        answers.as_array().expect("a batch").iter().map(|answer| answer["error"]["code"].as_i64()).collect();
    assert_eq!(told, [None, None, Some(1029), Some(1029), Some(1029)]);
    assert_eq!(node.fake.take_asked().len(), 2);
}

#[tokio::test]
async fn what_was_dropped_is_in_the_status() {
    let node = Node::start().await;
    node.fake.answers(Ok(json!({ "counters": { "own": 1 } })));
    assert_eq!(node.call("mesh.status", json!({})).await, Ok(json!({ "counters": { "own": 1 } })));
    assert_eq!(node.post_as(None, "{}").await.status, 401);
    let counters = json!({ "own": 1, "rpc_unauthorised": 1 });
    assert_eq!(node.call("mesh.status", json!({})).await, Ok(json!({ "counters": counters })));
}

/// Half of them say nothing, half begin a head.
async fn strangers(node: &Node, count: usize) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for n in 0..count {
        // The server closes the oldest meanwhile: that these break is what is wanted.
        let Ok(mut socket) = TcpStream::connect(node.address).await else { continue };
        if n % 2 == 0 {
            let _ = socket.write_all(b"POST /rpc HTTP/1.1\r\nhost: no").await;
        }
        open.push(socket);
    }
    open
}

#[tokio::test]
async fn two_thousand_strangers_lock_nobody_out() {
    let node = Node::start().await;
    let open = strangers(&node, 2000).await;
    wait_for(&node, "holm_rpc_strangers_dropped_total", |dropped| dropped >= 2000 - 64).await;
    assert!(metric(&node, "holm_rpc_strangers").await <= 64);
    for _ in 0..10 {
        let begun = Instant::now();
        assert_eq!(node.call("mesh.status", json!({})).await, Ok(json!("done")));
        let client = Client::connect(&format!("http://{}", node.address), &common::credential()).await.expect("in");
        assert_eq!(client.call::<_, Value>("mesh.status", &()).await.expect("answered"), "done");
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    assert_eq!(node.get("/healthz").await.status, 200);
    drop(open);
}

#[tokio::test]
async fn clients_get_in_while_strangers_keep_coming() {
    let node = Node::start().await;
    let client = node.client().await;
    let flood = async {
        loop {
            drop(strangers(&node, 500).await);
        }
    };
    let calls = async {
        for _ in 0..20 {
            let begun = Instant::now();
            let fresh = Client::connect(&format!("http://{}", node.address), &common::credential()).await.expect("in");
            let answers = join_all([&fresh, &client].map(|c| c.call::<_, Value>("mesh.status", &()))).await;
            assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|a| a == "done")), "{answers:?}");
            assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        }
    };
    tokio::select! {
        () = flood => unreachable!("it does not end"),
        () = calls => {}
    }
}
