//! Faults and heals as the judges hear of them, looks at the fleet as a whole, and what came of the run.

use super::{At, Fleet};
use crate::{
    des::record::ms,
    judge::rest,
    outcome::{Invariant, Outcome, Violation},
    scenario::FaultKind,
};
use std::collections::BTreeMap;

impl Fleet {
    /// A fault begins.
    pub fn fault_began(&mut self, fault: usize, at: At) {
        self.ongoing[fault] = true;
        self.judges.fault_began();
        self.unequal.clear();
        let what = format!("{:?} begins", self.plan.faults[fault].trouble);
        self.note(at, None, "fault", &what);
    }

    /// A fault ends.
    pub fn fault_ended(&mut self, fault: usize, at: At) {
        let kind = self.plan.faults[fault].trouble.kind();
        self.note(at, None, "fault", &format!("{kind:?} ends"));
        self.ongoing[fault] = false;
        let heal = self.record.healed(at, kind);
        if !self.ongoing.contains(&true) {
            self.judges.healed(at, &self.hosts);
            self.unequal.push((heal, at));
        }
    }

    /// A fault of a kind really did something.
    pub fn fired(&mut self, kind: FaultKind) {
        self.record.fired(kind);
    }

    /// A second has passed: the fleet, in so many parts, is looked at as a whole.
    pub fn sample(&mut self, at: At, parts: u32) {
        let up = self.hosts.iter().filter(|host| host.is_up()).count();
        let running = self.hosts.iter().map(|host| host.processes.up().count()).sum::<usize>();
        let busiest = self.hosts.iter().map(|host| host.sent).max().unwrap_or(0);
        self.judges.sampled(at, &self.hosts, self.plan.messages_per_s);
        self.hosts.iter_mut().for_each(|host| host.sent = 0);
        self.record.take_sample(at, up as u32, parts, running as u32, busiest);
        self.look_after_heals(at);
    }

    /// Whether the replicas are equal again, as long as no fault goes on.
    fn look_after_heals(&mut self, at: At) {
        if self.unequal.is_empty() || !rest::replicas_are_equal(&self.hosts) {
            return;
        }
        for (heal, since) in std::mem::take(&mut self.unequal) {
            if let Some(heal) = self.record.timeline.heals.get_mut(heal) {
                heal.converged_after = Some(ms(at.saturating_sub(since)));
            }
        }
    }

    /// What is not as it must be at rest, among the hosts that have to come to rest. None of it is wrong before
    /// the fleet has had its time.
    pub fn unrest(&self, at: At) -> Vec<Violation> {
        let as_violation = |(invariant, hosts, detail)| Violation { invariant, at: ms(at), hosts, detail };
        rest::unrest(&self.hosts, &self.core()).into_iter().map(as_violation).collect()
    }

    fn core(&self) -> Vec<usize> {
        self.plan.core.iter().filter_map(|no| self.index_of(*no)).collect()
    }

    /// The time is over: what is still not at rest is a violation, and so is whatever is looked at only once.
    pub fn judge(&mut self, at: At, amiss: Vec<Violation>) {
        let core = self.core();
        let last = rest::last_look(&self.hosts, &self.judges.log, self.plan.document_bytes, &core);
        let amiss = amiss.into_iter().map(|violation| (violation.invariant, violation.hosts, violation.detail));
        for (invariant, hosts, detail) in amiss.chain(last) {
            self.violated(invariant, at, hosts, detail);
        }
        let (_, lost) = self.judges.log.missing(&self.hosts, &core);
        self.record.count("acknowledged_lost_with_their_only_disk", lost);
        let plan = self.plan.clone();
        for fault in &plan.faults {
            self.record.fired.entry(fault.trouble.kind()).or_default();
        }
        if let Some(kind) = plan.idle_fault(&self.record.fired) {
            let detail = format!(
                "no fault of kind {} did anything: the scenario asks for what cannot happen in it",
                crate::report::kind_name(kind)
            );
            self.violated(Invariant::FaultsFired, at, Vec::new(), detail);
        }
    }

    /// What came of the run, up to now. `network` is a hash over what the network did, `counters` what it counted.
    pub fn outcome(&mut self, at: At, network: u64, mut counters: BTreeMap<String, u64>) -> Outcome {
        self.record.trace(at, 0, u64::MAX, network);
        let mut record = std::mem::take(&mut self.record);
        counters.extend(record.counters.iter().map(|(name, n)| ((*name).to_owned(), *n)));
        for node in self.hosts.iter().filter_map(|host| host.node.as_ref()) {
            for (name, n) in node.counters() {
                *counters.entry(format!("node.{name}")).or_default() += n;
            }
        }
        let marks = holm_types::marks::take();
        Outcome {
            name: self.plan.name.clone(),
            seed: self.plan.seed,
            violations: self.judges.verdicts.take(),
            trace_hash: record.hash(),
            simulated: ms(at),
            counters,
            marks: marks.into_iter().map(|(name, n)| (name.to_owned(), n)).collect(),
            fired: std::mem::take(&mut record.fired),
            timeline: std::mem::take(&mut record.timeline),
            events: record.take_events(),
        }
    }
}
