//! The NAT matrix: gateways behind every kind of router, each with each, over QUIC and over TCP. Prints who is met
//! directly and how soon, and demands a direct way wherever physics allows one.

use anyhow::{Result, ensure};
use holm_tests::{
    cluster::Cluster,
    eventually,
    lab::Ground,
    netlab::{Link, Nat},
    node::Transports,
    rows::Reach,
    suite::{Scene, Suite},
};
use serde::Deserialize;
use serde_json::json;
use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

/// A pair whose first attempt fails tries again with other roles after 12 s, and once more a minute later.
const PATIENCE: Duration = Duration::from_secs(100);
/// The public keeper, which relays.
const CLOUD: &str = "cloud-1";

fn main() {
    Suite::new()
        .lab("over QUIC every pair that physics allows is direct", |scene| matrix(scene, Transports::Quic, None))
        .lab("over TCP every pair that physics allows is direct", |scene| matrix(scene, Transports::Tcp, None))
        .lab("over both, with 80 ms and 5 % loss at each uplink", |scene| matrix(scene, Transports::Both, Some(SLOW)))
        .run()
}

/// 80 ms from one site to another and back, and a packet of twenty lost on each uplink.
const SLOW: Link =
    Link { delay: Duration::from_millis(20), jitter: Duration::ZERO, loss: 0.05, rate: None, queue: 256_000 };

/// What is tried with what.
fn kinds(listen: Transports) -> Vec<Nat> {
    let kinds = [Nat::FullCone, Nat::Home, Nat::EimRemap, Nat::Symmetric, Nat::Cgnat, Nat::UdpBlocked];
    kinds.into_iter().filter(|nat| *nat != Nat::UdpBlocked || listen != Transports::Quic).collect()
}

/// Whether a packet of each can be made to arrive at the other: not where one side leaves from a port that the
/// other cannot know, and the other lets in only who it has spoken to.
fn possible(a: Nat, b: Nat) -> bool {
    let lost = |one, other| one == Nat::Symmetric && other != Nat::FullCone;
    !lost(a, b) && !lost(b, a)
}

/// A gateway of the matrix, and what stands before it.
type Gateway = (String, Nat);

fn matrix(scene: &Scene, listen: Transports, link: Option<Link>) -> Result<()> {
    let kinds = kinds(listen);
    let gateways: Vec<Gateway> = kinds.iter().flat_map(|nat| [1, 2].map(|n| (format!("{nat}-{n}"), *nat))).collect();
    let mut builder = Cluster::of(scene).ground("cloud", Ground::Public).node(CLOUD, "cloud").listen(listen);
    for (name, nat) in &gateways {
        builder = builder.ground(name, Ground::Behind(*nat)).placed(name, "field", name);
    }
    let mesh = match link {
        Some(link) => builder.linked(link).start()?,
        None => builder.start()?,
    };
    let due = |a: &Gateway, b: &Gateway| if possible(a.1, b.1) { "direct" } else { "relayed" };
    let outcome = eventually("every pair that physics allows is direct, and the others are relayed", PATIENCE, || {
        let ways = ways(&mesh, &gateways)?;
        let missing: Vec<String> = pairs(&gateways)
            .filter(|(a, b)| ways.get(&key(a, b)).map(String::as_str) != Some(due(a, b)))
            .map(|(a, b)| format!("{} to {}: {:?}", a.0, b.0, ways.get(&key(a, b))))
            .collect();
        ensure!(missing.is_empty(), "{}", missing.join(", "));
        Ok(())
    });
    let (ways, times) = (ways(&mesh, &gateways)?, times(&mesh, &gateways)?);
    eprintln!(
        "{listen:?}{}:\n{}",
        if link.is_some() { ", 80 ms, 5 % loss" } else { "" },
        table(&kinds, &gateways, &ways, &times)
    );
    outcome
}

fn key(a: &Gateway, b: &Gateway) -> (String, String) {
    (a.0.clone(), b.0.clone())
}

/// Each pair once, those of one kind included.
fn pairs(gateways: &[Gateway]) -> impl Iterator<Item = (&Gateway, &Gateway)> {
    gateways.iter().enumerate().flat_map(|(n, a)| gateways[n + 1..].iter().map(move |b| (a, b)))
}

/// `direct` or `relayed`, for each pair that has a connection.
fn ways(mesh: &Cluster, gateways: &[Gateway]) -> Result<BTreeMap<(String, String), String>> {
    #[derive(Deserialize)]
    struct Row {
        id: String,
        name: String,
    }
    let rows = mesh.node(CLOUD).call("node.list", json!({}))?;
    let rows: Vec<Row> = serde_json::from_value(rows["items"].clone())?;
    let names: BTreeMap<String, String> = rows.into_iter().map(|row| (row.id, row.name)).collect();
    let mut ways = BTreeMap::new();
    for (name, _) in gateways {
        let mut status = mesh.node(name).call("mesh.status", json!({}))?;
        let reach: Reach = serde_json::from_value(status["reach"].take())?;
        for way in reach.peers {
            if let Some(other) = names.get(&way.node) {
                ways.insert((name.clone(), other.clone()), way.path);
            }
        }
    }
    Ok(ways)
}

/// How long each pair that became direct was relayed, in seconds.
fn times(mesh: &Cluster, gateways: &[Gateway]) -> Result<BTreeMap<(String, String), f64>> {
    let mut times = BTreeMap::new();
    for (name, _) in gateways {
        let mut relayed: BTreeMap<String, f64> = BTreeMap::new();
        for (at, other, direct) in mesh.node(name).peers_up()? {
            match (direct, relayed.get(&other)) {
                (false, None) => drop(relayed.insert(other, at)),
                (true, Some(since)) => drop(times.entry((name.clone(), other)).or_insert((at - since) / 1000.0)),
                _ => {}
            }
        }
    }
    Ok(times)
}

fn table(
    kinds: &[Nat],
    gateways: &[Gateway],
    ways: &BTreeMap<(String, String), String>,
    times: &BTreeMap<(String, String), f64>,
) -> String {
    let mut text = format!("{:<12}", "");
    kinds.iter().for_each(|nat| text += &format!("{:>16}", nat.to_string()));
    for (row, from) in kinds.iter().enumerate() {
        let _ = write!(text, "\n{:<12}", from.to_string());
        for (column, to) in kinds.iter().enumerate() {
            if column < row {
                let _ = write!(text, "{:>16}", "");
                continue;
            }
            let of = |nat: Nat| gateways.iter().filter(move |gateway| gateway.1 == nat);
            let cell: Vec<(&Gateway, &Gateway)> =
                of(*from).flat_map(|a| of(*to).map(move |b| (a, b))).filter(|(a, b)| a.0 < b.0 || a.1 != b.1).collect();
            let direct = cell.iter().filter(|(a, b)| ways.get(&key(a, b)).is_some_and(|way| way == "direct")).count();
            let relayed = cell.iter().filter(|(a, b)| ways.get(&key(a, b)).is_some_and(|way| way == "relayed")).count();
            let mut took: Vec<f64> = cell
                .iter()
                .filter_map(|(a, b)| times.get(&key(a, b)).or_else(|| times.get(&key(b, a))).copied())
                .collect();
            took.sort_by(f64::total_cmp);
            let median = took.get(took.len() / 2).map_or_else(String::new, |s| format!(" {s:.2}s"));
            let none = cell.len() - direct - relayed;
            let mut said = format!("{direct}D");
            if relayed > 0 {
                said += &format!(" {relayed}R");
            }
            if none > 0 {
                said += &format!(" {none}-");
            }
            let _ = write!(text, "{:>16}", said + &median);
        }
    }
    text + "\n(pairs: D direct, R relayed, - no connection; the median time that a pair which became direct was relayed)"
}
