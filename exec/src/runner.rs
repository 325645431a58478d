//! The handle of a runner, and how one is started.

use crate::{
    ExecError, RunnerConfig,
    actor::{Actor, Command},
    folder::{TaskFolder, ensure_private_dir},
    launch::{LOCK_FILE, Launcher, open_lock},
    logs::{LogCursor, read_log},
    recover,
    table::Counters,
    task::{Found, RunnerEvent, Stream, TaskSpec},
};
use holm_types::TaskId;
use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep},
};

/// Requests that wait for the runner.
const INBOX: usize = 1024;

/// Events that wait for the owner, before the runner takes no more requests.
const EVENTS: usize = 256;

/// How long to wait for an agent that is just ending to let go of the folder.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Runs tasks. Cheap to clone. When the last clone is dropped the runner ends, and the tasks go on.
#[derive(Debug, Clone)]
pub struct Runner {
    inbox: mpsc::Sender<Command>,
    dir: Arc<Path>,
    counters: Arc<Mutex<Counters>>,
}

impl Runner {
    /// Starts a runner on `config.dir`, in `tasks`: takes up what an earlier one left there, and returns it.
    ///
    /// For every task found alive there is a [`RunnerEvent::Started`] with `adopted` too.
    ///
    /// # Errors
    /// The folder cannot be used, another agent uses it, or there is no shim.
    pub async fn start(
        config: RunnerConfig,
        tasks: &mut JoinSet<()>,
    ) -> Result<(Runner, mpsc::Receiver<RunnerEvent>, Vec<Found>), ExecError> {
        let shim = fs::canonicalize(&config.shim).map_err(ExecError::io("find the shim", &config.shim))?;
        ensure_private_dir(&config.dir).map_err(ExecError::io("create", &config.dir))?;
        let dir = fs::canonicalize(&config.dir).map_err(ExecError::io("find", &config.dir))?;
        let lock = take_lock(dir.join(LOCK_FILE)).await?;
        let launcher = Arc::new(Launcher::new(&config, dir.clone(), shim, lock));
        let (scanner, now) = (Arc::clone(&launcher), Arc::clone(&config.clock));
        let recovery = blocking(move || recover::recover(&scanner, &*now)).await??;

        let (inbox, commands) = mpsc::channel(INBOX);
        let (events, receiver) = mpsc::channel(EVENTS);
        let counters = Arc::default();
        let mut actor = Actor::new(&config, launcher, commands, events, Arc::clone(&counters));
        actor.note_damage(recovery.damaged_folders, recovery.stray_processes);
        let found = recovery.leftovers.into_iter().map(|leftover| actor.take_up(leftover)).collect();
        tasks.spawn(actor.run());
        Ok((Runner { inbox, dir: dir.into(), counters }, receiver, found))
    }

    /// Starts a task. False: the inbox is full, ask again later. A task that already runs is not started twice;
    /// one that ended is started again in its folder.
    pub fn run(&self, spec: TaskSpec) -> bool {
        self.inbox.try_send(Command::Run(spec)).is_ok()
    }

    /// Stops a task: TERM to its process group, KILL after its grace, and no restart. It ends with an event that has no
    /// `will_restart_in`. A task that is not there or has ended is left as it is. False: the inbox is full.
    pub fn stop(&self, id: TaskId) -> bool {
        self.inbox.try_send(Command::Stop(id)).is_ok()
    }

    /// The lease of a task that was asked to run lasts until `until_ms` of [`crate::sys::boot_clock`]. False: the inbox is
    /// full.
    pub fn extend(&self, id: TaskId, until_ms: u64) -> bool {
        self.inbox.try_send(Command::Extend(id, until_ms)).is_ok()
    }

    /// Removes the folder of a task that ended for good; that of another stays. False: the inbox is full.
    pub fn forget(&self, id: TaskId) -> bool {
        self.inbox.try_send(Command::Forget(id)).is_ok()
    }

    /// The log files of a task, the newer first, whether or not they are there.
    pub fn log_paths(&self, id: &TaskId, stream: Stream) -> [PathBuf; 2] {
        let folder = self.dir.join(id.as_str());
        [folder.join(stream.file_name()), folder.join(format!("{}.1", stream.file_name()))]
    }

    /// Reads at most `max` bytes of a log, and says where to go on. Nothing and the same position: nothing new.
    ///
    /// # Errors
    /// There is no such task, or its log cannot be read.
    pub async fn read_logs(
        &self,
        id: &TaskId,
        stream: Stream,
        from: LogCursor,
        max: usize,
    ) -> Result<(Vec<u8>, LogCursor), ExecError> {
        let not_found = || ExecError::NotFound(id.as_str().chars().take(128).collect());
        // An id that came through serde was not checked, and names a folder here.
        let id: TaskId = id.as_str().parse().map_err(|_| not_found())?;
        let folder = TaskFolder::new(self.dir.join(id.as_str()));
        let read = move || folder.path().is_dir().then(|| read_log(&folder, stream, from, max));
        blocking(read).await?.unwrap_or_else(|| Err(not_found()))
    }

    /// What was ignored since the start.
    pub fn counters(&self) -> Counters {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ExecError> {
    spawn_blocking(work).await.map_err(|e| ExecError::Worker(e.to_string()))
}

async fn take_lock(path: PathBuf) -> Result<File, ExecError> {
    let file = open_lock(&path).map_err(ExecError::io("open", &path))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(LOOK_AGAIN).await,
            Err(TryLockError::WouldBlock) => return Err(ExecError::InUse { path }),
            Err(TryLockError::Error(e)) => return Err(ExecError::io("lock", path)(e)),
        }
    }
}
