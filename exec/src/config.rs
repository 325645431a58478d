//! What a runner needs to know.

use crate::{ExecError, backoff::Backoff};
use holm_types::Wall;
use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// The variables that a task inherits from the agent, if it has them.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// The configuration of a [`crate::Runner`]. [`RunnerConfig::new`] fills in what most want.
#[derive(Clone)]
pub struct RunnerConfig {
    /// The folder of the task folders.
    pub dir: PathBuf,
    /// The program `holm-shim`.
    pub shim: PathBuf,
    /// What its processes are known by, in their environment: the same in every life of the agent, and that of no
    /// other runner on the host. `None`: the absolute path of `dir`, which two containers may have in common.
    pub owner: Option<String>,
    /// The date.
    pub clock: Arc<dyn Fn() -> Wall + Send + Sync>,
    /// How many folders of ended tasks are kept; the oldest go first.
    pub max_dirs: usize,
    /// How many tasks may run, or wait to run again, at the same time.
    pub max_tasks: usize,
    /// The environment of every task, before its own.
    pub base_env: BTreeMap<String, String>,
    /// The waits between restarts.
    pub backoff: Backoff,
}

impl RunnerConfig {
    /// Tasks under `dir`, with the clock of the host and default bounds; they get `PATH`, `HOME`, `LANG` and `TZ` of
    /// this process and nothing else of its environment.
    pub fn new(dir: impl Into<PathBuf>, shim: impl Into<PathBuf>) -> RunnerConfig {
        let inherited = INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
        RunnerConfig {
            dir: dir.into(),
            shim: shim.into(),
            owner: None,
            clock: Arc::new(host_clock),
            max_dirs: 500,
            max_tasks: 10_000,
            base_env: inherited.collect(),
            backoff: Backoff::default(),
        }
    }

    /// Where `holm-shim` is when it was installed beside the running program.
    ///
    /// # Errors
    /// The system cannot say which program runs.
    pub fn shim_beside_this_program() -> Result<PathBuf, ExecError> {
        let program = std::env::current_exe().map_err(ExecError::io("find", "/proc/self/exe"))?;
        Ok(program.with_file_name("holm-shim"))
    }
}

impl fmt::Debug for RunnerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunnerConfig")
            .field("dir", &self.dir)
            .field("shim", &self.shim)
            .field("owner", &self.owner)
            .field("max_dirs", &self.max_dirs)
            .field("max_tasks", &self.max_tasks)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

/// The date by the host's clock.
pub fn host_clock() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
