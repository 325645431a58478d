//! Where a node listens.

mod support;

use holm_mesh_net::NetError;
use std::net::{Ipv6Addr, TcpListener};
use support::{Authority, Node};

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
