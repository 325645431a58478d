//! The report for programs. Hashes are text: they do not fit the numbers of JSON.

use super::campaign::{Campaign, Row};
use crate::outcome::Violation;
use serde_json::{Value, json};

/// The report as one JSON value.
pub fn json(campaign: &Campaign) -> Value {
    let totals = campaign.totals();
    let failures: Vec<Value> = campaign
        .failures()
        .map(|failure| {
            let mut value = violation(&failure.first);
            value["scenario"] = json!(failure.scenario);
            value["runs"] = json!(failure.runs);
            value["seed"] = json!(failure.seed);
            value["replay"] = json!(campaign.replay(&failure.scenario, failure.seed));
            value
        })
        .collect();
    json!({
        "passed": campaign.passed(),
        "runs": totals.runs,
        "failed": totals.failed,
        "ran_twice": totals.twice,
        "simulated_ms": totals.simulated_ms,
        "cpu_ms": totals.cpu.as_millis() as u64,
        "simulated_s_per_cpu_s": totals.speed(),
        "messages": totals.messages,
        "state_messages": totals.state_messages,
        "messages_per_node_and_s": totals.messages_per_node_second(),
        "requests": totals.requests,
        "marks": totals.marks,
        "marks_never_reached": campaign.never_reached(),
        "faults_fired": totals.fired,
        "failures": failures,
        "faults_idle": campaign.idle_kinds(),
        "seeds": campaign.rows.iter().map(|((name, seed), line)| row(name, *seed, line)).collect::<Vec<_>>(),
        "seeds_not_listed": campaign.not_listed(),
    })
}

fn violation(violation: &Violation) -> Value {
    json!({
        "invariant": violation.invariant,
        "at_ms": violation.at,
        "hosts": violation.hosts,
        "detail": violation.detail,
    })
}

fn row(scenario: &str, seed: u64, row: &Row) -> Value {
    json!({
        "scenario": scenario,
        "seed": seed,
        "passed": row.violation.is_none(),
        "violation": row.violation.as_ref().map(violation),
        "simulated_ms": row.simulated,
        "messages_per_node_and_s": row.messages,
        "slowest_heal_ms": row.slowest_heal,
        "trace_hash": format!("{:016x}", row.trace_hash),
        "ran_twice": row.twice,
    })
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};
    use std::time::Duration;

    #[test]
    fn programs_find_what_people_read() {
        let mut campaign = Campaign::default();
        for seed in 0..4 {
            let (plan, outcome) = sample::seed(seed);
            campaign.add(plan, outcome, Duration::from_millis(100), seed == 0);
        }
        let value = json(&campaign);
        assert_eq!((&value["runs"], &value["failed"], &value["ran_twice"]), (&json!(4), &json!(2), &json!(1)));
        assert_eq!(value["failures"][0]["invariant"], "heal-disturbs-nothing");
        assert_eq!(value["failures"][0]["seed"], 0);
        assert_eq!(value["seeds"][1]["trace_hash"], "feed000000000001");
        assert_eq!(value["simulated_s_per_cpu_s"], 450.0);
        assert!(value["marks_never_reached"].as_array().unwrap().len() > 5);
    }
}
