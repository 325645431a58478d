//! Power comes back, or only the agent died: what should run, runs.

use anyhow::{Context, Result, ensure};
use holm_tests::{
    cluster::Cluster,
    eventually,
    node::{Node, SOON},
    process,
    suite::{Scene, Suite},
};

fn main() {
    Suite::new()
        .test("after a power loss a node alone runs its tasks from its own disk", after_a_power_loss)
        .test("tasks live on without their agent and are adopted", tasks_are_adopted)
        .run()
}

fn after_a_power_loss(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("till-1", "shop").node("till-2", "shop").node("till-3", "shop").start()?;
    mesh.node("till-1")
        .apply("name = 'hold'\ntype = 'service'\nreplicas = 3\n[run.process]\ncommand = ['/bin/sleep', '100000']\n")?;
    let before = mesh.node("till-1").wait_running("hold", 3)?;
    mesh.wait_converged()?;

    for node in mesh.nodes() {
        node.power_off()?;
    }
    let survivor = mesh.node("till-2");
    let own = before.iter().find(|task| task.node == "till-2").context("till-2 had a task")?;
    ensure!(!process::runs(own.pid.context("it ran")?));

    survivor.up()?;
    eventually("till-2, alone, runs its own task again", SOON, || {
        let running = survivor.running("hold")?;
        let again = running.iter().find(|task| task.node == "till-2" && task.slot == own.slot);
        let pid = again.and_then(|task| task.pid).with_context(|| format!("{running:?}"))?;
        ensure!(survivor.processes_of("hold").contains(&pid), "there is no process {pid}");
        Ok(())
    })?;

    mesh.node("till-1").up()?;
    mesh.node("till-3").up()?;
    mesh.wait_acquainted()?;
    eventually("three run again, and only three", SOON, || {
        let running = mesh.running_everywhere("hold")?;
        ensure!(running.len() == 3, "{running:?}");
        Ok(())
    })
}

fn tasks_are_adopted(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("till-1", "shop").start()?;
    let node = mesh.node("till-1");
    node.apply(
        "name = 'count'\ntype = 'service'\n[run.process]\n\
         command = ['/bin/sh', '-c', 'n=0; while :; do n=$((n + 1)); echo \"line $n\"; sleep 0.1; done']\n",
    )?;
    let before = node.wait_running("count", 1)?;
    let pid = before[0].pid.context("it runs")?;
    let heard = eventually("it counts", SOON, || last_line(node))?;

    node.kill9()?;
    ensure!(process::runs(pid), "the task died with its agent");
    node.up()?;
    eventually("the task is adopted", SOON, || {
        let now = node.running("count")?;
        ensure!(now == before, "{before:?} has become {now:?}");
        Ok(())
    })?;
    ensure!(process::runs(pid), "the same process still runs");
    eventually("its log goes on", SOON, || {
        let last = last_line(node)?;
        ensure!(last > heard + 10, "after line {heard} the last one is {last}");
        Ok(())
    })
}

/// The number of the last line in the log of `count`. No line before it may be missing, not even one that was
/// written while there was no agent.
fn last_line(node: &Node) -> Result<u64> {
    let log = node.ok(&["logs", "count"])?;
    let mut last = None;
    for line in log.lines() {
        let number = line.rsplit("line ").next().and_then(|n| n.trim().parse().ok());
        let number: u64 = number.with_context(|| format!("not a line of the task: {line:?}"))?;
        ensure!(last.is_none_or(|last| number == last + 1), "line {number} comes after line {last:?}");
        last = Some(number);
    }
    last.context("no line yet")
}
