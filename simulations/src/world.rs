//! A world for stories: hosts are added, cut off, killed and healed by hand, and asked what they
//! see. The same engine as [`crate::run`] moves it.

use crate::{
    Violation,
    des::{Options, engine::Engine, queue::At},
    scenario::{Backend, HostNo, Link, Ms, Nat, Plan, PlannedHost},
};
use anyhow::{Context as _, Result, bail};
use holm_types::{
    Digest, Scope,
    api::{AppRef, ApplyParams, Request},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Hosts of one story, at most.
const HOSTS_MAX: usize = 1000;
/// The cut of a story, among the cuts of the world.
const STORY: u64 = u64::MAX;

/// A host of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub(crate) usize);

/// What a crash takes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The agent alone: its tasks go on.
    Agent,
    /// The host: its tasks end, and what was not synced is lost.
    PowerLoss,
}

/// A process that runs a slot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Runner {
    /// The slot.
    pub slot: u32,
    /// The host.
    pub host: HostId,
    /// The process id, which tells a restart.
    pub pid: u32,
}

/// See the [crate](crate).
pub struct World {
    engine: Engine,
    /// Hosts that are cut off from the others.
    cut: BTreeSet<usize>,
}

impl World {
    /// An empty world.
    pub fn new(seed: u64) -> World {
        let plan = Plan {
            name: "story".to_owned(),
            backend: Backend::Des,
            seed,
            duration: Ms(u64::MAX),
            hosts: Vec::new(),
            wan: Link { latency_ms: [2, 30], loss: 0.0, gossip_miss: 0.0, gossip_twice: 0.0, ..Link::default() },
            lan: Link::lan(),
            faults: Vec::new(),
            submissions: Vec::new(),
            core: BTreeSet::new(),
            converge_within: Ms(0),
            messages_per_s: u64::MAX,
            document_bytes: u64::MAX,
            fenced_overlap_max: Ms(0),
        };
        World { engine: Engine::new(Arc::new(plan), Options::default()), cut: BTreeSet::new() }
    }

    /// Adds a host with a member node that holds all sites, and starts it.
    ///
    /// # Panics
    /// The name or site is not valid, or the world is full: a mistake in the story.
    pub fn add(&mut self, name: &str, site: &str) -> HostId {
        self.add_host(name, site, true)
    }

    /// Adds a host with a member node that holds only its own site, and starts it.
    ///
    /// # Panics
    /// As [`World::add`].
    pub fn add_edge(&mut self, name: &str, site: &str) -> HostId {
        self.add_host(name, site, false)
    }

    fn add_host(&mut self, name: &str, site: &str, keeper: bool) -> HostId {
        let n = self.engine.hosts.len();
        assert!(n < HOSTS_MAX, "a world has {HOSTS_MAX} hosts at most");
        let host = PlannedHost {
            no: HostNo(n as u32),
            name: name.to_owned(),
            site: site.to_owned(),
            nat: Nat::None,
            relay: false,
            keeper,
            skew_ms: 0,
            kbps: 100_000,
            anchor: true,
        };
        let index = self.engine.add_host(host).unwrap_or_else(|e| panic!("{e}"));
        self.engine.start_agent(index);
        HostId(index)
    }

    /// Starts the agent of a host.
    ///
    /// # Panics
    /// It cannot start from its disk: that is a finding.
    pub fn start(&mut self, host: HostId) {
        self.engine.start_agent(host.0);
        assert!(self.engine.hosts[host.0].is_up(), "{:?}", self.engine.judges.verdicts);
    }

    /// Kills the agent of a host, or the whole host.
    pub fn crash(&mut self, host: HostId, crash: Crash) {
        match crash {
            Crash::Agent => self.engine.kill_agent(host.0, true),
            Crash::PowerLoss => self.engine.lose_power(host.0, None),
        }
        self.engine.look_at_connections();
    }

    /// Cuts these hosts off from all others.
    pub fn cut(&mut self, side: &[HostId]) {
        self.cut.extend(side.iter().map(|host| host.0));
        let (far, near) = (0..self.engine.hosts.len()).partition(|host| self.cut.contains(host));
        self.engine.cut(STORY, &[near, far], false);
        self.engine.look_at_connections();
    }

    /// Mends all links.
    pub fn heal(&mut self) {
        self.cut.clear();
        self.engine.links.mend_all();
        self.engine.look_at_connections();
    }

    /// Submits an app, and gives its acknowledgement.
    ///
    /// # Errors
    /// The node refuses it, or has not answered within a second.
    pub fn apply(&mut self, host: HostId, manifest: &str) -> Result<serde_json::Value> {
        let params =
            ApplyParams { manifest: None, text: Some(manifest.into()), expected_revision: None, idempotency_key: None };
        self.command(host, Request::AppApply(params))
    }

    /// Removes an app.
    ///
    /// # Errors
    /// As [`World::apply`].
    pub fn delete(&mut self, host: HostId, name: &str) -> Result<serde_json::Value> {
        self.command(host, Request::AppDelete(AppRef { name: name.parse()?, namespace: None, site: None }))
    }

    fn command(&mut self, host: HostId, request: Request) -> Result<serde_json::Value> {
        let id = self.engine.request(host.0, request, None);
        self.run(Duration::from_secs(1));
        match self.engine.answers.remove(&id).context("no answer within a second")? {
            Ok(answer) => Ok(answer),
            Err(refusal) => bail!("refused: {refusal}"),
        }
    }

    /// What a node answers to a request that reads.
    pub fn ask(&mut self, host: HostId, request: Request) -> Option<serde_json::Value> {
        let id = self.engine.request(host.0, request, None);
        self.engine.answers.remove(&id)?.ok()
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let micros = At::try_from(time.as_micros()).unwrap_or(At::MAX);
        self.engine.run_until(self.engine.now.saturating_add(micros));
    }

    /// The processes of an app that run, in the order of slots.
    pub fn runners(&self, app: &str) -> Vec<Runner> {
        let mut runners = Vec::new();
        for (host, there) in self.engine.hosts.iter().enumerate() {
            let of_app = there.processes.up().filter(|process| process.app() == app);
            runners.extend(of_app.map(|p| Runner { slot: p.slot(), host: HostId(host), pid: p.pid }));
        }
        runners.sort();
        runners
    }

    /// Whether every slot of `0..count` has exactly one runner.
    pub fn each_slot_once(&self, app: &str, count: u32) -> bool {
        let slots: Vec<u32> = self.runners(app).iter().map(|r| r.slot).collect();
        slots == (0..count).collect::<Vec<_>>()
    }

    /// How many processes were ever started for each task of an app.
    pub fn starts(&self, app: &str) -> BTreeMap<String, u32> {
        let mut starts = BTreeMap::new();
        for run in &self.engine.record.timeline.runs {
            if run.task.starts_with(&format!("{app}-")) {
                *starts.entry(run.task.clone()).or_default() += 1;
            }
        }
        starts
    }

    /// What the judges have found so far.
    pub fn violations(&self) -> &[Violation] {
        self.engine.judges.verdicts.found()
    }

    /// Whether the replicas of the mesh scope on these hosts are equal.
    pub fn converged(&self, hosts: &[HostId]) -> bool {
        let node = |host: &HostId| self.engine.hosts[host.0].node.as_ref();
        let digests: BTreeSet<Option<Digest>> =
            hosts.iter().map(|host| node(host).map(|node| node.digest(&Scope::Mesh))).collect();
        digests.len() == 1 && !digests.contains(&None)
    }
}
