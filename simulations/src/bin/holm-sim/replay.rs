//! `holm-sim replay`: one run again, told.

use crate::{
    args::{Output, ReplayArgs},
    cpu::Stopwatch,
    folder,
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
    let watch = Stopwatch::start();
    let outcome = holm_simulations::run(&plan, options)?;
    let cpu = watch.stop();
    let lines = if args.events { story(&plan, &outcome, args.until) } else { Vec::new() };
    // What was broken off is another run than the whole.
    let whole = args.until.is_none_or(|until| until >= plan.duration);
    let recorded = subject.recorded().filter(|_| whole);
    match output {
        Output::Json => tell_json(&plan, &outcome, &lines, recorded)?,
        Output::Text => tell_text(args, &plan, &outcome, &lines, recorded),
    }
    let passed = outcome.passed();
    if let Some(folder) = &args.report {
        let mut campaign = Campaign::new(folder::sources(std::slice::from_ref(&subject)));
        campaign.add(plan, outcome, cpu, false);
        let written = folder::write(folder, &campaign)?;
        if let (Output::Text, Some(page)) = (output, written.first()) {
            println!("written: {}", page.display());
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
    println!("{}", serde_json::to_string_pretty(&value)?);
    Ok(())
}

fn tell_text(args: &ReplayArgs, plan: &Plan, outcome: &Outcome, lines: &[Line], recorded: Option<&str>) {
    for line in lines {
        println!("{line}");
    }
    if !lines.is_empty() {
        println!();
    }
    let verdict = if outcome.passed() { "passed" } else { "FAILED" };
    println!("{}, seed {}: {verdict} after {}", plan.name, plan.seed, time(outcome.simulated));
    let mut told = None;
    for violation in &outcome.violations {
        if told.replace(violation.invariant) != Some(violation.invariant) {
            println!("  {}: it should be so that {}", violation.invariant, promise(violation.invariant));
        }
        println!("    at {}: {}", time(violation.at), violation.detail);
    }
    if let Some(until) = args.until.filter(|until| *until < plan.duration) {
        println!("  broken off at {}: what must hold at the end was not looked at", time(until));
    }
    let hash = hex(outcome.trace_hash);
    match recorded {
        Some(recorded) if recorded == hash => println!("  hash {hash}, the same as when it was recorded"),
        Some(recorded) => println!("  hash {hash}, not {recorded} as recorded: the code has changed since"),
        None => println!("  hash {hash}"),
    }
}
