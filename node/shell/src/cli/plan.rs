//! `plan`: what `apply` would do, in words.

use super::{
    client::Context,
    exit, output,
    submit::{self, Plan as Args},
};
use anyhow::Result;
use holm_types::api::{Plan, PlanAction, PlannedSlot};
use serde_json::Value;
use std::{fmt::Write as _, process::ExitCode};

/// Rows of slots that nothing happens to are left out when there are more than this.
const MAX_QUIET: usize = 20;

/// Says what would be done. Fails with its own code if a slot would find no node.
pub async fn plan(context: &Context, args: Args) -> Result<ExitCode> {
    let params = submit::parameters(&args.file, None)?;
    let client = context.connect(&args.target).await?;
    let plan: Plan = client.call("app.plan", &params).await?;
    context.output.say(&plan, &render(&plan));
    plan.warnings.iter().for_each(|warning| output::complain(&format!("holm: warning: {warning}")));
    let unplaced = plan.slots.iter().any(|slot| slot.action == PlanAction::Unplaced);
    Ok(if unplaced { ExitCode::from(exit::NOT_PLACED) } else { ExitCode::SUCCESS })
}

fn render(plan: &Plan) -> String {
    let mut text = match (plan.exists, plan.changed) {
        (false, _) => format!("{} would be created, revision {}", plan.name, plan.revision),
        (true, true) => format!("{} would change, revision {}", plan.name, plan.revision),
        (true, false) => format!("{} would not change: it is at revision {}", plan.name, plan.revision),
    };
    let width = plan.changes.iter().map(|change| change.field.chars().count()).max().unwrap_or(0);
    for change in &plan.changes {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {:width$}  {} -> {}", change.field, value(&change.old), value(&change.new));
    }
    if !plan.slots.is_empty() {
        let _ = write!(text, "\n\n{}", slots(plan));
    }
    text
}

fn value(value: &Value) -> String {
    if value.is_null() { "(not set)".to_owned() } else { value.to_string() }
}

fn slots(plan: &Plan) -> String {
    let quiet = |slot: &&PlannedSlot| matches!(slot.action, PlanAction::Keep | PlanAction::Wait);
    let shorten = plan.slots.iter().filter(quiet).count() > MAX_QUIET;
    let shown: Vec<&PlannedSlot> = plan.slots.iter().filter(|slot| !(shorten && quiet(slot))).collect();
    let mut text = output::table(&["slot", "would", "node", "reason"], shown.iter().map(|slot| row(slot)).collect());
    if shorten {
        for (action, what) in [(PlanAction::Keep, "stay as they are"), (PlanAction::Wait, "wait their turn")] {
            let count = plan.slots.iter().filter(|slot| slot.action == action).count();
            if count > 0 {
                let _ = write!(text, "\n({count} slots would {what})");
            }
        }
    }
    if plan.more_slots > 0 {
        let _ = write!(text, "\n(and {} more slots)", plan.more_slots);
    }
    text
}

fn row(slot: &PlannedSlot) -> Vec<String> {
    let would = match slot.action {
        PlanAction::Keep => "keep",
        PlanAction::Start => "start",
        PlanAction::Replace => "be replaced",
        PlanAction::Stop => "stop",
        PlanAction::Wait => "wait",
        PlanAction::Unplaced => "FIND NO NODE",
    };
    let node = slot.node.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    vec![slot.slot.to_string(), would.to_owned(), node, slot.reason.clone()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use holm_types::manifest::FieldChange;

    fn plan(exists: bool, changed: bool, slots: Vec<(PlanAction, Option<&str>, &str)>) -> Plan {
        let slot = |(i, (action, node, reason)): (usize, (PlanAction, Option<&str>, &str))| PlannedSlot {
            slot: i as u32,
            action,
            node: node.map(|name| name.parse().unwrap()),
            reason: reason.to_owned(),
        };
        Plan {
            name: "hello".parse().unwrap(),
            namespace: "default".parse().unwrap(),
            revision: 4,
            changed,
            warnings: Vec::new(),
            exists,
            changes: Vec::new(),
            slots: slots.into_iter().enumerate().map(slot).collect(),
            more_slots: 0,
        }
    }

    #[test]
    fn a_new_app_would_be_created() {
        let slots = vec![
            (PlanAction::Start, Some("gw-1"), ""),
            (PlanAction::Unplaced, None, "no node fits: 2 nodes have too little memory"),
        ];
        insta::assert_snapshot!(render(&plan(false, true, slots)));
    }

    #[test]
    fn a_change_is_told_field_by_field() {
        let slots = vec![
            (PlanAction::Replace, Some("gw-1"), "it has an older revision and is replaced when its turn comes"),
            (PlanAction::Keep, Some("gw-2"), ""),
            (PlanAction::Stop, Some("gw-3"), "not wanted any more"),
        ];
        let change = |field: &str, old: Value, new: Value| FieldChange { field: field.into(), old, new };
        let mut plan = plan(true, true, slots);
        plan.changes = vec![
            change("env.GREETING", Value::Null, "hi".into()),
            change("replicas", 3.into(), 2.into()),
            change("run.process.command", serde_json::json!(["a"]), serde_json::json!(["b", "c"])),
        ];
        insta::assert_snapshot!(render(&plan));
    }

    #[test]
    fn a_large_job_is_told_in_short() {
        let mut slots = vec![(PlanAction::Start, Some("gw-1"), "")];
        slots.extend(vec![(PlanAction::Wait, None, "waits its turn: 1 of at most 1 tasks are active"); 999]);
        let mut plan = plan(false, true, slots);
        plan.more_slots = 4000;
        insta::assert_snapshot!(render(&plan));
    }

    #[test]
    fn nothing_to_change() {
        insta::assert_snapshot!(render(&plan(true, false, vec![(PlanAction::Keep, Some("gw-1"), "")])));
    }
}
