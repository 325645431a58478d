//! A host dies, and what ran there runs elsewhere; it returns, and nothing is disturbed.

use anyhow::{Context, Result, ensure};
use holm_tests::{
    cluster::Cluster,
    eventually, holds,
    node::SOON,
    rows::Task,
    suite::{Scene, Suite},
};
use std::{collections::BTreeSet, time::Duration};

const HOLD: &str = r#"
name = "hold"
type = "service"
replicas = 3
[run.process]
command = ["/bin/sleep", "100000"]
"#;

fn main() {
    Suite::new()
        .test("a dead host is replaced and its return disturbs nothing", a_dead_host_is_replaced)
        .test("a task that ends badly is started again in place", a_task_is_started_again)
        .run()
}

fn hosts_of(tasks: &[Task]) -> BTreeSet<&str> {
    tasks.iter().map(|task| task.node.as_str()).collect()
}

fn a_dead_host_is_replaced(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene)
        .node("cloud-1", "cloud")
        .keeper("cloud-2", "cloud")
        .node("till-1", "shop")
        .node("till-2", "shop")
        .node("till-3", "shop")
        .start()?;

    mesh.node("cloud-2").apply(HOLD)?;
    let before = mesh.node("cloud-1").wait_running("hold", 3)?;
    ensure!(hosts_of(&before).len() == 3, "three tasks on three nodes, not {before:?}");

    let victim = before[0].node.clone();
    mesh.node(&victim).power_off()?;
    let observer = mesh.up().next().context("four nodes are left")?;
    let after = eventually("the dead host's task runs elsewhere", SOON, || {
        let running = observer.running("hold")?;
        let hosts = hosts_of(&running);
        ensure!(running.len() == 3 && hosts.len() == 3 && !hosts.contains(victim.as_str()), "{running:?}");
        Ok(running)
    })?;
    for task in before.iter().filter(|task| task.node != victim) {
        ensure!(after.contains(task), "{task:?} was healthy, and now there is {after:?}");
    }

    mesh.node(&victim).up()?;
    mesh.wait_acquainted()?;
    mesh.wait_converged()?;
    eventually("all nodes agree on what runs", SOON, || {
        ensure!(mesh.running_everywhere("hold")? == after);
        Ok(())
    })?;
    holds("the return disturbs nothing", Duration::from_secs(5), || {
        let now = mesh.running_everywhere("hold")?;
        ensure!(now == after, "{after:?} has become {now:?}");
        Ok(())
    })
}

fn a_task_is_started_again(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("cloud-1", "cloud").start()?;
    let node = mesh.node("cloud-1");
    node.apply(HOLD)?;
    let before = node.wait_running("hold", 3)?;
    let pid = before[1].pid.context("it runs")?;
    holm_tests::process::kill9(pid);
    eventually("the task has a new process", SOON, || {
        let now = node.running("hold")?;
        ensure!(now.len() == 3, "{now:?}");
        ensure!(now[0] == before[0] && now[2] == before[2], "the others are not concerned: {now:?}");
        ensure!(now[1].pid != Some(pid) && now[1].restarts == 1 && now[1].id == before[1].id, "{:?}", now[1]);
        Ok(())
    })
}
