//! What a layer needs that brings a network of its own: hosts with their disks, clocks, processes and nodes, the
//! judges that look on, and the record of the run.
//!
//! These are the parts that the layer [`des`](crate::des) is built of: the same disk that tears and ages, the same
//! fakes of processes, the same judges, fed at the same moments. Such a layer feeds each node its inputs, carries
//! its effects out, and tells the fleet: [`Fleet::handle`], [`Fleet::written`], [`Fleet::spawn`] and so on. Hosts are named
//! by their place in [`Plan::hosts`].

mod judging;
mod processes;

use crate::{
    Options, SimError,
    des::{disk::Shelf, host::Host, launch::Due, manifest, record::Record},
    judge::Judges,
    outcome::Invariant,
    scenario::{Disk, FaultKind, HostNo, Plan, random::Chance},
};
use holm_mesh_core::beat::Beat;
use holm_node_core::{Effect, Input, Node};
use holm_state::{Batch, StoreWrite as _, verify_batch};
use holm_types::{
    Digest, Incarnation, MeshId, Mono, NodeId,
    api::{ApiError, Request},
    cert::CertChain,
    change::SignedChange,
    event::Event,
    keys::KeyPair,
};
use std::{collections::BTreeMap, sync::Arc};

/// A time of the run, in microseconds.
pub type At = u64;

/// The mesh's authority, the same in every run.
const AUTHORITY: [u8; 32] = [0xa5; 32];

/// Who a host is, for the network below it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its key.
    pub key: KeyPair,
    /// Its certificate.
    pub chain: CertChain,
    /// The mesh.
    pub mesh: MeshId,
    /// This life of its agent.
    pub incarnation: Incarnation,
}

/// See the [module](self).
pub struct Fleet {
    plan: Arc<Plan>,
    mesh: MeshId,
    hosts: Vec<Host>,
    ids: BTreeMap<NodeId, usize>,
    judges: Judges,
    record: Record,
    next_pid: u32,
    /// What will happen to processes.
    due: BTreeMap<(At, u64), (usize, Due)>,
    order: u64,
    /// Is called when something will happen to a process sooner than was known.
    sooner: Option<Box<dyn Fn() + Send>>,
    /// Signatures that were verified: every host would come to the same verdict.
    verdicts: BTreeMap<Digest, bool>,
    /// For each fault whether it goes on.
    ongoing: Vec<bool>,
    /// The ends of faults after which the replicas were not equal yet: their place in the timeline, and when.
    unequal: Vec<(usize, At)>,
}

impl Fleet {
    /// The hosts of a plan, on empty disks. No agent runs.
    ///
    /// # Errors
    /// A host cannot be set up: its name or site is not valid.
    pub fn new(plan: Arc<Plan>, options: Options) -> Result<Fleet, SimError> {
        holm_types::marks::take();
        let authority = KeyPair::from_secret(&AUTHORITY);
        let shelf = Shelf::default();
        let hosts = plan.hosts.iter().map(|host| Host::new(&authority, host.clone(), plan.seed, &shelf));
        let hosts: Vec<Host> = hosts.collect::<Result<_, _>>()?;
        let mut judges = Judges::new(plan.fenced_overlap_max);
        hosts.iter().for_each(|_| judges.add_host());
        Ok(Fleet {
            ids: hosts.iter().enumerate().map(|(n, host)| (host.id, n)).collect(),
            ongoing: vec![false; plan.faults.len()],
            plan,
            mesh: MeshId(authority.node_id().0),
            hosts,
            judges,
            record: Record::keeping(options.events),
            next_pid: 0,
            due: BTreeMap::new(),
            order: 0,
            sooner: None,
            verdicts: BTreeMap::new(),
            unequal: Vec::new(),
        })
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The place of a host.
    pub fn index_of(&self, no: HostNo) -> Option<usize> {
        self.hosts.iter().position(|host| host.plan.no == no)
    }

    /// Who a host is.
    pub fn identity(&self, host: usize) -> Identity {
        let config = &self.hosts[host].config;
        let (key, chain) = (config.key.clone(), config.chain.clone());
        Identity { key, chain, mesh: config.mesh, incarnation: config.incarnation }
    }

    /// The id of a host's node.
    pub fn id(&self, host: usize) -> NodeId {
        self.hosts[host].id
    }

    /// Starts the agent of a host on what its disk and its process table hold, with the members that it knows by
    /// address; what it wants done. None, and a violation, when it does not start.
    pub fn start(&mut self, host: usize, at: At, peers: Vec<(NodeId, Vec<String>)>) -> Option<Vec<Effect>> {
        match self.hosts[host].start(at, peers) {
            Ok(effects) => {
                self.record.came_up(at, self.no(host));
                self.note(at, Some(host), "agent-up", "");
                if self.hosts[host].takes_unseen_jump() {
                    self.record.fired(FaultKind::ClockJump);
                }
                self.judges.started(at, host, &self.hosts[host]);
                self.at_the_bench(host, at, |bench| bench.relaunch_waiting());
                Some(effects)
            }
            Err(error) => {
                self.violated(Invariant::NodeStarts, at, vec![self.no(host)], error.to_string());
                None
            }
        }
    }

    /// The agent of a host ends where it stands; whether one ran.
    pub fn kill(&mut self, host: usize, at: At) -> bool {
        let ran = self.hosts[host].is_up();
        if ran {
            self.record.went_down(at, self.no(host));
            self.note(at, Some(host), "agent-down", "");
            self.hosts[host].stop_agent();
            self.judges.went_down(host);
        }
        ran
    }

    /// The disks and processes of a host after its agent was killed by a crash, with or without power.
    pub fn crash(&mut self, host: usize, at: At, power_loss: bool, disk: Disk, fault: u64) {
        if power_loss {
            let chance = Chance::new(self.plan.seed, "torn").of(fault).of(u64::from(self.no(host).0));
            let torn = disk == Disk::Torn;
            self.at_the_bench(host, at, |bench| {
                bench.lose_power(|unsynced| if torn { chance.between(0, unsynced) } else { 0 });
            });
        }
        if self.hosts[host].replace_disk(disk, power_loss) {
            self.judges.disk_replaced(host);
        }
    }

    /// Keeps what a host's disk holds, for a fault that will restore it.
    pub fn back_up(&mut self, host: usize) {
        self.hosts[host].backup = Some(self.hosts[host].disk.backup());
    }

    /// A host's agent is frozen, or goes on; whether one runs.
    pub fn freeze(&mut self, host: usize, frozen: bool) -> bool {
        let there = &mut self.hosts[host];
        there.frozen = if frozen { there.frozen + 1 } else { there.frozen.saturating_sub(1) };
        there.is_up()
    }

    /// Whether faults keep a host's agent frozen.
    pub fn is_frozen(&self, host: usize) -> bool {
        self.hosts[host].frozen > 0
    }

    /// Whether an agent runs on a host.
    pub fn is_up(&self, host: usize) -> bool {
        self.hosts[host].is_up()
    }

    /// Moves the date of a host.
    pub fn jump(&mut self, host: usize, by_ms: i64) {
        self.hosts[host].jump(by_ms);
    }

    /// How far the date of a host is off, in milliseconds.
    pub fn skew_ms(&self, host: usize) -> i64 {
        self.hosts[host].clock_ms
    }

    /// The agent that a host starts next is another version.
    pub fn upgrade(&mut self, host: usize) {
        self.hosts[host].version += 1;
    }

    /// What each write to a host's disk takes longer changes by this, in microseconds.
    pub fn slow_disk(&mut self, host: usize, by: i64) {
        let there = &mut self.hosts[host];
        there.slow_disk = there.slow_disk.saturating_add_signed(by);
    }

    /// A host begins to write a batch; when the disk is done with it, if the host keeps its power.
    pub fn write(&mut self, host: usize, at: At, takes: At) -> At {
        let there = &mut self.hosts[host];
        there.disk_free = there.disk_free.max(at) + takes + there.slow_disk;
        if there.slow_disk > 0 {
            self.record.count("writes_slowed", 1);
        }
        self.hosts[host].disk_free
    }

    /// A batch is on the disk of a host.
    pub fn written(&mut self, host: usize, at: At, batch: &Batch) {
        // A simulated disk is slow, loses and tears; it does not refuse.
        let _ = self.hosts[host].disk.write(batch);
        self.judges.written(at, host, &self.hosts[host], batch);
    }

    /// Gives a node an input; what it wants done is added to `out`. Nothing happens where no agent runs.
    pub fn handle(&mut self, host: usize, at: At, input: Input, out: &mut Vec<Effect>) {
        let now = self.hosts[host].clocks(at);
        if let Some(node) = &mut self.hosts[host].node {
            node.handle(now, input, out);
        }
    }

    /// Lets a node think.
    pub fn settle(&mut self, host: usize, at: At, out: &mut Vec<Effect>) {
        let now = self.hosts[host].clocks(at);
        if let Some(node) = &mut self.hosts[host].node {
            node.settle(now, out);
        }
    }

    /// When a node wants to think again at the latest.
    pub fn next_deadline(&self, host: usize) -> Option<Mono> {
        self.hosts[host].node.as_ref().and_then(Node::next_deadline)
    }

    /// Verdicts on signatures; each is verified once for all hosts.
    pub fn verify(&mut self, changes: &[SignedChange]) -> Vec<bool> {
        let mesh = self.mesh;
        let verdict = |change: &SignedChange| {
            let signed = [&change.author.0[..], &change.signed_message(&mesh), change.signature()];
            let judged = || verify_batch(&mesh, std::slice::from_ref(change)).first() == Some(&true);
            *self.verdicts.entry(Digest::of("sim verdict", &signed)).or_insert_with(judged)
        };
        changes.iter().map(verdict).collect()
    }

    /// A node publishes to a topic.
    pub fn published(&mut self, host: usize, at: At, topic: &str, bytes: &[u8]) {
        let state = carries_state(topic);
        if state {
            self.judges.published(at, host, &self.hosts[host], bytes);
        }
        self.sent(host, bytes.len(), state);
    }

    /// A node sends a frame to a peer.
    pub fn sent_frame(&mut self, host: usize, bytes: &[u8]) {
        self.sent(host, bytes.len(), !Beat::is_marked(bytes));
    }

    fn sent(&mut self, host: usize, bytes: usize, state: bool) {
        self.hosts[host].sent += 1;
        self.record.message(1, bytes as u64, state);
    }

    /// Something that a node said comes to a host.
    pub fn heard(&mut self, host: usize, at: At, author: &NodeId) {
        if let Some(author) = self.ids.get(author) {
            self.judges.heard(at, host, *author);
        }
    }

    /// A node tells an event.
    pub fn emitted(&mut self, host: usize, at: At, event: &Event) {
        self.judges.emitted(at, host, event);
        let detail = match (&event.task, &event.app) {
            (Some(task), _) => format!("{task}: {}", event.detail),
            (None, Some(app)) => format!("{app}: {}", event.detail),
            (None, None) => event.detail.clone(),
        };
        self.note(at, Some(host), &format!("{:?}", event.kind), &detail);
    }

    /// A request of the plan is on its way; the host that is asked, and what. None when no agent is there to ask.
    pub fn submit(&mut self, submission: usize, at: At) -> Option<(usize, Request)> {
        let plan = self.plan.clone();
        let submission = &plan.submissions[submission];
        let host = self.index_of(submission.on)?;
        self.record.count("submitted", 1);
        if !self.hosts[host].answers() {
            self.record.count("submitted_to_nobody", 1);
            return None;
        }
        let request = manifest::request(submission)?;
        self.judges.submitted(&submission.app);
        self.note(at, Some(host), "submitted", &format!("{} {:?}", submission.app, submission.request));
        Some((host, request))
    }

    /// A request of the plan is answered.
    pub fn answered(&mut self, submission: usize, host: usize, at: At, answer: &Result<serde_json::Value, ApiError>) {
        let plan = self.plan.clone();
        let submission = &plan.submissions[submission];
        let (said, why) = match answer {
            Ok(answer) => {
                self.judges.acknowledged(at, host, &self.hosts[host], submission, answer);
                ("acknowledged", String::new())
            }
            Err(error) => ("declined", error.to_string()),
        };
        self.record.count(said, 1);
        self.note(at, Some(host), said, &format!("{} {why}", submission.app));
    }

    /// An invariant did not hold.
    pub fn violated(&mut self, invariant: Invariant, at: At, hosts: Vec<HostNo>, detail: String) {
        self.judges.verdicts.violate(invariant, at, hosts, detail);
    }

    fn no(&self, host: usize) -> HostNo {
        self.hosts[host].plan.no
    }

    /// A line for whoever looks into a failure; it counts for the run's hash.
    pub fn note(&mut self, at: At, host: Option<usize>, what: &str, detail: &str) {
        self.trace(at, host, what, detail.as_bytes());
        let no = host.map(|host| self.no(host));
        self.record.note(at, no, what, detail.to_owned());
    }

    /// Something that happened, for the run's hash alone.
    pub fn trace(&mut self, at: At, host: Option<usize>, what: &str, detail: &[u8]) {
        let no = host.map_or(u64::MAX, |host| u64::from(self.no(host).0));
        self.record.trace(at, fnv(what.as_bytes()), no, fnv(detail));
    }

    /// Counts something.
    pub fn count(&mut self, what: &'static str, n: u64) {
        self.record.count(what, n);
    }
}

/// All topics but that of the heartbeats.
pub(crate) fn carries_state(topic: &str) -> bool {
    !topic.contains("/presence")
}

/// FNV-1a, which has no key: the same in every process.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
