//! The layer `des`: the cores that ship, under a discrete-event network.
//!
//! [`run`] takes a [`Plan`] and gives an [`Outcome`]. One run is one thread; nothing in it depends
//! on anything but the plan. When the plan's time is over, all faults end and the fleet has
//! [`Plan::converge_within`] to come to rest; then the last invariants are judged.
//!
//! What is like in the real world, and what is simpler:
//! - A connection is a stream: it keeps its order, a lost packet delays it, and what is sent into a
//!   cut waits there until the cut ends or a ping (every 60 s, or when somebody is missed, given up after 10 s) finds it dead.
//! - Gossip goes along a mesh of few neighbours, hop by hop. It misses and repeats some messages.
//!   IHAVE and IWANT are not modelled: what is missed is missed, and repair has to mend it.
//! - Uplinks between sites queue what they send; links inside a site have no limit.
//! - Disks write one batch after another. A power loss takes what was not synced.
//! - A node thinks in no time.

mod agents;
pub(crate) mod disk;
pub(crate) mod engine;
pub(crate) mod event;
mod faults;
mod gossip;
pub(crate) mod host;
pub(crate) mod launch;
mod liar;
mod links;
pub(crate) mod manifest;
mod nat;
mod network;
pub(crate) mod queue;
pub(crate) mod record;
pub(crate) mod runner;

pub use engine::{Options, Verify};

use crate::{
    SimError,
    judge::rest::{self, Unrest},
    outcome::{Invariant, Outcome},
    scenario::{Plan, random::Chance},
};
use engine::Engine;
use queue::{At, SECOND, at_ms};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Agents do not all start in the same instant.
const STAGGER: At = 500_000;
/// How often it is looked at whether the fleet has come to rest.
const REST_CHECK: At = 500_000;
/// A fleet that is at rest stays so.
const REST_FOR: At = 3 * SECOND;

/// Runs a plan.
///
/// # Errors
/// A host cannot be set up: its name or site is not valid.
pub fn run(plan: &Plan, options: Options) -> Result<Outcome, SimError> {
    holm_types::marks::take();
    let mut engine = Engine::new(Arc::new(plan.clone()), options);
    for host in &plan.hosts {
        engine.add_host(host.clone())?;
    }
    // A panic in a core is a finding like any other, and the run up to it is worth seeing.
    let ran = catch_unwind(AssertUnwindSafe(|| live(&mut engine)));
    if let Err(panic) = ran {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let detail = text.unwrap_or_else(|| "a panic without words".to_owned());
        engine.judges.verdicts.violate(Invariant::NoPanic, engine.now, Vec::new(), detail);
    }
    Ok(outcome(engine))
}

fn live(engine: &mut Engine) {
    let plan = engine.plan.clone();
    engine.schedule_plan();
    let mut starts: Vec<(At, usize)> = (0..engine.hosts.len())
        .map(|host| (Chance::new(plan.seed, "start").of(u64::from(engine.no(host).0)).between(0, STAGGER), host))
        .collect();
    starts.sort_unstable();
    let broken_off = engine.options.until.filter(|until| *until < plan.duration).map(at_ms);
    starts.retain(|(at, _)| broken_off.is_none_or(|until| *at <= until));
    for (at, host) in starts {
        engine.run_until(at);
        if engine.hosts[host].down == 0 {
            engine.start_agent(host);
        }
    }
    if let Some(until) = broken_off {
        return engine.run_until(until);
    }
    engine.run_until(at_ms(plan.duration));
    engine.end_faults();
    come_to_rest(engine);
    meta(engine);
}

/// Gives the fleet its time; what is still not right then is a violation.
fn come_to_rest(engine: &mut Engine) {
    let plan = engine.plan.clone();
    let core: Vec<usize> = plan.core.iter().filter_map(|no| engine.index_of_no(*no)).collect();
    let deadline = engine.now + at_ms(plan.converge_within);
    let mut rested_since: Option<At> = None;
    let mut left: Vec<Unrest>;
    loop {
        engine.run_until((engine.now + REST_CHECK).min(deadline));
        left = rest::unrest(&engine.hosts, &core);
        match (left.is_empty(), rested_since) {
            (false, _) => rested_since = None,
            (true, None) => rested_since = Some(engine.now),
            (true, Some(since)) if engine.now - since >= REST_FOR => break,
            (true, Some(_)) => {}
        }
        if engine.now >= deadline {
            break;
        }
    }
    left.extend(rest::last_look(&engine.hosts, &engine.judges.log, plan.document_bytes, &core));
    let now = engine.now;
    for (invariant, hosts, detail) in left {
        engine.judges.verdicts.violate(invariant, now, hosts, detail);
    }
    let (_, lost) = engine.judges.log.missing(&engine.hosts, &core);
    engine.record.count("acknowledged_lost_with_their_only_disk", lost);
}

/// Every kind of fault that was asked for did something.
fn meta(engine: &mut Engine) {
    let plan = engine.plan.clone();
    for fault in &plan.faults {
        engine.record.fired.entry(fault.trouble.kind()).or_default();
    }
    if let Some(kind) = plan.idle_fault(&engine.record.fired) {
        let detail = format!(
            "no fault of kind {} did anything: the scenario asks for what cannot happen in it",
            crate::report::kind_name(kind)
        );
        engine.judges.verdicts.violate(Invariant::FaultsFired, engine.now, Vec::new(), detail);
    }
}

fn outcome(mut engine: Engine) -> Outcome {
    let mut record = std::mem::take(&mut engine.record);
    let mut counters: std::collections::BTreeMap<String, u64> =
        record.counters.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    for node in engine.hosts.iter().filter_map(|host| host.node.as_ref()) {
        for (name, n) in node.counters() {
            *counters.entry(format!("node.{name}")).or_default() += n;
        }
    }
    counters.insert("queued".to_owned(), engine.queued() as u64);
    let marks = holm_types::marks::take();
    Outcome {
        name: engine.plan.name.clone(),
        seed: engine.plan.seed,
        violations: engine.judges.verdicts.take(),
        trace_hash: record.hash(),
        simulated: record::ms(engine.now),
        counters,
        marks: marks.into_iter().map(|(name, n)| (name.to_owned(), n)).collect(),
        fired: std::mem::take(&mut record.fired),
        timeline: std::mem::take(&mut record.timeline),
        events: record.take_events(),
    }
}
