//! What a user asks of one node about another, and a node that is in two places.

use anyhow::{Context, Result, ensure};
use holm_tests::{
    cluster::Cluster,
    eventually,
    node::SOON,
    suite::{Scene, Suite},
};
use std::process::Command;

fn main() {
    Suite::new()
        .test("logs are read from whichever node has them", logs_of_another_node)
        .test("a copied data folder is noticed, and the older process stops", a_copied_data_folder)
        .run()
}

fn logs_of_another_node(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("shop-1", "shop").node("plant-1", "plant").start()?;
    let (near, far) = (mesh.node("shop-1"), mesh.node("plant-1"));
    near.apply(
        "name = 'speak'\ntype = 'service'\n[place]\nsite = 'plant'\n[run.process]\n\
         command = ['/bin/sh', '-c', 'echo from $HOLM_NODE; echo aside >&2; sleep 100000']\n",
    )?;
    near.wait_running("speak", 1)?;
    let log = eventually("the log is read across the mesh", SOON, || {
        let log = near.ok(&["logs", "speak"])?;
        ensure!(log.contains("from plant-1"), "{log:?}");
        Ok(log)
    })?;
    let aside = near.holm(&["logs", "speak", "--stderr"])?;
    ensure!(String::from_utf8_lossy(&aside.stderr).contains("aside"), "the other output too: {aside:?}");
    ensure!(far.ok(&["logs", "speak"])? == log, "both nodes tell the same");

    near.apply(
        "name = 'count'\ntype = 'job'\ntasks = 1\n[place]\nsite = 'plant'\n[run.process]\n\
         command = ['/bin/sh', '-c', 'for n in 1 2 3 4 5; do echo line $n; sleep 0.3; done']\n",
    )?;
    eventually("it has begun", SOON, || {
        let tasks = near.tasks("count")?;
        ensure!(tasks.iter().any(|task| task.state == "running"), "{tasks:?}");
        Ok(())
    })?;
    let followed = near.ok(&["logs", "count", "-f"])?;
    let lines: Vec<&str> = followed.lines().map(|l| l.rsplit("line ").next().unwrap_or(l)).collect();
    ensure!(lines == ["1", "2", "3", "4", "5"], "followed to the end of the task: {followed:?}");

    far.kill9()?;
    eventually("the reader is told why there is no log", SOON, || {
        let output = near.holm(&["logs", "speak"])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        ensure!(said.contains("plant-1"), "{said}");
        Ok(())
    })
}

fn a_copied_data_folder(scene: &Scene) -> Result<()> {
    let mut mesh = Cluster::of(scene).node("till-1", "shop").node("till-2", "shop").start()?;
    let copy = mesh.new_node("till-3", "shop")?;
    let original = mesh.node("till-2");
    // As somebody does who clones a disk image: the node is down meanwhile.
    original.power_off()?;
    let copied = Command::new("cp").arg("-aT").arg(original.data()).arg(copy.data()).status()?;
    ensure!(copied.success(), "cannot copy the data folder");
    original.up()?;
    mesh.wait_acquainted()?;
    copy.up()?;
    eventually("the older of the two says so and stops", SOON, || {
        let said = original.log();
        let line = said.lines().find(|line| line.contains("its data folder was copied"));
        ensure!(original.ended()?, "it still runs");
        line.map(drop).context("its log does not say why")
    })?;
    eventually("the newer one is the node now", SOON, || {
        let members = mesh.node("till-1").members()?;
        ensure!(members.iter().any(|m| m.name == "till-2" && m.state == "alive"), "{members:?}");
        Ok(())
    })?;
    copy.kill9()
}
