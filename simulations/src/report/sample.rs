//! A run made up by hand, for the tests of everything that tells one.

use crate::{
    Scenario,
    outcome::{Down, Happened, Heal, Invariant, Outcome, Sample, TaskRun, Timeline, Violation},
    scenario::{FaultKind, HostNo, Ms, Plan},
};

/// Three hosts at two sites, one of them with an awkward site name below.
const TEXT: &str = r#"
# A line is cut, and a host falls over.
duration = "40s"
[[group]]
name = "cloud"
count = 1
site = "cloud"
[[group]]
name = "till"
count = 2
site = "shop"
[[submit]]
at = "5s"
on = "cloud/0"
app = "web"
count = 2
[[fault]]
at = "10s"
for = "10s"
kind = "partition"
sides = [["till"], ["rest"]]
[[fault]]
at = "15s"
for = "10s"
kind = "crash"
power_loss = true
hosts = ["till/1"]
[[fault]]
at = "30s"
for = "3s"
kind = "pause"
hosts = ["cloud"]
"#;

/// The plan, and an outcome in which all held.
pub(crate) fn passed() -> (Plan, Outcome) {
    let plan = Scenario::parse("a_cut & <a crash>", TEXT).unwrap().expand(7).unwrap();
    let sample = |s: u64| Sample {
        at: Ms(s * 1000),
        up: if (15..25).contains(&s) { 2 } else { 3 },
        parts: 1 + u32::from((10..20).contains(&s)),
        running: if s > 5 { 2 } else { 0 },
        messages: 12 + s % 5,
        state_messages: s % 3,
        busiest: 6 + s % 2,
        bytes: 1000,
    };
    let run = |task: &str, host, from, until, exit_code| TaskRun {
        task: task.to_owned(),
        app: "web".to_owned(),
        slot: 0,
        host: HostNo(host),
        from: Ms(from),
        until,
        exit_code,
    };
    let outcome = Outcome {
        name: plan.name.clone(),
        seed: 7,
        violations: Vec::new(),
        trace_hash: 0xfeed_0000_0000_0001,
        simulated: Ms(45_000),
        counters: [("submitted".to_owned(), 1)].into(),
        marks: [("a dead node is alive again".to_owned(), 3)].into(),
        fired: [(FaultKind::Partition, 1), (FaultKind::Crash, 1), (FaultKind::Pause, 1)].into(),
        timeline: Timeline {
            samples: (1..=45).map(sample).collect(),
            down: vec![Down { host: HostNo(2), from: Ms(15_000), until: Some(Ms(25_000)) }],
            runs: vec![
                run("web-0-a", 0, 5_400, None, None),
                run("web-1-a", 2, 5_500, Some(Ms(15_000)), None),
                run("web-1-b", 1, 19_000, Some(Ms(28_000)), Some(143)),
                run("web-1-a", 2, 25_300, None, None),
            ],
            heals: vec![
                Heal { kind: FaultKind::Partition, at: Ms(20_000), converged_after: None },
                Heal { kind: FaultKind::Crash, at: Ms(25_000), converged_after: Some(Ms(2_250)) },
                Heal { kind: FaultKind::Pause, at: Ms(33_000), converged_after: Some(Ms(750)) },
            ],
        },
        events: events(),
    };
    (plan, outcome)
}

fn events() -> Vec<Happened> {
    let event = |at, host: Option<u32>, what: &str, detail: &str| Happened {
        at: Ms(at),
        host: host.map(HostNo),
        what: what.to_owned(),
        detail: detail.to_owned(),
    };
    vec![
        event(0, Some(0), "agent-up", ""),
        event(5_000, Some(0), "submitted", "web Apply { .. }"),
        event(5_002, Some(0), "acknowledged", "web "),
        event(5_400, Some(0), "Started", "web-0-a: pid 1"),
        event(10_000, None, "fault", "Partition begins"),
        event(14_500, Some(0), "NodeDead", "till-0"),
        event(15_000, Some(2), "agent-down", "power lost"),
        event(28_000, Some(1), "Stopping", "web-1-b: <superseded> & done"),
    ]
}

/// The same, but an invariant did not hold.
pub(crate) fn failed() -> (Plan, Outcome) {
    let (plan, mut outcome) = passed();
    outcome.violations.push(Violation {
        invariant: Invariant::HealDisturbsNothing,
        at: Ms(28_000),
        hosts: vec![HostNo(1)],
        detail: "till-0 stops web-1-b, which was <healthy> & alone".to_owned(),
    });
    (plan, outcome)
}

/// One of many: every other one failed.
pub(crate) fn seed(seed: u64) -> (Plan, Outcome) {
    let (mut plan, mut outcome) = if seed.is_multiple_of(2) { failed() } else { passed() };
    (plan.seed, outcome.seed) = (seed, seed);
    (plan, outcome)
}
