//! `holm-shim TASK_DIR`: the supervisor of one task. See the essay of the crate `holm_exec`.
//!
//! It says one line on its standard output, `started PID START_TICKS DATE_MS` or `failed REASON`, and closes it. What it
//! is otherwise asked is in `TASK_DIR/spec.json`, and what it answers is in `TASK_DIR/state.json` and `exit.json`.
//! Its standard input is the locked `spec.json`, which it only holds.
//!
//! One thread, one loop, three descriptors: a host may run thousands of these.

mod agent;
mod command;
mod lease;
mod supervise;

use agent::{hush, say};
use command::{Failure, Running};
use holm_exec::{
    Stream,
    folder::{LaunchFile, StateFile, TaskFolder},
    host_clock,
    logs::LogWriter,
    proc::Process,
    sys,
};
use lease::Lease;
use nix::{
    sys::{
        prctl,
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::{Pid, setsid},
};
use std::{path::PathBuf, process::ExitCode};
use supervise::Supervisor;

fn main() -> ExitCode {
    sys::close_inherited_descriptors();
    let Some(dir) = std::env::args_os().nth(1) else {
        say("failed usage: holm-shim TASK_DIR");
        return ExitCode::from(2);
    };
    // It changes its own directory, so a relative path would lead elsewhere.
    let folder = TaskFolder::new(std::path::absolute(&dir).unwrap_or_else(|_| PathBuf::from(dir)));
    match run(&folder) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // Before it is said, so that whoever hears it finds it. If it cannot be written, the agent still hears.
            let _ = folder.write_exit(&failure.exit_file());
            say(&format!("failed {}", failure.reason.replace('\n', " ")));
            ExitCode::from(failure.code)
        }
    }
}

fn run(folder: &TaskFolder) -> Result<u8, Failure> {
    let agent = Pid::parent();
    detach()?;
    let launch = folder.launch_file().map_err(Failure::setup)?;
    let open = |stream| LogWriter::open(folder, stream, launch.task.max_log_bytes).map_err(Failure::setup);
    let logs = [open(Stream::Stdout)?, open(Stream::Stderr)?];
    let lease = Lease::of(folder, &launch)?;
    let (running, children) = start(folder, &launch)?;
    let command = running.process;
    let state = state_of(command, logs[0].position());
    if let Err(e) = state.and_then(|state| {
        folder.write_state(&state).map_err(Failure::setup)?;
        say(&format!("started {} {} {}", command.pid, command.start, state.started_at_ms));
        Ok(())
    }) {
        // An agent could not find it again.
        command.signal_group(Signal::SIGKILL);
        return Err(e);
    }
    hush();
    let exit = Supervisor::new(running, children, logs, lease).run();
    let code = u8::try_from(exit.code()).unwrap_or(u8::MAX);
    supervise::leave_word(folder, &exit, agent);
    Ok(code)
}

/// Away from the agent: its session and its signals. And the parent that orphans of the task fall to.
fn detach() -> Result<(), Failure> {
    sys::shrug_off_signals();
    // Refused when it leads a group already, as when run by hand from a shell; then it stays there.
    let _ = setsid();
    prctl::set_child_subreaper(true).map_err(Failure::setup)?;
    // The folder of tasks may be on another file system than the one that the agent was started from.
    std::env::set_current_dir("/").map_err(Failure::setup)?;
    // The command inherits the signal mask: none, whatever the agent had.
    SigSet::empty().thread_set_mask().map_err(Failure::setup)
}

/// Starts the command, and only then begins to collect its signals: blocked before, they would stay blocked in it.
/// An end in between is not missed, since the supervisor looks before it waits.
fn start(folder: &TaskFolder, launch: &LaunchFile) -> Result<(Running, SignalFd), Failure> {
    let running = command::start(folder, launch)?;
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    let children =
        set.thread_block().and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK));
    match children {
        Ok(children) => Ok((running, children)),
        Err(e) => {
            running.process.signal_group(Signal::SIGKILL);
            Err(Failure::setup(e))
        }
    }
}

fn state_of(command: Process, stdout_from: u64) -> Result<StateFile, Failure> {
    let me = Process::of(std::process::id()).ok_or_else(|| Failure::setup("cannot read /proc"))?;
    Ok(StateFile {
        shim_pid: me.pid,
        shim_start: me.start,
        pid: command.pid,
        start: command.start,
        started_at_ms: host_clock().0,
        stdout_from,
    })
}

/// The process id as the system calls want it.
fn pid_of(process: Process) -> Pid {
    Pid::from_raw(process.pid.cast_signed())
}
