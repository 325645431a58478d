//! A task's folder: what is in it, and how it is read and written.
//!
//! | file | written by | says |
//! |---|---|---|
//! | `spec.json` | agent | what to run ([`LaunchFile`]); locked for as long as a shim is there |
//! | `lease.json` | agent | until when it may run, if it runs under a lease ([`TaskFolder::lease`]) |
//! | `meta.json` | agent | how often it was restarted, and whether it was asked to stop ([`Progress`]) |
//! | `state.json` | shim | which process it is ([`StateFile`]) |
//! | `exit.json` | shim | how it ended ([`ExitFile`]): the last thing a shim does |
//! | `stdout.log`, `stderr.log` | shim | the output; see [`crate::logs`] |
//! | `work/` | the command | its working directory |
//!
//! Folders are for their owner alone (0700, files 0600): output and environments may hold secrets. Every file is replaced
//! by renaming, so a reader sees the old or the new one, also on a full disk. What a power loss could take away is synced
//! first where that matters: a `spec.json` that replaces another, and, when no agent is there to hear of it, the end of a
//! task with its output ([`TaskFolder::seal`]). The rest is not, because after a power loss no process lives that it could
//! speak of, and a sync for each task costs more than the task.

use crate::{
    ExecError,
    proc::{Process, boot_id},
    task::{Exit, Stream, TaskSpec},
};
use holm_types::Wall;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// No file of a task folder is larger, except logs and what the command makes.
const MAX_FILE: u64 = 1 << 20;

/// What the shim is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchFile {
    /// The task.
    pub task: TaskSpec,
    /// The variables that every task gets, before its own.
    pub base_env: BTreeMap<String, String>,
    /// The boot of the host in which it was started.
    pub boot: String,
    /// What its processes are known by: the value of [`crate::TASK_MARK`] in their environment.
    #[serde(default)]
    pub mark: String,
}

/// Which processes the task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// The shim.
    pub shim_pid: u32,
    /// Its start time in ticks.
    pub shim_start: u64,
    /// The command, which leads its process group.
    pub pid: u32,
    /// Its start time in ticks.
    pub start: u64,
    /// The date at which it was started.
    pub started_at_ms: u64,
    /// Where its output begins in the log of standard output.
    pub stdout_from: u64,
}

impl StateFile {
    /// The shim.
    pub fn shim(&self) -> Process {
        Process { pid: self.shim_pid, start: self.shim_start }
    }

    /// The command.
    pub fn command(&self) -> Process {
        Process { pid: self.pid, start: self.start }
    }
}

/// How the command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitFile {
    /// Its exit code, if it exited.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// When.
    pub finished_at_ms: u64,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The shim ended it because its lease was over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lease_ended: bool,
}

impl ExitFile {
    /// The one number that a shell would show.
    pub fn code(&self) -> i32 {
        match (self.code, self.signal) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => 255,
        }
    }
}

impl From<ExitFile> for Exit {
    fn from(file: ExitFile) -> Exit {
        let (code, finished_at) = (file.code(), Wall(file.finished_at_ms));
        Exit { code, finished_at, reason: file.reason, lease_ended: file.lease_ended }
    }
}

/// What the agent has to remember of a task across its own restarts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How often it was started again.
    pub restarts: u32,
    /// How many short runs in a row it had: what the back-off counts.
    pub streak: u32,
    /// It was asked to stop, so it is not started again.
    pub stopping: bool,
}

/// The folder of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFolder(PathBuf);

impl TaskFolder {
    /// The folder at `path`.
    pub fn new(path: PathBuf) -> TaskFolder {
        TaskFolder(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The working directory of the command.
    pub fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// The log of a stream.
    pub fn log(&self, stream: Stream) -> PathBuf {
        self.0.join(stream.file_name())
    }

    /// `spec.json`.
    pub fn spec_path(&self) -> PathBuf {
        self.0.join("spec.json")
    }

    /// Reads `spec.json`.
    ///
    /// # Errors
    /// It is missing, too large or not valid.
    pub fn launch_file(&self) -> Result<LaunchFile, ExecError> {
        let path = self.spec_path();
        read_json(&path)?.ok_or_else(|| ExecError::Corrupt { path, why: "it is missing".into() })
    }

    /// Writes `spec.json` and locks it. The lock belongs to whoever holds the returned file or a copy of it: the
    /// shim gets it as its standard input, so it is held without a gap from here to the end of the shim.
    ///
    /// # Errors
    /// The disk.
    pub(crate) fn write_launch_file(&self, launch: &LaunchFile) -> Result<File, ExecError> {
        let path = self.spec_path();
        // The first of a folder has nothing to lose.
        let sync = if path.exists() { Sync::Content } else { Sync::Nothing };
        let temporary = temporary(&path);
        let file = create(&temporary).map_err(ExecError::io("create", &temporary))?;
        // A file system without locks only loses one of the ways to find a shim that does not say who it is.
        let _ = file.try_lock();
        replace(file, &to_json(launch), &path, sync)
    }

    /// Whether some shim still holds the lock of `spec.json`.
    pub(crate) fn has_shim(&self) -> bool {
        open(&self.spec_path()).is_ok_and(|file| matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)))
    }

    /// Reads `meta.json`; its absence means nothing happened yet.
    ///
    /// # Errors
    /// It is not valid.
    pub fn progress(&self) -> Result<Progress, ExecError> {
        Ok(read_json(&self.0.join("meta.json"))?.unwrap_or_default())
    }

    /// Writes `meta.json`.
    ///
    /// # Errors
    /// The disk.
    pub fn write_progress(&self, progress: &Progress) -> Result<(), ExecError> {
        // Torn by a power loss it costs a count, and the owner asks again for the stop.
        write_json(&self.0.join("meta.json"), progress, Sync::Nothing)
    }

    /// Reads `lease.json`, if there: until when the task may run, in milliseconds of [`crate::sys::boot_clock`].
    ///
    /// # Errors
    /// It is not valid.
    pub fn lease(&self) -> Result<Option<u64>, ExecError> {
        read_json(&self.0.join("lease.json"))
    }

    /// Writes `lease.json`. Its shim looks at it when the lease that it knows is over.
    ///
    /// # Errors
    /// The disk.
    pub fn write_lease(&self, until_ms: u64) -> Result<(), ExecError> {
        // It means nothing after a restart of the host.
        write_json(&self.0.join("lease.json"), &until_ms, Sync::Nothing)
    }

    /// Reads `state.json`, if there.
    ///
    /// # Errors
    /// It is not valid.
    pub fn state(&self) -> Result<Option<StateFile>, ExecError> {
        read_json(&self.0.join("state.json"))
    }

    /// Writes `state.json`.
    ///
    /// # Errors
    /// The disk.
    pub fn write_state(&self, state: &StateFile) -> Result<(), ExecError> {
        write_json(&self.0.join("state.json"), state, Sync::Nothing)
    }

    /// Reads `exit.json`, if there.
    ///
    /// # Errors
    /// It is not valid.
    pub fn exit(&self) -> Result<Option<ExitFile>, ExecError> {
        read_json(&self.exit_path())
    }

    /// Writes `exit.json`, for an agent that is there to read it.
    ///
    /// # Errors
    /// The disk.
    pub fn write_exit(&self, exit: &ExitFile) -> Result<(), ExecError> {
        write_json(&self.exit_path(), exit, Sync::Nothing)
    }

    /// Writes `exit.json`, for an agent that comes later: what was run, what it said and how it ended are on disk
    /// before it is there, and so is its name when this returns. A job that is done is then not done again.
    ///
    /// # Errors
    /// The disk.
    pub fn seal(&self, exit: &ExitFile) -> Result<(), ExecError> {
        for path in [self.spec_path(), self.log(Stream::Stdout), self.log(Stream::Stderr)] {
            // There may be no log, and a spec that was removed is not missed here.
            let _ = open(&path).and_then(|file| file.sync_all());
        }
        write_json(&self.exit_path(), exit, Sync::Name)
    }

    fn exit_path(&self) -> PathBuf {
        self.0.join("exit.json")
    }

    /// Removes what an earlier run left to say about itself.
    pub(crate) fn clear_run(&self) -> Result<(), ExecError> {
        for name in ["state.json", "exit.json"] {
            let path = self.0.join(name);
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(ExecError::io("remove", path)(e)),
                _ => {}
            }
        }
        Ok(())
    }

    /// The command as `state.json` has it, if that is of this boot of the host and it lives.
    pub(crate) fn living_command(&self) -> Option<Process> {
        let state = self.state().ok()??;
        let launch = self.launch_file().ok()?;
        (launch.boot == boot_id() && state.command().is_alive()).then(|| state.command())
    }
}

/// Makes a folder that only its owner may enter.
///
/// # Errors
/// It is there already, or cannot be made.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

/// The same for a folder that may be there, and those above it.
pub(crate) fn ensure_private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Opens a file to read it. What is none (somebody put a pipe there) is refused, and does not make us wait.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let what_it_is = file.metadata()?;
    what_it_is.is_file().then_some(file).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is not a file"))
}

fn temporary(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

/// Our own types hold only what JSON can say: maps with text keys, numbers, texts.
fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// What must be on disk, and not only in memory, when a file has been replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sync {
    /// Nothing: the file does not matter after a power loss, and an empty one does no harm.
    Nothing,
    /// What is in it, so that no power loss puts an empty file in the place of a good one.
    Content,
    /// That it is there at all, too.
    Name,
}

fn create(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Fills `file`, which is the temporary of `path`, and puts it there.
fn replace(mut file: File, bytes: &[u8], path: &Path, sync: Sync) -> Result<File, ExecError> {
    let temporary = temporary(path);
    file.write_all(bytes).map_err(ExecError::io("write", &temporary))?;
    if sync != Sync::Nothing {
        file.sync_data().map_err(ExecError::io("write", &temporary))?;
    }
    fs::rename(&temporary, path).map_err(ExecError::io("replace", path))?;
    if let (Sync::Name, Some(folder)) = (sync, path.parent()) {
        // It is there, and in order; a file system that cannot promise more is no reason to fail.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(file)
}

fn write_json<T: Serialize>(path: &Path, value: &T, sync: Sync) -> Result<(), ExecError> {
    let temporary = temporary(path);
    let file = create(&temporary).map_err(ExecError::io("create", &temporary))?;
    replace(file, &to_json(value), path, sync).map(drop)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ExecError> {
    let corrupt = |why: String| ExecError::Corrupt { path: path.to_owned(), why };
    let file = match open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => return Err(corrupt(e.to_string())),
        Err(e) => return Err(ExecError::io("read", path)(e)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(ExecError::io("read", path))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(corrupt(format!("it is larger than {MAX_FILE} bytes")));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|e| corrupt(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_back_as_they_were_written() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = TaskFolder::new(dir.path().to_owned());
        assert_eq!(folder.state().expect("readable"), None);
        assert_eq!(folder.progress().expect("readable"), Progress::default());
        let state = StateFile { shim_pid: 1, shim_start: 2, pid: 3, start: 4, started_at_ms: 5, stdout_from: u64::MAX };
        folder.write_state(&state).expect("written");
        assert_eq!(folder.state().expect("readable"), Some(state));
        folder.clear_run().expect("removed");
        assert_eq!(folder.state().expect("readable"), None);
    }

    #[test]
    fn a_torn_or_huge_file_is_named_in_the_error() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = TaskFolder::new(dir.path().to_owned());
        fs::write(dir.path().join("exit.json"), b"{\"code\":").expect("written");
        let error = folder.exit().expect_err("torn").to_string();
        assert!(error.contains("exit.json is not valid"), "{error}");
        fs::write(dir.path().join("exit.json"), vec![b' '; 2 << 20]).expect("written");
        assert!(folder.exit().expect_err("huge").to_string().contains("larger than"));
    }

    #[test]
    fn a_pipe_in_the_place_of_a_file_is_refused_at_once() {
        let dir = tempfile::tempdir().expect("a folder");
        nix::unistd::mkfifo(&dir.path().join("state.json"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        fs::create_dir(dir.path().join("exit.json")).expect("a folder");
        let folder = TaskFolder::new(dir.path().to_owned());
        assert!(folder.state().expect_err("a pipe").to_string().contains("state.json is not valid: it is not a file"));
        assert!(folder.exit().expect_err("a folder").to_string().contains("it is not a file"));
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = TaskFolder::new(dir.path().to_owned());
        let first = Progress { restarts: 1, streak: 0, stopping: true };
        folder.write_progress(&first).expect("written");
        // As full as a disk can be.
        std::os::unix::fs::symlink("/dev/full", dir.path().join("meta.tmp")).expect("a link");
        assert!(folder.write_progress(&Progress::default()).is_err());
        assert_eq!(folder.progress().expect("readable"), first);
    }

    #[test]
    fn the_code_of_a_signal_is_that_of_a_shell() {
        let exit = |code, signal| ExitFile { code, signal, finished_at_ms: 0, reason: None, lease_ended: false }.code();
        assert_eq!(exit(Some(3), None), 3);
        assert_eq!(exit(None, Some(9)), 137);
    }
}
