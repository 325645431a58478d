//! Many runs, each in a process of its own, since libp2p and tokio count over the whole process.

use holm_simulations::{Invariant, Outcome, Plan, Scenario, Violation, scenario::Ms};
use std::{
    io::Write as _,
    ops::Range,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// One seed in so many runs twice, the first one among them, and must give the same hash.
const TWICE: u64 = 100;
/// A run that takes longer than this, in real seconds, is killed: nothing may hang for ever.
const TIME_LIMIT: libc::c_uint = 600;

/// Why a seed has no outcome, in words.
pub type NoOutcome = String;

/// What came of each seed, in their order.
pub type Results = Vec<(u64, Result<Outcome, NoOutcome>)>;

/// Reads a scenario (`.toml`), drawn with `seed`, or a plan (`.json`, or `-`: from standard input), which holds its own.
///
/// # Errors
/// The file cannot be read or makes no sense; the text says where.
pub fn load(file: &Path, seed: Option<u64>) -> Result<Plan, String> {
    let shown = file.display();
    if file == Path::new("-") {
        return serde_json::from_reader(std::io::stdin().lock()).map_err(|e| format!("standard input: no plan: {e}"));
    }
    let text = std::fs::read_to_string(file).map_err(|e| format!("cannot read {shown}: {e}"))?;
    if file.extension().is_some_and(|end| end == "json") {
        return serde_json::from_str(&text).map_err(|e| format!("{shown} is not a plan: {e}"));
    }
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let scenario = Scenario::parse(&name, &text).map_err(|e| e.to_string())?;
    scenario.expand(seed.unwrap_or(scenario.seed)).map_err(|e| e.to_string())
}

/// Reads a range of seeds such as `0..20`.
///
/// # Errors
/// It is none, or empty.
pub fn seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("{text:?} is not a range of seeds such as 0..20");
    let (first, end) = text.split_once("..").ok_or_else(wrong)?;
    let range = first.parse().map_err(|_| wrong())?..end.parse().map_err(|_| wrong())?;
    if range.is_empty() { Err(wrong()) } else { Ok(range) }
}

/// Bounds the real time of this process: the kernel ends it when it takes too long.
pub fn limit_time() {
    // SAFETY: takes a number, touches no memory of ours.
    unsafe { libc::alarm(TIME_LIMIT) };
}

/// Runs seeds of a scenario, `jobs` at a time, each by `program one FILE --seed N`; `tell` hears of
/// each as it ends.
pub fn run(
    program: &Path,
    file: &Path,
    seeds: Range<u64>,
    jobs: usize,
    tell: impl Fn(u64, &Result<Outcome, NoOutcome>) + Sync,
) -> Results {
    let (next, results) = (AtomicU64::new(seeds.start), Mutex::new(Results::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let outcome = judge_one(program, file, seed, (seed - seeds.start).is_multiple_of(TWICE));
            tell(seed, &outcome);
            results.lock().unwrap_or_else(PoisonError::into_inner).push((seed, outcome));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(seed, _)| *seed);
    results
}

fn judge_one(program: &Path, file: &Path, seed: u64, twice: bool) -> Result<Outcome, NoOutcome> {
    let mut outcome = run_one(program, file, seed)?;
    if twice {
        let again = run_one(program, file, seed)?;
        if again.trace_hash != outcome.trace_hash {
            let detail = format!("one run hashes to {:016x}, the next {:016x}", outcome.trace_hash, again.trace_hash);
            let violation = Violation { invariant: Invariant::Deterministic, at: Ms(0), hosts: Vec::new(), detail };
            outcome.violations.push(violation);
        }
    }
    Ok(outcome)
}

fn run_one(program: &Path, file: &Path, seed: u64) -> Result<Outcome, NoOutcome> {
    let output = Command::new(program)
        .arg("one")
        .arg(file)
        .args(["--seed", &seed.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot start {}: {e}", program.display()))?;
    outcome_in(&output, seed)
}

/// Runs a plan in a process of its own.
///
/// # Errors
/// In words: the program cannot be started, or it has no outcome.
pub fn run_plan(program: &Path, plan: &Plan) -> Result<Outcome, NoOutcome> {
    let broken = |e: std::io::Error| format!("{}: {e}", program.display());
    let text = serde_json::to_vec(plan).map_err(|e| format!("seed {}: {e}", plan.seed))?;
    let mut command = Command::new(program);
    command.args(["one", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(broken)?;
    // It reads all before it says anything; one that ended early says why on the other stream.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(&text));
    outcome_in(&child.wait_with_output().map_err(broken)?, plan.seed)
}

fn outcome_in(output: &Output, seed: u64) -> Result<Outcome, NoOutcome> {
    if output.status.success() {
        return serde_json::from_slice(&output.stdout).map_err(|e| format!("seed {seed}: no outcome: {e}"));
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("seed {seed}: {}: {}", output.status, words.trim()))
}

/// The command that replays a seed.
pub fn replay(file: &Path, seed: u64) -> String {
    format!("holm-swarm run {} --seed {seed}", file.display())
}

/// This program's own file, to start it again.
///
/// # Errors
/// The operating system does not tell.
pub fn own_program() -> std::io::Result<PathBuf> {
    std::env::current_exe()
}
