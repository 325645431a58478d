//! `holm-sim shrink`: the smallest plan that still fails in the same way.

use crate::{
    args::{Output, ShrinkArgs},
    folder, layer, out, pool,
    progress::Progress,
    subject::{Subject, hex, program, quoted},
};
use anyhow::Result;
use holm_simulations::{
    Invariant, Options, Outcome, Plan, Scenario, SimError,
    shrink::{self, Progress as Reached, Shrunk},
    tell::time,
};
use serde_json::json;
use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

/// Seeds that are tried with the retold scenario.
const SEEDS: u64 = 30;

/// Shrinks, writes what is left, and answers whether there was a failure to shrink.
pub fn shrink(args: &ShrinkArgs, output: Output) -> Result<bool> {
    let subject = Subject::read(&args.subject)?;
    let plan = subject.plan(args.seed)?;
    let target = match args.invariant {
        Some(invariant) => Some(invariant),
        None => run(&plan, false)?.violations.first().map(|violation| violation.invariant),
    };
    let Some(target) = target else {
        return nothing_to_shrink(&plan, None, output);
    };
    let mut progress = Progress::start();
    let found = {
        let mut run = |plan: &Plan| run(plan, target == Invariant::Deterministic);
        let mut may_go_on = |reached: &Reached| {
            progress.show(|| line(target, reached));
            let over = reached.runs >= args.budget.runs || progress.elapsed() >= args.budget.time;
            if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        shrink::shrink(&plan, target, &mut run, &mut may_go_on)?
    };
    let Some(found) = found else {
        return nothing_to_shrink(&plan, Some(target), output);
    };
    progress.show(|| "telling it as a scenario".to_owned());
    let told = retold(&plan, &found, target)?;
    progress.clear();
    write(args, &plan, &found, &told, output)?;
    Ok(true)
}

fn run(plan: &Plan, twice: bool) -> Result<Outcome, SimError> {
    if twice { pool::run_twice(plan) } else { layer::run(plan, Options::default()).map(|(outcome, _)| outcome) }
}

fn nothing_to_shrink(plan: &Plan, invariant: Option<Invariant>, output: Output) -> Result<bool> {
    let what = invariant.map_or_else(|| "everything holds".to_owned(), |invariant| format!("{invariant} holds"));
    let (name, seed) = (&plan.name, plan.seed);
    match output {
        Output::Json => out::json(&json!({ "scenario": name, "seed": seed, "failed": false }))?,
        Output::Text => out::text(&format!("{name}, seed {seed}: {what}, there is nothing to shrink\n"))?,
    }
    Ok(false)
}

fn line(target: Invariant, reached: &Reached) -> String {
    let step = format!("{:?}", reached.step).to_lowercase();
    format!("{target}: {} after {} runs; now {step}", reached.size, reached.runs)
}

/// The smaller plan as a scenario, and the seed with which it fails in the same way too.
enum Told {
    Text(String, u64),
    Not(String),
}

fn retold(plan: &Plan, found: &Shrunk, target: Invariant) -> Result<Told> {
    let Shrunk { plan: small, before, after, violation, .. } = found;
    let about = |seed| {
        let from = format!("Shrunk from {}, seed {}: {before} became {after}.", plan.name, plan.seed);
        let fails = format!("With seed {seed} it violates {target}. In the shrunk plan:\n{}", violation.detail);
        shrink::retell(small, seed, &format!("{from}\n{fails}"))
    };
    for seed in std::iter::once(plan.seed).chain(0..SEEDS) {
        let text = match about(seed) {
            Ok(text) => text,
            Err(why) => return Ok(Told::Not(why.to_string())),
        };
        let again = Scenario::parse("retold", &text)?.expand(seed)?;
        let outcome = run(&again, target == Invariant::Deterministic)?;
        if outcome.violations.iter().any(|violation| violation.invariant == target) {
            return Ok(Told::Text(text, seed));
        }
    }
    let seeds = SEEDS + 1;
    Ok(Told::Not(format!("as a scenario, with hosts numbered anew, it fails with none of {seeds} seeds")))
}

fn write(args: &ShrinkArgs, plan: &Plan, found: &Shrunk, told: &Told, output: Output) -> Result<()> {
    let stem = folder::stem(&plan.name, plan.seed);
    let small = folder::shrunk(&args.report, &format!("{stem}.min.plan.json"), found)?;
    let scenario = match told {
        Told::Text(text, seed) => Some((folder::file(&args.report, &format!("{stem}.min.toml"), text)?, *seed)),
        Told::Not(_) => None,
    };
    match output {
        Output::Json => {
            let value = json!({
                "scenario": plan.name,
                "seed": plan.seed,
                "failed": true,
                "invariant": found.violation.invariant,
                "detail": found.violation.detail,
                "before": found.before,
                "after": found.after,
                "runs": found.runs,
                "complete": found.complete,
                "trace_hash": hex(found.trace_hash),
                "plan": small,
                "retold": scenario.as_ref().map(|(path, _)| path),
                "retold_seed": scenario.as_ref().map(|(_, seed)| seed),
            });
            out::json(&value)
        }
        Output::Text => out::text(&result(plan, found, told, &small, scenario.as_ref())),
    }
}

fn result(plan: &Plan, found: &Shrunk, told: &Told, small: &Path, scenario: Option<&(PathBuf, u64)>) -> String {
    let Shrunk { violation, before, after, runs, complete, .. } = found;
    let end = if *complete { "nothing more can be taken away" } else { "the budget is used up: there may be less" };
    let retold = match (scenario, told) {
        (Some((path, seed)), _) => format!("{}, which fails with seed {seed}", path.display()),
        (None, Told::Not(why)) => format!("none: {why}"),
        (None, Told::Text(..)) => "none".to_owned(),
    };
    let (invariant, at) = (violation.invariant, time(violation.at));
    format!(
        "{}, seed {}: {invariant} at {at}\n  {}\n  before    {before}\n  after     {after}\n  {runs} runs; {end}\n  \
         plan:     {}\n  scenario: {retold}\n  replay:   {} replay {} --events\n",
        plan.name,
        plan.seed,
        violation.detail,
        small.display(),
        program(),
        quoted(&small.to_string_lossy()),
    )
}
