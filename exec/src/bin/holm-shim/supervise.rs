//! Pumps the output, waits for the end, or brings it about when a lease is over, and cleans up behind the command.

use crate::{command::Running, lease::Lease, pid_of};
use holm_exec::{
    Stream,
    folder::{ExitFile, TaskFolder},
    host_clock,
    logs::LogWriter,
};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, kill, killpg},
        signalfd::SignalFd,
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::Pid,
};
use std::{
    fs,
    io::{self, PipeReader, Read},
    os::fd::AsFd,
    time::{Duration, Instant},
};

/// One read of a pipe.
const CHUNK: usize = 16 * 1024;

/// What is drained of each stream after the end: as much as a pipe can hold. A writer that escaped could go on
/// for ever.
const DRAIN: usize = 1 << 20;

/// How long orphans may take to die of KILL. One that hangs in the kernel is left behind.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(5);
const ORPHAN_STEP: u16 = 20;

/// How long and how often to try to write the exit record on a full disk.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
const WRITE_STEP: Duration = Duration::from_millis(250);

/// One stream: its pipe until that ends, and its log.
struct Pump {
    pipe: Option<PipeReader>,
    log: LogWriter,
}

impl Pump {
    /// One read. Returns its length, 0 when there is nothing (more).
    fn step(&mut self, buffer: &mut [u8]) -> usize {
        let Some(pipe) = &mut self.pipe else { return 0 };
        match pipe.read(buffer) {
            Ok(n) if n > 0 => {
                self.log.write(&buffer[..n]);
                n
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => 0,
            _ => {
                self.pipe = None;
                0
            }
        }
    }

    fn drain(&mut self, buffer: &mut [u8]) {
        let Some(pipe) = &self.pipe else { return };
        if fcntl(pipe.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).is_err() {
            return;
        }
        let mut left = DRAIN;
        loop {
            match self.step(buffer) {
                0 => return,
                n => left = left.saturating_sub(n),
            }
            if left == 0 {
                return;
            }
        }
    }
}

/// Watches over one command.
pub struct Supervisor {
    command: Pid,
    children: SignalFd,
    pumps: [Pump; 2],
    lease: Option<Lease>,
}

impl Supervisor {
    pub fn new(running: Running, children: SignalFd, [out, err]: [LogWriter; 2], lease: Option<Lease>) -> Supervisor {
        let command = pid_of(running.process);
        let pumps = [Pump { pipe: Some(running.stdout), log: out }, Pump { pipe: Some(running.stderr), log: err }];
        Supervisor { command, children, pumps, lease }
    }

    /// Until the command has ended and everything of it is gone.
    pub fn run(mut self) -> ExitFile {
        let mut buffer = [0; CHUNK];
        let (code, signal) = loop {
            if let Some(end) = self.reap() {
                break end;
            }
            self.keep_to_lease();
            self.wait(&mut buffer);
        };
        let finished_at_ms = host_clock().0;
        self.kill_orphans();
        for pump in &mut self.pumps {
            pump.drain(&mut buffer);
        }
        let complaints: Vec<String> = self.pumps.iter().filter_map(|pump| pump.log.complaint()).collect();
        let reason = (!complaints.is_empty()).then(|| complaints.join("; "));
        let lease_ended = self.lease.as_ref().is_some_and(Lease::has_killed);
        ExitFile { code, signal, finished_at_ms, reason, lease_ended }
    }

    /// Without its lease nothing of the task may go on.
    fn keep_to_lease(&mut self) {
        if self.lease.as_mut().is_some_and(Lease::is_over) {
            let _ = killpg(self.command, Signal::SIGKILL);
            for child in children() {
                let _ = kill(child, Signal::SIGKILL);
            }
        }
    }

    /// Waits for output or for the end of a child, and takes the output.
    fn wait(&mut self, buffer: &mut [u8]) {
        let ready = {
            let mut fds = [None, None, Some(PollFd::new(self.children.as_fd(), PollFlags::POLLIN)), None];
            for (slot, pump) in fds.iter_mut().zip(&self.pumps) {
                *slot = pump.pipe.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN));
            }
            fds[3] = self.lease.as_ref().and_then(Lease::timer).map(|timer| PollFd::new(timer, PollFlags::POLLIN));
            poll_some(fds, PollTimeout::NONE)
        };
        for (pump, ready) in self.pumps.iter_mut().zip(ready) {
            if ready {
                pump.step(buffer);
            }
        }
        self.clear_signals();
    }

    /// They say only that there is something to reap: one can stand for many children.
    fn clear_signals(&mut self) {
        while let Ok(Some(_)) = self.children.read_signal() {}
    }

    /// Reaps orphans that fell to this process, until the command itself has ended. Its process group is
    /// killed before it is reaped: until then its number cannot belong to another group.
    fn reap(&mut self) -> Option<(Option<i32>, Option<i32>)> {
        loop {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            let end = match waitid(Id::All, flags) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, (Some(code), None)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, (None, Some(signal as i32))),
                Err(Errno::EINTR) => continue,
                // Nothing that could be waited for: somebody took the command's end away.
                Err(_) => return Some((None, None)),
                Ok(_) => return None,
            };
            if end.0 == self.command {
                // Nobody else in it: no such process.
                let _ = killpg(self.command, Signal::SIGKILL);
                let _ = waitpid(self.command, None);
                return Some(end.1);
            }
            let _ = waitpid(end.0, None);
        }
    }

    /// Kills what is left of the task, wherever it went: as the nearest ancestor left, this process is the parent of
    /// every orphan, round by round.
    fn kill_orphans(&mut self) {
        let deadline = Instant::now() + ORPHAN_PATIENCE;
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::EINTR) => {}
                // No child left.
                Err(_) => return,
                Ok(WaitStatus::StillAlive) if Instant::now() >= deadline => return,
                Ok(WaitStatus::StillAlive) => {
                    for orphan in children() {
                        // Gone already: reaped in the next round.
                        let _ = kill(orphan, Signal::SIGKILL);
                    }
                    let child = PollFd::new(self.children.as_fd(), PollFlags::POLLIN);
                    let _ = poll(&mut [child], PollTimeout::from(ORPHAN_STEP));
                    self.clear_signals();
                }
                Ok(_) => {}
            }
        }
    }
}

/// Which of some descriptors have something to say.
fn poll_some(fds: [Option<PollFd<'_>>; 4], timeout: PollTimeout) -> [bool; 4] {
    let mut places = [0; 4];
    let mut present = Vec::with_capacity(4);
    for (place, fd) in fds.into_iter().enumerate() {
        if let Some(fd) = fd {
            places[present.len()] = place;
            present.push(fd);
        }
    }
    let mut ready = [false; 4];
    if poll(&mut present, timeout).is_ok() {
        for (fd, place) in present.iter().zip(places) {
            ready[place] = fd.any().unwrap_or(true);
        }
    }
    ready
}

/// The children of this process.
fn children() -> Vec<Pid> {
    let id = std::process::id();
    let text = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}

/// Writes the exit record: the last thing to do, after which an agent may start the task again. On a full disk the old
/// half of the logs makes room; then it waits for somebody to make some. If all fails, the exit code of this
/// process tells an agent that is still its parent.
///
/// With its parent `agent` gone nobody else remembers it, so it has to outlive the host as well.
pub fn leave_word(folder: &TaskFolder, exit: &ExitFile, agent: Pid) {
    let deadline = Instant::now() + WRITE_PATIENCE;
    let write = || if Pid::parent() == agent { folder.write_exit(exit) } else { folder.seal(exit) };
    while write().is_err() && folder.path().is_dir() && Instant::now() < deadline {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let mut old = folder.log(stream).into_os_string();
            old.push(".1");
            // Mostly there is none.
            let _ = fs::remove_file(old);
        }
        std::thread::sleep(WRITE_STEP);
    }
}
