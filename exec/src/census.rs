//! Who on this host belongs to which task: what is asked when the task's folder cannot say it, or its shim is gone.
//!
//! A shim and its command carry a mark in their environment, which every descendant inherits: `OWNER/TASK`, where the
//! owner is the runner ([`crate::RunnerConfig::owner`]). So a daemon that left the group, the session and its parents is still known.
//! What overwrote its environment (some rename themselves so) or cleared it is found through what it belongs to: its
//! parent, its process group, its session.

use crate::proc::{Process, Stat};
use nix::sys::signal::Signal;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

/// The variable by which a shim is known.
pub(crate) const SHIM_MARK: &str = "HOLM_SHIM";

/// The variable by which the command of a task, and what it starts, are known.
pub const TASK_MARK: &str = "HOLM_MARK";

/// More of an environment is not looked at: the kernel allows 6 MiB, a task has some kilobytes.
const MAX_ENVIRON: u64 = 1 << 20;

/// How long to wait for killed processes before looking for more.
const STEP: Duration = Duration::from_millis(50);

/// How long to wait for a process that is in the middle of an exec.
const EXEC: Duration = Duration::from_millis(10);

/// What a process of this runner says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mark {
    Shim(String),
    Task(String),
}

impl Mark {
    fn task(&self) -> &str {
        match self {
            Mark::Shim(task) | Mark::Task(task) => task,
        }
    }
}

#[derive(Debug, Clone)]
struct Entry {
    stat: Stat,
    mark: Option<Mark>,
}

/// All processes of the host, at one moment.
#[derive(Debug)]
pub(crate) struct Census {
    entries: BTreeMap<u32, Entry>,
    /// This process: never anybody's victim, whoever started it.
    me: u32,
}

impl Census {
    /// Counts who is there, with the marks of `owner`.
    pub fn take(owner: &str) -> Census {
        let entries = pids().filter_map(|pid| {
            let stat = Stat::read(pid).filter(Stat::runs)?;
            Some((pid, Entry { stat, mark: mark_of(&environ(pid), owner) }))
        });
        Census { entries: entries.collect(), me: std::process::id() }
    }

    /// The tasks of which some process is there.
    pub fn tasks(&self) -> BTreeSet<&str> {
        self.entries.values().filter_map(|entry| entry.mark.as_ref()).map(Mark::task).collect()
    }

    /// The shims of a task. More than one is one too many.
    pub fn shims(&self, task: &str) -> Vec<Process> {
        let is_shim = |pid: &u32| {
            let mark = self.entries.get(pid).and_then(|entry| entry.mark.as_ref());
            matches!(mark, Some(Mark::Shim(of)) if of == task)
        };
        // A child that has not yet become the command still shows the environment of the shim.
        let shims = self.entries.iter().filter(|(pid, entry)| is_shim(pid) && !is_shim(&entry.stat.parent));
        shims.map(|(pid, entry)| Process { pid: *pid, start: entry.stat.start }).collect()
    }

    /// The command of a shim: its first child that leads a group and stayed in its session. Orphans that fell to the
    /// shim are younger, or have a session of their own.
    pub fn command_of(&self, shim: Process) -> Option<Process> {
        let session = self.entries.get(&shim.pid)?.stat.session;
        let is_command = |(pid, entry): &(&u32, &Entry)| {
            let Stat { parent, group, session: own, .. } = entry.stat;
            parent == shim.pid && group == **pid && own == session && !matches!(entry.mark, Some(Mark::Shim(_)))
        };
        let children = self.entries.iter().filter(is_command);
        let children = children.map(|(pid, entry)| Process { pid: *pid, start: entry.stat.start });
        children.min_by_key(|process| (process.start, process.pid))
    }

    /// Everything that belongs to a task, or to one of the processes `seeds`; shims first, so that none of them sees
    /// its command die and writes it down.
    pub fn belongings(&self, task: &str, seeds: &[Process]) -> Vec<Process> {
        let mut found: BTreeSet<u32> = BTreeSet::new();
        let is_seed = |pid: u32, entry: &Entry| seeds.contains(&Process { pid, start: entry.stat.start });
        loop {
            let before = found.len();
            for (&pid, entry) in &self.entries {
                let Stat { parent, group, session, .. } = entry.stat;
                // A leader that lives and belongs to the task vouches for its group and session.
                let belongs = match &entry.mark {
                    Some(mark) => mark.task() == task,
                    None => is_seed(pid, entry) || [parent, group, session].iter().any(|of| found.contains(of)),
                };
                if pid != self.me && pid > 1 && belongs {
                    found.insert(pid);
                }
            }
            if found.len() == before {
                break;
            }
        }
        let (shims, others): (Vec<u32>, Vec<u32>) =
            found.into_iter().partition(|pid| matches!(self.entries[pid].mark, Some(Mark::Shim(_))));
        let process = |pid: u32| Process { pid, start: self.entries[&pid].stat.start };
        shims.into_iter().chain(others).map(process).collect()
    }
}

/// Kills everything of the given tasks, and of the processes named with each, until two looks in a row at the whole
/// host find none or `patience` is over: in the middle of an exec a process shows no environment. Returns how many were killed.
pub(crate) fn sweep(owner: &str, tasks: &BTreeMap<String, Vec<Process>>, patience: Duration) -> usize {
    let deadline = Instant::now() + patience;
    let mut killed = BTreeSet::new();
    let mut seen_none = false;
    loop {
        let census = Census::take(owner);
        let victims: Vec<Process> = tasks.iter().flat_map(|(task, seeds)| census.belongings(task, seeds)).collect();
        if victims.is_empty() {
            if std::mem::replace(&mut seen_none, true) {
                break;
            }
            std::thread::sleep(EXEC);
            continue;
        }
        seen_none = false;
        for victim in &victims {
            if victim.signal_process(Signal::SIGKILL) {
                killed.insert((victim.pid, victim.start));
            }
        }
        let next = deadline.min(Instant::now() + STEP);
        for victim in &victims {
            victim.wait(next.saturating_duration_since(Instant::now()));
        }
        if Instant::now() >= deadline {
            let left = victims.iter().filter(|victim| victim.is_alive()).count();
            if left > 0 {
                // KILL cannot be refused: they end as soon as the kernel lets go of them.
                tracing::warn!("{left} killed processes have not ended in {} s", patience.as_secs_f32());
            }
            break;
        }
    }
    killed.len()
}

/// [`sweep`] for one task.
pub(crate) fn sweep_task(owner: &str, task: &str, seeds: Vec<Process>, patience: Duration) -> usize {
    sweep(owner, &BTreeMap::from([(task.to_owned(), seeds)]), patience)
}

/// Who has the file at `path` open: the last resort, when a lock is held and no mark says by whom.
pub(crate) fn holders(path: &Path) -> Vec<Process> {
    let Ok(wanted) = fs::metadata(path).map(|m| (m.dev(), m.ino())) else { return Vec::new() };
    let holds = |pid: &u32| {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        fds.into_iter().any(|fd| fs::metadata(fd.path()).is_ok_and(|m| (m.dev(), m.ino()) == wanted))
    };
    pids().filter(|pid| *pid != std::process::id()).filter(holds).filter_map(Process::of).collect()
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").inspect_err(|e| tracing::error!("cannot read /proc: {e}"));
    entries.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// That of another user, or of one that just ended, is empty.
fn environ(pid: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(format!("/proc/{pid}/environ")) {
        // What was read before an error counts.
        let _ = file.take(MAX_ENVIRON).read_to_end(&mut bytes);
    }
    bytes
}

fn mark_of(environ: &[u8], owner: &str) -> Option<Mark> {
    let mut marks = environ.split(|byte| *byte == 0).filter_map(|variable| {
        let (name, value) = std::str::from_utf8(variable).ok()?.split_once('=')?;
        // A task id contains no slash, an owner may.
        let task = value.rsplit_once('/').filter(|(of, _)| *of == owner)?.1.to_owned();
        match name {
            SHIM_MARK => Some(Mark::Shim(task)),
            TASK_MARK => Some(Mark::Task(task)),
            _ => None,
        }
    });
    marks.next()
}

#[cfg(test)]
mod tests;
