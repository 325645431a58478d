//! Throughput of a job of short tasks, beside what this machine can do at all: the same commands without Holm.

use crate::{
    client::Client,
    mesh::{self, remove},
    options::Runs,
    report::Row,
    stats, wait,
};
use anyhow::{Context, Result, ensure};
use holm_tests::suite::Scene;
use serde_json::{Value, json};
use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// The command of every task.
const COMMAND: &str = "/bin/true";
/// Tasks of the job that run at the same time.
const PARALLEL: usize = 100;
const POLL: Duration = Duration::from_millis(20);
const WITHIN: Duration = Duration::from_secs(300);

/// Measures.
///
/// # Errors
/// The mesh does not start, or a job does not succeed.
pub fn measure(scene: &Scene, runs: &Runs) -> Result<Vec<Row>> {
    let mesh = mesh::five(scene)?;
    let tasks = runs.job_tasks;
    let (mut rates, mut bare) = (Vec::new(), Vec::new());
    for run in 0..runs.jobs {
        bare.push(tasks as f64 / fork_and_exec(tasks)?.as_secs_f64());
        let mut client = Client::connect(mesh::nth(&mesh, run))?;
        rates.push(tasks as f64 / run_job(&mut client, &format!("job-{run}"), tasks)?.as_secs_f64());
    }
    let ratios: Vec<f64> = bare.iter().zip(&rates).map(|(bare, rate)| bare / rate).collect();
    let median = |key, what, unit, samples: &[f64]| Row::new(key, what, stats::median(samples), unit, samples);
    Ok(vec![
        median("job_throughput", "job throughput, 5 nodes", "tasks/s", &rates)
            .at_least(300.0)
            .note(format!("median; {tasks} tasks of {COMMAND}, {PARALLEL} in parallel, until app.list says succeeded")),
        median("bare_throughput", "bare fork and exec", "tasks/s", &bare)
            .note(format!("median; the same commands without Holm, {} at a time", cores())),
        median("job_overhead", "cost of a task in bare commands", "x", &ratios)
            .note("median; bare / Holm; a task of Holm is two programs, its shim and the command"),
    ])
}

/// From the submission until all have succeeded; every result is checked.
fn run_job(client: &mut Client, name: &str, tasks: usize) -> Result<Duration> {
    let begin = Instant::now();
    client.apply(json!({
        "name": name,
        "type": "job",
        "tasks": tasks,
        "parallel": PARALLEL,
        "run": { "process": { "command": [COMMAND] } },
    }))?;
    let ((), time) = wait::until(&format!("{name} succeeds"), begin, POLL, WITHIN, || {
        let apps = client.call("app.list", json!({}))?;
        let rows = apps["items"].as_array().context("app.list answers no list")?;
        let app = rows.iter().find(|app| app["name"] == name).with_context(|| format!("{name} is not listed"))?;
        ensure!(app["state"] != "failed", "a task of {name} failed");
        Ok((app["state"] == "succeeded").then_some(()))
    })?;
    let results = client.call("app.result", json!({ "name": name }))?;
    let results = results.as_array().map(Vec::as_slice).unwrap_or_default();
    let good = results.iter().filter(|row: &&Value| row["exit_code"] == 0).count();
    ensure!(good == tasks, "{name} succeeded with {good} good results of {tasks}");
    remove(client, name)?;
    Ok(time)
}

/// Runs the command as often as the job does, as many at a time as there are cores.
fn fork_and_exec(times: usize) -> Result<Duration> {
    let workers = cores();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let work = |worker: usize| {
            let share = times / workers + usize::from(worker < times % workers);
            (0..share).try_for_each(|_| {
                let nothing = Stdio::null;
                let status = Command::new(COMMAND).stdin(nothing()).stdout(nothing()).stderr(nothing()).status();
                ensure!(status.with_context(|| format!("cannot run {COMMAND}"))?.success(), "{COMMAND} failed");
                Ok(())
            })
        };
        let all: Vec<_> = (0..workers).map(|worker| scope.spawn(move || work(worker))).collect();
        all.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| anyhow::bail!("a worker panicked")))
    })?;
    Ok(begin.elapsed())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
