//! What a task is, and what is said about it.

use holm_types::{TaskId, Wall, manifest::RestartPolicy};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// A task to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Its id, which names its folder too.
    pub id: TaskId,
    /// The program and its arguments. No shell is involved.
    pub command: Vec<String>,
    /// Its environment, beside the few variables of [`crate::RunnerConfig::base_env`].
    pub env: BTreeMap<String, String>,
    /// Whether it is started again when it ended.
    pub restart: RestartPolicy,
    /// How long it has between TERM and KILL.
    pub grace: Duration,
    /// Until when it may run, if it runs under a lease: a time of [`crate::sys::boot_clock`], in milliseconds. Its shim
    /// kills it then, agent or no agent, unless [`crate::Runner::extend`] came before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
    /// Bound of one log file; two are kept for each stream.
    #[serde(default = "default_max_log_bytes")]
    pub max_log_bytes: u64,
}

/// The bound of a log file when nothing else is asked for: 1 MiB.
pub const DEFAULT_MAX_LOG_BYTES: u64 = 1 << 20;

fn default_max_log_bytes() -> u64 {
    DEFAULT_MAX_LOG_BYTES
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code; 128 + the signal when a signal ended it.
    pub code: i32,
    /// When.
    pub finished_at: Wall,
    /// What else there is to say: the shim vanished, the disk was full. `None` for most.
    pub reason: Option<String>,
    /// Its shim ended it because its lease was over.
    #[serde(default)]
    pub lease_ended: bool,
}

impl Exit {
    /// Whether it ended well.
    pub fn success(&self) -> bool {
        self.code == 0
    }
}

/// What the runner tells its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunnerEvent {
    /// The command runs.
    Started {
        /// The task.
        id: TaskId,
        /// The process id of the command, which is its process group too.
        pid: u32,
        /// How often it was started again.
        restarts: u32,
        /// When it was started.
        started_at: Wall,
        /// It already ran when this runner started.
        adopted: bool,
    },
    /// The command ended.
    Ended {
        /// The task.
        id: TaskId,
        /// How.
        exit: Exit,
        /// How often it was started again before.
        restarts: u32,
        /// It will be started again after this time; `None`: this was its last word.
        will_restart_in: Option<Duration>,
        /// The last bytes of its standard output, at most [`OUTPUT_TAIL`].
        output: Vec<u8>,
    },
    /// The command could not be started.
    FailedToStart {
        /// The task.
        id: TaskId,
        /// Why, for people.
        reason: String,
        /// The host is why, not the command: no folder could be made, no process started, or it runs too many.
        of_the_host: bool,
        /// Its lease was over before it ran. Then it is not tried again.
        lease_ended: bool,
        /// How often it was started again before.
        restarts: u32,
        /// It will be tried again after this time; `None`: this was its last word.
        will_restart_in: Option<Duration>,
    },
}

/// How much of the standard output is handed over when a task ends.
pub const OUTPUT_TAIL: usize = 2048;

/// A task found on disk when the runner started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The task.
    pub spec: TaskSpec,
    /// What became of it.
    pub state: FoundState,
}

/// What became of a task while no agent watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundState {
    /// It runs. It is watched from now on, and was not touched.
    Alive {
        /// The process id of the command.
        pid: u32,
        /// When it was started.
        started_at: Wall,
        /// How often it was started again.
        restarts: u32,
    },
    /// It ended.
    Exited {
        /// How.
        exit: Exit,
        /// The last bytes of its standard output.
        output: Vec<u8>,
        /// How often it was started again before.
        restarts: u32,
        /// Its policy starts it again after this time.
        will_restart_in: Option<Duration>,
    },
    /// It neither runs nor left word: the host restarted, or its shim was killed. The runner leaves it
    /// alone; its owner may [`run`](crate::Runner::run) it again.
    Gone,
}

/// One of the two output streams of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The name of its log file.
    pub fn file_name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout.log",
            Stream::Stderr => "stderr.log",
        }
    }
}
