//! A node with little room says so, keeps what it has, and catches up when it gets more.

use anyhow::{Context, Result, ensure};
use holm_tests::{
    cluster::Cluster,
    eventually,
    node::{Node, SOON},
    suite::{Scene, Suite},
};
use serde_json::{Value, json};

fn main() {
    Suite::new().test("a disk budget bounds what a node takes, and more of it brings the rest", bounded).run()
}

/// An app that runs nowhere, of about 2.5 kB.
fn app(n: usize) -> String {
    let fill = "x".repeat(2000);
    format!(
        "name = 'app-{n}'\ntype = 'service'\nplace = {{ labels = {{ on = 'nothing' }} }}\nenv = {{ FILL = '{fill}' }}\n[run.process]\ncommand = ['/bin/true']\n"
    )
}

fn room(node: &Node, scope: &str) -> Result<String> {
    let status = node.call("mesh.status", json!({}))?;
    let room = status["held"][scope]["room"].as_str();
    Ok(room.with_context(|| format!("the status says what is held of {scope}: {status}"))?.to_owned())
}

fn wait_room(node: &Node, wanted: &str) -> Result<()> {
    eventually(&format!("{} has {wanted} room", node.name()), SOON, || {
        let is = room(node, "mesh")?;
        ensure!(is == wanted, "it is {is}");
        Ok(())
    })
}

fn doctor(node: &Node) -> Result<Vec<Value>> {
    let said = node.holm(&["doctor", "-o", "json"])?;
    let report: Value = serde_json::from_slice(&said.stdout).context("doctor speaks JSON")?;
    let checks = report["checks"].as_array().context("checks")?.clone();
    Ok(checks.into_iter().filter(|check| check["check"] == "budget").collect())
}

fn bounded(scene: &Scene) -> Result<()> {
    let mesh =
        Cluster::of(scene).node("cloud-1", "cloud").node("till-1", "shop").with(&["--disk-budget", "100Ki"]).start()?;
    let (large, small) = (mesh.node("cloud-1"), mesh.node("till-1"));
    mesh.wait_converged()?;
    ensure!(room(small, "mesh")? == "free" && doctor(small)?.is_empty(), "it is not full yet");

    let mut taken = 0;
    let refusal = loop {
        let said = small.holm_with(&["apply", "-f", "-", "-o", "json"], &app(taken))?;
        if !said.status.success() {
            break String::from_utf8_lossy(&said.stderr).into_owned();
        }
        taken += 1;
        ensure!(taken < 200, "it takes whatever comes");
    };
    ensure!(taken > 10, "{taken} were taken");
    ensure!(refusal.contains("no_room") && refusal.contains("--disk-budget"), "{refusal}");
    ensure!(room(small, "mesh")? == "full" && doctor(small)?.len() == 1, "{:?}", doctor(small)?);
    let events = small.ok(&["events", "-o", "json"])?;
    ensure!(events.lines().filter(|event| event.contains("\"no-room\"")).count() == 1, "{events}");

    // What the others do is still heard, and then not any more.
    large.apply(&app(taken))?;
    mesh.wait_converged()?;
    for n in taken + 1..taken + 60 {
        large.apply(&app(n))?;
    }
    wait_room(small, "over")?;
    ensure!(room(large, "mesh")? == "free", "the other node has room");
    // A removal is taken by a node that knows the app.
    large.ok(&["rm", "app-0"])?;
    eventually("the removal is heard", SOON, || {
        ensure!(small.apps()?.iter().all(|app| app.name != "app-0"), "it is there");
        Ok(())
    })?;
    small.ok(&["rm", "app-1"])?;
    eventually("and the own one told", SOON, || {
        ensure!(large.apps()?.iter().all(|app| app.name != "app-1"), "it is there");
        Ok(())
    })?;

    small.kill9()?;
    small.up()?;
    ensure!(room(small, "mesh")? == "over", "it knows that after a restart");
    small.kill9()?;
    small.up_with(&["--disk-budget", "10Mi"])?;
    mesh.wait_converged()?;
    ensure!(room(small, "mesh")? == "free" && doctor(small)?.is_empty(), "it has room again");
    Ok(())
}
