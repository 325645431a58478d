//! The history of what runs goes on in volumes on both sides of a cut, and nothing is disturbed, lost or kept for ever.

use anyhow::{Context, Result, ensure};
use holm_tests::{
    cluster::Cluster,
    eventually, holds,
    node::{Node, SOON},
    rows::Task,
    suite::{Scene, Suite},
};
use serde_json::{Value, json};
use std::time::Duration;

const ROAMING: &str =
    "name = 'roaming'\ntype = 'service'\nreplicas = 2\n[run.process]\ncommand = ['/bin/sleep', '100000']\n";
/// Rounds of scaling up and down; each is a dozen changes or more of one document.
const ROUNDS: usize = 12;

fn main() {
    Suite::new().lab("histories go on in volumes on both sides of a cut", both_sides).run()
}

fn status(node: &Node) -> Result<Value> {
    node.call("mesh.status", json!({}))
}

fn collected(node: &Node) -> Result<u64> {
    Ok(status(node)?["counters"]["state_collected"].as_u64().unwrap_or(0))
}

fn held(node: &Node) -> Result<(u64, u64)> {
    let held = &status(node)?["held"]["mesh"];
    let number = |name: &str| held[name].as_u64().with_context(|| format!("{name} of {held}"));
    Ok((number("documents")?, number("bytes")?))
}

/// Wears a document out; the first two slots run all the time.
fn scale_up_and_down(node: &Node) -> Result<()> {
    for _ in 0..ROUNDS {
        node.ok(&["scale", "roaming", "8"])?;
        node.wait_running("roaming", 8)?;
        node.ok(&["scale", "roaming", "2"])?;
        node.wait_running("roaming", 2)?;
    }
    Ok(())
}

fn both_sides(scene: &Scene) -> Result<()> {
    let short = ["--volume", "50", "--keep-removed", "1s"];
    let mesh = Cluster::of(scene)
        .node("cloud-1", "cloud")
        .with(&short)
        .keeper("cloud-2", "cloud")
        .with(&short)
        .node("till-1", "shop")
        .with(&short)
        .node("till-2", "shop")
        .with(&short)
        .start()?;
    let (cloud, till) = (mesh.node("cloud-1"), mesh.node("till-1"));
    cloud.apply(ROAMING)?;
    let whole = cloud.wait_running("roaming", 2)?;
    mesh.wait_converged()?;
    let bare = held(cloud)?;

    mesh.lab()?.cut("cloud", "shop")?;
    let sides: Vec<Vec<Task>> = [cloud, till].into_iter().map(|node| at_home(node, 2)).collect::<Result<_>>()?;
    scale_up_and_down(cloud)?;
    scale_up_and_down(till)?;
    for (node, before) in [cloud, till].into_iter().zip(&sides) {
        eventually(&format!("{} has put away a volume", node.name()), SOON, || {
            let n = collected(node)?;
            ensure!(n > 0, "{n} documents were deleted, {:?} are held", held(node)?);
            Ok(())
        })?;
        ensure!(node.running("roaming")? == *before, "{before:?} has become {:?}", node.running("roaming")?);
    }

    mesh.lab()?.heal()?;
    mesh.wait_acquainted()?;
    mesh.wait_converged()?;
    let ran: Vec<Task> = [whole, sides.concat()].concat();
    let undisturbed = || -> Result<()> {
        let now = mesh.running_everywhere("roaming")?;
        ensure!(now.len() == 2, "one runner a slot is left: {now:?}");
        ensure!(now.iter().all(|task| ran.contains(task)), "{now:?} did not all run before the heal: {ran:?}");
        Ok(())
    };
    eventually("one runner a slot is left, and it ran before", SOON, undisturbed)?;
    holds("the heal disturbs nothing", Duration::from_secs(5), undisturbed)?;

    // A host that restarts finds its tasks, and the history does not grow.
    till.kill9()?;
    till.up()?;
    scale_up_and_down(cloud)?;
    undisturbed()?;
    mesh.wait_converged()?;
    for node in mesh.nodes() {
        eventually(&format!("{} holds no more than the last volume", node.name()), SOON, || {
            let now = held(node)?;
            ensure!(
                now.0 <= bare.0 + 1 && now.1 < bare.1 + 60_000,
                "{now:?} documents and bytes, {bare:?} at the start"
            );
            Ok(())
        })?;
    }
    Ok(())
}

/// Waits until `count` tasks run at the node's own site.
fn at_home(node: &Node, count: usize) -> Result<Vec<Task>> {
    eventually(&format!("{} sees {count} tasks at its own site", node.name()), SOON, || {
        let running = node.running("roaming")?;
        let here = running.iter().filter(|task| task.site == node.site()).count();
        ensure!(running.len() == count && here == count, "{:?}", node.tasks("roaming")?);
        Ok(running)
    })
}
