//! The simulator: runs a second, and what fleets of a thousand and of ten thousand cost on one core. It runs the cores that ship, so these
//! figures are those of a node's own logic, too: without sockets and disks.

use crate::{options::Runs, report::Row, stats};
use anyhow::{Context, Result, ensure};
use holm_tests::{binaries, interrupt, suite::Scene};
use nix::sys::resource::{UsageWho, getrusage};
use serde::Deserialize;
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Nodes of a site, beside the keepers.
const SITE: u32 = 10;
const KEEPERS: u32 = 3;

/// What `holm-sim run -o json` says.
#[derive(Debug, Deserialize)]
struct Outcome {
    passed: bool,
    runs: u64,
    simulated_ms: u64,
    cpu_ms: u64,
    #[serde(default)]
    seeds: Vec<Seed>,
    state_messages: u64,
    messages: u64,
}

#[derive(Debug, Deserialize)]
struct Seed {
    violation: Option<Broken>,
}

#[derive(Debug, Deserialize)]
struct Broken {
    invariant: String,
    detail: String,
}

/// Measures.
///
/// # Errors
/// A run of the small scenarios fails. A large fleet that does not hold is a row that says so.
pub fn measure(scene: &Scene, runs: &Runs) -> Result<Vec<Row>> {
    let folder = scene.folder("sim")?;
    let mut rows = small(&folder, runs)?;
    rows.extend(growth(&folder, runs)?);
    for nodes in runs.fleets {
        interrupt::check()?;
        // One fleet that does not hold does not take the figures of the others along.
        match large(&folder, *nodes) {
            Ok(measured) => rows.extend(measured),
            Err(why) => {
                rows.push(Row::failed(&format!("sim_{nodes}_cpu"), &format!("simulator, {nodes} nodes"), &why));
            }
        }
    }
    Ok(rows)
}

/// Twelve nodes, ninety seconds, twenty-four faults.
fn small(folder: &Path, runs: &Runs) -> Result<Vec<Row>> {
    let mut rates = Vec::new();
    for seed in 0..runs.sim_seeds {
        interrupt::check()?;
        let told = run(folder, "random_faults", seed)?;
        // One run in a hundred is done twice, which is no part of its time.
        rates.push(told.runs as f64 * 1e3 / told.cpu_ms.max(1) as f64);
    }
    let whole = rates.len() as f64 / rates.iter().map(|rate| 1.0 / rate).sum::<f64>();
    let row = Row::new("sim_small", "simulator, 12 nodes, 90 s, 24 faults", whole, "runs/s", &rates).at_least(3.0);
    Ok(vec![row.note(format!("{:.2} to {:.2} by seed", stats::least(&rates), stats::most(&rates)))])
}

/// State messages of a node against the size of the mesh: sites of one size, and as much done at each.
fn growth(folder: &Path, runs: &Runs) -> Result<Vec<Row>> {
    let mut rates = Vec::new();
    for nodes in runs.growing {
        interrupt::check()?;
        let told = run(folder, &fleet(folder, *nodes, 60, Apps::EachSite)?.to_string_lossy(), 1)?;
        rates.push((f64::from(*nodes), told.state_messages as f64 / f64::from(*nodes) / seconds(&told)));
    }
    let rows = rates.iter().map(|(nodes, rate)| {
        let what = format!("state messages of a node, mesh of {nodes}");
        Row::new(&format!("sim_messages_{nodes}"), &what, *rate, "/s", &[*rate])
    });
    let mut rows: Vec<Row> = rows.collect();
    if let (Some((_, first)), Some((nodes, last))) = (rates.first(), rates.last()) {
        let what = format!("growth of that up to {nodes} nodes");
        let note = "the largest mesh beside the smallest; one app a site, sites of 10";
        rows.push(Row::new("sim_messages_growth", &what, last / first, "x", &[]).at_most(1.5).note(note));
    }
    Ok(rows)
}

fn large(folder: &Path, nodes: u32) -> Result<Vec<Row>> {
    let (span, cpu_goal) = if nodes > 1_000 { (60, 600.0) } else { (120, 60.0) };
    let told = run(folder, &fleet(folder, nodes, span, Apps::Few)?.to_string_lossy(), 1)?;
    let cpu = told.cpu_ms as f64 / 1e3;
    let what = format!("simulator, {nodes} nodes, {span} s");
    let note = format!(
        "{:.1} messages a node and second; the time to come to rest is simulated, too ({:.0} s in all)",
        told.messages as f64 / f64::from(nodes) / seconds(&told),
        seconds(&told)
    );
    let mut rows = vec![Row::new(&format!("sim_{nodes}_cpu"), &what, cpu, "s", &[cpu]).at_most(cpu_goal).note(note)];
    if nodes > 1_000 {
        let gib = largest_child()?;
        let row = Row::new(&format!("sim_{nodes}_rss"), "its memory", gib, "GB", &[gib]).at_most(4.0);
        rows.push(row.note("largest resident size of any program of this measurement"));
    }
    Ok(rows)
}

fn seconds(told: &Outcome) -> f64 {
    told.simulated_ms as f64 / 1e3
}

/// Largest resident size of a program that this one has run, in GB.
fn largest_child() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("the system does not tell what programs used")?;
    Ok(usage.max_rss() as f64 * 1024.0 / 1e9)
}

fn run(folder: &Path, subject: &str, seed: u64) -> Result<Outcome> {
    let mut command = Command::new(binaries::find("holm-sim")?);
    command.args(["run", subject, "--seed", &seed.to_string(), "--jobs", "1", "-o", "json"]);
    let output = command.current_dir(folder).stdin(Stdio::null()).output().context("cannot start holm-sim")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let told: Outcome = serde_json::from_slice(&output.stdout).with_context(|| format!("{subject}: {said}"))?;
    let broken = told.seeds.iter().find_map(|seed| seed.violation.as_ref());
    let why = broken.map(|broken| format!(": {}: {}", broken.invariant, broken.detail)).unwrap_or_default();
    ensure!(told.passed, "{subject} with seed {seed} does not hold{why}");
    Ok(told)
}

/// What a fleet is given to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Apps {
    /// One of each site.
    EachSite,
    /// Of twenty sites one each, and one of no site.
    Few,
}

/// A scenario of so many nodes at sites of ten, three of them keepers in the cloud; a site is cut off meanwhile.
fn fleet(folder: &Path, nodes: u32, span: u32, apps: Apps) -> Result<PathBuf> {
    let edges = nodes.saturating_sub(KEEPERS);
    let sites = edges.div_ceil(SITE);
    let mut text = format!(
        "# A fleet at sites of {SITE}, one of which is cut off for a while.\nduration = \"{span}s\"\n\
         [[group]]\nname = \"cloud\"\ncount = {KEEPERS}\nsite = \"cloud\"\nkeeper = true\nkbps = 10000000\n\
         [[group]]\nname = \"edge\"\ncount = {edges}\nsite = \"plant-{{i/{SITE}}}\"\n\
         [[fault]]\nat = \"25s\"\nfor = \"10s\"\nkind = \"partition\"\nsides = [[\"site:plant-0\"], [\"rest\"]]\n\
         [check]\nmessages_per_s = 1000000\nconverge_within = \"60s\"\n"
    );
    let every = if apps == Apps::EachSite { 1 } else { sites.div_ceil(20).max(1) };
    for site in (0..sites).step_by(every as usize) {
        write!(
            text,
            "[[submit]]\nat = \"20s\"\non = \"edge/{}\"\napp = \"local-{site}\"\ncount = 3\nsite = \"plant-{site}\"\n",
            site * SITE
        )?;
    }
    if apps == Apps::Few {
        text.push_str("[[submit]]\nat = \"15s\"\non = \"cloud/0\"\napp = \"web\"\ncount = 20\n");
    }
    let path = folder.join(format!("fleet-{nodes}-{span}.toml"));
    std::fs::write(&path, text)?;
    Ok(path)
}
