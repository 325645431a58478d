//! The mesh that most measures use, and what runs in it.

use crate::{client::Client, wait};
use anyhow::{Context, Result};
use holm_tests::{cluster::Cluster, node::Node, suite::Scene};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The nodes of a mesh of five.
pub const FIVE: [&str; 5] = ["node-1", "node-2", "node-3", "node-4", "node-5"];
/// How long a removed app's tasks may take to go.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// Five nodes of one site on 127.0.0.1 that see each other.
///
/// # Errors
/// They do not come up.
pub fn five(scene: &Scene) -> Result<Cluster> {
    FIVE.iter().fold(Cluster::of(scene), |mesh, name| mesh.node(name, "bench")).start().context("no mesh of five")
}

/// The node with that number, counted round and round.
pub fn nth(mesh: &Cluster, number: usize) -> &Node {
    mesh.node(FIVE[number % FIVE.len()])
}

/// A service whose tasks do nothing.
pub fn sleeper(name: &str, replicas: u32) -> Value {
    json!({
        "name": name,
        "type": "service",
        "replicas": replicas,
        "run": { "process": { "command": ["/bin/sleep", "1000000"] } },
    })
}

/// Removes an app and waits until the node says that nothing of it runs any more.
///
/// # Errors
/// It is refused, or something stays.
pub fn remove(client: &mut Client, app: &str) -> Result<()> {
    client.delete(app)?;
    let gone = || Ok(client.tasks(app)?.is_empty().then_some(()));
    wait::until(&format!("{app} is gone"), Instant::now(), Duration::from_millis(5), GONE_WITHIN, gone)?;
    Ok(())
}
