//! Which process is which: a process id with its start time, since ids are used again.

use crate::sys;
use holm_types::Wall;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use std::{os::fd::AsFd, time::Duration};

/// A process that cannot be mistaken for another one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it was started, in clock ticks since the host was.
    pub start: u64,
}

impl Process {
    /// The process that has this number now.
    pub fn of(pid: u32) -> Option<Process> {
        let stat = Stat::read(pid)?;
        stat.runs().then_some(Process { pid, start: stat.start })
    }

    /// Whether it still runs. A zombie does not.
    pub fn is_alive(self) -> bool {
        Process::of(self.pid) == Some(self)
    }

    /// Sends a signal to its process group, if it is still the leader that was started. The group number
    /// cannot go to another while the leader is there, so no stranger is hit. Says whether it was sent.
    pub fn signal_group(self, signal: Signal) -> bool {
        match i32::try_from(self.pid) {
            // 0 and 1 would mean "my own group" and "everybody".
            Ok(pid) if pid > 1 && self.is_alive() => killpg(Pid::from_raw(pid), signal).is_ok(),
            _ => false,
        }
    }

    /// Sends a signal to this process alone, if it is still the one that was started. Says whether it was sent.
    pub fn signal_process(self, signal: Signal) -> bool {
        match i32::try_from(self.pid) {
            Ok(pid) if pid > 1 && self.is_alive() => kill(Pid::from_raw(pid), signal).is_ok(),
            _ => false,
        }
    }

    /// Waits until it has ended, at most `patience`. Whether it has is for the caller to ask.
    pub(crate) fn wait(self, patience: Duration) {
        // The descriptor first: compared after that, it cannot become that of another process.
        if let Ok(pidfd) = sys::pidfd_open(self.pid)
            && self.is_alive()
        {
            let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
            let _ = poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout);
        }
    }
}

/// When the process with this number was started, in clock ticks; that of a zombie too.
pub fn start_ticks(pid: u32) -> Option<u64> {
    Stat::read(pid).map(|stat| stat.start)
}

/// What `/proc/PID/stat` says, as far as it is of use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    state: char,
    pub parent: u32,
    pub group: u32,
    pub session: u32,
    pub start: u64,
}

impl Stat {
    pub fn read(pid: u32) -> Option<Stat> {
        Stat::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Not a zombie, which only waits for its parent to ask.
    pub fn runs(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    /// Fields 3 to 6 and 22. The name (field 2) may itself contain spaces and brackets, so the fields are counted from
    /// the last bracket.
    pub fn parse(stat: &str) -> Option<Stat> {
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        // A process of another pid namespace shows a parent 0, and a session that is none of ours, as a number or 0.
        let mut number = || fields.next()?.parse().ok();
        let (parent, group, session) = (number()?, number()?, number()?);
        Some(Stat { state, parent, group, session, start: fields.nth(15)?.parse().ok()? })
    }
}

/// The date at which `process` was started, when it is `now`; as exact as a clock tick.
pub(crate) fn started_at(process: Process, now: Wall) -> Wall {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let up = text.split_ascii_whitespace().next().and_then(|seconds| seconds.parse().ok());
    let up = up.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or_default();
    let start_ms = u128::from(process.start) * 1000 / u128::from(sys::ticks_a_second());
    let age = up.as_millis().saturating_sub(start_ms);
    Wall(now.0.saturating_sub(u64::try_from(age).unwrap_or(u64::MAX)))
}

/// A name of this boot of the host: start times of different boots do not compare.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "77 (a) b ( c) S 1 78 79 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 424242 1 2 3";
        assert_eq!(Stat::parse(stat), Some(Stat { state: 'S', parent: 1, group: 78, session: 79, start: 424242 }));
        assert_eq!(Stat::parse("nothing"), None);
        assert_eq!(Stat::parse("1 (x) S 1 2"), None);
    }

    #[test]
    fn another_start_time_is_another_process() {
        let me = Process::of(std::process::id()).expect("this process");
        assert!(me.is_alive());
        let stranger = Process { start: me.start + 1, ..me };
        assert!(!stranger.is_alive());
        // Were this to be sent, it would end the test run.
        assert!(!stranger.signal_group(Signal::SIGKILL));
        assert!(!Process { pid: 0, start: 0 }.signal_group(Signal::SIGKILL));
    }
}
