//! From relayed to direct: gateways behind routers that let in only whom they have spoken to, started again and again.

use crate::{lab::cable, options::Runs, report::Row, stats, wait};
use anyhow::Result;
use holm_tests::{
    cluster::Cluster,
    interrupt,
    lab::Ground,
    netlab::Nat,
    node::{Node, Transports},
    suite::Scene,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// At each uplink, one way: 80 ms from one gateway to another and back.
const DELAY: Duration = Duration::from_millis(20);
/// Each with each can be punched: none of them maps by destination.
const KINDS: [Nat; 3] = [Nat::Home, Nat::EimRemap, Nat::Cgnat];
const WITHIN: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(200);
const AT_MOST_S: f64 = 1.0;

/// Measures.
///
/// # Errors
/// The mesh does not start.
pub fn measure(scene: &Scene, runs: &Runs) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (listen, name) in [(Transports::Quic, "QUIC"), (Transports::Tcp, "TCP")] {
        let own = Scene::new(scene.place().clone())?;
        rows.extend(over(&own, runs, listen, name)?);
        own.passed();
    }
    Ok(rows)
}

fn over(scene: &Scene, runs: &Runs, listen: Transports, name: &str) -> Result<Vec<Row>> {
    let gateways: Vec<String> = KINDS.iter().flat_map(|nat| [1, 2].map(|n| format!("{nat}-{n}"))).collect();
    let mut builder = Cluster::of(scene).ground("cloud", Ground::Public).node("cloud-1", "cloud").listen(listen);
    for (n, gateway) in gateways.iter().enumerate() {
        builder = builder.ground(gateway, Ground::Behind(KINDS[n / 2])).placed(gateway, "field", gateway);
    }
    let mesh = builder.linked(cable(DELAY)).start()?;
    let pairs = gateways.len() * (gateways.len() - 1) / 2;
    let (mut times, mut late, mut relayed) = (Vec::new(), 0, 0);
    for _ in 0..runs.punches {
        interrupt::check()?;
        let nodes: Vec<&Node> = gateways.iter().map(|gateway| mesh.node(gateway)).collect();
        nodes.iter().try_for_each(|node| node.kill9())?;
        nodes.iter().try_for_each(|node| node.launch())?;
        nodes.iter().try_for_each(|node| node.wait_ready())?;
        let met = || {
            let met = meetings(&nodes)?;
            Ok((met.values().filter(|met| met.direct).count() == pairs).then_some(()))
        };
        // Who is late is counted below, whatever becomes of it.
        let all = wait::until("all pairs are direct", Instant::now(), POLL, WITHIN, met);
        late += usize::from(all.is_err());
        for met in meetings(&nodes)?.into_values() {
            relayed += usize::from(met.relayed);
            times.extend(met.took.filter(|_| met.relayed));
            if met.relayed && met.took.is_none() {
                times.push(WITHIN.as_secs_f64());
            }
        }
    }
    let within = times.iter().filter(|time| **time <= AT_MOST_S).count() as f64 / times.len().max(1) as f64 * 100.0;
    let note = format!(
        "of {relayed} that began over the relay, in {} restarts of {} gateways at once ({}); {late} restarts were not all direct",
        runs.punches,
        gateways.len(),
        KINDS.map(|nat| nat.to_string()).join(", "),
    );
    let lower = name.to_lowercase();
    Ok(vec![
        Row::new(
            &format!("punch_{lower}"),
            &format!("relayed to direct within 1 s over {name}, 80 ms"),
            within,
            "%",
            &times,
        )
        .at_least(95.0)
        .note(note),
        Row::new(
            &format!("punch_{lower}_p95"),
            &format!("the same, p95 over {name}"),
            stats::percentile(&times, 95),
            "s",
            &[],
        )
        .note(format!("median {:.2}, worst {:.2}", stats::median(&times), stats::most(&times))),
    ])
}

/// What became of a pair since both were started.
#[derive(Debug, Clone, Default)]
struct Met {
    relayed: bool,
    direct: bool,
    /// From relayed to direct, in seconds, as the one saw it that saw it first.
    took: Option<f64>,
}

/// All pairs of these, by their own events.
fn meetings(nodes: &[&Node]) -> Result<BTreeMap<BTreeSet<String>, Met>> {
    let mut pairs: BTreeMap<BTreeSet<String>, Met> = BTreeMap::new();
    for node in nodes {
        let mut since: BTreeMap<String, f64> = BTreeMap::new();
        for (at, other, direct) in node.peers_up()? {
            if !nodes.iter().any(|node| node.name() == other) {
                continue;
            }
            let met = pairs.entry(BTreeSet::from([node.name().to_owned(), other.clone()])).or_default();
            if direct {
                met.direct = true;
                if let Some(took) = since.remove(&other).map(|since| (at - since) / 1e3) {
                    met.took = Some(met.took.map_or(took, |before| before.min(took)));
                }
            } else if !met.direct {
                met.relayed = true;
                since.entry(other).or_insert(at);
            }
        }
    }
    Ok(pairs)
}
