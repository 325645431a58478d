//! A job runs to its end, each slot with one result, whoever dies on the way.

use anyhow::{Context, Result, ensure};
use holm_tests::{
    cluster::Cluster,
    eventually,
    suite::{Scene, Suite},
};
use std::time::Duration;

const TASKS: u32 = 200;

fn main() {
    Suite::new()
        .test("200 tasks on five nodes, one of which dies midway", two_hundred_tasks)
        .test("a task that fails for good is told with its output", a_failure_is_told)
        .run()
}

fn two_hundred_tasks(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene)
        .node("cloud-1", "cloud")
        .keeper("cloud-2", "cloud")
        .node("till-1", "shop")
        .node("till-2", "shop")
        .node("till-3", "shop")
        .start()?;
    let observer = mesh.node("cloud-1");
    observer.apply(&format!(
        "name = 'squares'\ntype = 'job'\ntasks = {TASKS}\nparallel = 20\n[run.process]\n\
         command = ['/bin/sh', '-c', 'sleep 0.2; echo \"$HOLM_SLOT squared is $((HOLM_SLOT * HOLM_SLOT))\"']\n",
    ))?;

    eventually("a fifth of the job is done", Duration::from_secs(120), || {
        let done = observer.results("squares")?.len();
        ensure!(done >= TASKS as usize / 5, "{done} of {TASKS}");
        Ok(())
    })?;
    ensure!(observer.results("squares")?.len() < TASKS as usize, "the job was done before anyone could die");
    mesh.node("till-2").power_off()?;

    let results = eventually("every slot has a result", Duration::from_secs(240), || {
        let results = observer.results("squares")?;
        ensure!(results.len() == TASKS as usize, "{} of {TASKS}", results.len());
        Ok(results)
    })?;
    for (slot, row) in (0..TASKS).zip(&results) {
        ensure!(row.slot == slot, "slot {slot} has no result or two: {row:?}");
        let right = format!("{slot} squared is {}", slot * slot);
        ensure!(row.output.trim() == right && row.exit_code == Some(0), "not {right:?}: {row:?}");
    }
    let app = observer.apps()?.into_iter().find(|app| app.name == "squares").context("the job is listed")?;
    ensure!(app.state == "succeeded" && app.running == TASKS, "{app:?}");

    mesh.node("till-2").up()?;
    mesh.wait_acquainted()?;
    mesh.wait_converged()?;
    for node in mesh.nodes() {
        let told = node.results("squares")?;
        ensure!(told.len() == TASKS as usize, "{} tells {} results", node.name(), told.len());
    }
    Ok(())
}

fn a_failure_is_told(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("cloud-1", "cloud").start()?;
    let node = mesh.node("cloud-1");
    node.apply(
        "name = 'mixed'\ntype = 'job'\ntasks = 3\nretries = 1\n[run.process]\n\
         command = ['/bin/sh', '-c', 'echo \"this is $HOLM_SLOT\"; test $HOLM_SLOT != 1 || exit 7']\n",
    )?;
    eventually("the job has failed, in one slot of three", Duration::from_secs(60), || {
        let app = node.apps()?.into_iter().find(|app| app.name == "mixed").context("the job is listed")?;
        ensure!(app.state == "failed", "{app:?}");
        let results = node.results("mixed")?;
        let codes: Vec<_> = results.iter().map(|row| (row.slot, row.exit_code, row.output.trim())).collect();
        ensure!(
            codes == [(0, Some(0), "this is 0"), (1, Some(7), "this is 1"), (2, Some(0), "this is 2")],
            "{results:?}"
        );
        ensure!(results[1].attempt == 2, "it was tried once more: {results:?}");
        Ok(())
    })
}
