//! `make bench`: what Holm promises in numbers, measured on the real binaries beside this one.
//!
//! Five nodes share this machine and 127.0.0.1, so a number tells what the software costs, not what a network
//! costs; and all five compete for the same cores, which no real mesh does to itself.

mod apply;
mod client;
mod conditions;
mod etcd;
mod failover;
mod idle;
mod jobs;
mod mesh;
mod options;
mod report;
mod sim;
mod start;
mod state;
mod stats;
mod visible;
mod wait;

use anyhow::{Context, Result};
use conditions::Conditions;
use holm_tests::{
    interrupt,
    suite::{Place, Scene},
};
use options::{Options, Runs};
use report::{Report, Row};
use std::{path::PathBuf, process::ExitCode};

/// Takes a measurement in a scene of its own.
type Measure = fn(&Scene, &Runs) -> Result<Vec<Row>>;

/// What can be measured, in this order.
const MEASURES: &[(&str, &str, Measure)] = &[
    ("start", "start of a node that holds 100 apps", start::measure),
    ("idle", "idle cost of a node in a mesh of five", idle::measure),
    ("apply", "from a submission to a running task", apply::measure),
    ("failover", "from the death of a host to the replacement of its task", failover::measure),
    ("jobs", "a job of many short tasks, beside a bare fork and exec of the same", jobs::measure),
    ("state", "replicated state by itself, beside bare signatures and a bare database", state::measure),
    ("spread", "a change until a site of twenty shows it", visible::site),
    ("etcd", "writes of three nodes, beside three members of etcd", visible::beside_etcd),
    ("sim", "the simulator, and what fleets of a thousand and more say to each other", sim::measure),
];

fn main() -> ExitCode {
    let names: Vec<&str> = MEASURES.iter().map(|(name, ..)| *name).collect();
    let options = match Options::read(std::env::args().skip(1), &names) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{}", options::usage(&names));
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("{why:#}\n{}", options::usage(&names));
            return ExitCode::from(3);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("holm-bench: {why:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, prints, writes. Answers whether everything could be measured; a missed goal is a result like any other.
fn run(options: &Options) -> Result<bool> {
    interrupt::install()?;
    let mut report = Report::new(Conditions::observe(options.quick)?);
    for (name, what, measure) in MEASURES.iter().filter(|(name, ..)| options.wants(name)) {
        eprintln!("measuring {name}: {what} ...");
        match in_a_scene(*measure, &options.runs) {
            Ok(rows) => report.add(rows),
            Err(why) if interrupt::asked() => return Err(why),
            Err(why) => report.failed(name, &why),
        }
    }
    report.end();
    print!("{}", report.table());
    let path = json_path()?;
    std::fs::write(&path, report.json()?).with_context(|| format!("cannot write {}", path.display()))?;
    println!("\nwritten to {}", path.display());
    Ok(report.is_complete())
}

fn in_a_scene(measure: Measure, runs: &Runs) -> Result<Vec<Row>> {
    let scene = Scene::new(Place::Loopback { why: "a benchmark tells what the software costs".to_owned() })?;
    let rows = measure(&scene, runs)?;
    scene.passed();
    Ok(rows)
}

/// `bench.json` in cargo's target folder: this program is in `target/<profile>/`.
fn json_path() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let target = own.ancestors().nth(2).context("this program is not in a target folder")?;
    Ok(target.join("bench.json"))
}
