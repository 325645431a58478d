use super::*;

fn at(s: u64) -> Mono {
    Mono(Duration::from_secs(s))
}

fn address(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

fn texts(addresses: &[Multiaddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

const HOME_QUIC: &str = "/ip4/192.168.1.1/udp/4001/quic-v1";
const HOME_TCP: &str = "/ip4/192.168.1.1/tcp/4001";
const WAN_QUIC: &str = "/ip4/11.0.2.2/udp/4001/quic-v1";

fn home() -> Book {
    let mut book = Book::default();
    assert!(book.listen(address(HOME_QUIC)) && book.listen(address(HOME_TCP)));
    book
}

fn seen_by(book: &mut Book, n: usize, peer: PeerId, text: &str) -> bool {
    let seen = Seen { peer, address: address(text), own_port: true, near: false };
    book.observe(ConnectionId::new_unchecked(n), seen)
}

#[test]
fn private_addresses_are_told_until_somebody_sees_another_one() {
    let mut book = home();
    assert!(book.announced(at(0)).is_empty(), "nobody has seen this node yet");
    seen_by(&mut book, 1, PeerId::random(), HOME_QUIC);
    assert_eq!(texts(&book.announced(at(0))), [HOME_QUIC, HOME_TCP]);
    assert_eq!(book.nat(), NatKind::None);
    seen_by(&mut book, 2, PeerId::random(), WAN_QUIC);
    assert!(book.announced(at(0)).is_empty(), "{:?}", book.announced(at(0)));
    assert_eq!(texts(&book.half_way(at(0))), [WAN_QUIC]);
    assert_eq!(texts(&book.near()), [HOME_QUIC, HOME_TCP]);
    book.forget(ConnectionId::new_unchecked(2));
    assert_eq!(book.announced(at(0)).len(), 2, "cut off from the world, the LAN is all there is");
}

#[test]
fn loopback_is_for_who_comes_over_it() {
    let mut book = home();
    book.listen(address("/ip4/127.0.0.1/tcp/4001"));
    seen_by(&mut book, 1, PeerId::random(), HOME_TCP);
    assert!(!texts(&book.announced(at(0))).iter().any(|text| text.contains("127.0.0.1")));
    seen_by(&mut book, 2, PeerId::random(), "/ip4/127.0.0.1/tcp/4001");
    assert!(texts(&book.announced(at(0))).iter().any(|text| text.contains("127.0.0.1")));
}

#[test]
fn the_kind_of_nat_follows_from_the_ports_that_peers_see() {
    let mut book = home();
    assert_eq!(book.nat(), NatKind::Unknown);
    let (a, b) = (PeerId::random(), PeerId::random());
    seen_by(&mut book, 1, a, "/ip4/11.0.2.2/udp/12193/quic-v1");
    assert_eq!(book.nat(), NatKind::Translated, "one peer cannot tell");
    seen_by(&mut book, 2, b, "/ip4/11.0.2.2/udp/12193/quic-v1");
    assert_eq!(book.nat(), NatKind::Cone);
    seen_by(&mut book, 2, b, "/ip4/11.0.2.2/udp/55555/quic-v1");
    assert_eq!(book.nat(), NatKind::Symmetric);
    let mut keeps = home();
    seen_by(&mut keeps, 1, a, WAN_QUIC);
    assert_eq!(keeps.nat(), NatKind::Cone, "it kept the port");
}

#[test]
fn a_verdict_opens_an_address_and_is_tested_again() {
    let mut book = home();
    let server = PeerId::random();
    seen_by(&mut book, 1, server, WAN_QUIC);
    let tests = book.untested(at(0));
    assert_eq!(tests, [(address(WAN_QUIC), vec![(server, ConnectionId::new_unchecked(1))])]);
    assert!(book.needs_relay(at(0)));
    book.judge(address(WAN_QUIC), true, at(0));
    assert!(book.untested(at(1)).is_empty() && !book.needs_relay(at(1)));
    assert_eq!(texts(&book.announced(at(1))), [WAN_QUIC]);
    assert!(book.half_way(at(1)).is_empty(), "anybody can dial it as it is");
    assert_eq!(book.untested(at(901)).len(), 1);
    book.judge(address(WAN_QUIC), false, at(901));
    assert!(book.announced(at(902)).is_empty() && book.needs_relay(at(902)));
    assert!(book.untested(at(930)).is_empty());
    assert_eq!(book.untested(at(970)).len(), 1, "a bad one is doubted soon");
    book.judge(address(WAN_QUIC), false, at(970));
    assert!(book.untested(at(1200)).is_empty(), "the second stands longer");
}

#[test]
fn a_public_listener_is_open_unless_a_test_says_otherwise() {
    let mut book = Book::default();
    let public = "/ip4/11.0.1.2/tcp/4001";
    book.listen(address(public));
    assert_eq!(texts(&book.open(at(0))), [public]);
    book.judge(address(public), false, at(0));
    assert!(book.open(at(1)).is_empty(), "a firewall");
}

#[test]
fn a_new_public_address_is_noticed_once() {
    let mut book = home();
    let peer = PeerId::random();
    assert!(!seen_by(&mut book, 1, peer, WAN_QUIC), "the first is no change");
    assert!(!seen_by(&mut book, 2, peer, "/ip4/11.0.2.2/tcp/4001"));
    assert!(seen_by(&mut book, 3, peer, "/ip4/11.0.2.3/udp/4001/quic-v1"));
    assert!(!seen_by(&mut book, 4, peer, "/ip4/11.0.2.3/tcp/4001"));
    for n in 1..5 {
        book.forget(ConnectionId::new_unchecked(n));
    }
    assert!(seen_by(&mut book, 5, peer, "/ip4/11.0.2.4/tcp/4001"), "also after all connections were lost");
}

#[test]
fn circuits_have_their_places_and_all_is_bounded() {
    let mut book = Book::default();
    for n in 1..30 {
        book.listen(address(&format!("/ip4/11.0.1.{n}/tcp/4001")));
    }
    for n in 0..9 {
        book.circuit(address(&format!("/ip4/11.0.9.{n}/tcp/1/p2p/{}/p2p-circuit", PeerId::random())));
    }
    let announced = texts(&book.announced(at(0)));
    assert_eq!(announced.len(), MAX_ADDRESSES);
    assert_eq!(announced.iter().filter(|text| text.contains("p2p-circuit")).count(), MAX_CIRCUITS);
    for n in 0..100u32 {
        book.judge(address(&format!("/ip4/11.1.0.1/tcp/{}", n + 1)), false, at(n.into()));
    }
    assert_eq!(book.verdicts.len(), MAX_VERDICTS);
}

#[test]
fn neighbours_say_nothing_about_the_world() {
    let mut book = home();
    let near = Seen { peer: PeerId::random(), address: address(HOME_TCP), own_port: true, near: true };
    book.observe(ConnectionId::new_unchecked(1), near);
    assert_eq!(book.nat(), NatKind::Unknown);
    assert_eq!(book.announced(at(0)).len(), 2, "but they may know where this node is");
    assert!(book.untested(at(0)).is_empty());
}

#[test]
fn a_relay_is_needed_behind_a_nat_or_when_a_test_came_to_nothing() {
    let mut book = home();
    assert!(!book.needs_relay(at(0)), "nobody outside is known");
    seen_by(&mut book, 1, PeerId::random(), HOME_QUIC);
    assert!(!book.needs_relay(at(0)), "a routed network, as far as is known");
    book.judge(address(HOME_QUIC), false, at(0));
    assert!(book.needs_relay(at(1)), "a firewall");
    book.judge(address(HOME_QUIC), true, at(2));
    assert!(!book.needs_relay(at(3)));
    seen_by(&mut book, 2, PeerId::random(), WAN_QUIC);
    assert!(!book.needs_relay(at(3)), "others can still dial it somewhere");
}
