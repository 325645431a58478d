//! A slot of a fenced app has one runner at most. Seen at the processes themselves: whatever nodes
//! believe, and whether an agent is there to believe anything.

use super::{At, Verdicts};
use crate::{
    des::host::Host,
    outcome::Invariant,
    scenario::{HostNo, Ms},
};
use holm_types::TaskId;
use std::collections::BTreeMap;

/// A process that runs under a lease.
#[derive(Debug, Clone)]
struct Runner {
    host: usize,
    no: HostNo,
    task: TaskId,
    pid: u32,
    /// Since when another one is there too.
    overlaps_since: Option<At>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Fence {
    most: At,
    /// By app and slot, whatever the generation.
    runners: BTreeMap<(String, u32), Vec<Runner>>,
}

impl Fence {
    pub(crate) fn new(overlap_max: Ms) -> Fence {
        Fence { most: overlap_max.0.saturating_mul(1_000), ..Fence::default() }
    }

    pub(crate) fn process_began(&mut self, at: At, host: usize, hosts: &[Host], task: &TaskId, pid: u32) {
        let Some(process) = hosts[host].processes.0.get(task).filter(|process| process.lease.is_some()) else { return };
        let runners = self.runners.entry((process.app().to_owned(), process.slot())).or_default();
        let overlaps_since = (!runners.is_empty()).then_some(at);
        runners.push(Runner { host, no: hosts[host].plan.no, task: task.clone(), pid, overlaps_since });
    }

    pub(crate) fn process_ended(&mut self, verdicts: &mut Verdicts, at: At, host: usize, task: &TaskId, pid: u32) {
        let most = self.most;
        let of = |runner: &Runner| runner.host == host && runner.pid == pid && runner.task == *task;
        self.runners.retain(|slot, runners| {
            if runners.iter().any(of) {
                judge(verdicts, at, most, slot, runners);
                runners.retain(|runner| !of(runner));
                if let [alone] = runners.as_mut_slice() {
                    alone.overlaps_since = None;
                }
            }
            !runners.is_empty()
        });
    }

    /// Two that run for long are found before one of them ends.
    pub(crate) fn sampled(&mut self, verdicts: &mut Verdicts, at: At) {
        for (slot, runners) in &self.runners {
            judge(verdicts, at, self.most, slot, runners);
        }
    }
}

fn judge(verdicts: &mut Verdicts, at: At, most: At, (app, slot): &(String, u32), runners: &[Runner]) {
    let longest = runners.iter().filter_map(|runner| runner.overlaps_since).min();
    let Some(overlap) = longest.map(|since| at - since).filter(|overlap| *overlap > most) else { return };
    let tasks: Vec<&str> = runners.iter().map(|runner| runner.task.as_str()).collect();
    let detail = format!("slot {slot} of {app} has had {} for {} ms", tasks.join(" and "), overlap / 1_000);
    let hosts = runners.iter().map(|runner| runner.no).collect();
    verdicts.violate(Invariant::FencedRunsOnce, at, hosts, detail);
}
