//! Starts a shim and hears from it; and, when it ended, collects what it left. All of this blocks, shortly:
//! it runs on the blocking threads of the runtime, a bounded number at a time.

use crate::{
    ExecError, RunnerConfig,
    census::{self, SHIM_MARK},
    error::LEASE_OVER,
    folder::{LaunchFile, Progress, StateFile, TaskFolder, create_private_dir},
    logs::read_tail,
    proc::{Process, boot_id},
    sys,
    task::{Exit, OUTPUT_TAIL, Stream, TaskSpec},
};
use holm_types::{TaskId, Wall};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::wait::{Id, WaitPidFlag, WaitStatus, waitid},
};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, PipeReader, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A shim that has not spoken for so long is taken for stuck.
const SHIM_PATIENCE: Duration = Duration::from_secs(30);

/// How long a killed command may take to go.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// Held by the agent that owns the folder of the tasks.
pub(crate) const LOCK_FILE: &str = ".lock";

/// The longest thing a shim says.
const MAX_REPLY: usize = 4096;

/// What every launch of a runner has in common.
#[derive(Debug)]
pub(crate) struct Launcher {
    pub dir: PathBuf,
    pub shim: PathBuf,
    pub base_env: BTreeMap<String, String>,
    pub boot: String,
    /// What the processes of its tasks are known by.
    pub owner: String,
    /// Says that `dir` has an owner, until the last launch under way is through.
    lock: Mutex<fs::File>,
}

/// A command that runs, and how to hear of its end.
#[derive(Debug)]
pub(crate) struct Launched {
    pub process: Process,
    pub started_at: Wall,
    pub watch: Watch,
}

/// What the end of a shim is noticed by.
#[derive(Debug)]
pub(crate) enum Watch {
    /// A descriptor that becomes readable.
    PidFd(OwnedFd),
    /// None could be had (no descriptor free, an old kernel): look at this process now and then.
    Look(Process),
}

impl Watch {
    /// Watches `shim`; `None` when it is not there any more.
    pub fn new(shim: Process) -> Option<Watch> {
        match sys::pidfd_open(shim.pid) {
            // Compared after opening: a descriptor of the right process can no longer become a wrong one.
            Ok(fd) => shim.is_alive().then_some(Watch::PidFd(fd)),
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => None,
            Err(_) => Some(Watch::Look(shim)),
        }
    }
}

impl Launcher {
    /// A launcher for the tasks of `config` in `dir`, of which `lock` is the proof of ownership.
    pub fn new(config: &RunnerConfig, dir: PathBuf, shim: PathBuf, lock: fs::File) -> Launcher {
        let owner = config.owner.clone().unwrap_or_else(|| dir.to_string_lossy().into_owned());
        Launcher { dir, shim, base_env: config.base_env.clone(), boot: boot_id(), owner, lock: Mutex::new(lock) }
    }

    /// The folder of a task.
    pub fn folder(&self, id: &TaskId) -> TaskFolder {
        TaskFolder::new(self.dir.join(id.as_str()))
    }

    /// Starts the task and returns once its command runs.
    ///
    /// # Errors
    /// The disk, or the shim says why it cannot run.
    pub fn launch(&self, spec: &TaskSpec, progress: &Progress, lease: Option<u64>) -> Result<Launched, ExecError> {
        let folder = self.folder(&spec.id);
        match self.create_folder(&folder) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.clear(&spec.id)?;
                folder.write_progress(progress)?;
                folder.clear_run()?;
            }
            Err(e) => return Err(ExecError::io("create", folder.path())(e)),
        }
        if let Some(until_ms) = lease {
            folder.write_lease(until_ms)?;
        }
        let mark = self.mark(&spec.id);
        let launch = LaunchFile { task: spec.clone(), base_env: self.base_env.clone(), boot: self.boot.clone(), mark };
        let lock = folder.write_launch_file(&launch)?;
        let (mut child, pipe) = self.spawn_shim(folder.path(), &launch.mark, lock)?;
        match hear(pipe) {
            Ok(Reply { process, started_at }) => Ok(Launched { process, started_at, watch: watch_child(&child) }),
            Err(reason) => {
                self.abandon(&mut child, &spec.id);
                Err(if reason == LEASE_OVER { ExecError::LeaseOver } else { ExecError::Start(reason) })
            }
        }
    }

    /// Makes the folder of a task. Where somebody has removed the folder of all tasks, that is made again: what ran there
    /// goes on without its logs, and that is no reason to start nothing any more.
    fn create_folder(&self, folder: &TaskFolder) -> io::Result<()> {
        match create_private_dir(folder.path()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.restore()?;
                create_private_dir(folder.path())
            }
            other => other,
        }
    }

    /// Makes the folder of all tasks again, and its lock.
    fn restore(&self) -> io::Result<()> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.dir.join(LOCK_FILE);
        let place = |file: fs::Metadata| (file.dev(), file.ino());
        if fs::metadata(&path).map(place).ok() == Some(place(lock.metadata()?)) {
            // Another launch was faster.
            return Ok(());
        }
        match create_private_dir(&self.dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        let file = open_lock(&path)?;
        file.try_lock()?;
        *lock = file;
        tracing::warn!(dir = %self.dir.display(), "the folder of the tasks was removed, and is made again; the logs in it are lost");
        Ok(())
    }

    /// What the processes of a task are known by.
    fn mark(&self, id: &TaskId) -> String {
        format!("{}/{id}", self.owner)
    }

    /// Kills whatever is still there of an earlier run of a task that is about to be started: whatever became of its
    /// files, no second one runs beside it. Returns how many there were.
    ///
    /// # Errors
    /// Its lock is held by a process that cannot be killed.
    fn clear(&self, id: &TaskId) -> Result<usize, ExecError> {
        let folder = self.folder(id);
        let killed = self.sweep(id);
        if !folder.has_shim() {
            return Ok(killed);
        }
        let holders = census::holders(&folder.spec_path());
        let killed = killed + census::sweep_task(&self.owner, id.as_str(), holders, KILL_PATIENCE);
        if folder.has_shim() {
            let path = folder.spec_path();
            return Err(ExecError::Start(format!("a process that cannot be killed holds {}", path.display())));
        }
        Ok(killed)
    }

    /// Kills what runs of a task. Returns how many there were.
    pub fn sweep(&self, id: &TaskId) -> usize {
        let command = self.folder(id).living_command();
        let killed = census::sweep_task(&self.owner, id.as_str(), command.into_iter().collect(), KILL_PATIENCE);
        if killed > 0 {
            tracing::warn!(task = %id, "killed {killed} processes that nobody supervised any more");
        }
        killed
    }

    /// Ends a shim that said "failed" (it is about to go anyway) or nothing at all.
    fn abandon(&self, child: &mut Child, id: &TaskId) {
        if !self.folder(id).exit().is_ok_and(|exit| exit.is_some()) {
            // An error means that it is gone already.
            let _ = child.kill();
            self.sweep(id);
        }
        let _ = child.wait();
    }

    /// How a task ended: what its shim left, or what can be told without it. `shim` is the descriptor
    /// through which the end was noticed; a shim that is our child is reaped.
    pub fn collect(&self, id: &TaskId, shim: &Watch, now: Wall) -> (Exit, Vec<u8>) {
        let folder = self.folder(id);
        let status = reap(shim);
        let state = folder.state().ok().flatten();
        let exit = match folder.exit() {
            Ok(Some(exit)) => exit.into(),
            other => self.without_record(id, status, other.err(), now),
        };
        (exit, output_tail(&folder, state.as_ref()))
    }

    /// No exit record: the shim could not write it (its own exit code then says how the command ended), or it was
    /// killed, and nothing of its task must go on unwatched.
    fn without_record(&self, id: &TaskId, status: Option<i32>, error: Option<ExecError>, now: Wall) -> Exit {
        let killed = self.sweep(id);
        let vanished = "the supervisor of the task vanished";
        let (code, reason) = match (status, error) {
            _ if killed > 0 => (137, format!("{vanished}; {killed} processes that it left were killed")),
            (Some(code), Some(e)) => (code, e.to_string()),
            (Some(code), None) => (code, "the exit record could not be written".to_owned()),
            (None, Some(e)) => (137, e.to_string()),
            (None, None) => (137, vanished.to_owned()),
        };
        Exit { code, finished_at: now, reason: Some(reason), lease_ended: false }
    }

    /// Nothing here needs code to run between fork and exec, so that std can take posix_spawn: it does not copy
    /// the page tables of an agent that holds a database.
    fn spawn_shim(&self, folder: &Path, mark: &str, lock: fs::File) -> Result<(Child, PipeReader), ExecError> {
        let (reader, writer) = io::pipe().map_err(ExecError::io("make a pipe for", folder))?;
        let child = Command::new(&self.shim)
            .arg(folder)
            .env_clear()
            .env(SHIM_MARK, mark)
            .stdin(Stdio::from(lock))
            .stdout(writer)
            .stderr(Stdio::null())
            .spawn()
            .map_err(ExecError::io("start the shim", &self.shim))?;
        Ok((child, reader))
    }
}

/// Opens the lock of a folder of tasks, which is made if it is not there.
pub(crate) fn open_lock(path: &Path) -> io::Result<fs::File> {
    fs::File::options().write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn watch_child(child: &Child) -> Watch {
    // Our child cannot be mistaken for another: its number is not free before we have reaped it.
    match sys::pidfd_open(child.id()) {
        Ok(fd) => Watch::PidFd(fd),
        Err(_) => Watch::Look(Process::of(child.id()).unwrap_or(Process { pid: child.id(), start: 0 })),
    }
}

struct Reply {
    process: Process,
    started_at: Wall,
}

/// Reads the one line that a shim says.
fn hear(mut pipe: PipeReader) -> Result<Reply, String> {
    let deadline = Instant::now() + SHIM_PATIENCE;
    let mut said = Vec::new();
    loop {
        let left =
            PollTimeout::try_from(deadline.saturating_duration_since(Instant::now())).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], left) {
            Ok(0) => return Err(format!("the shim said nothing for {} s", SHIM_PATIENCE.as_secs())),
            Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(e) => return Err(format!("cannot hear the shim: {e}")),
        }
        let mut buffer = [0; 512];
        match pipe.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => said.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(format!("cannot hear the shim: {e}")),
        }
        if said.contains(&b'\n') || said.len() > MAX_REPLY {
            break;
        }
    }
    understand(&String::from_utf8_lossy(&said))
}

fn understand(said: &str) -> Result<Reply, String> {
    let line = said.trim_end();
    if let Some(reason) = line.strip_prefix("failed ") {
        return Err(reason.to_owned());
    }
    let mut words = line.split(' ');
    let parsed = (words.next() == Some("started"))
        .then(|| Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?)));
    match parsed.flatten() {
        Some((pid, start, started_at)) => Ok(Reply { process: Process { pid, start }, started_at: Wall(started_at) }),
        None if line.is_empty() => Err("the shim ended before it said anything".to_owned()),
        None => Err(format!("the shim said {:?}", line.chars().take(200).collect::<String>())),
    }
}

/// The last bytes that the run of `state` wrote.
pub(crate) fn output_tail(folder: &TaskFolder, state: Option<&StateFile>) -> Vec<u8> {
    let from = state.map_or(0, |s| s.stdout_from);
    read_tail(folder, Stream::Stdout, from, OUTPUT_TAIL).unwrap_or_else(|e| {
        tracing::warn!(folder = %folder.path().display(), "no output: {e}");
        Vec::new()
    })
}

fn reap(shim: &Watch) -> Option<i32> {
    let id = match shim {
        Watch::PidFd(fd) => Id::PIDFd(fd.as_fd()),
        Watch::Look(process) => Id::Pid(nix::unistd::Pid::from_raw(i32::try_from(process.pid).ok()?)),
    };
    // An adopted shim is not our child: its new parent reaps it.
    match waitid(id, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
        Ok(WaitStatus::Exited(_, code)) => Some(code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shim_says() {
        let reply = understand("started 12 345 678\n").map(|r| (r.process, r.started_at));
        assert_eq!(reply, Ok((Process { pid: 12, start: 345 }, Wall(678))));
        assert_eq!(understand("failed no such file\n").err().as_deref(), Some("no such file"));
        assert_eq!(understand("").err().as_deref(), Some("the shim ended before it said anything"));
        assert!(understand("started 12\n").is_err());
        assert!(understand("hello").is_err());
    }
}
