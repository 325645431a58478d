//! From the death of a host to the moment at which a surviving node says that the replacement runs.

use crate::{
    client::Client,
    mesh::{self, FIVE, remove, sleeper},
    options::Runs,
    report::Row,
    stats, wait,
};
use anyhow::{Context, Result};
use holm_tests::{cluster::Cluster, process, suite::Scene};
use serde_json::Value;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(10);
const WITHIN: Duration = Duration::from_secs(60);

/// Measures.
///
/// # Errors
/// The mesh does not start, or a task is not replaced.
pub fn measure(scene: &Scene, runs: &Runs) -> Result<Vec<Row>> {
    let mesh = mesh::five(scene)?;
    let mut times = Vec::new();
    for run in 0..runs.failovers {
        times.push(kill_one(&mesh, &format!("failover-{run}"))?.as_secs_f64());
    }
    let row = Row::new("failover", "failover after kill -9 of a host", stats::most(&times), "s", &times).at_most(6.0);
    let (best, median) = (stats::least(&times), stats::median(&times));
    Ok(vec![row.note(format!("worst; median {median:.2}, best {best:.2}"))])
}

/// Starts a task, kills its host, waits for the replacement, and brings the mesh back to what it was.
fn kill_one(mesh: &Cluster, app: &str) -> Result<Duration> {
    let mut client = Client::connect(mesh::nth(mesh, 0))?;
    client.apply(sleeper(app, 1))?;
    let begin = Instant::now();
    let (victim, _) = wait::until(&format!("{app} runs"), begin, POLL, WITHIN, || Ok(runner(&client.tasks(app)?)))?;
    let survivor = mesh.node(FIVE.iter().find(|name| **name != victim).context("there are five")?);
    let mut observer = Client::connect(survivor)?;
    wait::until(&format!("{} knows it", survivor.name()), begin, POLL, WITHIN, || {
        Ok(runner(&observer.tasks(app)?).filter(|node| *node == victim))
    })?;

    let begin = Instant::now();
    mesh.node(&victim).power_off()?;
    let (_, time) = wait::until(&format!("{app} runs again"), begin, POLL, WITHIN, || {
        let tasks = observer.tasks(app)?;
        Ok(runner(&tasks).filter(|node| *node != victim))
    })?;

    // In this order: a task of a dead node stays listed as lost, since nobody can know that it is gone.
    mesh.node(&victim).up()?;
    mesh.wait_acquainted()?;
    remove(&mut Client::connect(mesh.node(&victim))?, app)?;
    Ok(time)
}

/// The node that runs the task, if its process is there: all nodes share this machine.
fn runner(tasks: &[Value]) -> Option<String> {
    let alive = |task: &&Value| {
        let pid = task["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        task["state"] == "running" && pid.is_some_and(process::runs)
    };
    tasks.iter().find(alive)?["node"].as_str().map(str::to_owned)
}
