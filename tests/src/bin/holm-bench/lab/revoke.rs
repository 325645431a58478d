//! From a revocation to the moment at which nobody is connected with the member any more.

use crate::{lab::cable, options::Runs, report::Row, stats, wait};
use anyhow::{Context, Result};
use holm_tests::{cluster::Cluster, lab::Ground, netlab::Nat, suite::Scene};
use serde_json::json;
use std::time::{Duration, Instant};

const DELAY: Duration = Duration::from_millis(20);
const SITES: usize = 4;
const WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// Measures.
///
/// # Errors
/// The mesh does not start, or a member stays connected.
pub fn measure(scene: &Scene, runs: &Runs) -> Result<Vec<Row>> {
    let site = |n: usize| format!("plant-{}", n % SITES);
    let gateways: Vec<String> = (1..runs.site).map(|n| format!("gw-{n}")).collect();
    let mut builder = Cluster::of(scene).ground("cloud", Ground::Public).node("cloud-1", "cloud");
    for n in 0..SITES {
        builder = builder.ground(&site(n), Ground::Behind(Nat::Home));
    }
    for (n, gateway) in gateways.iter().enumerate() {
        builder = builder.node(gateway, &site(n));
    }
    let mesh = builder.linked(cable(DELAY)).start()?;
    let mut times = Vec::new();
    // One of each site in turn, and never the last one of a site.
    for victim in gateways.iter().take(runs.revocations) {
        let members = mesh.node("cloud-1").members()?;
        let id = members.iter().find(|m| m.name == *victim).map(|m| m.id.clone()).context("a member without a row")?;
        let connected = |observer: &str| -> Result<bool> {
            let status = mesh.node(observer).call("mesh.status", json!({}))?;
            let peers = status["reach"]["peers"].as_array().cloned().unwrap_or_default();
            Ok(peers.iter().any(|way| way["node"] == id.as_str()))
        };
        let begin = Instant::now();
        mesh.node("cloud-1").ok(&["cert", "revoke", victim, "--reason", "stolen"])?;
        let mut left: Vec<&str> = mesh.nodes().map(|node| node.name()).filter(|name| name != victim).collect();
        let (_, time) = wait::until(&format!("{victim} is cut off"), begin, POLL, WITHIN, || {
            let mut still = Vec::new();
            for observer in left.drain(..) {
                if connected(observer)? {
                    still.push(observer);
                }
            }
            left = still;
            Ok(left.is_empty().then_some(()))
        })?;
        times.push(time.as_secs_f64());
    }
    let what = format!("revocation to disconnected everywhere, {} nodes", runs.site);
    let note =
        format!("worst; median {:.2}; four sites behind home routers, 80 ms between them", stats::median(&times));
    Ok(vec![Row::new("revoke", &what, stats::most(&times), "s", &times).at_most(5.0).note(note)])
}
