//! A run told as a story: what was asked, what went wrong, what the nodes did, one line a moment.

use super::words::{request, trouble};
use crate::{
    outcome::{Happened, Outcome},
    scenario::{Ms, Plan, PlannedFault},
};
use serde::Serialize;
use std::fmt::{Display, Formatter, Result};

/// One line of the story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When.
    pub at: Ms,
    /// The host; none for the world.
    pub host: Option<String>,
    /// What, in a word: `fault`, `violation`, `started`, `peer-up`.
    pub what: String,
    /// The rest.
    pub detail: String,
}

/// Tells a run, up to a moment if one is given. What the run kept no events of is told by its faults alone.
pub fn story(plan: &Plan, outcome: &Outcome, until: Option<Ms>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let world = |at, what: &str, detail| Line { at, host: None, what: what.to_owned(), detail };
    for fault in &plan.faults {
        let what = trouble(plan, &fault.trouble);
        lines.push(world(fault.at, "fault", format!("{what} (for {})", super::lasting(fault.lasts))));
        if let Some(end) = end_of(plan, fault) {
            lines.push(world(end, "heal", format!("over: {what}")));
        }
    }
    // The world's own notes say the same as the lines above, in the engine's words.
    let told = outcome.events.iter().filter(|event| event.host.is_some());
    lines.extend(told.map(|event| line(plan, event)));
    for violation in &outcome.violations {
        let detail = format!("{}: {}", violation.invariant, violation.detail);
        lines.push(world(violation.at, "VIOLATION", detail));
    }
    let last = until.unwrap_or(outcome.simulated);
    lines.retain(|line| line.at <= last);
    // The sort is stable: in one moment a fault comes first, and a violation after what led to it.
    lines.sort_by_key(|line| line.at);
    lines
}

/// When a fault is over; none when it goes on to the end.
pub(crate) fn end_of(plan: &Plan, fault: &PlannedFault) -> Option<Ms> {
    let lingers = fault.trouble.hosts().is_disjoint(&plan.core);
    (!lingers && fault.at <= plan.duration).then(|| fault.end().min(plan.duration).max(fault.at))
}

fn line(plan: &Plan, event: &Happened) -> Line {
    let host = event.host.and_then(|no| plan.hosts.iter().find(|host| host.no == no)).map(|host| host.name.clone());
    let what = kebab(&event.what);
    let detail = match what.as_str() {
        // The engine's words for a request are those of its types; those of the plan read better.
        "submitted" => asked(plan, event).unwrap_or_else(|| event.detail.clone()),
        _ => event.detail.trim().to_owned(),
    };
    Line { at: event.at, host, what, detail }
}

fn asked(plan: &Plan, event: &Happened) -> Option<String> {
    let same = plan.submissions.iter().find(|s| s.at == event.at && Some(s.on) == event.host)?;
    Some(request(plan, same))
}

/// `PeerUp` as `peer-up`.
fn kebab(word: &str) -> String {
    let mut out = String::with_capacity(word.len() + 2);
    for letter in word.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

impl Display for Line {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (minutes, rest) = (self.at.0 / 60_000, self.at.0 % 60_000);
        let host = self.host.as_deref().unwrap_or("-");
        let moment = format!("{minutes:02}:{:02}.{:03}", rest / 1_000, rest % 1_000);
        let line = format!("{moment}  {host:<14} {:<13} {}", self.what, self.detail);
        f.write_str(line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_run_is_told_in_the_order_of_time() {
        let (plan, outcome) = sample::failed();
        let told: Vec<String> = story(&plan, &outcome, None).iter().map(Line::to_string).collect();
        insta::assert_snapshot!(told.join("\n"));
        let early = story(&plan, &outcome, Some(Ms(20_000)));
        assert!(!early.is_empty() && early.iter().all(|line| line.at <= Ms(20_000)));
    }

    #[test]
    fn words_of_types_are_told_like_others() {
        assert_eq!([kebab("PeerUp"), kebab("agent-up"), kebab("Started")], ["peer-up", "agent-up", "started"]);
    }
}
