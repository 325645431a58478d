//! Which process is which: a process id with its start time, since ids are used again.

use crate::sys;
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
        let (state, start) = read_stat(pid)?;
        (state != 'Z' && state != 'X').then_some(Process { pid, start })
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

    /// Kills its process group and waits until it is gone, at most `patience`.
    pub(crate) fn kill_group_and_wait(self, patience: Duration) {
        if self.signal_group(Signal::SIGKILL) {
            self.wait(patience);
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
    read_stat(pid).map(|(_, start)| start)
}

fn read_stat(pid: u32) -> Option<(char, u64)> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// State and start time (fields 3 and 22) of `/proc/PID/stat`. The name (field 2) may itself contain
/// spaces and brackets, so the fields are counted from the last bracket.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
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
        let stat = "77 (a) b ( c) S 1 77 77 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 424242 1 2 3";
        assert_eq!(parse_stat(stat), Some(('S', 424242)));
        assert_eq!(parse_stat("nothing"), None);
        assert_eq!(parse_stat("1 (x) S 1 2"), None);
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
