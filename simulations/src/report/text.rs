//! The report for a terminal.

use super::campaign::{Campaign, Requests, Totals};
use crate::{
    outcome::Invariant,
    scenario::{FaultKind, Ms},
    tell::{amount, promise, time, wrapped},
};
use std::fmt::Write as _;

/// Failures told one by one, at most.
const FAILURES: usize = 10;

/// The report as text, without the places where files were written.
pub fn text(campaign: &Campaign) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_summary(&mut out, campaign);
    let _ = write_failures(&mut out, campaign);
    out
}

fn write_summary(out: &mut String, campaign: &Campaign) -> std::fmt::Result {
    let totals = campaign.totals();
    let what = match campaign.scenarios().into_iter().collect::<Vec<_>>()[..] {
        [one] => one.to_owned(),
        ref many => format!("{} scenarios", many.len()),
    };
    let runs = if totals.runs == 1 { "1 run".to_owned() } else { format!("{} runs", amount(totals.runs)) };
    let verdict = match (totals.runs, totals.failed) {
        (_, 0) if !campaign.passed() => "FAILED".to_owned(),
        (1, 0) => "passed".to_owned(),
        (1, _) => "FAILED".to_owned(),
        (_, 0) => "all passed".to_owned(),
        (all, failed) => format!("{} passed, {} FAILED", amount(all - failed), amount(failed)),
    };
    writeln!(out, "{what}: {runs}, {verdict}\n")?;
    writeln!(
        out,
        "  simulated  {} in {:.1} s of CPU: {} simulated seconds a CPU second",
        time(Ms(totals.simulated_ms)),
        totals.cpu.as_secs_f64(),
        rounded(totals.speed())
    )?;
    writeln!(
        out,
        "  messages   {}, {} of them state: {} a node and second",
        amount(totals.messages),
        amount(totals.state_messages),
        rounded(totals.messages_per_node_second())
    )?;
    write_requests(out, &totals.requests)?;
    write_faults(out, totals)?;
    write_marks(out, campaign)?;
    if totals.twice > 0 {
        let seeds = if totals.twice == 1 { "1 run".to_owned() } else { format!("{} runs", totals.twice) };
        let same = campaign.failures().all(|f| f.invariant != crate::Invariant::Deterministic);
        writeln!(out, "  twice      {seeds} repeated, {}", if same { "the same each time" } else { "NOT the same" })?;
    }
    Ok(())
}

fn rounded(x: f64) -> String {
    if x < 10.0 { format!("{x:.1}") } else { amount(x.round() as u64) }
}

fn write_requests(out: &mut String, requests: &Requests) -> std::fmt::Result {
    let Requests { submitted, acknowledged, declined, to_nobody } = *requests;
    if submitted == 0 {
        return writeln!(out, "  requests   none");
    }
    let unanswered = submitted.saturating_sub(acknowledged + declined + to_nobody);
    write!(out, "  requests   {}, {} acknowledged", amount(submitted), amount(acknowledged))?;
    let rest = [
        (declined, "declined (`replay --events` says why)"),
        (to_nobody, "to hosts that were down"),
        (unanswered, "not answered"),
    ];
    rest.into_iter().filter(|(n, _)| *n > 0).try_for_each(|(n, what)| write!(out, ", {} {what}", amount(n)))?;
    writeln!(out)
}

fn write_faults(out: &mut String, totals: &Totals) -> std::fmt::Result {
    if totals.fired.is_empty() {
        return writeln!(out, "  faults     none");
    }
    let fired: Vec<String> =
        totals.fired.iter().map(|(kind, n)| format!("{} {}", kind_name(*kind), amount(*n))).collect();
    writeln!(out, "  faults     {}", fired.join(", "))
}

fn write_marks(out: &mut String, campaign: &Campaign) -> std::fmt::Result {
    let never = campaign.never_reached();
    let all = crate::marks::ALL.len();
    writeln!(out, "  marks      {} of {all} rare branches of the product were reached", all - never.len())?;
    // Of one run, most are never reached: that says nothing.
    if campaign.totals().runs > 1 && !never.is_empty() {
        let lines = wrapped(&format!("never: {}", never.join("; ")), 100).replace('\n', "\n             ");
        writeln!(out, "             {lines}")?;
    }
    Ok(())
}

fn write_failures(out: &mut String, campaign: &Campaign) -> std::fmt::Result {
    for failure in campaign.failures().take(FAILURES) {
        let runs = if failure.runs == 1 { "1 run".to_owned() } else { format!("{} runs", amount(failure.runs)) };
        writeln!(out, "\nFAILED {} in {runs}: {}", failure.invariant, promise(failure.invariant))?;
        writeln!(out, "  {}, seed {}, at {}:", failure.scenario, failure.seed, time(failure.first.at))?;
        writeln!(out, "  {}", failure.first.detail)?;
        writeln!(out, "  replay: {}", campaign.replay(&failure.scenario, failure.seed))?;
    }
    for kind in campaign.idle_kinds() {
        writeln!(
            out,
            "\nFAILED {}: over all runs no fault of kind {} did anything",
            Invariant::FaultsFired,
            kind_name(kind)
        )?;
    }
    match campaign.failures().count().checked_sub(FAILURES) {
        Some(more) if more > 0 => writeln!(out, "\n{more} more ways of failing are in the report (-o json, --report)"),
        _ => Ok(()),
    }
}

/// A kind of fault as scenario files spell it.
pub(crate) fn kind_name(kind: FaultKind) -> String {
    match serde_json::to_value(kind) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{kind:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};
    use std::time::Duration;

    #[test]
    fn many_runs_are_summed_up() {
        let mut campaign = Campaign::default();
        for seed in 0..5 {
            let (plan, outcome) = sample::seed(seed);
            campaign.add(plan, outcome, Duration::from_millis(120), seed == 0);
        }
        insta::assert_snapshot!(text(&campaign));
    }

    #[test]
    fn one_run_that_passed_is_short() {
        let (plan, outcome) = sample::passed();
        let mut campaign = Campaign::default();
        campaign.add(plan, outcome, Duration::from_secs(30), false);
        insta::assert_snapshot!(text(&campaign));
    }
}
