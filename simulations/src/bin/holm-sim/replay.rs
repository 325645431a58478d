//! `holm-sim replay`: one run again, told.

use crate::{
    args::{Output, ReplayArgs},
    folder, layer, out,
    subject::{Subject, hex},
};
use anyhow::Result;
use holm_simulations::{
    Options, Outcome, Plan,
    report::Campaign,
    tell::{Line, promise, story, time},
};
use serde_json::json;

/// Events of one run that are kept for its story.
const EVENTS: usize = 1_000_000;

/// Runs a seed again, tells it, and answers whether all held.
pub fn replay(args: &ReplayArgs, output: Output) -> Result<bool> {
    let subject = Subject::read(&args.subject)?;
    let plan = subject.plan(args.seed)?;
    let mut options = Options::default();
    if args.events {
        options = options.events(EVENTS);
    }
    if let Some(until) = args.until {
        options = options.until(until);
    }
    let (outcome, cpu) = layer::run(&plan, options)?;
    let lines = if args.events { story(&plan, &outcome, args.until) } else { Vec::new() };
    // What was broken off is another run than the whole.
    let whole = args.until.is_none_or(|until| until >= plan.duration);
    let recorded = subject.recorded().filter(|_| whole);
    match output {
        Output::Json => tell_json(&plan, &outcome, &lines, recorded)?,
        Output::Text => out::text(&told(args, &plan, &outcome, &lines, recorded))?,
    }
    let passed = outcome.passed();
    if let Some(folder) = &args.report {
        let mut campaign = Campaign::new(folder::sources(std::slice::from_ref(&subject)));
        campaign.add(plan, outcome, cpu, false);
        let written = folder::write(folder, &campaign)?;
        if let (Output::Text, Some(page)) = (output, written.first()) {
            out::text(&format!("written: {}\n", page.display()))?;
        }
    }
    Ok(passed)
}

fn tell_json(plan: &Plan, outcome: &Outcome, lines: &[Line], recorded: Option<&str>) -> Result<()> {
    let hash = hex(outcome.trace_hash);
    let value = json!({
        "scenario": plan.name,
        "seed": plan.seed,
        "passed": outcome.passed(),
        "violations": outcome.violations,
        "simulated_ms": outcome.simulated,
        "same_as_recorded": recorded.map(|recorded| recorded == hash),
        "trace_hash": hash,
        "counters": outcome.counters,
        "events": lines,
    });
    out::json(&value)
}

fn told(args: &ReplayArgs, plan: &Plan, outcome: &Outcome, lines: &[Line], recorded: Option<&str>) -> String {
    let mut text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    if !lines.is_empty() {
        text.push('\n');
    }
    let verdict = if outcome.passed() { "passed" } else { "FAILED" };
    text += &format!("{}, seed {}: {verdict} after {}\n", plan.name, plan.seed, time(outcome.simulated));
    let mut last = None;
    for violation in &outcome.violations {
        if last.replace(violation.invariant) != Some(violation.invariant) {
            text += &format!("  {}: it should be so that {}\n", violation.invariant, promise(violation.invariant));
        }
        text += &format!("    at {}: {}\n", time(violation.at), violation.detail);
    }
    if let Some(until) = args.until.filter(|until| *until < plan.duration) {
        text += &format!("  broken off at {}: what must hold at the end was not looked at\n", time(until));
    }
    let hash = hex(outcome.trace_hash);
    let compared = match recorded {
        Some(recorded) if recorded == hash => ", the same as when it was recorded".to_owned(),
        Some(recorded) => format!(", not {recorded} as recorded: the code has changed since"),
        None => String::new(),
    };
    text + &format!("  hash {hash}{compared}\n")
}
