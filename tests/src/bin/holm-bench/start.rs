//! From the spawn of `holm up` to its line `ready`, on a disk that holds the documents of many apps.

use crate::{client::Client, mesh::sleeper, options::Runs, report::Row, stats};
use anyhow::{Context, Result, ensure};
use holm_tests::{
    binaries,
    cluster::Cluster,
    interrupt,
    node::{Node, Transports},
    suite::Scene,
};
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

const READY_WITHIN: Duration = Duration::from_secs(20);

/// Measures.
///
/// # Errors
/// A node does not start.
pub fn measure(scene: &Scene, runs: &Runs) -> Result<Vec<Row>> {
    let mesh = Cluster::of(scene).node("node-1", "bench").start()?;
    let node = mesh.node("node-1");
    let mut client = Client::connect(node)?;
    for number in 0..runs.start_apps {
        client.apply(sleeper(&format!("app-{number}"), 0))?;
    }
    node.kill9()?;

    let mut times = Vec::new();
    for _ in 0..runs.starts {
        interrupt::check()?;
        times.push(start_once(node)?.as_secs_f64() * 1e3);
    }
    // What was measured is a node that knows everything.
    node.up()?;
    let held = node.apps()?.len();
    ensure!(held == runs.start_apps, "after all starts the node holds {held} apps of {}", runs.start_apps);
    let row = Row::new("start_to_ready", "start to ready, median", stats::median(&times), "ms", &times).at_most(300.0);
    let range = format!("{:.0} to {:.0}", stats::least(&times), stats::most(&times));
    Ok(vec![row.note(format!("{range}; each after kill -9, {held} apps on disk, page cache warm"))])
}

/// Starts the agent, waits for its line, and kills it: the next start finds a log to replay.
///
/// # Errors
/// It does not start in time.
pub fn start_once(node: &Node) -> Result<Duration> {
    let mut command = Command::new(binaries::find("holm")?);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HOLM_")) {
        command.env_remove(name);
    }
    command.arg("up").arg("--data-dir").arg(node.data()).args(["--rpc", "127.0.0.1:0"]);
    for address in Transports::Both.listen(node.host().address(), node.port()) {
        command.args(["--listen", &address]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());

    let begin = Instant::now();
    let mut agent = Agent(command.spawn().context("cannot start holm")?);
    let stdout = agent.0.stdout.take().context("no pipe from the agent")?;
    let (sender, ready) = mpsc::channel();
    // Ends with the pipe, at the latest when the agent is killed below.
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        if lines.any(|line| line.starts_with("ready ")) {
            // Nobody listens any more when it comes too late.
            let _ = sender.send(begin.elapsed());
        }
    });
    ready.recv_timeout(READY_WITHIN).context("the agent did not say that it is ready")
}

/// Dies with its owner.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
