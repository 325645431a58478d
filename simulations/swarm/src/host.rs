//! What of a host outlives its agent: its identity, its disk, its clock and the processes of its tasks.

use crate::SwarmError;
use holm_mesh_core::topics::Topics;
use holm_node_core::{Found, FoundState, StartTask};
use holm_simulations::{
    outcome::TaskRun,
    scenario::{HostNo, Ms, PlannedHost},
};
use holm_state::{Batch, MemStore, StoreError, StoreRead as _, StoreWrite as _, Table};
use holm_types::{
    Incarnation, Label, MeshId, NodeId, TaskId, Wall,
    cert::{CertChain, Certificate, Claims, Role},
    keys::KeyPair,
};
use std::{collections::BTreeMap, sync::OnceLock, time::Duration};

const INCARNATION_KEY: &[u8] = b"incarnation";
/// The variables by which a simulated task knows what to do, the same as in the layer `des`: how long
/// it runs (for ever if absent), its exit code, how long it takes to stop.
pub(crate) const RUNS: &str = "SIM_RUN_MS";
pub(crate) const EXIT_CODE: &str = "SIM_EXIT";
pub(crate) const STOPS: &str = "SIM_STOP_MS";
/// How long a task takes to stop when it is not said.
const STOP: Duration = Duration::from_millis(20);

/// The mesh's authority, the same in every run.
pub(crate) fn authority() -> KeyPair {
    KeyPair::from_secret(&[0xa5; 32])
}

/// The simulated mesh.
pub(crate) fn mesh() -> MeshId {
    MeshId(authority().node_id().0)
}

/// Whether a topic carries heartbeats.
pub(crate) fn is_presence(topic: &str) -> bool {
    static TOPICS: OnceLock<Option<Topics>> = OnceLock::new();
    let topics = TOPICS.get_or_init(|| Some(Topics::new(&mesh(), &"any".parse().ok()?)));
    let Some(topics) = topics else { return false };
    let presence = topics.presence();
    topic.strip_prefix(&presence).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A process.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) app: String,
    pub(crate) slot: u32,
    env: BTreeMap<String, String>,
    pub(crate) pid: u32,
    /// By the host's wall clock, as its agent tells it.
    pub(crate) started_at: Wall,
    pub(crate) from: Ms,
    /// When it ends, and with which exit code, unless that changes.
    pub(crate) ends: Option<(Ms, i32)>,
    /// It has ended, and the agent was told or will find it so.
    pub(crate) ended: bool,
}

impl Process {
    fn number(&self, name: &str) -> Option<u64> {
        self.env.get(name)?.parse().ok()
    }

    /// A process that runs as its environment says: for so long (for ever if it does not), to this exit code.
    fn start(task: &StartTask, pid: u32, now: Ms, started_at: Wall) -> Process {
        let env = task.env.clone();
        let app = env.get("HOLM_APP").cloned().unwrap_or_default();
        let slot = env.get("HOLM_SLOT").and_then(|slot| slot.parse().ok()).unwrap_or(u32::MAX);
        let mut process = Process { app, slot, env, pid, started_at, from: now, ends: None, ended: false };
        let code = process.number(EXIT_CODE).and_then(|code| i32::try_from(code).ok()).unwrap_or(0);
        process.ends = process.number(RUNS).map(|runs| (Ms(now.0 + runs), code));
        process
    }

    fn run(self, id: TaskId, host: HostNo, until: Option<Ms>, exit_code: Option<i32>) -> TaskRun {
        TaskRun { task: id.to_string(), app: self.app, slot: self.slot, host, from: self.from, until, exit_code }
    }

    /// Whether it runs at a time.
    pub(crate) fn runs_at(&self, now: Ms) -> bool {
        !self.ended && self.ends.is_none_or(|(at, _)| at > now)
    }
}

/// See the [module](self).
pub(crate) struct Host {
    pub(crate) no: HostNo,
    pub(crate) key: KeyPair,
    pub(crate) chain: CertChain,
    pub(crate) disk: MemStore,
    /// What each write takes longer, and how many did.
    pub(crate) slow: Duration,
    pub(crate) slow_writes: u64,
    pub(crate) processes: BTreeMap<TaskId, Process>,
    /// Those that a loss of power, or their successors, have swept away.
    past: Vec<TaskRun>,
    next_pid: u32,
}

impl Host {
    pub(crate) fn new(planned: &PlannedHost) -> Result<Host, SwarmError> {
        let mut secret = [0x5a; 32];
        secret[..4].copy_from_slice(&planned.no.0.to_be_bytes());
        let key = KeyPair::from_secret(&secret);
        let wrong = |e: &dyn std::fmt::Display| SwarmError::Plan(format!("host {}: {e}", planned.name));
        let label = |text: &str| text.parse::<Label>().map_err(|e| wrong(&e));
        let claims = Claims {
            mesh: mesh(),
            mesh_name: label("sim")?,
            subject: key.node_id(),
            name: label(&planned.name)?,
            site: label(&planned.site)?,
            roles: vec![if planned.keeper { Role::Keeper } else { Role::Edge }],
            not_before: 0,
            not_after: u64::MAX / 2000,
            serial: u64::from(planned.no.0) + 1,
        };
        let chain = CertChain::new(vec![Certificate::sign(claims, &authority()).map_err(|e| wrong(&e))?]);
        Ok(Host {
            no: planned.no,
            key,
            chain,
            disk: MemStore::new(),
            slow: Duration::ZERO,
            slow_writes: 0,
            processes: BTreeMap::new(),
            past: Vec::new(),
            next_pid: 1,
        })
    }

    pub(crate) fn id(&self) -> NodeId {
        self.key.node_id()
    }

    /// Counts a start of the agent, durably, as the binary does.
    pub(crate) fn count_start(&mut self, now: Wall, random: u32) -> Result<Incarnation, StoreError> {
        let last = self.disk.get(Table::Local, INCARNATION_KEY)?;
        let last = last.and_then(|bytes| bytes.try_into().ok()).map(|bytes| Incarnation(u64::from_be_bytes(bytes)));
        // No run has four billion starts.
        let incarnation = Incarnation::begin(last, now, random).unwrap_or_default();
        let row = (Table::Local, INCARNATION_KEY.to_vec(), Some(incarnation.0.to_be_bytes().to_vec()));
        self.disk.write(&Batch { puts: vec![row], sync: true })?;
        self.disk.sync()?;
        Ok(incarnation)
    }

    /// What the runner of a new agent finds. A process that ended meanwhile has left its exit code.
    pub(crate) fn found(&mut self, now: Ms) -> Vec<Found> {
        let mut found = Vec::new();
        for (id, process) in &mut self.processes {
            let (pid, started_at) = (process.pid, process.started_at);
            let state = match process.ends {
                Some((at, exit_code)) if process.ended || at <= now => {
                    process.ended = true;
                    let ran = Duration::from_millis(at.0.saturating_sub(process.from.0));
                    let finished_at = started_at.after(ran);
                    FoundState::Exited { exit_code, finished_at, restarts: 0, output: Vec::new() }
                }
                _ => FoundState::Alive { pid: Some(pid), started_at, restarts: 0 },
            };
            found.push(Found { id: id.clone(), env: process.env.clone(), state });
        }
        found
    }

    /// Starts a process; its id.
    pub(crate) fn start(&mut self, task: &StartTask, now: Ms, wall: Wall) -> u32 {
        let pid = self.next_pid;
        self.next_pid += 1;
        if let Some(before) = self.processes.insert(task.id.clone(), Process::start(task, pid, now, wall)) {
            let ended = before.ends.filter(|(at, _)| *at <= now);
            let (until, code) = (ended.map_or(now, |(at, _)| at), ended.map(|(_, code)| code));
            self.past.push(before.run(task.id.clone(), self.no, Some(until), code));
        }
        pid
    }

    /// Asks a process to stop; it does after a while.
    pub(crate) fn stop(&mut self, task: &TaskId, now: Ms) {
        const TERMINATED: i32 = 143;
        let Some(process) = self.processes.get_mut(task).filter(|p| p.runs_at(now)) else { return };
        let takes = process.number(STOPS).map_or(STOP, Duration::from_millis);
        let at = Ms(now.0 + u64::try_from(takes.as_millis()).unwrap_or(u64::MAX / 2));
        if process.ends.is_none_or(|(ends, _)| ends > at) {
            process.ends = Some((at, TERMINATED));
        }
    }

    /// The host goes down, with all that runs on it and all that was not synced.
    pub(crate) fn lose_power(&mut self, now: Ms) {
        self.disk.crash();
        for (id, process) in std::mem::take(&mut self.processes) {
            self.past.push(process.run(id, self.no, Some(now), None));
        }
    }

    /// All processes that ever were.
    pub(crate) fn runs(&self, now: Ms) -> Vec<TaskRun> {
        let present = self.processes.iter().map(|(id, process)| {
            let ended = process.ends.filter(|(at, _)| *at <= now);
            process.clone().run(id.clone(), self.no, ended.map(|(at, _)| at), ended.map(|(_, code)| code))
        });
        self.past.iter().cloned().chain(present).collect()
    }

    /// When the next process ends.
    pub(crate) fn next_end(&self) -> Option<Ms> {
        self.processes.values().filter(|p| !p.ended).filter_map(|p| p.ends).map(|(at, _)| at).min()
    }

    /// The processes that have ended by now and were not told of.
    pub(crate) fn take_ended(&mut self, now: Ms) -> Vec<(TaskId, i32)> {
        let due = self.processes.iter_mut().filter(|(_, p)| !p.ended);
        due.filter_map(|(id, process)| {
            let (_, code) = process.ends.filter(|(at, _)| *at <= now)?;
            process.ended = true;
            Some((id.clone(), code))
        })
        .collect()
    }
}
