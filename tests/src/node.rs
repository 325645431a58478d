//! One node under test: its folder, its process, its command line.

use crate::{
    binaries, eventually,
    http::Rpc,
    lab::Host,
    process::{self, output_within},
    rows::{App, Happened, Member, Outcome, Status, Task},
    spawner,
};
use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long a node may take to serve.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long one command may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(90);
/// How long the mesh may take to bring about what it promises: to notice that a node is dead, and to replace it.
pub const SOON: Duration = Duration::from_secs(60);

/// A node.
#[derive(Debug)]
pub struct Node {
    name: String,
    site: String,
    host: Host,
    port: u16,
    data: PathBuf,
    logs: PathBuf,
    listen: Transports,
    more: Vec<String>,
    upnp: bool,
    agent: Mutex<Agent>,
}

/// What a node listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transports {
    /// TCP and QUIC.
    #[default]
    Both,
    /// TCP alone.
    Tcp,
    /// QUIC alone.
    Quic,
}

impl Transports {
    /// The listen addresses, on `address` and `port`.
    pub fn listen(self, address: std::net::IpAddr, port: u16) -> Vec<String> {
        let ip = match address {
            std::net::IpAddr::V4(ip) => format!("/ip4/{ip}"),
            std::net::IpAddr::V6(ip) => format!("/ip6/{ip}"),
        };
        let (tcp, quic) = (format!("{ip}/tcp/{port}"), format!("{ip}/udp/{port}/quic-v1"));
        match self {
            Transports::Both => vec![tcp, quic],
            Transports::Tcp => vec![tcp],
            Transports::Quic => vec![quic],
        }
    }
}

#[derive(Debug, Default)]
struct Agent {
    child: Option<Child>,
    starts: u32,
}

impl Node {
    /// A node that is not enrolled and not started.
    pub fn new(name: &str, site: &str, host: Host, port: u16, data: PathBuf, logs: PathBuf) -> Node {
        let (name, site) = (name.to_owned(), site.to_owned());
        let (listen, more, upnp) = (Transports::Both, Vec::new(), false);
        Node { name, site, host, port, data, logs, listen, more, upnp, agent: Mutex::default() }
    }

    /// Listens on these transports, and gives these further arguments to `holm up`.
    pub fn set(&mut self, listen: Transports, more: &[String]) {
        self.listen = listen;
        self.more = more.to_vec();
    }

    /// Asks its router for a port (UPnP). Other nodes do not: the search costs packets, and tells most tests nothing.
    pub fn ask_the_router(&mut self) {
        self.upnp = true;
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its site.
    pub fn site(&self) -> &str {
        &self.site
    }

    /// Its host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port that it listens on for peers, TCP and UDP.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    fn agent(&self) -> MutexGuard<'_, Agent> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- its process ----

    /// Starts the agent and waits until it serves.
    ///
    /// # Errors
    /// It does not serve in time; the end of its log is told.
    pub fn up(&self) -> Result<()> {
        self.launch()?;
        self.wait_ready()
    }

    /// Starts the agent.
    ///
    /// # Errors
    /// It runs already, or cannot be started.
    pub fn launch(&self) -> Result<()> {
        self.launch_with(&self.more)
    }

    /// As [`Node::up`], with these further arguments instead of its own.
    ///
    /// # Errors
    /// It does not serve in time; the end of its log is told.
    pub fn up_with(&self, more: &[&str]) -> Result<()> {
        self.launch_with(more)?;
        self.wait_ready()
    }

    fn launch_with(&self, more: &[impl AsRef<std::ffi::OsStr>]) -> Result<()> {
        let mut agent = self.agent();
        ensure!(agent.child.is_none(), "{} was started already", self.name);
        agent.starts += 1;
        let mut command = self.command();
        command.arg("up").arg("--data-dir").arg(&self.data).args(["--rpc", "127.0.0.1:0"]);
        command.env("HOLM_LOG", std::env::var_os("HOLM_LOG").unwrap_or_else(|| "holm=debug,warn".into()));
        for address in self.host.addresses().iter().flat_map(|address| self.listen.listen(*address, self.port)) {
            command.args(["--listen", &address]);
        }
        if !self.upnp {
            command.env("HOLM_NO_UPNP", "true");
        }
        command.args(more);
        let [stdout, stderr] = self.log_files(agent.starts);
        command.stdin(Stdio::null()).stdout(File::create(stdout)?).stderr(File::create(stderr)?);
        // Ctrl-C at a terminal is for the run, which stops its nodes itself.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        agent.child = Some(spawner::spawn(command)?);
        Ok(())
    }

    /// Waits for the line that says that the agent serves.
    ///
    /// # Errors
    /// It does not come in time, or the agent ended.
    pub fn wait_ready(&self) -> Result<()> {
        let [stdout, _] = self.log_files(self.agent().starts);
        let ready = eventually(&format!("{} says ready", self.name), READY_WITHIN, || {
            let said = fs::read_to_string(&stdout)?;
            if said.lines().any(|line| line.starts_with("ready ")) {
                return Ok(Ok(()));
            }
            let mut agent = self.agent();
            let ended = agent.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            match ended {
                Some(status) => Ok(Err(anyhow::anyhow!("{} ended before it was ready: {status}", self.name))),
                None => bail!("it said {said:?}"),
            }
        });
        ready.flatten().with_context(|| format!("the end of its log:\n{}", self.log_tail()))
    }

    /// Kills the agent as the kernel does when memory is out. Its tasks live on.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill9(&self) -> Result<()> {
        let mut child = self.agent().child.take().with_context(|| format!("{} does not run", self.name))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Kills everything on its host: the agent first, so that it cannot say anything about the rest.
    ///
    /// # Errors
    /// Some process does not die.
    pub fn power_off(&self) -> Result<()> {
        if self.pid().is_some() {
            self.kill9()?;
        }
        process::kill_until_none(|| self.processes())
    }

    /// The agent's process, if it was started and not killed.
    pub fn pid(&self) -> Option<i32> {
        let agent = self.agent();
        agent.child.as_ref().and_then(|child| i32::try_from(child.id()).ok())
    }

    /// Whether the agent was started and has ended by itself.
    ///
    /// # Errors
    /// The system does not say.
    pub fn ended(&self) -> Result<bool> {
        let mut agent = self.agent();
        Ok(agent.child.as_mut().map(Child::try_wait).transpose()?.flatten().is_some())
    }

    /// What runs on its host: the agent, its tasks and what they started. On a host of its own that is everything;
    /// else what names its data folder, or was started for a task of it.
    pub fn processes(&self) -> Vec<i32> {
        if self.host.is_in_lab() {
            return self.host.processes();
        }
        let data = self.data.to_string_lossy();
        let own: Vec<String> = names_in(&self.data.join("tasks"));
        let is_ours = |pid: &i32| {
            let task = || process::variable(*pid, "HOLM_TASK");
            *pid != std::process::id().cast_signed()
                && (process::mentions(*pid, &data) || task().is_some_and(|task| own.contains(&task)))
        };
        process::all().into_iter().filter(is_ours).collect()
    }

    /// Processes of the tasks of `app` on this host: those that carry the app's name in their environment.
    pub fn processes_of(&self, app: &str) -> Vec<i32> {
        let mut found = self.processes();
        found.retain(|pid| {
            process::variable(*pid, "HOLM_APP").as_deref() == Some(app)
                && process::variable(*pid, "HOLM_NODE").as_deref() == Some(self.name.as_str())
        });
        found
    }

    // ---- its log ----

    fn log_files(&self, start: u32) -> [PathBuf; 2] {
        ["out", "log"].map(|kind| self.logs.join(format!("{}.{start}.{kind}", self.name)))
    }

    /// What the agent wrote to standard error since it was started last.
    pub fn log(&self) -> String {
        let [_, stderr] = self.log_files(self.agent().starts);
        fs::read_to_string(stderr).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    // ---- its command line ----

    /// The `holm` binary on this node's host, with its data folder in the environment and nothing else of Holm's.
    pub fn command(&self) -> Command {
        let program = binaries::find("holm").unwrap_or_else(|_| "holm".into());
        let mut command = self.host.command(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HOLM_") {
                command.env_remove(name);
            }
        }
        command.env("HOLM_DATA_DIR", &self.data).env("NO_COLOR", "1").current_dir(&self.logs);
        command
    }

    /// Runs `holm` with `arguments` on this host.
    ///
    /// # Errors
    /// It cannot be started, or does not end. That it fails is not an error: see the status.
    pub fn holm(&self, arguments: &[&str]) -> Result<Output> {
        self.holm_with(arguments, "")
    }

    /// The same with `input` on its standard input.
    ///
    /// # Errors
    /// As [`Node::holm`].
    pub fn holm_with(&self, arguments: &[&str], input: &str) -> Result<Output> {
        binaries::find("holm")?;
        let mut command = self.command();
        command.args(arguments);
        output_within(command, input.as_bytes(), COMMAND_WITHIN)
    }

    /// Runs `holm`, which must succeed, and gives what it printed.
    ///
    /// # Errors
    /// It fails; what it said is told.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        self.ok_with(arguments, "")
    }

    /// The same with `input` on its standard input.
    ///
    /// # Errors
    /// As [`Node::ok`].
    pub fn ok_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.holm_with(arguments, input)?;
        let said = String::from_utf8_lossy(&output.stderr);
        let line = arguments.join(" ");
        ensure!(output.status.success(), "on {}: `holm {line}`: {}: {}", self.name, output.status, said.trim());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs `holm ... -o json` and reads what it prints.
    ///
    /// # Errors
    /// It fails, or prints something else.
    pub fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let text = self.ok(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("`holm {} -o json` printed {text}", arguments.join(" ")))
    }

    /// Submits a manifest; returns once the node has made it durable.
    ///
    /// # Errors
    /// It is refused.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        self.ok_with(&["apply", "-f", "-"], manifest).map(drop)
    }

    /// `holm ps APP`.
    ///
    /// # Errors
    /// The command fails.
    pub fn tasks(&self, app: &str) -> Result<Vec<Task>> {
        self.json(&["ps", app])
    }

    /// The tasks of `app` that run, by this node's view, in the order of their slots.
    ///
    /// # Errors
    /// The command fails.
    pub fn running(&self, app: &str) -> Result<Vec<Task>> {
        let mut tasks = self.tasks(app)?;
        tasks.retain(|task| task.state == "running" && task.pid.is_some());
        tasks.sort_by_key(|task| task.slot);
        Ok(tasks)
    }

    /// Waits until exactly `count` tasks of `app` run and nothing else of it is wanted.
    ///
    /// # Errors
    /// Not soon.
    pub fn wait_running(&self, app: &str, count: usize) -> Result<Vec<Task>> {
        eventually(&format!("{count} tasks of {app} run, says {}", self.name), SOON, || {
            let running = self.running(app)?;
            ensure!(running.len() == count, "{:?}", self.tasks(app)?);
            Ok(running)
        })
    }

    /// `holm node ls`.
    ///
    /// # Errors
    /// The command fails.
    pub fn members(&self) -> Result<Vec<Member>> {
        self.json(&["node", "ls"])
    }

    /// When which peer came, in milliseconds, and whether directly, by the node's own events.
    ///
    /// # Errors
    /// The command fails.
    pub fn peers_up(&self) -> Result<Vec<(f64, String, bool)>> {
        let mut found = Vec::new();
        for line in self.ok(&["events", "-o", "json"])?.lines() {
            let event: Happened = serde_json::from_str(line).with_context(|| line.to_owned())?;
            if let Some((name, rest)) = event.detail.split_once(" at ").filter(|_| event.kind == "peer-up") {
                found.push((event.at, name.to_owned(), !rest.contains("p2p-circuit")));
            }
        }
        Ok(found)
    }

    /// `holm ls`.
    ///
    /// # Errors
    /// The command fails.
    pub fn apps(&self) -> Result<Vec<App>> {
        self.json(&["ls"])
    }

    /// `holm status`.
    ///
    /// # Errors
    /// The command fails.
    pub fn status(&self) -> Result<Status> {
        self.json(&["status"])
    }

    /// `holm result APP`, in the order of the slots.
    ///
    /// # Errors
    /// The command fails.
    pub fn results(&self, app: &str) -> Result<Vec<Outcome>> {
        let mut rows: Vec<Outcome> = self.json(&["result", app])?;
        rows.sort_by_key(|row| row.slot);
        Ok(rows)
    }

    /// What a program on this host needs to call its JSON-RPC interface.
    ///
    /// # Errors
    /// The node has not written it.
    pub fn rpc(&self) -> Result<Rpc> {
        let read = |name: &str| {
            let path = self.data.join(name);
            fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))
        };
        let address = read("rpc.addr")?;
        let address = address.trim().trim_start_matches("http://").trim_end_matches('/').parse();
        let address = address.with_context(|| format!("{}/rpc.addr is not an address", self.data.display()))?;
        Ok(Rpc { host: self.host.clone(), address, credential: read("rpc.token")?.trim().to_owned() })
    }

    /// The value of one call.
    ///
    /// # Errors
    /// It is refused.
    pub fn call(&self, method: &str, params: Value) -> Result<Value> {
        self.rpc()?.call(method, params)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(why) = self.power_off() {
            eprintln!("{} leaves something behind: {why:#}", self.name);
        }
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}
