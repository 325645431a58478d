//! What strangers get: nothing.

mod support;

use futures::{AsyncReadExt, AsyncWriteExt, future::poll_fn};
use holm_mesh_net::NetEvent;
use holm_types::{Incarnation, cbor};
use libp2p::{
    Multiaddr, Transport,
    core::{
        Endpoint,
        muxing::StreamMuxerExt,
        transport::{DialOpts, PortUse},
    },
    identity, quic,
};
use serde::Serialize;
use std::net::SocketAddr;
use support::{Authority, NOW, Node, QUIC, TCP, key, soon};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

/// A connection of somebody who speaks QUIC and has a key, but no certificate.
async fn stranger(address: &str) -> quic::Connection {
    connection(identity::Keypair::generate_ed25519(), address).await
}

async fn connection(key: identity::Keypair, address: &str) -> quic::Connection {
    let mut transport = quic::tokio::Transport::new(quic::Config::new(&key));
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let address: Multiaddr = address.parse().unwrap();
    let dial = transport.dial(address, options).map_err(|e| e.to_string()).unwrap();
    soon("the handshake", dial).await.unwrap().1
}

/// A member's first words, as the protocol has them.
#[derive(Serialize)]
enum Hello {
    #[serde(rename = "member/2")]
    Member {
        #[serde(with = "serde_bytes")]
        chain: Vec<u8>,
        bond: Bond,
    },
}

#[derive(Serialize)]
struct Bond {
    incarnation: Incarnation,
    losses: u64,
}

/// What the node answers to these bytes, until it hangs up.
async fn answer_to(mut connection: quic::Connection, hello: &[u8]) -> Vec<u8> {
    let mut stream = soon("a stream", poll_fn(|cx| connection.poll_outbound_unpin(cx))).await.unwrap();
    stream.write_all(hello).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = vec![0; 2];
    soon("the answer", stream.read_exact(&mut answer)).await.unwrap();
    let length = usize::from(u16::from_be_bytes([answer[0], answer[1]]));
    answer.resize(2 + length, 0);
    soon("the answer", stream.read_exact(&mut answer[2..])).await.unwrap();
    answer
}

fn socket(address: &str) -> SocketAddr {
    let parts: Vec<&str> = address.split('/').collect();
    format!("{}:{}", parts[2], parts[4]).parse().unwrap()
}

fn nobody_came(node: &mut Node) -> bool {
    std::iter::from_fn(|| node.net.events.try_recv().ok()).all(|e| !matches!(e, NetEvent::PeerUp { .. }))
}

#[tokio::test]
async fn a_member_of_another_mesh_is_refused_and_learns_nothing() {
    let (ours, theirs) = (Authority::new(1), Authority::new(8));
    for listen in [TCP, QUIC] {
        let mut a = ours.node(2, &[listen]).await;
        let mut b = theirs.node(3, &[listen]).await;
        b.dial(&a);
        let error = b.dial_error(a.id).await;
        assert!(error.ends_with("the peer refused this node: not a member of this mesh"), "{error}");
        a.counted("gate_refused", 1).await;
        assert!(nobody_came(&mut a) && nobody_came(&mut b));
    }
}

#[tokio::test]
async fn an_expired_certificate_is_refused_on_either_side() {
    let authority = Authority::new(1);
    let mut config = authority.config(3, &[TCP]);
    config.chain = authority.chain_until(key(3).node_id(), NOW - 901);
    let mut expired = Node::start(config).await.unwrap();
    let mut a = authority.node(2, &[TCP]).await;

    expired.dial(&a);
    let error = expired.dial_error(a.id).await;
    assert!(error.contains("it has expired"), "{error}");
    a.dial(&expired);
    let error = a.dial_error(expired.id).await;
    assert!(error.contains("refused: certificate refused: it has expired"), "{error}");
    assert!(nobody_came(&mut a) && nobody_came(&mut expired));
}

#[tokio::test]
async fn a_stolen_certificate_is_worth_nothing_without_its_key() {
    let authority = Authority::new(1);
    let mut a = authority.node(2, &[QUIC]).await;
    let mut friend = authority.node(3, &[QUIC]).await;
    // The canonical hello of a true member.
    let chain = authority.chain(friend.id).encode().unwrap();
    let hello = Hello::Member { chain, bond: Bond { incarnation: Incarnation(1), losses: 0 } };
    let hello = cbor::to_vec("hello", &hello).unwrap();
    let length = u16::try_from(hello.len()).unwrap();
    let frame = [length.to_be_bytes().as_slice(), &hello].concat();

    let thief = answer_to(stranger(&a.listen[0]).await, &frame).await;
    assert!(String::from_utf8_lossy(&thief).contains("not a member of this mesh"));
    let owner = identity::Keypair::ed25519_from_bytes([3; 32]).unwrap();
    let owner = answer_to(connection(owner, &a.listen[0]).await, &frame).await;
    let owner = String::from_utf8_lossy(&owner);
    assert!(owner.contains("welcome/2"), "the same words are good with the key, but: {owner:?}");
    a.serves(&mut friend).await;
}

#[tokio::test]
async fn garbage_and_an_oversized_hello_are_refused() {
    let authority = Authority::new(1);
    let mut a = authority.node(2, &[QUIC]).await;
    let mut friend = authority.node(3, &[QUIC]).await;
    let garbage = [&[0, 20][..], &[0xff; 20]].concat();
    let oversized = [&[0xff, 0xff][..], &[0x55; 2000]].concat();
    for hello in [garbage, oversized, vec![0, 0], b"\x13/multistream/1.0.0\n".repeat(300)] {
        let answer = answer_to(stranger(&a.listen[0]).await, &hello).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.contains("refused/1") && text.contains("not a member of this mesh"), "{text}");
        assert!(!text.contains("test"), "the mesh's name is not told");
    }
    a.counted("gate_refused", 4).await;
    a.serves(&mut friend).await;
}

#[tokio::test]
async fn random_bytes_on_the_tcp_port_leave_the_node_working() {
    let authority = Authority::new(1);
    let mut a = authority.node(2, &[TCP]).await;
    let mut friend = authority.node(3, &[TCP]).await;
    let mut noise = 0x2545_f491_4f6c_dd1du64;
    for _ in 0..20 {
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise.to_le_bytes()[3]
        })
        .take(4096)
        .collect();
        let mut socket = TcpStream::connect(socket(&a.listen[0])).await.unwrap();
        // The node may hang up before it has heard everything.
        let _ = socket.write_all(&bytes).await;
    }
    a.counted("inbound_failed", 20).await;
    a.serves(&mut friend).await;
}

#[tokio::test]
async fn half_open_connections_do_not_keep_a_member_out() {
    let authority = Authority::new(1);
    let mut config = authority.config(2, &[TCP]);
    config.limits.handshakes = 32;
    let mut a = Node::start(config).await.unwrap();
    let mut friend = authority.node(3, &[TCP]).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(socket(&a.listen[0])).await.unwrap());
    }
    a.counted("gate_busy", 200 - 32).await;
    a.serves(&mut friend).await;
    drop(silent);
}

#[tokio::test]
async fn strangers_that_say_nothing_do_not_keep_a_member_out() {
    let authority = Authority::new(1);
    let mut config = authority.config(2, &[QUIC]);
    config.limits.greetings = 4;
    let mut a = Node::start(config).await.unwrap();
    let mut friend = authority.node(3, &[QUIC]).await;
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(stranger(&a.listen[0]).await);
    }
    a.counted("gate_busy", 8).await;
    a.serves(&mut friend).await;
    drop(silent);
}

#[tokio::test]
async fn a_stranger_that_says_nothing_is_cut_in_time() {
    let authority = Authority::new(1);
    let mut config = authority.config(2, &[QUIC]);
    config.limits.greeting_timeout = std::time::Duration::from_millis(50);
    let a = Node::start(config).await.unwrap();
    let silent = stranger(&a.listen[0]).await;
    a.counted("gate_timeout", 1).await;
    drop(silent);
}
