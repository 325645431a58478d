//! One host: a node core, its disk, and processes that outlive the agent.

use holm_node_core::{Config, Effect, Found, FoundState, Node, StartTask};
use holm_state::MemStore;
use holm_types::{
    Incarnation, Label, MeshId, NodeId, Now, TaskId, Wall,
    cert::{CertChain, Certificate, Claims, Role},
    keys::KeyPair,
    manifest::Amounts,
    view::NodeInfo,
};
use std::{collections::BTreeMap, time::Duration};

/// What a crash takes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The agent alone: its tasks go on.
    Agent,
    /// The host: its tasks end, and what was not synced is lost.
    PowerLoss,
}

/// A process.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) task: StartTask,
    pub(crate) pid: u32,
    pub(crate) started_at: Wall,
    /// Exit code and date, once it ended.
    pub(crate) exit: Option<(i32, Wall)>,
}

/// See the [module](self).
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) id: NodeId,
    pub(crate) config: Config,
    pub(crate) disk: MemStore,
    pub(crate) node: Option<Node>,
    pub(crate) incarnation: u32,
    pub(crate) processes: BTreeMap<TaskId, Process>,
    pub(crate) peers: BTreeMap<NodeId, ()>,
    pub(crate) topics: Vec<String>,
}

impl Host {
    pub(crate) fn new(authority: &KeyPair, key: KeyPair, name: &str, site: &str, seed: u64) -> anyhow::Result<Host> {
        let mesh = MeshId(authority.node_id().0);
        let mesh_name: Label = "sim".parse()?;
        let claims = Claims {
            mesh,
            mesh_name: mesh_name.clone(),
            subject: key.node_id(),
            name: name.parse()?,
            site: site.parse()?,
            roles: vec![Role::Edge],
            not_before: 0,
            not_after: u64::MAX / 2,
            serial: seed,
        };
        let chain = CertChain::new(vec![Certificate::sign(claims, authority)?]);
        let capacity = Amounts { cpu: 4000, memory: 4 << 30, disk: 32 << 30, extended: BTreeMap::new() };
        let info = NodeInfo { labels: BTreeMap::new(), capacity, arch: "x86_64".into(), version: "sim".into() };
        let config = Config {
            mesh,
            mesh_name,
            key: key.clone(),
            chain,
            incarnation: Incarnation::default(),
            seed,
            info,
            authority: None,
            peers: Vec::new(),
            liveness: Default::default(),
            healer: Default::default(),
            repair_every: Duration::from_secs(10),
            max_tasks: 250,
            grace: Duration::from_secs(10),
        };
        Ok(Host {
            name: name.to_owned(),
            id: key.node_id(),
            config,
            disk: MemStore::new(),
            node: None,
            incarnation: 0,
            processes: BTreeMap::new(),
            peers: BTreeMap::new(),
            topics: Vec::new(),
        })
    }

    /// Starts the agent on what the disk and the process table hold.
    pub(crate) fn start(&mut self, now: Now, peers: Vec<(NodeId, Vec<String>)>) -> anyhow::Result<Vec<Effect>> {
        self.incarnation += 1;
        let seed = self.config.seed.wrapping_add(u64::from(self.incarnation) << 32);
        let incarnation = Incarnation::new(self.incarnation, seed as u32);
        let config = Config { incarnation, seed, peers, ..self.config.clone() };
        let mut effects = Vec::new();
        let found = self.processes.values().map(found).collect();
        self.node = Some(Node::open(config, Box::new(self.disk.clone()), found, now, &mut effects)?);
        Ok(effects)
    }

    pub(crate) fn crash(&mut self, crash: Crash) {
        self.node = None;
        self.peers.clear();
        self.topics.clear();
        if crash == Crash::PowerLoss {
            self.disk.crash();
            self.processes.clear();
        }
    }
}

fn found(process: &Process) -> Found {
    let state = match process.exit {
        None => FoundState::Alive { pid: Some(process.pid), started_at: process.started_at, restarts: 0 },
        Some((exit_code, finished_at)) => {
            FoundState::Exited { exit_code, finished_at, restarts: 0, output: Vec::new() }
        }
    };
    Found { id: process.task.id.clone(), env: process.task.env.clone(), state }
}
