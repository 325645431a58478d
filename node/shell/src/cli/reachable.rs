//! The part of `doctor` about reachability: the kind of NAT, relays, and how each peer is reached.

use super::doctor::Check;
use holm_types::{
    NodeId,
    api::{NatKind, NodeRow, Path, PeerPath, Reach},
    view::Liveness,
};

/// What the node knows about how it is reached.
pub(super) fn checks(reach: &Reach, nodes: &[NodeRow], me: NodeId) -> Vec<Check> {
    let others = nodes.iter().filter(|node| node.id != me).count();
    if others == 0 {
        return Vec::new();
    }
    let mut checks = vec![nat(reach)];
    checks.extend(udp(reach));
    checks.push(reached(reach));
    checks.extend(paths(reach, nodes));
    checks
}

fn nat(reach: &Reach) -> Check {
    let found = match reach.nat {
        NatKind::Unknown => "not known: no peer outside this network has said how it sees this node",
        NatKind::None => "none: peers see this node at its own address",
        NatKind::Translated => "there is one; what kind, two peers outside could tell",
        NatKind::Cone => "one that keeps a port for all peers: others can be met half-way",
        NatKind::Symmetric => "one that gives each peer another port (symmetric)",
    };
    let advice = "peers behind routers reach this node over relays only: let the router map a port (UPnP), forward one \
                  by hand and say so with holm up --advertise, or use IPv6";
    let helped = reach.addresses.iter().any(|own| own.state == "reached from outside" || own.state == "advertised");
    Check::new("nat", reach.nat != NatKind::Symmetric || helped, found, advice)
}

fn udp(reach: &Reach) -> Option<Check> {
    let advice = "let UDP out: QUIC is faster than TCP, and finds a direct way more often";
    reach.udp.map(|passes| {
        Check::new("udp", passes, if passes { "QUIC passes" } else { "QUIC does not get out of this network" }, advice)
    })
}

/// Who can reach this node, and through whom.
fn reached(reach: &Reach) -> Check {
    let open: Vec<&str> = reach
        .addresses
        .iter()
        .filter(|own| own.state == "reached from outside" || own.state == "advertised")
        .map(|own| own.address.as_str())
        .collect();
    let advice = "let a public node relay: holm-bootstrap, a keeper, or a node started with --relay on; and see that \
                  this node reaches it";
    let relaying = if reach.relaying { "; relays for others" } else { "" };
    match (open.as_slice(), reach.relays.len(), reach.nat) {
        ([_, ..], _, _) => Check::new("reached", true, format!("by anybody at {}{relaying}", open.join(", ")), ""),
        ([], n @ 1.., _) => Check::new(
            "reached",
            true,
            format!("through {n} {}{relaying}", if n == 1 { "relay" } else { "relays" }),
            "",
        ),
        ([], 0, NatKind::None | NatKind::Unknown) => {
            Check::new("reached", true, format!("by peers of its own network{relaying}"), "")
        }
        ([], 0, _) => {
            let known = match reach.relays_known {
                0 => "no connected member relays".to_owned(),
                n => format!("{n} connected members relay, and none has agreed yet"),
            };
            Check::new("reached", false, format!("by no one who does not know it yet: {known}"), advice)
        }
    }
}

/// How the connected peers are reached.
fn paths(reach: &Reach, nodes: &[NodeRow]) -> Option<Check> {
    // The connection of a node that has died may not be known to be closed yet.
    let dead = |id: &NodeId| nodes.iter().any(|node| node.id == *id && node.state == Liveness::Dead);
    let peers: Vec<&PeerPath> = reach.peers.iter().filter(|peer| !dead(&peer.node)).collect();
    if peers.is_empty() {
        return None;
    }
    let name = |id: &NodeId| {
        nodes
            .iter()
            .find(|node| node.id == *id)
            .map_or_else(|| id.to_string()[..12].to_owned(), |node| node.name.to_string())
    };
    let relayed: Vec<String> =
        peers.iter().filter(|peer| peer.path == Path::Relayed).map(|peer| name(&peer.node)).collect();
    let slowest = peers.iter().filter_map(|peer| Some((peer.rtt_ms?, peer))).max_by(|a, b| a.0.total_cmp(&b.0));
    let slowest =
        slowest.map_or_else(String::new, |(ms, peer)| format!("; the farthest is {} at {ms:.1} ms", name(&peer.node)));
    let direct = peers.len() - relayed.len();
    let over = match relayed.as_slice() {
        [] => String::new(),
        some => {
            let named = some.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
            let more = if some.len() > 10 { ", ..." } else { "" };
            format!(", {} over a relay ({named}{more})", some.len())
        }
    };
    Some(Check::new("paths", true, format!("{direct} direct{over}{slowest}"), ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use holm_types::api::{OwnAddress, RelayRow};

    fn reach(nat: NatKind) -> Reach {
        Reach { nat, udp: Some(true), relays_known: 1, ..Reach::default() }
    }

    fn text(checks: &[Check]) -> String {
        checks.iter().map(Check::line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_kind_of_network_is_explained() {
        let relay = RelayRow { node: NodeId([9; 32]), address: "/ip4/11.0.1.2/tcp/4001".to_owned() };
        let open =
            OwnAddress { address: "/ip4/11.0.1.2/tcp/4001".to_owned(), state: "reached from outside".to_owned() };
        let path = |n: u8, path: Path, ms: f64| PeerPath {
            node: NodeId([n; 32]),
            path,
            address: String::new(),
            rtt_ms: Some(ms),
        };
        let cases = [
            ("public", Reach { addresses: vec![open.clone()], relaying: true, ..reach(NatKind::None) }),
            ("home", Reach { relays: vec![relay.clone()], ..reach(NatKind::Cone) }),
            (
                "symmetric",
                Reach {
                    relays: vec![relay],
                    peers: vec![path(2, Path::Relayed, 80.0), path(3, Path::Direct, 160.26)],
                    ..reach(NatKind::Symmetric)
                },
            ),
            ("symmetric with a mapped port", Reach { addresses: vec![open], ..reach(NatKind::Symmetric) }),
            ("no relay, no udp", Reach { udp: Some(false), relays_known: 0, ..reach(NatKind::Translated) }),
            ("lan", Reach { udp: None, ..reach(NatKind::Unknown) }),
        ];
        let me = NodeId([1; 32]);
        let nodes = [super::super::doctor::row(1, "me"), super::super::doctor::row(2, "gw-1")];
        let told: Vec<String> =
            cases.iter().map(|(name, reach)| format!("# {name}\n{}", text(&checks(reach, &nodes, me)))).collect();
        insta::assert_snapshot!(told.join("\n\n"));
        assert!(checks(&Reach::default(), &nodes[..1], me).is_empty(), "alone there is nothing to reach");
    }
}
