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
    // Submitted at one gateway, runs on the other: neither can dial the other.
    a.apply(
        "name = 'far'\ntype = 'service'\n[place]\nsite = 'shop-b'\n[run.process]\ncommand = ['/bin/sleep', '100000']\n",
    )?;
    let running = a.wait_running("far", 1)?;
    ensure!(running[0].node == "gw-b", "{running:?}");
    mesh.wait_converged()?;
    eventually("all nodes agree on what runs, and it is true", SOON, || mesh.running_everywhere("far").map(drop))
}

fn a_new_address(scene: &Scene) -> Result<()> {
    let mesh = start(scene)?;
    let net = mesh.lab()?.net();
    let old = net.public_address("shop-a")?.context("a home has one")?;
    let new = net.wan_change("shop-a")?;
    ensure!(new != old);
    // The gateway itself is told nothing. What is submitted behind it afterwards has to get out.
    mesh.node("gw-a").apply(
        "name = 'after'\ntype = 'service'\n[place]\nsite = 'cloud'\n[run.process]\ncommand = ['/bin/sleep', '100000']\n",
    )?;
    mesh.node("cloud-1").wait_running("after", 1)?;
    mesh.wait_acquainted()
}
