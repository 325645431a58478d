//! What a node of a site of twenty says and hears while nothing happens.

use crate::{options::Runs, report::Row, stats, wait};
use anyhow::{Context, Result};
use holm_tests::{cluster::Cluster, node::Node, suite::Scene};
use std::time::Instant;

/// Measures.
///
/// # Errors
/// The site does not start.
pub fn measure(scene: &Scene, runs: &Runs) -> Result<Vec<Row>> {
    let nodes = runs.site;
    let site = (0..nodes).fold(Cluster::of(scene), |mesh, n| mesh.node(&format!("node-{n}"), "plant")).start()?;
    // A node that starts asks a lot at first: where it can be reached, and who is there.
    wait::pass(runs.settle * 8)?;
    let count = || site.nodes().map(bytes).collect::<Result<Vec<_>>>();
    let (before, begin) = (count()?, Instant::now());
    wait::pass(runs.idle * 3)?;
    let (after, seconds) = (count()?, begin.elapsed().as_secs_f64());
    let packets: u64 = before.iter().zip(&after).map(|(b, a)| a[3] - b[3] + a[2] - b[2]).sum();
    let packets = packets as f64 / seconds / nodes as f64;
    let rate = |way: usize| -> Vec<f64> {
        before.iter().zip(&after).map(|(b, a)| (a[way] - b[way]) as f64 * 8e-3 / seconds / (nodes - 1) as f64).collect()
    };
    let [heard, said] = [rate(0), rate(1)];
    let both: Vec<f64> = heard.iter().zip(&said).map(|(heard, said)| heard + said).collect();
    let what = format!("idle: sent and received a peer, site of {nodes}");
    let note = format!(
        "median node; most {:.2}; sent {:.2}; all bytes of the interface, {seconds:.0} s",
        stats::most(&both),
        stats::median(&said)
    );
    Ok(vec![
        Row::new("idle_traffic", &what, stats::median(&both), "kbit/s", &both).at_most(0.5).note(note),
        Row::new(
            "idle_traffic_node",
            "the same, a node in all",
            stats::median(&both) * (nodes - 1) as f64,
            "kbit/s",
            &[],
        )
        .note(format!("{packets:.0} packets a second, of all nodes the mean")),
    ])
}

/// Bytes that the node's host has received and sent, and packets.
fn bytes(node: &Node) -> Result<[u64; 4]> {
    let table = node.host().run(|| Ok(std::fs::read_to_string("/proc/thread-self/net/dev")?))?;
    counts(&table).with_context(|| format!("no eth0 in {table}"))
}

fn counts(table: &str) -> Option<[u64; 4]> {
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix("eth0:"))?;
    let numbers: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    Some([*numbers.first()?, *numbers.get(8)?, *numbers.get(1)?, *numbers.get(9)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table() {
        let table =
            "Inter-| x\n face |bytes\n    lo: 1 2 3 4 5 6 7 8 9 10\n  eth0: 11 2 0 0 0 0 0 0 99 1 0 0 0 0 0 0\n";
        assert_eq!((counts(table), counts("lo: 1")), (Some([11, 99, 2, 1]), None));
    }
}
