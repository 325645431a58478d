//! Finds and starts the command.

use holm_exec::{
    LEASE_OVER, TASK_MARK,
    folder::{ExitFile, LaunchFile, TaskFolder, create_private_dir},
    host_clock,
    proc::Process,
    sys,
};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt::Display,
    fs,
    io::{self, PipeReader},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where programs are looked for when the task has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Why the command does not run, with the exit code that a shell would give.
pub struct Failure {
    pub code: u8,
    pub reason: String,
}

impl Failure {
    /// The supervisor could not do its part.
    pub fn setup(reason: impl Display) -> Failure {
        Failure { code: 125, reason: reason.to_string() }
    }

    fn not_executable(reason: String) -> Failure {
        Failure { code: 126, reason }
    }

    fn not_found(reason: String) -> Failure {
        Failure { code: 127, reason }
    }

    /// What stands in the folder instead of the end of a command.
    pub fn exit_file(&self) -> ExitFile {
        ExitFile {
            code: Some(i32::from(self.code)),
            signal: None,
            finished_at_ms: host_clock().0,
            reason: Some(self.reason.clone()),
            lease_ended: self.reason == LEASE_OVER,
        }
    }
}

/// The command, and the pipes of its output.
pub struct Running {
    pub process: Process,
    pub stdout: PipeReader,
    pub stderr: PipeReader,
}

/// Starts the command of `launch` in the folder.
pub fn start(folder: &TaskFolder, launch: &LaunchFile) -> Result<Running, Failure> {
    let Some((program, arguments)) = launch.task.command.split_first() else {
        return Err(Failure::setup("the command is empty"));
    };
    let work = folder.work();
    if let Err(e) = create_private_dir(&work)
        && !(e.kind() == io::ErrorKind::AlreadyExists && work.is_dir())
    {
        return Err(Failure::setup(format!("cannot create the working directory {}: {e}", work.display())));
    }
    let mut env = launch.base_env.clone();
    env.extend(launch.task.env.clone());
    // Last, so that no task can pass for another.
    env.insert(TASK_MARK.to_owned(), launch.mark.clone());
    let path = find(program, &env, &work)?;
    let (stdout, stdout_writer) = io::pipe().map_err(Failure::setup)?;
    let (stderr, stderr_writer) = io::pipe().map_err(Failure::setup)?;
    let mut command = Command::new(&path);
    if launch.task.lease.is_some() {
        sys::die_with_parent(&mut command);
    }
    let child = command
        .arg0(program)
        .args(arguments)
        .env_clear()
        .envs(&env)
        .current_dir(&work)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(stdout_writer)
        .stderr(stderr_writer)
        .spawn()
        .map_err(|e| explain(&path, &work, &e))?;
    let process = Process { pid: child.id(), start: start_ticks(child.id())? };
    Ok(Running { process, stdout, stderr })
}

/// Even of a command that has ended already: nobody has waited for it yet, so it is still listed.
fn start_ticks(pid: u32) -> Result<u64, Failure> {
    holm_exec::proc::start_ticks(pid).ok_or_else(|| Failure::setup("cannot read /proc"))
}

/// As a shell finds it: a name without a slash in the `PATH` of the task. Done here, and not by the
/// system, because the error can then say what was wrong.
fn find(program: &str, env: &BTreeMap<String, String>, work: &Path) -> Result<PathBuf, Failure> {
    if program.contains('/') {
        let path = work.join(program);
        return check(&path).map(|()| path);
    }
    let search = env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    let mut failure = Failure::not_found(format!("{program}: command not found in PATH={search}"));
    for dir in std::env::split_paths(OsStr::new(search)) {
        let path = work.join(dir).join(program);
        match check(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.code == 126 => failure = e,
            Err(_) => {}
        }
    }
    Err(failure)
}

fn check(path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(m) if m.is_dir() => Err(Failure::not_executable(format!("{shown}: is a directory"))),
        Ok(m) if m.permissions().mode() & 0o111 == 0 => {
            Err(Failure::not_executable(format!("{shown}: not executable")))
        }
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Failure::not_found(format!("{shown}: not found"))),
        Err(e) => Err(Failure::not_executable(format!("{shown}: {e}"))),
    }
}

fn explain(path: &Path, work: &Path, e: &io::Error) -> Failure {
    let shown = path.display();
    if let Err(e) = fs::read_dir(work) {
        return Failure::setup(format!("cannot enter the working directory {}: {e}", work.display()));
    }
    match e.kind() {
        // The program is there (it was checked), so it is what its first line or its format names that is not.
        io::ErrorKind::NotFound => Failure::not_found(format!("{shown}: its interpreter is not found")),
        _ => Failure::not_executable(format!("{shown}: {e}")),
    }
}
