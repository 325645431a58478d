//! What an earlier agent left in the folder of tasks.

use crate::{
    ExecError,
    folder::{Progress, TaskFolder},
    launch::{Launcher, Watch, output_tail},
    proc::Process,
    task::{Exit, TaskSpec},
};
use holm_types::{TaskId, Wall};
use std::{fs, io, path::Path, time::Duration};

/// Folders on their way out are named so; no task id begins with a dot.
pub(crate) const TRASH: &str = ".trash-";

/// How long a killed command, and then its shim, may take to go.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

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
    Alive {
        process: Process,
        started_at: Wall,
        watch: Watch,
    },
    Exited {
        exit: Exit,
        output: Vec<u8>,
    },
    /// Its shim was started, and has not yet said more. Look again.
    Starting,
    Gone,
}

/// Reads every task folder. What is not one is left alone, what is broken is removed, in both cases with
/// a warning; the folders of tasks that ended come in the order in which they did.
pub(crate) fn scan(launcher: &Launcher, now: Wall) -> Result<Vec<Leftover>, ExecError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(&launcher.dir).map_err(ExecError::io("read", &launcher.dir))? {
        let entry = entry.map_err(ExecError::io("read", &launcher.dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(TRASH) {
            remove_all(&entry.path());
        } else if let Ok(id) = name.parse::<TaskId>()
            && entry.file_type().is_ok_and(|t| t.is_dir())
        {
            match inspect(launcher, &id, now) {
                Ok(leftover) => found.push(leftover),
                Err(e) => discard(&launcher.folder(&id), &e),
            }
        }
    }
    found.sort_by_key(|f| match &f.state {
        LeftoverState::Exited { exit, .. } => exit.finished_at,
        _ => Wall(0),
    });
    Ok(found)
}

/// A folder that does not even say what its task is cannot be taken up. Its command, if that can be told, must
/// not run on unwatched. Which boot it is from is not known either; the lock that a living shim holds says it.
fn discard(folder: &TaskFolder, why: &ExecError) {
    tracing::warn!(folder = %folder.path().display(), "removed a broken task folder: {why}");
    if let Ok(Some(state)) = folder.state()
        && folder.has_shim()
    {
        state.command().kill_group_and_wait(KILL_PATIENCE);
        // It writes its record now; a folder that is written to cannot be removed.
        state.shim().wait(KILL_PATIENCE);
    }
    remove_all(folder.path());
}

/// Looks at one folder.
pub(crate) fn inspect(launcher: &Launcher, id: &TaskId, now: Wall) -> Result<Leftover, ExecError> {
    let folder = launcher.folder(id);
    let launch = folder.launch_file()?;
    if launch.task.id != *id {
        return Err(ExecError::Corrupt { path: folder.spec_path(), why: format!("it is about {}", launch.task.id) });
    }
    let progress = folder.progress().unwrap_or_else(|e| {
        tracing::warn!(task = %id, "its restarts are forgotten: {e}");
        Progress::default()
    });
    let (state, ran) = judge(launcher, &folder, &launch.boot, now);
    Ok(Leftover { spec: launch.task, progress, ran, state })
}

fn judge(launcher: &Launcher, folder: &TaskFolder, boot: &str, now: Wall) -> (LeftoverState, Duration) {
    let state = folder.state().ok().flatten();
    let started_at = state.map(|s| Wall(s.started_at_ms));
    let ran_until = |end: Wall| Duration::from_millis(started_at.map_or(0, |s| end.0.saturating_sub(s.0)));
    // Asked first: a shim writes its exit record while it still lives.
    if let Some(exit) = folder.exit().ok().flatten() {
        let exit = Exit::from(exit);
        let ran = ran_until(exit.finished_at);
        return (LeftoverState::Exited { exit, output: output_tail(folder, state.as_ref()) }, ran);
    }
    let same_boot = boot == launcher.boot;
    match (state, started_at) {
        (Some(state), Some(started_at)) if same_boot => match Watch::new(state.shim()) {
            Some(watch) => {
                let process = state.command();
                (LeftoverState::Alive { process, started_at, watch }, ran_until(now))
            }
            // It may have written its record since we asked.
            None => (after_shim(folder, state.command()), ran_until(now)),
        },
        (None, _) if same_boot && folder.has_shim() => (LeftoverState::Starting, Duration::ZERO),
        _ => (LeftoverState::Gone, Duration::ZERO),
    }
}

fn after_shim(folder: &TaskFolder, command: Process) -> LeftoverState {
    if let Some(exit) = folder.exit().ok().flatten() {
        let state = folder.state().ok().flatten();
        return LeftoverState::Exited { exit: exit.into(), output: output_tail(folder, state.as_ref()) };
    }
    // Unwatched, it would run beside the one that replaces it.
    command.kill_group_and_wait(KILL_PATIENCE);
    LeftoverState::Gone
}

/// Takes a folder away at once, by name; its content goes later with [`remove_all`].
pub(crate) fn set_aside(folder: &TaskFolder, dir: &Path, number: u64) -> Option<std::path::PathBuf> {
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
