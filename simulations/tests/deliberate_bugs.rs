//! Bugs that are put into the product on purpose: each must be found, and shrunk to what brings it
//! about. A judge that has never found anything has shown nothing.

use holm_simulations::{
    Invariant, Options, Outcome, Plan, Scenario, run,
    shrink::{Shrunk, shrink},
};
use holm_types::sabotage::Sabotage;
use std::ops::ControlFlow;

/// Seeds that are tried until the bug shows.
const SEEDS: u64 = 10;
/// Runs that shrinking may take.
const RUNS: u32 = 300;

/// Noise that has nothing to do with any of the bugs.
const NOISE: &str = r#"
[[fault]]
at = "8s"
for = "2s"
kind = "pause"
hosts = ["node/3"]

[[fault]]
at = "40s"
for = "1s"
kind = "upgrade"
hosts = ["node/2"]

[[fault]]
at = "42s"
for = "3s"
kind = "loss_burst"
hosts = ["node/0"]
loss = 0.2
"#;

const FLEET: &str = r#"
duration = "60s"

[[group]]
name = "node"
count = 5
site = "plant"

[[submit]]
at = "5s"
on = "node/0"
app = "web"
count = 3

[[submit]]
at = "45s"
on = "node/2"
app = "late"
count = 2
"#;

fn judged(plan: &Plan) -> Outcome {
    run(plan, Options::default()).expect("a plan that can be set up")
}

/// Commits the bug, and demands that it is found as one of `as_what` and shrunk to `faults` faults
/// on at most `hosts` hosts.
fn is_found(bug: &'static str, trouble: &str, as_what: &[Invariant], (faults, hosts): (usize, usize)) {
    let text = format!("{FLEET}{trouble}{NOISE}");
    let scenario = Scenario::parse("deliberate", &text).expect("a scenario");
    let plans = (0..SEEDS).map(|seed| scenario.expand(seed).expect("a scenario that makes sense"));
    let committed = Sabotage::commit(bug);
    let failed = plans.into_iter().find_map(|plan| {
        let violation = judged(&plan).violations.into_iter().find(|v| as_what.contains(&v.invariant))?;
        Some((plan, violation))
    });
    let (plan, violation) = failed.unwrap_or_else(|| panic!("{bug}: no judge has noticed in {SEEDS} seeds"));
    let shrunk: Shrunk =
        shrink(&plan, violation.invariant, &mut |plan| run(plan, Options::default()), &mut |progress| {
            if progress.runs < RUNS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .expect("a plan that can be set up")
        .expect("it failed before");
    let after = shrunk.after;
    assert!(after.faults <= faults && after.hosts <= hosts, "{bug}: {} became {after}", shrunk.before);
    drop(committed);
    let cured = judged(&shrunk.plan);
    assert!(cured.passed(), "{bug}: without it {:?}", cured.violations);
}

#[test]
fn each_bug_needs_its_trouble_and_nothing_else() {
    for trouble in [CUT, RESTORED, SLOW_DISK, RIVAL_EDITS, JUMPED_CLOCKS] {
        let scenario = Scenario::parse("deliberate", &format!("{FLEET}{trouble}{NOISE}")).expect("a scenario");
        let outcome = judged(&scenario.expand(1).expect("a scenario that makes sense"));
        assert!(outcome.passed(), "{trouble}: {:?}", outcome.violations);
    }
}

const CUT: &str = r#"
[[fault]]
at = "15s"
for = "12s"
kind = "partition"
sides = [["node/0-1"], ["rest"]]

[[submit]]
at = "20s"
on = "node/1"
app = "left"
count = 2
"#;

#[test]
fn a_dead_peer_that_is_never_resurrected_is_found() {
    let seen = [Invariant::LiveIsAlive, Invariant::EachSlotOnce];
    is_found("a dead peer stays dead", CUT, &seen, (1, 2));
}

#[test]
fn a_digest_that_misses_documents_is_found() {
    let seen = [Invariant::EqualHeads, Invariant::EqualViews];
    is_found("a digest misses documents", CUT, &seen, (1, 2));
}

const RESTORED: &str = r#"
[[submit]]
at = "14s"
on = "node/1"
app = "second"
count = 2

[[fault]]
at = "12s"
for = "1s"
kind = "upgrade"
hosts = ["node/1"]

[[submit]]
at = "18s"
on = "node/1"
app = "web"
count = 4

[[fault]]
at = "24s"
for = "6s"
kind = "crash"
power_loss = true
disk = "stale"
age = "13s"
hosts = ["node/1"]

[[submit]]
at = "32s"
on = "node/1"
app = "after"
count = 2
"#;

#[test]
fn an_actor_that_reuses_its_sequence_after_a_restored_disk_is_found() {
    let seen = [Invariant::OneChangeASequence];
    is_found("a restored disk counts on from what it knows", RESTORED, &seen, (2, 3));
}

const SLOW_DISK: &str = r#"
[[fault]]
at = "15s"
for = "15s"
kind = "slow_disk"
slow_ms = 2000
hosts = ["node/1"]

[[submit]]
at = "20s"
on = "node/1"
app = "lost"
count = 1

[[fault]]
at = "21s"
for = "4s"
kind = "crash"
power_loss = true
hosts = ["node/1"]
"#;

#[test]
fn an_acknowledgement_before_the_disk_write_is_found() {
    let seen = [Invariant::AcknowledgedIsKept, Invariant::DurableBeforeSaid];
    is_found("an acknowledgement comes before the disk", SLOW_DISK, &seen, (2, 1));
}

const RIVAL_EDITS: &str = r#"
[[fault]]
at = "15s"
for = "12s"
kind = "partition"
sides = [["node/0-1"], ["rest"]]

[[submit]]
at = "20s"
on = "node/1"
app = "web"
count = 2

[[submit]]
at = "21s"
on = "node/4"
app = "web"
count = 4
"#;

#[test]
fn a_reduction_that_depends_on_the_order_of_arrival_is_found() {
    let seen = [Invariant::EqualViews, Invariant::EachSlotOnce];
    is_found("a reduction depends on the order of arrival", RIVAL_EDITS, &seen, (1, 2));
}

const JUMPED_CLOCKS: &str = r#"
[[submit]]
at = "6s"
on = "node/0"
app = "press"
count = 5
fenced = true
site = "plant"

[[fault]]
at = "22s"
for = "35s"
kind = "clock_jump"
clock = { by_ms = -3600000 }
hosts = ["node/0-1"]

[[fault]]
at = "25s"
for = "25s"
kind = "partition"
sides = [["node/0-1"], ["rest"]]
"#;

#[test]
fn a_lease_that_is_measured_on_wall_time_is_found() {
    is_found("a lease is measured on wall time", JUMPED_CLOCKS, &[Invariant::FencedRunsOnce], (2, 4));
}
