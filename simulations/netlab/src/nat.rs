//! Kinds of NAT, and the rules that make a router of Linux behave so.
//!
//! *Mapping* is which outside port a host's packets get, *filtering* is who may answer (RFC 4787). Linux filters by
//! address and port unless told otherwise. `tests/self_check` proves each kind by the method of RFC 5780.

use serde::Deserialize;
use std::{fmt, net::Ipv4Addr};

/// What stands between the hosts of a site and the rest of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nat {
    /// Nothing: the site's private addresses are routed everywhere, as among the plants of one company.
    Routed,
    /// Keeps the port, and lets anyone in to a port that a host has sent from: UDP and TCP. Two hosts of one site
    /// should not send from the same port.
    FullCone,
    /// A home router: keeps the port where it can, lets in only who was spoken to, is silent to all others.
    Home,
    /// The same, but the router answers those others (port unreachable, reset). An early packet of a peer then
    /// occupies the port, and the site's own packets to that peer leave from another.
    HomeAnswering,
    /// One outside port for one inside port, but another number: port XOR 8192. Filters like `Home`. Two hosts of one
    /// site should not send from the same port.
    EimRemap,
    /// A new random port for each destination. Filters like `Home`.
    Symmetric,
    /// `Home` behind a carrier's NAT that behaves alike: two layers.
    Cgnat,
    /// `Home` that passes no UDP.
    UdpBlocked,
    /// No IPv4; IPv6 without translation behind a firewall that filters like `Home`.
    V6Only,
}

impl Nat {
    /// All kinds.
    pub const ALL: [Nat; 9] = [
        Nat::Routed,
        Nat::FullCone,
        Nat::Home,
        Nat::HomeAnswering,
        Nat::EimRemap,
        Nat::Symmetric,
        Nat::Cgnat,
        Nat::UdpBlocked,
        Nat::V6Only,
    ];

    /// Whether it rewrites addresses.
    pub fn translates(self) -> bool {
        !matches!(self, Nat::Routed | Nat::V6Only)
    }

    /// The rules of a router of this kind whose outside address is `wan`, replacing those of before. The interface
    /// towards the outside is called `wan`.
    pub(crate) fn rules(self, wan: Ipv4Addr) -> String {
        let mut rules = String::new();
        for table in ["ip nat", "inet firewall", "inet door", "inet no_udp"] {
            // Only what exists can be deleted, and declaring twice does no harm.
            rules += &format!("table {table}\ndelete table {table}\n");
        }
        rules += &match self {
            Nat::Routed | Nat::V6Only => String::new(),
            Nat::Home | Nat::HomeAnswering | Nat::Cgnat | Nat::UdpBlocked => masquerade(""),
            Nat::Symmetric => {
                format!("table ip nat {{ {POSTROUTING} oifname \"wan\" masquerade fully-random; }}; }}\n")
            }
            Nat::EimRemap => masquerade(
                "oifname \"wan\" meta l4proto udp masquerade to :udp sport ^ 8192; \
                 oifname \"wan\" meta l4proto tcp masquerade to :tcp sport ^ 8192;",
            ),
            Nat::FullCone => full_cone(wan),
        };
        if !matches!(self, Nat::Routed | Nat::FullCone) {
            rules += FIREWALL;
        }
        if !matches!(self, Nat::Routed | Nat::HomeAnswering) {
            rules += INPUT;
        }
        if self == Nat::UdpBlocked {
            rules += NO_UDP;
        }
        rules
    }
}

impl fmt::Display for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Nat::Routed => "routed",
            Nat::FullCone => "full-cone",
            Nat::Home => "home",
            Nat::HomeAnswering => "home-answering",
            Nat::EimRemap => "eim-remap",
            Nat::Symmetric => "symmetric",
            Nat::Cgnat => "cgnat",
            Nat::UdpBlocked => "udp-blocked",
            Nat::V6Only => "v6-only",
        })
    }
}

const POSTROUTING: &str = "chain post { type nat hook postrouting priority srcnat;";

/// Filtering by address and port. What a port mapping (UPnP) leads in is let in.
const FIREWALL: &str = r#"table inet firewall { chain forward { type filter hook forward priority filter; policy accept;
  iifname "wan" ct state established,related accept
  iifname "wan" ct status dnat accept
  iifname "wan" meta l4proto ipv6-icmp accept
  iifname "wan" drop
}; }
"#;

/// The router itself is silent. Without this an early packet of a peer becomes a connection to the router, which
/// occupies the port that our own packets to that peer want.
const INPUT: &str = r#"table inet door { chain input { type filter hook input priority filter; policy accept;
  iifname "wan" ct state established,related accept
  iifname "wan" icmp type echo-request accept
  iifname "wan" meta l4proto ipv6-icmp accept
  iifname "wan" drop
}; }
"#;

const NO_UDP: &str = "table inet no_udp { chain forward { type filter hook forward priority filter - 1; policy accept; \
                      meta l4proto udp drop; }; }\n";

fn masquerade(before: &str) -> String {
    format!("table ip nat {{ {POSTROUTING} {before} oifname \"wan\" masquerade; }}; }}\n")
}

/// Remembers who sends from which port, and leads everyone in who comes to that port.
fn full_cone(wan: Ipv4Addr) -> String {
    let map = "type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 300s; size 65535;";
    format!(
        r#"table ip nat {{
  map udp_owners {{ {map} }}
  map tcp_owners {{ {map} }}
  chain pre {{ type nat hook prerouting priority dstnat;
    iifname "wan" ip daddr {wan} dnat to udp dport map @udp_owners
    iifname "wan" ip daddr {wan} dnat to tcp dport map @tcp_owners
  }}
  {POSTROUTING}
    oifname "wan" update @udp_owners {{ udp sport timeout 300s : ip saddr . udp sport }}
    oifname "wan" update @tcp_owners {{ tcp sport timeout 300s : ip saddr . tcp sport }}
    oifname "wan" masquerade
  }}
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_written_as_it_is_read() {
        #[derive(Deserialize)]
        struct Holder {
            nat: Nat,
        }
        for nat in Nat::ALL {
            let read: Holder = toml::from_str(&format!("nat = \"{nat}\"")).unwrap();
            assert_eq!(read.nat, nat);
        }
    }

    #[test]
    fn only_what_does_not_translate_has_no_nat_table() {
        for nat in Nat::ALL {
            let rules = nat.rules(Ipv4Addr::new(11, 0, 1, 2));
            assert_eq!(rules.contains("type nat hook"), nat.translates(), "{nat}");
            assert_eq!(rules.contains("table inet no_udp {"), nat == Nat::UdpBlocked, "{nat}");
        }
    }
}
