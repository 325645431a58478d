//! `holm-swarm`: scenarios on the real libp2p stack in virtual time.

mod tell;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use holm_simulations::{Options, Outcome, scenario::Ms};
use holm_swarm::{control::leak, fleet, selftest};
use std::{
    ops::Range,
    path::{Path, PathBuf},
    process::ExitCode,
};
use tell::{line, rate, seconds, verdict};

/// Runs scenarios on the real libp2p swarm and the real node core, in virtual time, from a seed.
#[derive(Debug, Parser)]
#[command(name = "holm-swarm", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario over one seed or many, each in a process of its own
    Run {
        /// The scenario (TOML), or a plan (JSON)
        file: PathBuf,
        /// One seed, and the last events of its run; the scenario's own if neither is given
        #[arg(long, conflicts_with = "seeds")]
        seed: Option<u64>,
        /// Seeds, as in 0..20
        #[arg(long, value_parser = fleet::seeds)]
        seeds: Option<Range<u64>>,
        /// Runs at the same time
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
    /// Run one seed in this process and print its outcome as JSON
    One {
        /// The scenario (TOML), or a plan (JSON); - for a plan on standard input
        file: PathBuf,
        /// The seed; the scenario's own if absent
        #[arg(long)]
        seed: Option<u64>,
        /// Break the run off at this time of it, in milliseconds
        #[arg(long, value_name = "MS")]
        until_ms: Option<u64>,
        /// How many of the last events are kept
        #[arg(long, value_name = "N")]
        events: Option<usize>,
        /// Commit a deliberate bug, to show that the judges see it
        #[arg(long, value_name = "NAME", hide = true)]
        bug: Option<String>,
    },
    /// Prove that timers, clocks and entropy are under control in this build
    Selftest,
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Run { file, seed, seeds, jobs } => match seeds {
            Some(seeds) => run_many(&file, seeds, jobs),
            None => run_one(&file, seed),
        },
        Command::One { file, seed, until_ms, events, bug } => {
            let options = until_ms.into_iter().fold(Options::default(), |options, ms| options.until(Ms(ms)));
            let options = events.into_iter().fold(options, Options::events);
            println!("{}", serde_json::to_string(&outcome_of(&file, seed, options, bug)?)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Selftest => {
            selftest::check()?;
            println!("timers, clocks and entropy are under control");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn outcome_of(file: &Path, seed: Option<u64>, options: Options, bug: Option<String>) -> Result<Outcome> {
    fleet::limit_time();
    let plan = fleet::load(file, seed).map_err(anyhow::Error::msg)?;
    Ok(holm_swarm::run(plan, options, bug)?)
}

/// In this process, with all that is worth a line.
fn run_one(file: &Path, seed: Option<u64>) -> Result<ExitCode> {
    let outcome = outcome_of(file, seed, Options::default(), None)?;
    for event in &outcome.events {
        let host = event.host.map(|host| host.0.to_string()).unwrap_or_default();
        println!("{:>9.3} {host:>4} {:<16} {}", seconds(event.at.0), event.what, event.detail);
    }
    let counters = outcome.counters.iter().filter(|(_, count)| **count > 0);
    println!("{}", counters.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", "));
    let cpu = leak::cpu();
    println!("{} in {:.2} CPU seconds: {:.0} a CPU second", line(&outcome), cpu.as_secs_f64(), rate(&outcome, cpu));
    Ok(verdict(file, [(outcome.seed, &Ok(outcome.clone()))]))
}

fn run_many(file: &Path, seeds: Range<u64>, jobs: usize) -> Result<ExitCode> {
    // A scenario that cannot be run at all is said once.
    fleet::load(file, Some(seeds.start)).map_err(anyhow::Error::msg)?;
    let program = fleet::own_program().context("cannot find this program's own file")?;
    let results = fleet::run(&program, file, seeds, jobs, |seed, result| match result {
        Ok(outcome) => println!("{}", line(outcome)),
        Err(_) => println!("seed {seed:>6}  no outcome"),
    });
    Ok(verdict(file, results.iter().map(|(seed, result)| (*seed, result))))
}
