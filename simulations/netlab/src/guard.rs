//! Nothing is left behind, not even after `kill -9`: a small process that outlives the lab's and kills who is still inside.
//!
//! The children of a lab die with it, but not what they started: a task in a session of its own, a job in the
//! background of a shell. Such a process would keep its namespace. The guard holds the namespaces open, so that no other
//! can be taken for one of them, waits for the end of its input, which comes when the lab's process is gone, however
//! that went, and kills.

use crate::{error::LabError, netns::Netns};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    io::{BufRead, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

/// How long the guard tries.
const PATIENCE: Duration = Duration::from_secs(10);

/// The lab's end of it. Dropping it lets the guard do its work, and waits for that.
#[derive(Debug)]
pub struct Guard {
    child: Child,
    input: Option<ChildStdin>,
}

impl Guard {
    /// Starts `command`, which has to call [`serve`].
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut command: Command) -> Result<Guard, LabError> {
        // In a group of its own: Ctrl-C at a terminal is not for the guard. Its outputs would keep a reader waiting.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().map_err(LabError::system("start the guard"))?;
        let input = child.stdin.take();
        Ok(Guard { child, input })
    }

    /// One more namespace to clear in the end.
    ///
    /// # Errors
    /// The guard is gone.
    pub(crate) fn watch(&mut self, space: &Netns) -> Result<(), LabError> {
        let told = self.input.as_mut().map_or(Ok(()), |input| writeln!(input, "{}", space.path()));
        told.map_err(LabError::system("tell the guard"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.input = None;
        // Nothing better can be done about a guard that does not end well.
        let _ = self.child.wait();
    }
}

/// What the guard's process does: reads paths of namespaces until the end of its input, then kills every process inside.
///
/// # Errors
/// Some do not die.
pub fn serve(input: impl BufRead) -> Result<(), LabError> {
    // A path that cannot be opened is of a lab that is gone already, with its namespaces.
    let spaces: Vec<Netns> = input.lines().map_while(Result::ok).filter_map(|path| Netns::open(&path).ok()).collect();
    let begin = Instant::now();
    loop {
        let left: Vec<i32> = spaces.iter().flat_map(Netns::processes).collect();
        if left.is_empty() {
            return Ok(());
        }
        if begin.elapsed() > PATIENCE {
            return Err(LabError::refused("guard", format!("these processes do not die: {left:?}")));
        }
        for pid in left {
            // One that is gone meanwhile is fine.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
