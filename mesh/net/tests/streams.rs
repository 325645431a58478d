//! Streams between members.

mod support;

use holm_mesh_net::{Limits, NetStream, StreamError};
use std::time::Duration;
use support::{Authority, Node, QUIC, TCP, connect};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(20);

async fn pair(listen: &str) -> (Node, Node) {
    let authority = Authority::new(1);
    let mut a = authority.node(2, &[listen]).await;
    let mut b = authority.node(3, &[listen]).await;
    connect(&mut a, &mut b).await;
    (a, b)
}

async fn accept(node: &mut Node, from: &Node) -> NetStream {
    let incoming = timeout(PATIENCE, node.net.streams.recv()).await.expect("a stream").expect("a running network");
    assert_eq!(incoming.from, from.id);
    incoming.stream
}

async fn a_stream_carries_bytes_both_ways(listen: &str) {
    let (a, mut b) = pair(listen).await;
    let mut near = a.net.handle.open(b.id).await.unwrap();
    near.write_all(b"question").await.unwrap();
    near.shutdown().await.unwrap();
    let mut far = accept(&mut b, &a).await;
    let mut question = Vec::new();
    far.read_to_end(&mut question).await.unwrap();
    assert_eq!(question, b"question");
    let answer = vec![7; 3 << 20];
    let (sent, received) = tokio::join!(
        async {
            far.write_all(&answer).await?;
            far.shutdown().await
        },
        async {
            let mut received = Vec::new();
            near.read_to_end(&mut received).await.map(|_| received)
        }
    );
    sent.unwrap();
    assert_eq!(received.unwrap(), answer);
}

#[tokio::test]
async fn a_stream_carries_bytes_both_ways_over_tcp() {
    a_stream_carries_bytes_both_ways(TCP).await;
}

#[tokio::test]
async fn a_stream_carries_bytes_both_ways_over_quic() {
    a_stream_carries_bytes_both_ways(QUIC).await;
}

#[tokio::test]
async fn nobody_is_reached_without_a_connection() {
    let authority = Authority::new(1);
    let a = authority.node(2, &[TCP]).await;
    let b = authority.node(3, &[TCP]).await;
    assert_eq!(a.net.handle.open(b.id).await.unwrap_err(), StreamError::NotConnected);
}

#[tokio::test]
async fn a_peer_that_opens_too_many_streams_is_refused_the_rest_until_one_ends() {
    let (a, mut b) = pair(TCP).await;
    let allowed = Limits::default().streams_per_connection;
    let mut near = Vec::new();
    let mut far = Vec::new();
    for _ in 0..allowed {
        near.push(a.net.handle.open(b.id).await.unwrap());
        near.last_mut().unwrap().write_all(b"x").await.unwrap();
        far.push(accept(&mut b, &a).await);
    }
    // Negotiated, then dropped by the other side.
    let mut refused = a.net.handle.open(b.id).await.unwrap();
    assert!(matches!(timeout(PATIENCE, refused.read_u8()).await, Ok(Err(_))));
    far.pop();
    let mut again = a.net.handle.open(b.id).await.unwrap();
    again.write_all(b"y").await.unwrap();
    assert_eq!(accept(&mut b, &a).await.read_u8().await.unwrap(), b'y');
}

#[tokio::test]
async fn a_stream_ends_with_its_connection() {
    let (a, mut b) = pair(QUIC).await;
    let mut near = a.net.handle.open(b.id).await.unwrap();
    near.write_all(b"x").await.unwrap();
    let far = accept(&mut b, &a).await;
    drop((b, far));
    let ended = timeout(PATIENCE, async { while near.read_u8().await.is_ok() {} }).await;
    assert!(ended.is_ok(), "the reader waits for ever");
}
