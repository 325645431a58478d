//! Gateways behind NATs of their own: what must hold whether peers meet directly, over a relay, or through a third
//! node's gossip alone.

use anyhow::{Context, Result, ensure};
use holm_tests::{
    cluster::Cluster,
    eventually,
    lab::Ground,
    netlab::Nat,
    node::SOON,
    suite::{Scene, Suite},
};
use serde::Deserialize;
use std::collections::BTreeSet;

fn main() {
    Suite::new()
        .lab("gateways behind home routers join by dialling out, and are placed on", home_gateways)
        .lab("a gateway whose provider gives it another address comes back by itself", a_new_address)
        .run()
}

/// A public node, and two gateways that have the same private address.
fn start(scene: &Scene) -> Result<Cluster> {
    Cluster::of(scene)
        .ground("cloud", Ground::Public)
        .ground("shop-a", Ground::Behind(Nat::Home))
        .ground("shop-b", Ground::Behind(Nat::Home))
        .node("cloud-1", "cloud")
        .node("gw-a", "shop-a")
        .node("gw-b", "shop-b")
        .start()
}

/// How a node reaches another, by `holm node ls`.
#[derive(Debug, Deserialize)]
struct Way {
    name: String,
    path: String,
}

/// Tells what there is today; nothing is demanded of it, since it shall become better.
fn tell_paths(mesh: &Cluster) -> Result<()> {
    for node in mesh.nodes() {
        let ways: Vec<Way> = node.json(&["node", "ls"])?;
        let ways: Vec<String> = ways.iter().map(|way| format!("{} {}", way.name, way.path)).collect();
        eprintln!("{}: {}", node.name(), ways.join(", "));
    }
    Ok(())
}

fn home_gateways(scene: &Scene) -> Result<()> {
    let mesh = start(scene)?;
    tell_paths(&mesh)?;
    let (a, b) = (mesh.node("gw-a"), mesh.node("gw-b"));
    ensure!(a.host().address() == b.host().address(), "homes have the same addresses");
    // Submitted at one gateway, runs on all three: neither gateway can dial the other.
    a.apply(&spread("wide"))?;
    let running = a.wait_running("wide", 3)?;
    let hosts: BTreeSet<&str> = running.iter().map(|task| task.node.as_str()).collect();
    ensure!(hosts == BTreeSet::from(["cloud-1", "gw-a", "gw-b"]), "{running:?}");
    mesh.wait_converged()?;
    eventually("all nodes agree on what runs, and it is true", SOON, || mesh.running_everywhere("wide").map(drop))?;

    let elsewhere = spread("far") + "[place]\nsite = 'shop-b'\n";
    let refused = a.holm_with(&["apply", "-f", "-"], &elsewhere)?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && said.contains("shop-b") && said.contains("cloud-1"), "whom to ask: {said}");
    mesh.node("cloud-1").apply(&elsewhere)?;
    let running = b.wait_running("far", 3)?;
    ensure!(running.iter().all(|task| task.node == "gw-b"), "{running:?}");
    ensure!(a.apps()?.iter().all(|app| app.name != "far"), "an app of shop-b has reached shop-a");
    Ok(())
}

/// A service of three.
fn spread(name: &str) -> String {
    format!("name = '{name}'\ntype = 'service'\nreplicas = 3\n[run.process]\ncommand = ['/bin/sleep', '100000']\n")
}

fn a_new_address(scene: &Scene) -> Result<()> {
    let mesh = start(scene)?;
    let net = mesh.lab()?.net();
    let old = net.public_address("shop-a")?.context("a home has one")?;
    let new = net.wan_change("shop-a")?;
    ensure!(new != old);
    // The gateway itself is told nothing. What is submitted behind it afterwards has to get out.
    mesh.node("gw-a").apply(&spread("after"))?;
    mesh.node("cloud-1").wait_running("after", 3)?;
    mesh.wait_acquainted()?;
    // It hears and is heard as before.
    mesh.node("cloud-1").apply(&spread("later"))?;
    let running = mesh.node("gw-b").wait_running("later", 3)?;
    ensure!(running.iter().any(|task| task.node == "gw-a"), "{running:?}");
    Ok(())
}
