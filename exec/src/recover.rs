//! What an earlier agent left in the folder of tasks, and on the host.
//!
//! The folder says what should be there, a census of the host says what is. Where the two agree a task is adopted. Where a file
//! cannot be read, the census decides: a task that can still be told from its processes is adopted; all else that runs
//! of this runner is killed, whatever it is, so that what is started again runs once.

use crate::{
    ExecError,
    census::{self, Census},
    folder::{Progress, StateFile, TaskFolder},
    launch::{Launcher, Watch, output_tail},
    proc::{self, Process},
    task::{Exit, TaskSpec},
};
use holm_types::{TaskId, Wall};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Folders on their way out are named so; no task id begins with a dot.
pub(crate) const TRASH: &str = ".trash-";

/// How long a shim that was just started may take to say who it is, all of them together: longer, and it is killed.
const SETTLE: Duration = Duration::from_millis(300);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long what was killed may take to go, all together.
const KILL_PATIENCE: Duration = Duration::from_secs(2);

/// All that was found.
#[derive(Debug)]
pub(crate) struct Recovery {
    /// The tasks; those that ended come in the order in which they did.
    pub leftovers: Vec<Leftover>,
    /// Folders with a file that could not be read.
    pub damaged_folders: u64,
    /// Processes that were killed.
    pub stray_processes: u64,
}

/// A task on disk.
#[derive(Debug)]
pub(crate) struct Leftover {
    pub spec: TaskSpec,
    pub progress: Progress,
    pub ran: Duration,
    pub state: LeftoverState,
}

#[derive(Debug)]
pub(crate) enum LeftoverState {
    Alive { process: Process, started_at: Wall, watch: Watch },
    Exited { exit: Exit, output: Vec<u8> },
    Gone,
}

/// What one look at a folder and the host gave.
enum Look {
    Settled(LeftoverState, Duration),
    /// A shim is there and has not yet said more.
    Starting,
}

/// A folder whose task could be read.
struct Known {
    folder: TaskFolder,
    spec: TaskSpec,
    boot: String,
    progress: Progress,
    look: Look,
    damage: Damage,
}

/// What was wrong with a folder, in words.
#[derive(Default)]
struct Damage(Vec<String>);

impl Damage {
    fn note<T>(&mut self, result: Result<Option<T>, ExecError>) -> Option<T> {
        result.unwrap_or_else(|e| {
            self.add(&e);
            None
        })
    }

    fn add(&mut self, error: &ExecError) {
        let text = error.to_string();
        // The same file is read again at each look.
        if !self.0.contains(&text) {
            self.0.push(text);
        }
    }
}

/// Reads every task folder, adopts what can be adopted, and kills what else runs of this runner's tasks. It takes a
/// fraction of a second however many are damaged; one that is harms no other.
pub(crate) fn recover(launcher: &Launcher, clock: &dyn Fn() -> Wall) -> Result<Recovery, ExecError> {
    let deadline = Instant::now() + SETTLE;
    let mut census = Census::take(&launcher.owner);
    let (mut known, mut broken) = (Vec::new(), Vec::new());
    for id in list(&launcher.dir)? {
        match Known::read(launcher, &id) {
            Ok(task) => known.push(task),
            Err(e) => broken.push((id, e)),
        }
    }
    loop {
        let now = clock();
        let starting = |task: &&mut Known| matches!(task.look, Look::Starting);
        for task in known.iter_mut().filter(starting) {
            task.look = task.look(launcher, &census, now);
        }
        if Instant::now() >= deadline || !known.iter_mut().any(|task| starting(&task)) {
            break;
        }
        std::thread::sleep(LOOK_AGAIN);
        census = Census::take(&launcher.owner);
    }
    let stray_processes = kill_strays(launcher, &census, &known, &broken);
    let damaged = known.iter().filter(|task| !task.damage.0.is_empty()).count() + broken.len();
    for (number, (id, error)) in broken.into_iter().enumerate() {
        discard(launcher, &launcher.folder(&id), number, &error);
    }
    let mut leftovers: Vec<Leftover> = known.into_iter().map(Known::into_leftover).collect();
    leftovers.sort_by_key(|leftover| match &leftover.state {
        LeftoverState::Exited { exit, .. } => exit.finished_at,
        _ => Wall(0),
    });
    Ok(Recovery { leftovers, damaged_folders: damaged as u64, stray_processes: stray_processes as u64 })
}

/// The task folders. What is on its way out goes; what is none is left alone.
fn list(dir: &Path) -> Result<BTreeSet<TaskId>, ExecError> {
    let mut ids = BTreeSet::new();
    for entry in fs::read_dir(dir).map_err(ExecError::io("read", dir))? {
        let entry = entry.map_err(ExecError::io("read", dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(TRASH) {
            remove_all(&entry.path());
        } else if let Ok(id) = name.parse()
            && entry.file_type().is_ok_and(|t| t.is_dir())
        {
            ids.insert(id);
        }
    }
    Ok(ids)
}

/// Kills what runs of any task of this runner, except for what is adopted: of those that are gone, of those whose folder
/// is broken, and of those that have no folder at all.
fn kill_strays(launcher: &Launcher, census: &Census, known: &[Known], broken: &[(TaskId, ExecError)]) -> usize {
    let mut strays: BTreeMap<String, Vec<Process>> =
        census.tasks().into_iter().map(|task| (task.to_owned(), Vec::new())).collect();
    for task in known {
        let id = task.spec.id.as_str();
        match &task.look {
            Look::Settled(LeftoverState::Alive { .. }, _) => {
                strays.remove(id);
            }
            _ => strays.entry(id.to_owned()).or_default().extend(unmarked(&task.folder, &task.boot, launcher)),
        }
    }
    for (id, _) in broken {
        let folder = launcher.folder(id);
        strays.entry(id.to_string()).or_default().extend(unmarked(&folder, &launcher.boot, launcher));
    }
    let marked = census.tasks();
    strays.retain(|task, seeds| !seeds.is_empty() || marked.contains(task.as_str()));
    if strays.is_empty() {
        return 0;
    }
    let killed = census::sweep(&launcher.owner, &strays, KILL_PATIENCE);
    let names: Vec<&str> = strays.keys().map(String::as_str).take(10).collect();
    tracing::warn!("killed {killed} processes of {} tasks that nobody supervised: {}", strays.len(), names.join(", "));
    killed
}

/// What runs of a task and may not say so in its environment: the processes that `state.json` names, and who
/// holds the lock.
fn unmarked(folder: &TaskFolder, boot: &str, launcher: &Launcher) -> Vec<Process> {
    let mut found = Vec::new();
    if boot == launcher.boot
        && let Ok(Some(state)) = folder.state()
    {
        found.extend([state.shim(), state.command()].into_iter().filter(|process| process.is_alive()));
    }
    if folder.has_shim() {
        found.extend(census::holders(&folder.spec_path()));
    }
    found
}

/// A folder that does not say what its task is cannot be taken up. One that could only not be read just now stays, for
/// the next run of its task.
fn discard(launcher: &Launcher, folder: &TaskFolder, number: usize, why: &ExecError) {
    if !matches!(why, ExecError::Corrupt { .. }) {
        tracing::warn!(folder = %folder.path().display(), "a damaged task folder: {why}; it is left as it is");
        return;
    }
    tracing::warn!(folder = %folder.path().display(), "a damaged task folder: {why}; it was removed");
    // The actor counts its own from the other end.
    if let Some(trash) = set_aside(folder, &launcher.dir, u64::MAX - number as u64) {
        remove_all(&trash);
    }
}

impl Known {
    fn read(launcher: &Launcher, id: &TaskId) -> Result<Known, ExecError> {
        let folder = launcher.folder(id);
        let launch = folder.launch_file()?;
        if launch.task.id != *id {
            return Err(ExecError::Corrupt {
                path: folder.spec_path(),
                why: format!("it is about {}", launch.task.id),
            });
        }
        let mut damage = Damage::default();
        let progress = damage.note(folder.progress().map(Some)).unwrap_or_default();
        let mut spec = launch.task;
        if launch.boot != launcher.boot {
            // Its lease was told on a clock that has begun anew: as it stands it might last for days.
            spec.lease = spec.lease.map(|_| 0);
        }
        Ok(Known { folder, spec, boot: launch.boot, progress, look: Look::Starting, damage })
    }

    fn look(&mut self, launcher: &Launcher, census: &Census, now: Wall) -> Look {
        let shims = census.shims(self.spec.id.as_str());
        // Asked before the exit record: a shim writes that while it still lives.
        let state = self.damage.note(self.folder.state());
        if let Some(exit) = self.damage.note(self.folder.exit()) {
            let exit = Exit::from(exit);
            let ran = ran(state.map(|s| Wall(s.started_at_ms)), exit.finished_at);
            let output = output_tail(&self.folder, state.as_ref());
            return Look::Settled(LeftoverState::Exited { exit, output }, ran);
        }
        let gone = Look::Settled(LeftoverState::Gone, Duration::ZERO);
        // Two of them: the files can speak of one at most, and which one was wanted nobody knows.
        if shims.len() > 1 {
            return gone;
        }
        // A mark is only found on processes of this boot.
        if self.boot != launcher.boot && shims.is_empty() {
            return gone;
        }
        match (state, shims.first()) {
            (Some(state), shim) if shim.is_none_or(|shim| *shim == state.shim()) => {
                adopt(state, now).unwrap_or_else(|| self.ended_meanwhile(&state))
            }
            (_, Some(shim)) => self.reconstruct(census, *shim, now),
            (_, None) if self.folder.has_shim() => Look::Starting,
            (_, None) => gone,
        }
    }

    /// It may have written its record since we asked.
    fn ended_meanwhile(&mut self, state: &StateFile) -> Look {
        let Some(exit) = self.damage.note(self.folder.exit()) else {
            return Look::Settled(LeftoverState::Gone, Duration::ZERO);
        };
        let exit = Exit::from(exit);
        let ran = ran(Some(Wall(state.started_at_ms)), exit.finished_at);
        Look::Settled(LeftoverState::Exited { exit, output: output_tail(&self.folder, Some(state)) }, ran)
    }

    /// The shim does not say what it runs, but the host does. What it would have said is written for the next agent.
    fn reconstruct(&mut self, census: &Census, shim: Process, now: Wall) -> Look {
        let Some(command) = census.command_of(shim) else { return Look::Starting };
        let state = StateFile {
            shim_pid: shim.pid,
            shim_start: shim.start,
            pid: command.pid,
            start: command.start,
            started_at_ms: proc::started_at(command, now).0,
            // Not known any more: all of the log counts as its output.
            stdout_from: 0,
        };
        let Some(alive) = adopt(state, now) else { return Look::Starting };
        if self.damage.0.is_empty() {
            self.damage.0.push("state.json is missing, or is not about its shim".to_owned());
        }
        if let Err(e) = self.folder.write_state(&state) {
            self.damage.add(&e);
        }
        alive
    }

    fn into_leftover(self) -> Leftover {
        let (state, ran) = match self.look {
            Look::Settled(state, ran) => (state, ran),
            // It had its time, and was killed.
            Look::Starting => (LeftoverState::Gone, Duration::ZERO),
        };
        if !self.damage.0.is_empty() {
            let became = match state {
                LeftoverState::Alive { .. } => "its task runs on",
                LeftoverState::Exited { .. } => "its task had ended",
                LeftoverState::Gone => "its task is gone and can be started again",
            };
            let (folder, damage) = (self.folder.path().display(), self.damage.0.join("; "));
            tracing::warn!(%folder, "a damaged task folder: {damage}; {became}");
        }
        Leftover { spec: self.spec, progress: self.progress, ran, state }
    }
}

fn adopt(state: StateFile, now: Wall) -> Option<Look> {
    let (process, started_at) = (state.command(), Wall(state.started_at_ms));
    let watch = Watch::new(state.shim())?;
    Some(Look::Settled(LeftoverState::Alive { process, started_at, watch }, ran(Some(started_at), now)))
}

fn ran(started_at: Option<Wall>, until: Wall) -> Duration {
    Duration::from_millis(started_at.map_or(0, |from| until.0.saturating_sub(from.0)))
}

/// Takes a folder away at once, by name; its content goes later with [`remove_all`].
pub(crate) fn set_aside(folder: &TaskFolder, dir: &Path, number: u64) -> Option<PathBuf> {
    let trash = dir.join(format!("{TRASH}{}-{number}", std::process::id()));
    match fs::rename(folder.path(), &trash) {
        Ok(()) => Some(trash),
        Err(e) => {
            if e.kind() != io::ErrorKind::NotFound {
                tracing::warn!(folder = %folder.path().display(), "cannot remove it: {e}");
            }
            None
        }
    }
}

/// Removes a folder and all in it.
pub(crate) fn remove_all(path: &Path) {
    if let Err(e) = fs::remove_dir_all(path) {
        tracing::warn!(folder = %path.display(), "cannot remove it: {e}");
    }
}
