//! # holm-exec: tasks that outlive the agent
//!
//! Runs, watches and stops the processes of tasks. An agent may be stopped, killed or replaced by a newer one
//! at any moment; its tasks do not notice, and the next agent takes them up where they are.
//!
//! ```no_run
//! # async fn example(spec: holm_exec::TaskSpec) -> Result<(), holm_exec::ExecError> {
//! use holm_exec::{Runner, RunnerConfig, RunnerEvent};
//!
//! let config = RunnerConfig::new("/var/lib/holm/tasks", RunnerConfig::shim_beside_this_program()?);
//! let mut tasks = tokio::task::JoinSet::new();
//! let (runner, mut events, found) = Runner::start(config, &mut tasks).await?;
//! for task in found {
//!     println!("{}: {:?}", task.spec.id, task.state);
//! }
//! runner.run(spec);
//! while let Some(event) = events.recv().await {
//!     if let RunnerEvent::Ended { id, exit, output, .. } = event {
//!         println!("{id}: {} {}", exit.code, String::from_utf8_lossy(&output));
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! ## Concepts
//!
//! **Shim.** Each task has a small supervisor of its own, `holm-shim`: in its own session, so that neither the end of
//! the agent nor a Ctrl-C in its terminal reaches it. It starts the command in its own process group, pumps its
//! output into bounded logs, waits, writes down how it ended, and ends. It knows nothing of restarts or of the mesh.
//!
//! **Folder.** A shim and an agent share one folder for each task and nothing else ([`folder`]). What is in it
//! is all that an agent needs to take up the task.
//!
//! **Runner.** The agent's side: an actor around a pure table of tasks. Requests go in and are bounded; events come
//! out in order and none is dropped: when their reader does not keep up, the runner takes no more requests.
//!
//! **Ends.** A task ends when its command does. Whatever the command left behind is killed then: the rest of its process
//! group, and what left the group too, since the shim is the parent that orphans fall to. To stop means TERM to
//! the group, and KILL after the grace.
//!
//! **Restarts** happen in place: same id, same folder, logs that go on, with a growing wait ([`Backoff`]). How
//! often, and whether a task was asked to stop, is on disk, so a policy holds across restarts of the agent.
//!
//! **Leases.** A task may run under a lease ([`TaskSpec::lease`]): until a time of the host's clock since its boot, which
//! the agent puts off from time to time. When that time comes the shim kills the task. So it ends whether the agent is
//! there, hangs, or was killed, and also when the host was suspended: the timer fires when it wakes up.
//!
//! **Which process.** Process ids are used again. Wherever one comes from disk it is compared with its start time
//! and the boot of the host before anything is sent to it.
//!
//! **Marks.** Shims, commands and what they start carry in their environment whose task they are ([`TASK_MARK`]). So the
//! host itself can be asked what runs: when a shim was killed, before a task starts in a used folder, and when an
//! agent starts. What is found there and cannot be told from its folder or its processes is killed: a task starts
//! again rather than run twice.
//!
//! ## What is not promised
//!
//! After a power loss a task is `Gone` or unknown, which costs nothing, because its process is gone as well; only an
//! end that no agent heard of is synced to disk. When a shim is killed, a process escapes that had left its group, its
//! session and its parents and cleared its environment too. A service manager that kills every process of the agent's
//! cgroup kills the tasks with it; under systemd the unit needs `KillMode=process`. Linux only (5.3 for pidfds; older
//! kernels are watched by looking).

mod actor;
mod backoff;
mod census;
mod config;
mod error;
pub mod folder;
mod launch;
pub mod logs;
pub mod proc;
mod recover;
mod runner;
pub mod sys;
mod table;
mod task;

pub use backoff::Backoff;
pub use census::TASK_MARK;
pub use config::{RunnerConfig, host_clock};
pub use error::{ExecError, LEASE_OVER};
pub use logs::LogCursor;
pub use runner::Runner;
pub use table::Counters;
pub use task::{DEFAULT_MAX_LOG_BYTES, Exit, Found, FoundState, OUTPUT_TAIL, RunnerEvent, Stream, TaskSpec};
