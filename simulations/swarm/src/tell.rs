//! What the program says of runs.

use holm_simulations::Outcome;
use holm_swarm::fleet::{self, NoOutcome};
use std::{path::Path, process::ExitCode, time::Duration};

/// A run in a line.
pub fn line(outcome: &Outcome) -> String {
    let verdict = if outcome.passed() { "held" } else { "FAILED" };
    format!("seed {:>6}  {verdict}  {:016x}  {:.0} s", outcome.seed, outcome.trace_hash, seconds(outcome.simulated.0))
}

/// Milliseconds as seconds.
pub fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

/// Simulated seconds a CPU second.
pub fn rate(outcome: &Outcome, cpu: Duration) -> f64 {
    seconds(outcome.simulated.0) / cpu.as_secs_f64().max(1e-9)
}

/// Tells what did not hold, with the command that replays it, and gives the exit code.
pub fn verdict<'a>(file: &Path, results: impl IntoIterator<Item = (u64, &'a Result<Outcome, NoOutcome>)>) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for (seed, result) in results {
        let words: Vec<String> = match result {
            Ok(outcome) => outcome.violations.iter().map(|v| format!("{}: {}", v.invariant, v.detail)).collect(),
            Err(why) => vec![why.clone()],
        };
        if !words.is_empty() {
            code = ExitCode::FAILURE;
            eprintln!("seed {seed}:\n  {}\n  replay: {}", words.join("\n  "), fleet::replay(file, seed));
        }
    }
    code
}
