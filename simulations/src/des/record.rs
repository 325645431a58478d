//! What is written down of a run: a hash over everything, counters, samples, the last events.

use super::queue::At;
use crate::{
    outcome::{Down, EVENTS_KEPT, Happened, Heal, Sample, TaskRun, Timeline},
    scenario::{FaultKind, HostNo, Ms, random::mix},
};
use holm_types::TaskId;
use std::collections::{BTreeMap, VecDeque};

/// Samples kept, and spans of tasks and hosts. Beyond, they are counted and left out.
const SPANS_MAX: usize = 200_000;

/// Milliseconds of a virtual time.
pub(crate) fn ms(at: At) -> Ms {
    Ms(at / 1_000)
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Record {
    hash: u64,
    pub(crate) counters: BTreeMap<&'static str, u64>,
    pub(crate) timeline: Timeline,
    pub(crate) fired: BTreeMap<FaultKind, u64>,
    events: VecDeque<Happened>,
    /// How many of them are kept, if not as many as always.
    events_kept: Option<usize>,
    /// Where the open span of a process is in the timeline.
    open_runs: BTreeMap<(HostNo, TaskId, u32), usize>,
    open_downs: BTreeMap<HostNo, usize>,
    pub(crate) sample: Sample,
}

impl Record {
    /// One that keeps so many events.
    pub(crate) fn keeping(events_kept: Option<usize>) -> Record {
        Record { events_kept, ..Record::default() }
    }

    /// Adds something that happened to the hash.
    pub(crate) fn trace(&mut self, at: At, what: u64, host: u64, detail: u64) {
        let word = mix(at ^ what.rotate_left(48) ^ host.rotate_left(32)) ^ detail;
        self.hash = mix(self.hash.rotate_left(5) ^ word);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn count(&mut self, what: &'static str, n: u64) {
        *self.counters.entry(what).or_default() += n;
    }

    pub(crate) fn fired(&mut self, kind: FaultKind) {
        *self.fired.entry(kind).or_default() += 1;
    }

    pub(crate) fn note(&mut self, at: At, host: Option<HostNo>, what: &str, detail: String) {
        if self.events.len() >= self.events_kept.unwrap_or(EVENTS_KEPT) {
            self.events.pop_front();
        }
        self.events.push_back(Happened { at: ms(at), host, what: what.to_owned(), detail });
    }

    pub(crate) fn take_events(&mut self) -> Vec<Happened> {
        std::mem::take(&mut self.events).into()
    }

    pub(crate) fn run_began(&mut self, at: At, host: HostNo, task: &TaskId, pid: u32, app: &str, slot: u32) {
        if self.timeline.runs.len() >= SPANS_MAX {
            return self.count("runs_not_drawn", 1);
        }
        self.open_runs.insert((host, task.clone(), pid), self.timeline.runs.len());
        let (task, app) = (task.to_string(), app.to_owned());
        self.timeline.runs.push(TaskRun { task, app, slot, host, from: ms(at), until: None, exit_code: None });
    }

    pub(crate) fn run_ended(&mut self, at: At, host: HostNo, task: &TaskId, pid: u32, code: Option<i32>) {
        let open = self.open_runs.remove(&(host, task.clone(), pid));
        if let Some(run) = open.and_then(|i| self.timeline.runs.get_mut(i)) {
            (run.until, run.exit_code) = (Some(ms(at)), code);
        }
    }

    pub(crate) fn went_down(&mut self, at: At, host: HostNo) {
        if self.timeline.down.len() < SPANS_MAX && !self.open_downs.contains_key(&host) {
            self.open_downs.insert(host, self.timeline.down.len());
            self.timeline.down.push(Down { host, from: ms(at), until: None });
        }
    }

    pub(crate) fn came_up(&mut self, at: At, host: HostNo) {
        if let Some(down) = self.open_downs.remove(&host).and_then(|i| self.timeline.down.get_mut(i)) {
            down.until = Some(ms(at));
        }
    }

    pub(crate) fn healed(&mut self, at: At, kind: FaultKind) -> usize {
        self.timeline.heals.push(Heal { kind, at: ms(at), converged_after: None });
        self.timeline.heals.len() - 1
    }

    pub(crate) fn message(&mut self, copies: u64, bytes: u64, state: bool) {
        self.sample.messages += copies;
        self.sample.bytes += bytes;
        if state {
            self.sample.state_messages += copies;
        }
    }

    /// Closes the sample of the last second.
    pub(crate) fn take_sample(&mut self, at: At, up: u32, parts: u32, running: u32, busiest: u64) {
        let sample = std::mem::take(&mut self.sample);
        self.count("messages", sample.messages);
        self.count("state_messages", sample.state_messages);
        self.count("bytes", sample.bytes);
        if self.timeline.samples.len() < SPANS_MAX {
            self.timeline.samples.push(Sample { at: ms(at), up, parts, running, busiest, ..sample });
        }
    }
}
