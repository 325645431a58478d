//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use holm_simulations::{Invariant, scenario::Ms};
use std::{ffi::OsString, ops::Range, path::PathBuf, time::Duration};

/// What happens to my fleet if ...? Runs the node that ships, many times over, in virtual time, from a seed.
///
/// Exit codes: 0 all held, 1 something did not, 3 the command line or a scenario is not right.
#[derive(Debug, Parser)]
#[command(name = "holm-sim", version, max_term_width = 110)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to print it.
    #[arg(short, long, global = true, value_enum, default_value = "text")]
    pub output: Output,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run scenarios with one seed or many, and check what must hold
    Run(RunArgs),
    /// Run one seed again, and tell what happened
    Replay(ReplayArgs),
    /// Find the smallest plan that still fails in the same way
    Shrink(ShrinkArgs),
    /// List the scenarios that come with this program
    List,
    /// Tell in words what happens in a scenario, and what is checked
    Explain(ExplainArgs),
    /// A small internet of namespaces for real programs: `lab up FILE` (docs/lab.md; needs root)
    #[command(disable_help_flag = true)]
    Lab(LabArgs),
}

/// `holm-sim run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Scenario files, or names of the library (`holm-sim list`)
    #[arg(required = true, value_name = "FILE|NAME")]
    pub subjects: Vec<String>,
    /// The seed; the scenario's own when none is given
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// The seeds from A up to but not including B; `A..` has no end
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    pub seeds: Option<Range<u64>>,
    /// Runs at the same time; as many as there are processors when nothing is said
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Begin no run after this time, such as 10m
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub time: Option<Duration>,
    /// Stop at the first failure
    #[arg(long)]
    pub fail_fast: bool,
    /// Write report.html, report.txt and report.json there; without it, files are written only of a failure,
    /// to holm-sim-report
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
}

/// `holm-sim replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A plan file that a failure left, a scenario file, or a name of the library
    #[arg(value_name = "FILE|NAME")]
    pub subject: String,
    /// The seed; the plan's or the scenario's own when none is given
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Stop at this time of the run, such as 45s
    #[arg(long, value_name = "TIME", value_parser = millis)]
    pub until: Option<Ms>,
    /// Tell what happened, one line an event
    #[arg(long)]
    pub events: bool,
    /// Write report.html, report.txt and report.json there
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
}

/// `holm-sim shrink`.
#[derive(Debug, Args)]
pub struct ShrinkArgs {
    /// A plan file that a failure left, a scenario file, or a name of the library
    #[arg(value_name = "FILE|NAME")]
    pub subject: String,
    /// The seed; the plan's or the scenario's own when none is given
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The invariant that has to fail; the first that does when none is named
    #[arg(long, value_name = "NAME", value_parser = invariant)]
    pub invariant: Option<Invariant>,
    /// Runs, time, or both, at most
    #[arg(long, value_name = "RUNS|TIME|RUNS,TIME", value_parser = budget, default_value = "1000,10m")]
    pub budget: Budget,
    /// Where the smaller plan is written
    #[arg(long, value_name = "DIR", default_value = crate::folder::USUAL)]
    pub report: PathBuf,
}

/// `holm-sim explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A scenario file, or a name of the library
    #[arg(value_name = "FILE|NAME")]
    pub subject: String,
    /// The seed that random faults are drawn from; the scenario's own when none is given
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// `holm-sim lab`.
#[derive(Debug, Args)]
pub struct LabArgs {
    /// As for `holm-lab`
    #[arg(value_name = "ARGUMENTS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub rest: Vec<OsString>,
}

/// What shrinking may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Runs.
    pub runs: u32,
    /// Time.
    pub time: Duration,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("{text:?} is not a range of seeds: write A..B, such as 0..500, or A.. without an end");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let from: u64 = from.parse().map_err(|_| wrong())?;
    let to: u64 = if to.is_empty() { u64::MAX } else { to.parse().map_err(|_| wrong())? };
    if from < to { Ok(from..to) } else { Err(format!("{text:?} holds no seed: the end is not among them")) }
}

fn millis(text: &str) -> Result<Ms, String> {
    let time = humantime::parse_duration(text).map_err(|e| format!("{e}: write a time such as 45s"))?;
    u64::try_from(time.as_millis()).map(Ms).map_err(|e| e.to_string())
}

fn invariant(text: &str) -> Result<Invariant, String> {
    serde_json::from_value(text.into()).map_err(|e| e.to_string().replace("unknown variant", "no invariant is called"))
}

fn budget(text: &str) -> Result<Budget, String> {
    let mut budget = Budget { runs: u32::MAX, time: Duration::MAX };
    for part in text.split(',').map(str::trim) {
        match (part.parse::<u32>(), humantime::parse_duration(part)) {
            (Ok(0), _) => return Err("a budget of no run finds nothing".to_owned()),
            (Ok(runs), _) => budget.runs = runs,
            (_, Ok(time)) => budget.time = time,
            _ => return Err(format!("{part:?} is neither a number of runs nor a time: write 500, 5m or 500,5m")),
        }
    }
    Ok(budget)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn seeds_and_budgets_are_read_and_mistakes_are_told() {
        assert_eq!((seeds("0..500"), seeds("7..")), (Ok(0..500), Ok(7..u64::MAX)));
        for wrong in ["5", "a..b", "5..5", "..3"] {
            assert!(seeds(wrong).unwrap_err().contains(wrong));
        }
        let minutes = Duration::from_secs(300);
        assert_eq!(budget("500,5m"), Ok(Budget { runs: 500, time: minutes }));
        assert_eq!(budget("5m").map(|b| (b.runs, b.time)), Ok((u32::MAX, minutes)));
        assert!(budget("soon").is_err() && budget("0").is_err());
        assert_eq!(invariant("equal-heads"), Ok(Invariant::EqualHeads));
        assert!(invariant("equal").unwrap_err().contains("equal-heads"), "the names are told");
        assert_eq!(millis("45s"), Ok(Ms(45_000)));
    }
}
