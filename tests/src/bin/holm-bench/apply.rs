//! From a submission to a running task, as the program that submits sees it.

use crate::{
    client::Client,
    mesh::{self, remove, sleeper},
    options::Runs,
    report::Row,
    stats, wait,
};
use anyhow::Result;
use holm_tests::suite::Scene;
use serde_json::json;
use std::time::{Duration, Instant};

/// Between two questions: the error of the measured time.
const POLL: Duration = Duration::from_millis(2);
const RUNNING_WITHIN: Duration = Duration::from_secs(30);

/// Measures.
///
/// # Errors
/// The mesh does not start, or a task does not.
pub fn measure(scene: &Scene, runs: &Runs) -> Result<Vec<Row>> {
    let mesh = mesh::five(scene)?;
    let (mut durable, mut running) = (Vec::new(), Vec::new());
    for run in 0..runs.applies {
        // Each node in turn takes the submission: one in five coordinates the app itself, one in five runs it.
        let mut client = Client::connect(mesh::nth(&mesh, run))?;
        let app = format!("apply-{run}");
        let begin = Instant::now();
        client.apply(sleeper(&app, 1))?;
        durable.push(begin.elapsed().as_secs_f64() * 1e3);
        let what = format!("{app} runs, says {}", mesh::nth(&mesh, run).name());
        let ((), time) = wait::until(&what, begin, POLL, RUNNING_WITHIN, || {
            let status = client.call("app.get", json!({ "name": app }))?;
            Ok((status["slots"][0]["state"] == "running").then_some(()))
        })?;
        running.push(time.as_secs_f64() * 1e3);
        remove(&mut client, &app)?;
    }
    let range = format!("{:.0} to {:.0}; one app at a time", stats::least(&running), stats::most(&running));
    let p = stats::percentile;
    Ok(vec![
        Row::new("apply_to_running_p50", "apply to running, p50", p(&running, 50), "ms", &running)
            .at_most(100.0)
            .note(range),
        Row::new("apply_to_running_p99", "apply to running, p99", p(&running, 99), "ms", &running).at_most(500.0),
        Row::new("apply_to_durable_p50", "apply to durable, p50", p(&durable, 50), "ms", &durable)
            .note(format!("p99 {:.1}; part of the above", p(&durable, 99))),
    ])
}
