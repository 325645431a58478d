//! A host with one agent on it, which may crash and come back.

#![allow(dead_code, reason = "each test file uses a part of it")]

use holm_exec::{
    Backoff, ExecError, Exit, Found, LogCursor, Runner, RunnerConfig, RunnerEvent, Stream, TaskSpec,
    folder::{StateFile, TaskFolder},
    proc::Process,
};
use holm_types::{TaskId, manifest::RestartPolicy};
use nix::sys::signal::Signal;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{interval, timeout},
};

/// Nothing in these tests takes nearly as long on a healthy host.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub struct Host {
    pub runner: Runner,
    pub found: Vec<Found>,
    events: mpsc::Receiver<RunnerEvent>,
    tasks: JoinSet<()>,
    pub config: RunnerConfig,
    dir: Arc<Dir>,
}

/// The folder of a host. Tasks outlive their agents, so a test that fails would leave them running for ever:
/// what is still there when the folder goes is killed.
struct Dir {
    tasks: PathBuf,
    _temporary: TempDir,
}

impl Drop for Dir {
    fn drop(&mut self) {
        let is_ours = |value: &str| value.starts_with(&*self.tasks.to_string_lossy());
        // Shims too: one may be stopped. Then once more what was in the middle of an exec, and showed no mark.
        for variable in ["HOLM_MARK=", "HOLM_SHIM="] {
            for process in with_variable(variable, is_ours) {
                process.signal_process(Signal::SIGKILL);
            }
        }
        for process in with_variable("HOLM_MARK=", is_ours) {
            process.signal_process(Signal::SIGKILL);
        }
    }
}

pub fn config(dir: &TempDir) -> RunnerConfig {
    let mut config = RunnerConfig::new(dir.path().join("tasks"), env!("CARGO_BIN_EXE_holm-shim"));
    config.backoff = Backoff {
        base: Duration::from_millis(20),
        cap: Duration::from_secs(3600),
        reset_after: Duration::from_secs(60),
    };
    config
}

impl Host {
    pub async fn new() -> Host {
        Host::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut RunnerConfig)) -> Host {
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = config(&dir);
        change(&mut config);
        let dir = Dir { tasks: config.dir.clone(), _temporary: dir };
        Host::start(Arc::new(dir), config).await
    }

    async fn start(dir: Arc<Dir>, config: RunnerConfig) -> Host {
        let mut tasks = JoinSet::new();
        let (runner, events, found) = Runner::start(config.clone(), &mut tasks).await.expect("a runner");
        Host { runner, found, events, tasks, config, dir }
    }

    /// The agent is gone; nothing was stopped.
    pub async fn crash(self) -> Crashed {
        let Host { runner, events, mut tasks, config, dir, .. } = self;
        drop((runner, events));
        tasks.join_next().await;
        Crashed { config, dir }
    }

    pub fn run(&self, spec: TaskSpec) -> TaskId {
        let id = spec.id.clone();
        assert!(self.runner.run(spec), "the inbox is full");
        id
    }

    pub async fn event(&mut self) -> RunnerEvent {
        timeout(DEADLINE, self.events.recv()).await.expect("an event in time").expect("the runner runs")
    }

    pub fn no_event(&mut self) -> bool {
        self.events.try_recv().is_err()
    }

    /// The next event, which must be a start. Returns the process, the restarts and whether it was adopted.
    pub async fn started(&mut self) -> (u32, u32, bool) {
        match self.event().await {
            RunnerEvent::Started { pid, restarts, adopted, .. } => (pid, restarts, adopted),
            other => panic!("expected a start: {other:?}"),
        }
    }

    /// The next end, whatever starts come before it.
    pub async fn ended(&mut self) -> Ended {
        loop {
            match self.event().await {
                RunnerEvent::Ended { exit, restarts, will_restart_in, output, .. } => {
                    let output = String::from_utf8_lossy(&output).into_owned();
                    return Ended { exit, restarts, will_restart_in, output };
                }
                RunnerEvent::Started { .. } => {}
                other => panic!("expected an end: {other:?}"),
            }
        }
    }

    pub async fn failed(&mut self) -> String {
        match self.event().await {
            RunnerEvent::FailedToStart { reason, .. } => reason,
            other => panic!("expected a failed start: {other:?}"),
        }
    }

    /// The next event, which must be a start that the host is to blame for.
    pub async fn host_failed(&mut self) -> String {
        match self.event().await {
            RunnerEvent::FailedToStart { reason, of_the_host: true, .. } => reason,
            other => panic!("expected a failure of the host: {other:?}"),
        }
    }

    pub async fn log(&self, id: &TaskId, stream: Stream) -> String {
        match self.runner.read_logs(id, stream, LogCursor::START, usize::MAX).await {
            Ok((bytes, _)) => String::from_utf8_lossy(&bytes).into_owned(),
            // Its start is still in the queue.
            Err(ExecError::NotFound(_)) => String::new(),
            Err(e) => panic!("no logs: {e}"),
        }
    }

    /// Waits until the standard output contains `text`.
    pub async fn says(&self, id: &TaskId, text: &str) {
        eventually(async || self.log(id, Stream::Stdout).await.contains(text)).await;
    }

    pub fn folder(&self, id: &TaskId) -> TaskFolder {
        TaskFolder::new(self.config.dir.join(id.as_str()))
    }

    pub fn state(&self, id: &TaskId) -> StateFile {
        self.folder(id).state().expect("readable").expect("a state")
    }
}

pub struct Crashed {
    pub config: RunnerConfig,
    dir: Arc<Dir>,
}

impl Crashed {
    pub async fn restart(self) -> Host {
        Host::start(self.dir, self.config).await
    }

    pub fn folder(&self, id: &TaskId) -> TaskFolder {
        TaskFolder::new(self.config.dir.join(id.as_str()))
    }
}

#[derive(Debug)]
pub struct Ended {
    pub exit: Exit,
    pub restarts: u32,
    pub will_restart_in: Option<Duration>,
    pub output: String,
}

/// Waits until `condition` holds.
pub async fn eventually(mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        let mut look = interval(Duration::from_millis(5));
        while !condition().await {
            look.tick().await;
        }
    };
    timeout(DEADLINE, wait).await.expect("in time");
}

pub fn task(name: &str, command: &[&str]) -> TaskSpec {
    TaskSpec {
        id: name.parse().expect("a task id"),
        command: command.iter().map(|&word| word.to_owned()).collect(),
        env: Default::default(),
        restart: RestartPolicy::Never,
        grace: Duration::from_secs(60),
        lease: None,
        max_log_bytes: 64 * 1024,
    }
}

pub fn script(name: &str, text: &str) -> TaskSpec {
    task(name, &["sh", "-c", text])
}

pub fn alive(pid: u32) -> bool {
    Process::of(pid).is_some()
}

/// The processes of a task, without its shim: what carries its mark.
pub fn marked(folder: &TaskFolder) -> Vec<Process> {
    let mark = folder.path().to_string_lossy().into_owned();
    with_variable("HOLM_MARK=", |value| value == mark)
}

fn with_variable(name: &str, is_it: impl Fn(&str) -> bool) -> Vec<Process> {
    let pids = std::fs::read_dir("/proc").expect("readable").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has_it = |pid: &u32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let environ = String::from_utf8_lossy(&environ).into_owned();
        environ.split('\0').any(|variable| variable.strip_prefix(name).is_some_and(&is_it))
    };
    pids.filter(has_it).filter_map(Process::of).collect()
}

pub fn shim() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_holm-shim"))
}
