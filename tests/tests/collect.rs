//! What was removed is forgotten, and a node that was away does not bring it back.

use anyhow::{Context, Result, ensure};
use holm_tests::{
    cluster::Cluster,
    eventually,
    node::{Node, SOON},
    suite::{Scene, Suite},
};
use serde_json::{Value, json};

const HOLD: &str = "name = 'hold'\ntype = 'service'\nreplicas = 2\n[run.process]\ncommand = ['/bin/sleep', '100000']\n";
const WORK: &str = "name = 'work'\ntype = 'job'\ntasks = 300\nparallel = 50\n[run.process]\ncommand = ['/bin/true']\n";

fn main() {
    Suite::new()
        .test("the tasks of removed apps are forgotten, whoever was away meanwhile", forgotten)
        .test("that a task has ended is told to those who were away, and by those who were", told)
        .run()
}

fn told(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("till-1", "shop").node("till-2", "shop").start()?;
    let (node, late) = (mesh.node("till-1"), mesh.node("till-2"));
    mesh.wait_converged()?;
    node.apply("name = 'each'\ntype = 'daemon'\n[run.process]\ncommand = ['/bin/sleep', '100000']\n")?;
    node.wait_running("each", 2)?;
    mesh.wait_converged()?;
    late.kill9()?;
    node.ok(&["rm", "each"])?;
    late.up()?;
    for node in [node, late] {
        eventually(&format!("{} knows that both tasks have ended", node.name()), SOON, || {
            let rows: Value = serde_json::from_str(&node.ok(&["ps", "-a", "-o", "json"])?)?;
            let states: Vec<&str> =
                rows.as_array().into_iter().flatten().filter_map(|row| row["state"].as_str()).collect();
            ensure!(states == ["cancelled", "cancelled"], "{rows}");
            Ok(())
        })?;
    }
    Ok(())
}

fn documents(node: &Node) -> Result<u64> {
    node.call("mesh.status", json!({}))?["documents"].as_u64().context("the status counts documents")
}

fn forgotten(scene: &Scene) -> Result<()> {
    let short = ["--keep-removed", "1s"];
    let mesh = Cluster::of(scene)
        .node("till-1", "shop")
        .with(&short)
        .node("till-2", "shop")
        .with(&short)
        .node("till-3", "shop")
        .with(&short)
        .start()?;
    let (node, late) = (mesh.node("till-1"), mesh.node("till-3"));
    mesh.wait_converged()?;
    let bare = documents(node)?;
    node.apply(HOLD)?;
    node.apply(WORK)?;
    eventually("the job is done", SOON, || {
        let done = node.results("work")?.len();
        ensure!(done == 300, "{done} tasks are done");
        Ok(())
    })?;
    node.wait_running("hold", 2)?;
    mesh.wait_converged()?;
    let full = documents(node)?;
    ensure!(full >= bare + 5, "{bare} documents have become {full}");

    late.power_off()?;
    node.ok(&["rm", "work"])?;
    node.ok(&["rm", "hold"])?;
    // Of each app one document is left, which says that it was removed.
    let nothing_left = |node: &Node| {
        eventually(&format!("{} has forgotten the tasks", node.name()), SOON, || {
            let now = documents(node)?;
            ensure!(now == bare + 2, "{now} documents, of {full}; {bare} before");
            let rows = node.ok(&["ps", "-a", "-o", "json"])?;
            ensure!(rows.trim() == "[]", "{rows}");
            Ok(())
        })
    };
    nothing_left(node)?;
    nothing_left(mesh.node("till-2"))?;

    late.up()?;
    mesh.wait_acquainted()?;
    mesh.wait_converged()?;
    nothing_left(late)?;
    nothing_left(node)?;
    ensure!(late.processes_of("hold").is_empty(), "it runs what was removed");

    node.kill9()?;
    node.up()?;
    node.apply(HOLD)?;
    node.wait_running("hold", 2)?;
    node.apply(WORK)?;
    eventually("the job is done again", SOON, || {
        let done = late.results("work")?.len();
        ensure!(done == 300, "{done} tasks are done");
        Ok(())
    })?;
    mesh.wait_converged()
}
