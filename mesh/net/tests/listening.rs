//! Where a node listens.

mod support;

use holm_mesh_net::{NetCommand, NetError, NetEvent};
use std::{
    net::{Ipv6Addr, TcpListener},
    time::Duration,
};
use support::{Authority, Node, QUIC, TCP};

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("IPv6 is on");
    listener.local_addr().expect("an address").port()
}

#[tokio::test]
async fn one_port_serves_ipv4_and_ipv6() {
    let port = free_port();
    let both = [format!("/ip4/127.0.0.1/tcp/{port}"), format!("/ip6/::1/tcp/{port}")];
    let node = Authority::new(1).node(2, &both.each_ref().map(String::as_str)).await;
    assert_eq!(node.listen.len(), 2, "{:?}", node.listen);
}

/// As `holm up` does that is told nothing.
#[tokio::test]
async fn one_port_serves_all_addresses_of_both_kinds() {
    let port = free_port();
    let both = [format!("/ip4/0.0.0.0/tcp/{port}"), format!("/ip6/::/tcp/{port}")];
    Authority::new(1).node(2, &both.each_ref().map(String::as_str)).await;
}

#[tokio::test]
async fn a_port_that_another_process_holds_is_refused_by_its_address() {
    let held = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("IPv6 is on");
    let address = format!("/ip6/::1/tcp/{}", held.local_addr().expect("an address").port());
    let refused = Node::start(Authority::new(1).config(2, &[&address])).await;
    assert!(matches!(&refused, Err(NetError::Listen { address: said, .. }) if *said == address));
}

/// The fault may be its own: it builds everything below anew, and is then where it was.
async fn begins_anew(listen: &str) {
    let authority = Authority::new(1);
    let mut config = authority.config(2, &[listen]);
    config.limits.lonely = Duration::from_millis(500);
    let mut node = Node::start(config).await.unwrap();
    let mut friend = authority.node(3, &[listen]).await;
    let nobody = NetCommand::Dial { peer: support::key(4).node_id(), addresses: vec!["/ip4/127.0.0.1/tcp/9".into()] };
    node.send(nobody);
    node.counted("rebuilt", 1).await;
    let before = node.listen.clone();
    node.until("the same address", |event| {
        matches!(event, NetEvent::Listening { address } if before.contains(address)).then_some(())
    })
    .await;
    node.serves(&mut friend).await;
}

#[tokio::test]
async fn a_node_that_dials_in_vain_begins_anew_over_tcp() {
    begins_anew(TCP).await;
}

#[tokio::test]
async fn a_node_that_dials_in_vain_begins_anew_over_quic() {
    begins_anew(QUIC).await;
}
