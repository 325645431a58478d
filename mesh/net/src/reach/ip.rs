//! What an address tells by itself.

use libp2p::{Multiaddr, multiaddr::Protocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What carries a direct connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Carrier {
    Quic,
    Tcp,
}

/// IP, carrier and port of a direct address, with or without a peer at its end; none of any other.
pub(crate) fn socket(address: &Multiaddr) -> Option<(IpAddr, Carrier, u16)> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    let (carrier, port) = match parts.next()? {
        Protocol::Tcp(port) => (Carrier::Tcp, port),
        Protocol::Udp(port) => (parts.next()? == Protocol::QuicV1).then_some((Carrier::Quic, port))?,
        _ => return None,
    };
    matches!((parts.next(), parts.next()), (None | Some(Protocol::P2p(_)), None)).then_some((ip, carrier, port))
}

/// What carries connections to an address, also where it is a name.
pub(crate) fn carrier(address: &Multiaddr) -> Option<Carrier> {
    address.iter().find_map(|part| match part {
        Protocol::Tcp(_) => Some(Carrier::Tcp),
        Protocol::QuicV1 => Some(Carrier::Quic),
        _ => None,
    })
}

/// Whether the whole internet could have a route to it.
pub(crate) fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let carrier_nat = a == 100 && (64..128).contains(&b);
            let benchmark = a == 198 && (b == 18 || b == 19);
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_documentation())
                && !(carrier_nat || benchmark || a == 0 || a >= 224)
        }
        IpAddr::V6(ip) => (ip.segments()[0] & 0xe000) == 0x2000 && ip.segments()[0..2] != [0x2001, 0xdb8],
    }
}

/// Whether two private addresses look as if they were of one LAN. The masks are guessed as almost
/// all LANs have them: 24 bits, 64 with IPv6.
pub(crate) fn is_near(a: IpAddr, b: IpAddr) -> bool {
    match (a, b) {
        _ if is_global(a) || is_global(b) => false,
        (IpAddr::V4(a), IpAddr::V4(b)) if a.is_loopback() || b.is_loopback() => a.is_loopback() == b.is_loopback(),
        (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..3] == b.octets()[..3],
        (IpAddr::V6(a), IpAddr::V6(b)) => a.segments()[..4] == b.segments()[..4],
        _ => false,
    }
}

/// Whether a peer's word is enough to send packets there: a direct address of one host that is
/// not this one.
pub(crate) fn dialable(address: &Multiaddr) -> bool {
    let Some((ip, _, port)) = socket(address) else { return false };
    let nowhere = match ip {
        IpAddr::V4(ip) => ip == Ipv4Addr::BROADCAST || ip.is_link_local(),
        IpAddr::V6(ip) => is_link_local(ip),
    };
    port != 0 && !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() && !nowhere
}

/// Addresses that mean something only with an interface beside them.
pub(crate) fn is_link_local(ip: Ipv6Addr) -> bool {
    (ip.segments()[0] & 0xffc0) == 0xfe80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_direct_addresses_have_a_socket() {
        assert_eq!(socket(&at("/ip4/11.0.1.2/tcp/7")), Some(("11.0.1.2".parse().unwrap(), Carrier::Tcp, 7)));
        assert_eq!(socket(&at("/ip6/::1/udp/9/quic-v1")), Some(("::1".parse().unwrap(), Carrier::Quic, 9)));
        let peer = libp2p::PeerId::random();
        assert!(socket(&at(&format!("/ip4/11.0.1.2/tcp/7/p2p/{peer}"))).is_some());
        for other in [
            "/ip4/11.0.1.2/udp/7".to_owned(),
            "/dns4/host/tcp/7".to_owned(),
            format!("/ip4/11.0.1.2/tcp/7/p2p/{peer}/p2p-circuit"),
            "/ip4/11.0.1.2/tcp/7/ws".to_owned(),
        ] {
            assert_eq!(socket(&at(&other)), None, "{other}");
        }
    }

    #[test]
    fn global_near_and_dialable() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for global in ["11.0.1.2", "8.8.8.8", "2a11::1"] {
            assert!(is_global(ip(global)), "{global}");
        }
        for not in ["10.1.2.3", "192.168.1.1", "100.64.3.1", "127.0.0.1", "169.254.1.1", "fe80::1", "fd00::1", "::1"] {
            assert!(!is_global(ip(not)), "{not}");
        }
        assert!(is_near(ip("192.168.1.1"), ip("192.168.1.9")) && !is_near(ip("10.77.1.1"), ip("10.77.2.1")));
        assert!(!is_near(ip("11.0.1.2"), ip("11.0.1.3")), "neighbours in public are strangers");
        assert!(dialable(&at("/ip4/192.168.1.2/tcp/4001")));
        for not in ["/ip4/127.0.0.1/tcp/1", "/ip4/0.0.0.0/tcp/1", "/ip4/224.0.0.1/udp/1/quic-v1", "/ip4/1.2.3.4/tcp/0"]
        {
            assert!(!dialable(&at(not)), "{not}");
        }
    }
}
