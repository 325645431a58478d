//! Members that reach each other over relays. On loopback nobody can be met half-way, so relayed stays relayed;
//! what becomes direct is shown in the lab (`tests/tests/nat.rs`).

mod support;

use holm_mesh_net::{NetCommand, NetConfig, NetEvent, ReachConfig};
use holm_types::{NodeId, api::Path, distrust::Distrust, revocation::Signer};
use std::{collections::BTreeSet, net::TcpListener, sync::Arc, time::Duration};
use support::{Authority, Node, TCP, eventually, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A node whose listener others are told of, and that forwards for them.
async fn relay(authority: &Authority, n: u8) -> Node {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("/ip4/127.0.0.1/tcp/{port}");
    let reach = ReachConfig { enabled: true, relay: true, advertise: vec![address.clone()], ..ReachConfig::off() };
    Node::start(NetConfig { reach, ..authority.config(n, &[&address]) }).await.unwrap()
}

/// A node that wants to be reached over relays.
async fn member(authority: &Authority, n: u8) -> Node {
    let reach = ReachConfig { enabled: true, reserve: true, ..ReachConfig::off() };
    Node::start(NetConfig { reach, ..authority.config(n, &[TCP]) }).await.unwrap()
}

fn circuits(addresses: &[String]) -> Vec<String> {
    addresses.iter().filter(|address| address.contains("/p2p-circuit")).cloned().collect()
}

/// The circuit addresses that a node announces once it has `count` of them.
async fn reserved(node: &mut Node, count: usize) -> Vec<String> {
    node.until("reservations", |event| match event {
        NetEvent::Announce { addresses } => Some(circuits(addresses)).filter(|list| list.len() == count),
        _ => None,
    })
    .await
}

/// Connects over a relay, and gives the address at which the other one sees the connection.
async fn connect_over(a: &mut Node, b: &mut Node, addresses: Vec<String>) {
    a.send(NetCommand::Dial { peer: b.id, addresses });
    let ends = [a.id, b.id];
    for (node, other) in [(&mut *a, ends[1]), (&mut *b, ends[0])] {
        let (relayed, address) = node
            .until("a relayed peer", |event| match event {
                NetEvent::PeerUp { node, relayed, address, .. } if *node == other => Some((*relayed, address.clone())),
                _ => None,
            })
            .await;
        assert!(relayed && address.contains("/p2p-circuit"), "{address}");
    }
}

/// How `node` reaches `other`, by its own report.
fn path(node: &Node, other: NodeId) -> Option<Path> {
    node.net.handle.reach().peers.iter().find(|peer| peer.node == other).map(|peer| peer.path)
}

#[tokio::test]
async fn a_member_is_reached_over_a_relay_with_frames_and_streams() {
    let authority = Authority::new(1);
    let mut relay = relay(&authority, 2).await;
    let (mut a, mut b) = (member(&authority, 3).await, member(&authority, 4).await);
    support::connect(&mut b, &mut relay).await;
    let circuit = reserved(&mut b, 1).await;
    support::connect(&mut a, &mut relay).await;
    connect_over(&mut a, &mut b, circuit).await;

    a.frame(b.id, b"over the relay".to_vec());
    assert_eq!(b.next_frame().await, b"over the relay");
    let mut near = a.net.handle.open(b.id).await.unwrap();
    let send = async {
        near.write_all(&vec![7; 3 << 20]).await?;
        near.shutdown().await
    };
    let receive = async {
        let mut far = b.net.streams.recv().await.unwrap();
        assert_eq!(far.from, a.id);
        let mut got = Vec::new();
        far.stream.read_to_end(&mut got).await.map(|_| got)
    };
    let (sent, got) = soon("a large transfer", async { tokio::join!(send, receive) }).await;
    sent.unwrap();
    assert_eq!(got.unwrap().len(), 3 << 20, "far more than libp2p's relay lets pass by itself");
    eventually("the report", || path(&a, b.id) == Some(Path::Relayed) && path(&b, a.id) == Some(Path::Relayed)).await;
    eventually("the relay's report", || relay.net.handle.reach().circuits == 1).await;
    eventually("the report of the relay", || b.net.handle.reach().relays.len() == 1).await;
    relay.counted("circuits_opened", 1).await;
}

#[tokio::test]
async fn the_gate_stands_on_relayed_connections_too() {
    let authority = Authority::new(1);
    let mut relay = relay(&authority, 2).await;
    let (mut a, mut b) = (member(&authority, 3).await, member(&authority, 4).await);
    support::connect(&mut b, &mut relay).await;
    let circuit = reserved(&mut b, 1).await;
    support::connect(&mut a, &mut relay).await;
    b.send(NetCommand::Deny { peer: a.id });
    a.send(NetCommand::Dial { peer: b.id, addresses: circuit.clone() });
    let error = a.dial_error(b.id).await;
    assert!(error.contains("the certificate was revoked"), "{error}");
    b.send(NetCommand::Allow { peer: a.id });
    connect_over(&mut a, &mut b, circuit).await;
}

#[tokio::test]
async fn who_is_revoked_is_cut_off_over_a_relay_and_gets_nothing_from_one() {
    let authority = Authority::new(1);
    let mut relay = relay(&authority, 2).await;
    let (mut a, mut b) = (member(&authority, 3).await, member(&authority, 4).await);
    support::connect(&mut b, &mut relay).await;
    let circuit = reserved(&mut b, 1).await;
    support::connect(&mut a, &mut relay).await;
    connect_over(&mut a, &mut b, circuit.clone()).await;
    let mut distrust = Distrust::default();
    distrust.add(a.id, Signer::Authority, &BTreeSet::new());
    let distrust = Arc::new(distrust);

    // The relay has not heard of it, and would forward.
    b.send(NetCommand::Distrust(distrust.clone()));
    b.down(a.id).await;
    b.counted("revoked_closed", 1).await;
    a.down(b.id).await;
    a.send(NetCommand::Dial { peer: b.id, addresses: circuit.clone() });
    let error = a.dial_error(b.id).await;
    assert!(error.contains("the certificate was revoked"), "{error}");
    relay.counted("circuits_opened", 2).await;

    relay.send(NetCommand::Distrust(distrust));
    relay.down(a.id).await;
    a.down(relay.id).await;
    a.send(NetCommand::Dial { peer: b.id, addresses: circuit });
    a.dial_error(b.id).await;
    assert_eq!(relay.net.handle.counters()["circuits_opened"], 2, "it forwards for members alone");
}

#[tokio::test]
async fn a_stranger_gets_nothing_from_a_relay() {
    let (authority, elsewhere) = (Authority::new(1), Authority::new(9));
    let mut relay = relay(&authority, 2).await;
    let mut b = member(&authority, 4).await;
    support::connect(&mut b, &mut relay).await;
    let circuit = reserved(&mut b, 1).await;
    let mut stranger = elsewhere.node(5, &[TCP]).await;
    stranger.send(NetCommand::Dial { peer: b.id, addresses: circuit });
    stranger.dial_error(b.id).await;
    relay.counted("gate_refused", 1).await;
    assert_eq!((b.net.handle.counters()["gate_refused"], relay.net.handle.counters()["circuits_opened"]), (0, 0));
}

#[tokio::test]
async fn a_reservation_that_is_lost_is_made_anew_with_another_relay() {
    let authority = Authority::new(1);
    let mut relays = vec![relay(&authority, 2).await, relay(&authority, 3).await, relay(&authority, 4).await];
    let (mut a, mut b) = (member(&authority, 5).await, member(&authority, 6).await);
    for relay in &mut relays {
        support::connect(&mut b, relay).await;
    }
    let before = reserved(&mut b, 2).await;
    for relay in &mut relays {
        support::connect(&mut a, relay).await;
    }
    connect_over(&mut a, &mut b, before.clone()).await;
    eventually("the report", || b.net.handle.reach().relays.len() == 2).await;
    let used = b.net.handle.reach().relays;
    // The two that are held go, one after the other; the third one stays.
    for gone in used {
        let at = relays.iter().position(|relay| relay.id == gone.node).unwrap();
        drop(relays.remove(at));
        b.down(gone.node).await;
    }
    let after = b
        .until("a reservation with the third", |event| match event {
            NetEvent::Announce { addresses } => {
                let list = circuits(addresses);
                (list.len() == 1 && !before.contains(&list[0])).then_some(list)
            }
            _ => None,
        })
        .await;
    a.down(b.id).await;
    b.down(a.id).await;
    connect_over(&mut a, &mut b, after).await;
}

/// The relays are full: nothing is announced, and the node goes on asking.
#[tokio::test]
async fn a_relay_that_is_full_says_no() {
    let authority = Authority::new(1);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("/ip4/127.0.0.1/tcp/{port}");
    let reach = ReachConfig { enabled: true, relay: true, advertise: vec![address.clone()], ..ReachConfig::off() };
    let mut config = NetConfig { reach, ..authority.config(2, &[&address]) };
    config.limits.relay.reservations = 1;
    let mut relay = Node::start(config).await.unwrap();
    let (mut b, mut c) = (member(&authority, 3).await, member(&authority, 4).await);
    support::connect(&mut b, &mut relay).await;
    reserved(&mut b, 1).await;
    support::connect(&mut c, &mut relay).await;
    c.counted("reservation_lost", 2).await;
    assert_eq!(c.net.handle.counters()["reserved"], 0);
    drop(b);
    relay.down(holm_types::NodeId(support::key(3).node_id().0)).await;
    let found = c.within(Duration::from_secs(20), |event| match event {
        NetEvent::Announce { addresses } => (circuits(addresses).len() == 1).then_some(()),
        _ => None,
    });
    assert!(found.await.is_some(), "a place is free again");
}
