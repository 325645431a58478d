//! The replicated state by itself, measured by `holm-bench-state`, which drives the crates that ship; and a node that holds
//! ten thousand documents.

use crate::{options::Runs, report::Row, start, stats};
use anyhow::{Context, Result, ensure};
use holm_tests::{binaries, cluster::Cluster, interrupt, suite::Scene};
use serde::Deserialize;
use std::process::{Command, Stdio};

/// What `holm-bench-state` says of a value.
#[derive(Debug, Deserialize)]
struct Told {
    key: String,
    what: String,
    measured: f64,
    unit: String,
    at_most: Option<f64>,
    at_least: Option<f64>,
    samples: Vec<f64>,
    note: String,
}

/// Measures.
///
/// # Errors
/// A measure fails, or a node does not start.
pub fn measure(scene: &Scene, runs: &Runs) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for name in ["verify", "disk", "tasks", "repair"] {
        interrupt::check()?;
        let mut arguments = vec![name];
        arguments.extend(runs.few_documents.then_some("--quick"));
        let told: Vec<Told> = serde_json::from_slice(&run(&arguments)?).with_context(|| format!("measure {name}"))?;
        rows.extend(told.into_iter().map(row));
    }
    rows.extend(full_node(scene, runs)?);
    Ok(rows)
}

fn row(told: Told) -> Row {
    let row = Row::new(&told.key, &told.what, told.measured, told.unit.leak(), &told.samples).note(told.note);
    match (told.at_most, told.at_least) {
        (Some(goal), _) => row.at_most(goal),
        (None, Some(goal)) => row.at_least(goal),
        (None, None) => row,
    }
}

fn run(arguments: &[&str]) -> Result<Vec<u8>> {
    let mut command = Command::new(binaries::find("holm-bench-state")?);
    let output = command.args(arguments).stdin(Stdio::null()).output().context("cannot start holm-bench-state")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// The real agent on a disk with so many documents: services that rest, and the ends of their tasks.
fn full_node(scene: &Scene, runs: &Runs) -> Result<Vec<Row>> {
    let mesh = Cluster::of(scene).node("node-1", "bench").start()?;
    let node = mesh.node("node-1");
    node.kill9()?;
    let documents = if runs.few_documents { 2_000 } else { 20_000 };
    run(&["fill", &node.data().to_string_lossy(), &documents.to_string()])?;
    let mut times = Vec::new();
    for _ in 0..runs.starts.min(5) {
        interrupt::check()?;
        times.push(start::start_once(node)?.as_secs_f64());
    }
    node.up()?;
    let held = node.apps()?.len();
    ensure!(held == documents / 2, "after all starts the node holds {held} apps of {}", documents / 2);
    let resident = crate::idle::resident(node)?;
    let note = format!("{held} apps and {held} task documents of one task each; median of {}", times.len());
    Ok(vec![
        Row::new("full_start", "start from them", stats::median(&times), "s", &times).at_most(1.0).note(note),
        Row::new("full_memory", "resident memory with them", resident, "MB", &[resident])
            .at_most(80.0)
            .note("after a start and one `app.list` of all of them"),
    ])
}
