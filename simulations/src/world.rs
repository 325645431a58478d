//! The world: hosts, links and one queue of what happens when.

use crate::{
    host::{Crash, Host, Process},
    links::Links,
};
use anyhow::{Context as _, Result, bail};
use holm_node_core::{Effect, Input, RequestId, RunnerInput};
use holm_state::{StoreWrite as _, verify_batch};
use holm_types::{
    Mono, NodeId, Now, TaskId, Wall,
    api::{AppRef, ApplyParams, Request},
    keys::KeyPair,
};
use std::{collections::BTreeMap, time::Duration};

/// Hosts of one world, at most.
pub(crate) const HOSTS_MAX: usize = 1000;
/// How long a cut connection looks open: the ping's timeout.
const NOTICE_CUT: Duration = Duration::from_secs(8);
/// Virtual 2026-01-01.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// A host of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub(crate) usize);

#[expect(clippy::large_enum_variant, reason = "almost all of them are the large one")]
enum Happening {
    /// For the agent that ran in this incarnation; a later one does not hear it.
    Input(HostId, u32, Input),
    /// A batch reaches the disk.
    Synced(HostId, u32),
    Wake(HostId, u32),
    Connected(HostId, HostId),
    Noticed(HostId, HostId),
    Exit(HostId, TaskId, u32, i32),
}

/// See the [crate](crate).
pub struct World {
    pub(crate) hosts: Vec<Host>,
    pub(crate) starts: BTreeMap<String, u32>,
    authority: KeyPair,
    links: Links,
    queue: BTreeMap<(Mono, u64), Happening>,
    now: Mono,
    order: u64,
    next_pid: u32,
    next_request: RequestId,
    seed: u64,
    acknowledged: BTreeMap<RequestId, Result<serde_json::Value, String>>,
}

impl World {
    /// An empty world.
    pub fn new(seed: u64) -> World {
        World {
            hosts: Vec::new(),
            starts: BTreeMap::new(),
            authority: KeyPair::from_secret(&[0xa5; 32]),
            links: Links::new(seed),
            queue: BTreeMap::new(),
            now: Mono::default(),
            order: 0,
            next_pid: 1,
            next_request: 1,
            seed,
            acknowledged: BTreeMap::new(),
        }
    }

    /// Adds a host with a member node, and starts it.
    ///
    /// # Panics
    /// The name or site is not valid, or the world is full: a mistake in the scenario.
    pub fn add(&mut self, name: &str, site: &str) -> HostId {
        assert!(self.hosts.len() < HOSTS_MAX, "a world has {HOSTS_MAX} hosts at most");
        let id = HostId(self.hosts.len());
        let mut secret = [0x5a; 32];
        secret[..8].copy_from_slice(&(id.0 as u64).to_be_bytes());
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(id.0 as u64);
        let host = Host::new(&self.authority, KeyPair::from_secret(&secret), name, site, seed);
        self.hosts.push(host.unwrap_or_else(|e| panic!("{name}: {e}")));
        self.start(id);
        id
    }

    /// Starts the agent of a host.
    ///
    /// # Panics
    /// It cannot start from its disk: that is a finding.
    pub fn start(&mut self, host: HostId) {
        let now = self.clocks();
        let peers = self.hosts.iter().enumerate().filter(|(i, _)| *i != host.0).map(|(i, h)| (h.id, vec![address(i)]));
        let peers = peers.collect();
        let simulated = &mut self.hosts[host.0];
        let effects = simulated.start(now, peers).unwrap_or_else(|e| panic!("{}: {e}", simulated.name));
        self.carry_out(host, effects);
        self.deliver(host, Input::Listening { address: address(host.0) });
    }

    /// Kills the agent of a host, or the whole host.
    pub fn crash(&mut self, host: HostId, crash: Crash) {
        self.hosts[host.0].crash(crash);
        let id = self.hosts[host.0].id;
        for other in 0..self.hosts.len() {
            if self.hosts[other].peers.contains_key(&id) {
                // The kernel of a killed agent resets its connections; a dead host says nothing.
                let after = if crash == Crash::Agent { self.links.latency() } else { NOTICE_CUT };
                self.schedule(after, Happening::Noticed(HostId(other), host));
            }
        }
    }

    /// Cuts these hosts off from all others.
    pub fn cut(&mut self, side: &[HostId]) {
        side.iter().for_each(|host| self.links.set_group(*host, 1));
        for a in 0..self.hosts.len() {
            for b in 0..self.hosts.len() {
                if a != b && !self.links.open(HostId(a), HostId(b)) {
                    self.schedule(NOTICE_CUT, Happening::Noticed(HostId(a), HostId(b)));
                }
            }
        }
    }

    /// Mends all links.
    pub fn heal(&mut self) {
        self.links.heal();
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
        self.command(host, Request::AppDelete(AppRef { name: name.parse()?, namespace: None }))
    }

    fn command(&mut self, host: HostId, request: Request) -> Result<serde_json::Value> {
        let (id, effects) = self.request(host, request);
        self.carry_out(host, effects);
        self.run(Duration::from_secs(1));
        match self.acknowledged.remove(&id).context("no answer within a second")? {
            Ok(answer) => Ok(answer),
            Err(why) => bail!(why),
        }
    }

    pub(crate) fn request(&mut self, host: HostId, request: Request) -> (RequestId, Vec<Effect>) {
        let id = self.next_request;
        self.next_request += 1;
        let now = self.clocks();
        let mut effects = Vec::new();
        if let Some(node) = &mut self.hosts[host.0].node {
            node.handle(now, Input::Request { id, request }, &mut effects);
            node.settle(now, &mut effects);
        }
        (id, effects)
    }

    /// Lets virtual time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now.after(time);
        while let Some((key, _)) = self.queue.first_key_value() {
            if key.0 > end {
                break;
            }
            let Some(((at, _), happening)) = self.queue.pop_first() else { break };
            self.now = at;
            self.happen(happening);
        }
        self.now = end;
    }

    fn clocks(&self) -> Now {
        Now { mono: self.now, wall: Wall(EPOCH_MS).after(self.now.0) }
    }

    fn schedule(&mut self, after: Duration, happening: Happening) {
        self.order += 1;
        self.queue.insert((self.now.after(after), self.order), happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Input(host, incarnation, input) if self.lives(host, incarnation) => self.deliver(host, input),
            Happening::Synced(host, incarnation) if self.lives(host, incarnation) => {
                // A simulated disk does not fail.
                let _ = self.hosts[host.0].disk.sync();
                self.deliver(host, Input::Persisted);
            }
            Happening::Wake(host, incarnation) if self.lives(host, incarnation) => self.settle(host),
            Happening::Connected(a, b) => self.connect(a, b),
            Happening::Noticed(host, lost) => self.disconnect(host, lost),
            Happening::Exit(host, task, pid, code) => self.exit(host, &task, pid, code),
            _ => {}
        }
    }

    fn lives(&self, host: HostId, incarnation: u32) -> bool {
        self.hosts[host.0].node.is_some() && self.hosts[host.0].incarnation == incarnation
    }

    fn deliver(&mut self, host: HostId, input: Input) {
        let now = self.clocks();
        let mut effects = Vec::new();
        if let Some(node) = &mut self.hosts[host.0].node {
            node.handle(now, input, &mut effects);
            node.settle(now, &mut effects);
        }
        self.carry_out(host, effects);
    }

    fn settle(&mut self, host: HostId) {
        let now = self.clocks();
        let mut effects = Vec::new();
        if let Some(node) = &mut self.hosts[host.0].node {
            node.settle(now, &mut effects);
        }
        self.carry_out(host, effects);
    }

    fn carry_out(&mut self, host: HostId, effects: Vec<Effect>) {
        for effect in effects {
            self.carry_out_one(host, effect);
        }
        let simulated = &self.hosts[host.0];
        let incarnation = simulated.incarnation;
        if let Some(at) = simulated.node.as_ref().and_then(holm_node_core::Node::next_deadline) {
            let after = at.since(self.now).max(Duration::from_micros(100));
            self.schedule(after, Happening::Wake(host, incarnation));
        }
    }

    fn carry_out_one(&mut self, host: HostId, effect: Effect) {
        let incarnation = self.hosts[host.0].incarnation;
        match effect {
            Effect::Reply { id, result } => {
                self.acknowledged.insert(id, result.map_err(|e| e.to_string()));
            }
            Effect::Persist(batch) => {
                // A simulated disk does not fail.
                let _ = self.hosts[host.0].disk.write(&batch);
                self.schedule(Duration::from_millis(2), Happening::Synced(host, incarnation));
            }
            Effect::Verify(changes) => {
                let verdicts = verify_batch(&self.hosts[host.0].config.mesh, &changes);
                let cost = Duration::from_micros(50) * changes.len() as u32;
                self.schedule(cost, Happening::Input(host, incarnation, Input::Verified { verdicts }));
            }
            Effect::Subscribe(topic) => self.hosts[host.0].topics.push(topic),
            Effect::Publish { topic, bytes } => self.publish(host, &topic, &bytes),
            Effect::Send { peer, bytes } => self.send(host, peer, bytes),
            Effect::Dial { peer, .. } => {
                if let Some(other) = self.host_of(&peer) {
                    let latency = self.links.latency() * 2;
                    self.schedule(latency, Happening::Connected(host, other));
                }
            }
            Effect::Start(task) => self.spawn(host, task),
            Effect::Stop(id) => {
                if let Some(process) = self.hosts[host.0].processes.get(&id) {
                    let pid = process.pid;
                    self.schedule(Duration::from_millis(20), Happening::Exit(host, id, pid, 143));
                }
            }
            Effect::Enrolled { .. } | Effect::Emit(_) => {}
        }
    }

    fn host_of(&self, node: &NodeId) -> Option<HostId> {
        self.hosts.iter().position(|host| host.id == *node).map(HostId)
    }

    fn publish(&mut self, from: HostId, topic: &str, bytes: &[u8]) {
        let source = self.hosts[from.0].id;
        for to in (0..self.hosts.len()).map(HostId).filter(|to| *to != from) {
            if self.links.open(from, to) && self.hosts[to.0].topics.iter().any(|t| t == topic) {
                let input = Input::Gossip { source, topic: topic.to_owned(), bytes: bytes.to_vec() };
                let (latency, incarnation) = (self.links.latency(), self.hosts[to.0].incarnation);
                self.schedule(latency, Happening::Input(to, incarnation, input));
            }
        }
    }

    fn send(&mut self, from: HostId, peer: NodeId, bytes: Vec<u8>) {
        let Some(to) = self.host_of(&peer) else { return };
        if self.links.open(from, to) && self.hosts[from.0].peers.contains_key(&peer) {
            let input = Input::Frame { from: self.hosts[from.0].id, bytes };
            let (latency, incarnation) = (self.links.latency(), self.hosts[to.0].incarnation);
            self.schedule(latency, Happening::Input(to, incarnation, input));
        }
    }

    fn connect(&mut self, a: HostId, b: HostId) {
        let up = self.hosts[a.0].node.is_some() && self.hosts[b.0].node.is_some();
        if !up || !self.links.open(a, b) {
            return;
        }
        for (host, other) in [(a, b), (b, a)] {
            let (id, chain) = (self.hosts[other.0].id, self.hosts[other.0].config.chain.clone());
            if self.hosts[host.0].peers.insert(id, ()).is_none() {
                self.deliver(host, Input::PeerUp { node: id, chain, address: address(other.0), relayed: false });
            }
        }
    }

    fn disconnect(&mut self, host: HostId, lost: HostId) {
        let id = self.hosts[lost.0].id;
        let back = self.links.open(host, lost) && self.hosts[lost.0].peers.contains_key(&self.hosts[host.0].id);
        if !back && self.hosts[host.0].peers.remove(&id).is_some() {
            self.deliver(host, Input::PeerDown { node: id });
        }
    }

    fn spawn(&mut self, host: HostId, task: holm_node_core::StartTask) {
        let pid = self.next_pid;
        self.next_pid += 1;
        let (id, started_at) = (task.id.clone(), self.clocks().wall);
        *self.starts.entry(id.to_string()).or_default() += 1;
        let ends = task.env.get("SIM_RUN_MS").and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
        let simulated = &mut self.hosts[host.0];
        let incarnation = simulated.incarnation;
        simulated.processes.insert(id.clone(), Process { task, pid, started_at, exit: None });
        let started = RunnerInput::Started { id: id.clone(), pid, restarts: 0, started_at };
        self.schedule(Duration::from_millis(5), Happening::Input(host, incarnation, Input::Runner(started)));
        if let Some(after) = ends {
            self.schedule(after.max(Duration::from_millis(6)), Happening::Exit(host, id, pid, 0));
        }
    }

    fn exit(&mut self, host: HostId, task: &TaskId, pid: u32, code: i32) {
        let finished_at = self.clocks().wall;
        let Some(process) = self.hosts[host.0].processes.get_mut(task) else { return };
        if process.pid != pid || process.exit.is_some() {
            return;
        }
        process.exit = Some((code, finished_at));
        let ended = RunnerInput::Ended {
            id: task.clone(),
            exit_code: Some(code),
            finished_at,
            restarts: 0,
            restarting: false,
            output: Vec::new(),
            reason: String::new(),
        };
        self.deliver(host, Input::Runner(ended));
    }
}

fn address(host: usize) -> String {
    format!("/sim/{host}")
}
