//! Three nodes that hand each other everything at once: an honest one, one that will be attacked, and one whose key a
//! hostile program holds.

use holm_node_core::{Config, Effect, Input, Node, RunnerInput};
use holm_state::{MemStore, StoreWrite as _, verify_batch};
use holm_types::{
    Incarnation, MeshId, Mono, NodeId, Now, Wall,
    api::{ApiError, ApplyParams, ListParams, Request},
    cert::{CertChain, Certificate, Claims, Role},
    keys::KeyPair,
    manifest::Amounts,
    view::NodeInfo,
};
use serde_json::Value;
use std::{collections::VecDeque, time::Duration};

pub const HONEST: usize = 0;
pub const VICTIM: usize = 1;
pub const HOSTILE: usize = 2;
const MINUTE: Duration = Duration::from_secs(60);

struct Host {
    id: NodeId,
    node: Node,
    disk: MemStore,
}

/// The mesh, and all that its nodes have said to each other.
pub struct Mesh {
    hosts: Vec<Host>,
    now: Duration,
    /// Frames, as they were sent.
    pub frames: Vec<Vec<u8>>,
    /// Topics, and what was published to them.
    pub gossip: Vec<(String, Vec<u8>)>,
    recording: bool,
    replies: u64,
}

fn claims(key: &KeyPair, mesh: MeshId, n: usize) -> Claims {
    Claims {
        mesh,
        mesh_name: "acme".parse().unwrap(),
        subject: key.node_id(),
        name: format!("node-{n}").parse().unwrap(),
        site: "plant".parse().unwrap(),
        roles: vec![Role::Keeper],
        not_before: 0,
        not_after: u64::MAX / 2,
        serial: n as u64,
    }
}

fn open(n: usize, authority: &KeyPair, disk: &MemStore, now: Now, out: &mut Vec<Effect>) -> Node {
    let key = KeyPair::from_secret(&[n as u8 + 1; 32]);
    let mesh = MeshId(authority.node_id().0);
    let certificate = Certificate::sign(claims(&key, mesh, n), authority).unwrap();
    let capacity = Amounts { cpu: 64_000, memory: 64 << 30, disk: 64 << 30, ..Default::default() };
    let config = Config {
        mesh,
        mesh_name: "acme".parse().unwrap(),
        key,
        chain: CertChain::new(vec![certificate]),
        incarnation: Incarnation(1),
        seed: n as u64,
        info: NodeInfo {
            labels: Default::default(),
            capacity,
            arch: "x86_64".into(),
            version: "test".into(),
            schema: 0,
        },
        authority: None,
        peers: Vec::new(),
        liveness: Default::default(),
        healer: Default::default(),
        repair_every: Duration::from_secs(2),
        keep_removed: Duration::from_secs(5),
        disk_budget: u64::MAX,
        volume: 40,
        max_tasks: 1_000,
        grace: Duration::from_secs(1),
    };
    Node::open(config, Box::new(disk.clone()), Vec::new(), now, out).unwrap()
}

impl Mesh {
    /// Three connected nodes; what they say is kept.
    pub fn new() -> Mesh {
        let authority = KeyPair::from_secret(&[0xA0; 32]);
        let mut mesh = Mesh {
            hosts: Vec::new(),
            now: MINUTE,
            frames: Vec::new(),
            gossip: Vec::new(),
            recording: true,
            replies: 0,
        };
        for n in 0..3 {
            let (disk, mut out) = (MemStore::new(), Vec::new());
            let node = open(n, &authority, &disk, mesh.clock(), &mut out);
            let id = KeyPair::from_secret(&[n as u8 + 1; 32]).node_id();
            mesh.hosts.push(Host { id, node, disk });
            mesh.settle(VecDeque::from([(n, out)]));
        }
        for (a, b) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
            mesh.connect(a, b, &authority);
        }
        mesh
    }

    fn connect(&mut self, a: usize, b: usize, authority: &KeyPair) {
        let key = KeyPair::from_secret(&[b as u8 + 1; 32]);
        let chain =
            CertChain::new(vec![Certificate::sign(claims(&key, MeshId(authority.node_id().0), b), authority).unwrap()]);
        let node = self.hosts[b].id;
        self.tell(a, Input::PeerUp { node, chain, address: format!("/ip4/10.0.0.{b}/tcp/1"), relayed: false });
    }

    fn clock(&self) -> Now {
        Now { mono: Mono(self.now), wall: Wall(1_790_000_000_000 + self.now.as_millis() as u64) }
    }

    /// What it is that a node hears as said by the hostile one.
    pub fn hostile_gossip(&mut self, topic: &str, bytes: Vec<u8>) {
        let source = self.hosts[HOSTILE].id;
        self.tell(VICTIM, Input::Gossip { source, topic: topic.to_owned(), bytes });
    }

    /// A frame of the hostile node.
    pub fn hostile_frame(&mut self, bytes: Vec<u8>) {
        let from = self.hosts[HOSTILE].id;
        self.tell(VICTIM, Input::Frame { from, bytes });
    }

    /// Gives a node an input, and carries out all that follows from it.
    pub fn tell(&mut self, host: usize, input: Input) {
        let now = self.clock();
        let mut out = Vec::new();
        let node = &mut self.hosts[host].node;
        node.handle(now, input, &mut out);
        node.settle(now, &mut out);
        self.settle(VecDeque::from([(host, out)]));
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_millis(100);
            for host in 0..self.hosts.len() {
                let (now, mut out) = (self.clock(), Vec::new());
                self.hosts[host].node.settle(now, &mut out);
                self.settle(VecDeque::from([(host, out)]));
            }
        }
    }

    /// A moment passes, in which nobody has anything to do.
    pub fn tick(&mut self) {
        self.now += Duration::from_millis(1);
    }

    fn settle(&mut self, mut work: VecDeque<(usize, Vec<Effect>)>) {
        while let Some((host, effects)) = work.pop_front() {
            for effect in effects {
                for (to, input) in self.follow(host, effect) {
                    let (now, mut out) = (self.clock(), Vec::new());
                    self.hosts[to].node.handle(now, input, &mut out);
                    self.hosts[to].node.settle(now, &mut out);
                    work.push_back((to, out));
                }
            }
        }
    }

    fn follow(&mut self, host: usize, effect: Effect) -> Vec<(usize, Input)> {
        let source = self.hosts[host].id;
        match effect {
            Effect::Persist(batch) => {
                self.hosts[host].disk.write(&batch).unwrap();
                vec![(host, Input::Persisted)]
            }
            Effect::Verify(changes) => {
                let mesh = MeshId(KeyPair::from_secret(&[0xA0; 32]).node_id().0);
                vec![(host, Input::Verified { verdicts: verify_batch(&mesh, &changes) })]
            }
            Effect::Publish { topic, bytes } => {
                self.keep(|mesh| mesh.gossip.push((topic.clone(), bytes.clone())));
                let heard = |to| (to, Input::Gossip { source, topic: topic.clone(), bytes: bytes.clone() });
                (0..self.hosts.len()).filter(|to| *to != host).map(heard).collect()
            }
            Effect::Send { peer, bytes } => {
                self.keep(|mesh| mesh.frames.push(bytes.clone()));
                let to = self.hosts.iter().position(|host| host.id == peer);
                to.map(|to| (to, Input::Frame { from: source, bytes })).into_iter().collect()
            }
            Effect::Start(task) => {
                let (id, started_at) = (task.id, self.clock().wall);
                let started = RunnerInput::Started { id: id.clone(), pid: 7, restarts: 0, started_at };
                let ended = RunnerInput::Ended {
                    id,
                    exit_code: Some(0),
                    finished_at: started_at,
                    restarts: 0,
                    restarting: false,
                    output: b"done".to_vec(),
                    reason: String::new(),
                    lease_ended: false,
                };
                let short = task.command.iter().any(|word| word.contains("true"));
                let told = [Some(started), short.then_some(ended)];
                told.into_iter().flatten().map(|input| (host, Input::Runner(input))).collect()
            }
            Effect::Reply { result, .. } => {
                self.replies += u64::from(result.is_ok());
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn keep(&mut self, put: impl FnOnce(&mut Mesh)) {
        if self.recording {
            put(self);
        }
    }

    /// From now on what is said is not kept.
    pub fn stop_recording(&mut self) {
        self.recording = false;
    }

    /// Asks a node, and gives its answer if it comes at once.
    fn ask(&mut self, host: usize, request: Request) -> Option<Result<Value, ApiError>> {
        let (now, mut out) = (self.clock(), Vec::new());
        self.hosts[host].node.handle(now, Input::Request { id: 1, request }, &mut out);
        let answer = out.iter().find_map(|effect| match effect {
            Effect::Reply { result, .. } => Some(result.clone()),
            _ => None,
        });
        self.settle(VecDeque::from([(host, out)]));
        answer
    }

    /// Submits an app at the honest node.
    pub fn submit(&mut self, manifest: &str) {
        let text = Some(manifest.to_owned());
        let params = ApplyParams { manifest: None, text, expected_revision: None, idempotency_key: None };
        let before = self.replies;
        self.ask(HONEST, Request::AppApply(params));
        self.pass(Duration::from_millis(100));
        assert!(self.replies > before, "the honest node takes it");
    }

    /// The apps that a node knows, with their revisions.
    pub fn apps_of(&mut self, host: usize) -> Vec<(String, u64)> {
        let answer = self.ask(host, Request::AppList(ListParams::default())).unwrap().unwrap();
        let rows = answer["items"].as_array().unwrap();
        rows.iter().map(|row| (row["name"].as_str().unwrap().to_owned(), row["revision"].as_u64().unwrap())).collect()
    }

    /// What the attacked node has counted.
    pub fn counted(&mut self) -> Value {
        self.ask(VICTIM, Request::MeshStatus).unwrap().unwrap()["counters"].clone()
    }

    /// Whether the attacked node's disk can still be read by a node that starts on it.
    pub fn restart_victim(&mut self) {
        let authority = KeyPair::from_secret(&[0xA0; 32]);
        let disk = self.hosts[VICTIM].disk.clone();
        let mut out = Vec::new();
        self.hosts[VICTIM].node = open(VICTIM, &authority, &disk, self.clock(), &mut out);
        self.settle(VecDeque::from([(VICTIM, out)]));
        for peer in [HONEST, HOSTILE] {
            let node = self.hosts[VICTIM].id;
            self.tell(peer, Input::PeerDown { node });
            self.connect(VICTIM, peer, &authority);
            self.connect(peer, VICTIM, &authority);
        }
    }
}
