//! What the runners of a fleet do with their processes, and when.

use super::{At, Fleet};
use crate::des::launch::Bench;
use holm_node_core::{RunnerInput, StartTask};
use holm_types::{Mono, TaskId};

impl Fleet {
    /// A node has its runner start a task; what the runner says at once.
    pub fn spawn(&mut self, host: usize, at: At, task: StartTask) -> Option<RunnerInput> {
        self.at_the_bench(host, at, |bench| bench.spawn(task))
    }

    /// A node tells its runner that the lease of a task lasts longer.
    pub fn extend(&mut self, host: usize, at: At, task: &TaskId, until: Mono) {
        self.at_the_bench(host, at, |bench| bench.extend(task, until));
    }

    /// A node has its runner stop a task; what the runner says at once.
    pub fn stop(&mut self, host: usize, at: At, task: &TaskId) -> Option<RunnerInput> {
        self.at_the_bench(host, at, |bench| bench.stop(task))
    }

    /// When something happens to a process next.
    pub fn next_due(&self) -> Option<At> {
        self.due.keys().next().map(|(at, _)| *at)
    }

    /// Has `told` called whenever [`Fleet::next_due`] has become sooner.
    pub fn on_sooner(&mut self, told: Box<dyn Fn() + Send>) {
        self.sooner = Some(told);
    }

    /// Lets happen to processes what is due; what the runners of which hosts say of it.
    pub fn run_due(&mut self, now: At) -> Vec<(usize, RunnerInput)> {
        let mut said = Vec::new();
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now) {
            let (host, due) = entry.remove();
            said.extend(self.at_the_bench(host, now, |bench| bench.happen(&due)).map(|said| (host, said)));
        }
        said
    }

    pub(super) fn at_the_bench<T>(&mut self, host: usize, now: At, act: impl FnOnce(&mut Bench<'_>) -> T) -> T {
        let mut later = Vec::new();
        let done = act(&mut Bench {
            now,
            host,
            hosts: &mut self.hosts,
            judges: &mut self.judges,
            record: &mut self.record,
            next_pid: &mut self.next_pid,
            later: &mut later,
        });
        let before = self.next_due();
        for (at, due) in later {
            self.order += 1;
            self.due.insert((at, self.order), (host, due));
        }
        if let Some(told) = self.sooner.as_ref().filter(|_| self.next_due() != before) {
            told();
        }
        done
    }
}
