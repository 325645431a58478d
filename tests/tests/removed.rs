//! Somebody removes a folder under a running node.

use anyhow::{Context, Result, ensure};
use holm_tests::{
    cluster::Cluster,
    eventually,
    node::SOON,
    process,
    suite::{Scene, Suite},
};
use std::{fs, time::Duration};

/// The node looks every two seconds.
const NOTICED: Duration = Duration::from_secs(10);

const HOLD: &str = "name = 'hold'\ntype = 'service'\n[run.process]\ncommand = ['/bin/sleep', '100000']\n";
const WORK: &str = "name = 'work'\ntype = 'job'\ntasks = 5\nretries = 0\n[run.process]\n\
    command = ['/bin/sh', '-c', 'echo done $HOLM_SLOT']\n";

fn main() {
    Suite::new()
        .test("a node whose database was removed acknowledges nothing and stops", no_database)
        .test("an idle node notices that its database was replaced", another_database)
        .test("a folder of tasks that was removed costs no attempt", no_tasks)
        .test("a node that cannot make a folder for a task refuses it", no_room_for_tasks)
        .run()
}

fn no_database(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("till-1", "shop").start()?;
    let node = mesh.node("till-1");
    node.apply(HOLD)?;
    let pid = node.wait_running("hold", 1)?[0].pid.context("it runs")?;
    fs::remove_dir_all(node.data().join("db"))?;
    let answer = node.holm_with(&["apply", "-f", "-"], WORK)?;
    ensure!(!answer.status.success(), "acknowledged, and nothing will be left of it: {answer:?}");
    eventually("the node stops and says why", NOTICED, || {
        ensure!(node.ended()?, "it still runs");
        let log = node.log();
        ensure!(log.contains("/db was removed or replaced"), "{log}");
        Ok(())
    })?;
    ensure!(process::runs(pid), "its task does not go on");
    Ok(())
}

fn another_database(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("till-1", "shop").start()?;
    let node = mesh.node("till-1");
    let (db, aside) = (node.data().join("db"), node.data().join("db.aside"));
    fs::rename(&db, &aside)?;
    fs::create_dir(&db)?;
    fs::copy(aside.join("LOCK"), db.join("LOCK"))?;
    eventually("the node stops and says why", NOTICED, || {
        ensure!(node.ended()?, "it still runs");
        let log = node.log();
        ensure!(log.contains("/db was removed or replaced"), "{log}");
        Ok(())
    })
}

fn no_tasks(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("till-1", "shop").start()?;
    let node = mesh.node("till-1");
    node.apply(HOLD)?;
    let before = node.wait_running("hold", 1)?;
    fs::remove_dir_all(node.data().join("tasks"))?;
    node.apply(WORK)?;
    eventually("the job is done at the first attempt", SOON, || {
        let results = node.results("work")?;
        ensure!(results.len() == 5 && results.iter().all(|r| r.attempt == 1 && r.exit_code == Some(0)), "{results:?}");
        Ok(())
    })?;
    ensure!(node.running("hold")? == before, "what ran goes on");
    Ok(())
}

fn no_room_for_tasks(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("till-1", "shop").node("till-2", "shop").start()?;
    let broken = mesh.node("till-1");
    let tasks = broken.data().join("tasks");
    fs::remove_dir_all(&tasks)?;
    fs::write(&tasks, "no folder")?;
    broken.apply(WORK)?;
    eventually("the other node does it all, at the first attempt", SOON, || {
        let results = broken.results("work")?;
        ensure!(results.len() == 5, "{results:?}");
        ensure!(results.iter().all(|r| r.node == "till-2" && r.attempt == 1 && r.exit_code == Some(0)), "{results:?}");
        Ok(())
    })
}
