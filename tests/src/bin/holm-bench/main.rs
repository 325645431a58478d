//! `make bench`: what Holm promises in numbers, measured on the real binaries beside this one.
//!
//! Where nothing else is said, nodes share this machine and 127.0.0.1, so a number tells what the software costs, not what a
//! network costs; and all compete for the same cores, which no real mesh does to itself. What is measured in the network
//! lab has routers and cables between them.

mod apply;
mod client;
mod conditions;
mod etcd;
mod failover;
mod idle;
mod jobs;
mod lab;
mod mesh;
mod options;
mod report;
mod sim;
mod start;
mod state;
mod stats;
mod visible;
mod wait;

use anyhow::{Context, Result, anyhow};
use conditions::Conditions;
use holm_tests::{
    interrupt, lab as network,
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
    ("crowd", "a node with two hundred peers", lab::crowd::measure),
    ("sim", "the simulator, and what fleets of a thousand and more say to each other", sim::measure),
];

/// What is measured in the network lab.
const IN_LAB: &[(&str, &str, Measure)] = &[
    ("join", "a gateway's way from its token to its first task", lab::join::measure),
    ("punch", "from relayed to direct", lab::punch::measure),
    ("revoke", "from a revocation to disconnected everywhere", lab::revoke::measure),
    ("streams", "bytes a second beside plain TCP and rathole", lab::streams::measure),
    ("traffic", "what an idle site says to itself", lab::idle::measure),
];

fn main() -> ExitCode {
    let names: Vec<&str> = MEASURES.iter().chain(IN_LAB).map(|(name, ..)| *name).collect();
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
    let loopback = || Ok(Place::Loopback { why: "a benchmark tells what the software costs".to_owned() });
    let in_lab = || network::unavailable().map_or(Ok(Place::Lab), |why| Err(anyhow!("{why}")));
    let placed = MEASURES.iter().map(|measure| (measure, &loopback as &dyn Fn() -> Result<Place>));
    let placed = placed.chain(IN_LAB.iter().map(|measure| (measure, &in_lab as &dyn Fn() -> Result<Place>)));
    for ((name, what, measure), place) in placed.filter(|((name, ..), _)| options.wants(name)) {
        eprintln!("measuring {name}: {what} ...");
        match place().and_then(|place| in_a_scene(place, *measure, &options.runs)) {
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

fn in_a_scene(place: Place, measure: Measure, runs: &Runs) -> Result<Vec<Row>> {
    let scene = Scene::new(place)?;
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
