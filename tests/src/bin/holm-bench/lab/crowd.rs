//! A node that is connected with two hundred others: gateways of as many sites, which know nobody but the keeper.

use crate::{idle::resident, options::Runs, report::Row, wait};
use anyhow::{Result, ensure};
use holm_tests::{cluster::Cluster, suite::Scene};
use serde_json::json;

/// Measures.
///
/// # Errors
/// The mesh does not start.
pub fn measure(scene: &Scene, runs: &Runs) -> Result<Vec<Row>> {
    let alone = {
        let mesh = Cluster::of(scene).node("keeper", "cloud").start()?;
        wait::pass(runs.settle)?;
        resident(mesh.node("keeper"))?
    };
    let scene = Scene::new(scene.place().clone())?;
    let mut builder = Cluster::of(&scene).node("keeper", "cloud").with(&["--no-mdns"]);
    for n in 0..runs.crowd {
        builder = builder.node(&format!("gw-{n}"), &format!("shop-{n}")).with(&["--no-mdns"]);
    }
    let mesh = builder.start()?;
    wait::pass(runs.settle)?;
    let keeper = mesh.node("keeper");
    let status = keeper.call("mesh.status", json!({}))?;
    let peers = status["reach"]["peers"].as_array().map_or(0, Vec::len);
    ensure!(peers >= runs.crowd, "the keeper is connected with {peers} of {}", runs.crowd);
    let full = resident(keeper)?;
    scene.passed();
    let each = (full - alone) * 1e3 / peers as f64;
    Ok(vec![
        Row::new("crowd_memory", &format!("resident memory of a keeper with {peers} peers"), full, "MB", &[full])
            .at_most(60.0)
            .note(format!("{alone:.1} alone")),
        Row::new("crowd_connection", "of that, a peer", each, "kB", &[])
            .note("its connection, its documents and what is known of it"),
    ])
}
