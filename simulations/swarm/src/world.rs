//! A fleet in virtual time: hosts with the real stack on a made-up network, disk and runner.

use crate::{
    SwarmError,
    agent::{self, Agent, Asked, Shared, Waiting},
    host::{self, Host},
    net::{self, Net},
    record::Record,
    tasks::Tasks,
    trace::mix,
};
use holm_mesh_net::{Limits, NetConfig, NetHandle, ReachConfig, start_on};
use holm_node_core::{Config, Node};
use holm_simulations::scenario::{HostNo, Ms, Plan};
use holm_types::{
    Mono, NodeId, Now,
    api::{ApiError, Request},
    manifest::Amounts,
    view::NodeInfo,
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};

/// The version that agents have at first.
const VERSION: &str = "sim-1";
/// A request is answered within this time, or counts as not acknowledged.
const ANSWER: Duration = Duration::from_secs(5);
/// Requests that may wait for an agent.
const REQUESTS: usize = 64;

/// An agent that runs.
pub(crate) struct Running {
    tasks: Tasks,
    requests: mpsc::Sender<Asked>,
    /// There once it listens.
    net: Shared<Option<NetHandle>>,
}

/// One host of the world.
pub(crate) struct Place {
    pub(crate) host: Shared<Host>,
    /// Its number in the network.
    pub(crate) at: net::Host,
    pub(crate) running: Option<Running>,
    /// How wrong its clock is now.
    skew_ms: i64,
    /// Faults that keep it down.
    pub(crate) downs: u32,
    /// The version of its agent.
    pub(crate) version: &'static str,
    lives: u64,
}

/// See the [module](self).
pub(crate) struct World {
    pub(crate) net: Net,
    pub(crate) places: BTreeMap<HostNo, Place>,
    pub(crate) record: Shared<Record>,
    start: Instant,
    seed: u64,
    /// Members that everybody knows by their addresses.
    anchors: Vec<(NodeId, Vec<String>)>,
    /// What networks of lives that are over refused or dropped.
    gone: BTreeMap<String, u64>,
}

impl World {
    /// The fleet of a plan. Nothing runs yet.
    pub(crate) fn new(plan: &Plan, tasks: &Tasks) -> Result<World, SwarmError> {
        let net = Net::new(plan.seed, &plan.wan, &plan.lan);
        tasks.spawn(net.clone().pump());
        let (mut places, mut anchors) = (BTreeMap::new(), Vec::new());
        for planned in &plan.hosts {
            let host = Host::new(planned)?;
            let at = net.add(&planned.site, planned.nat, planned.kbps);
            if planned.anchor {
                anchors.push((host.id(), vec![multiaddress(&net, at)]));
            }
            let host = Shared::new(host);
            let (skew_ms, version) = (planned.skew_ms, VERSION);
            places.insert(planned.no, Place { host, at, running: None, skew_ms, downs: 0, version, lives: 0 });
        }
        let record = Shared::new(Record::default());
        Ok(World { net, places, record, start: Instant::now(), seed: plan.seed, anchors, gone: BTreeMap::new() })
    }

    /// The time of the simulation.
    pub(crate) fn now(&self) -> Ms {
        Ms(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// When a time of the simulation comes.
    pub(crate) fn instant(&self, at: Ms) -> Instant {
        self.start + Duration::from_millis(at.0)
    }

    /// A line for whoever looks into a failure.
    pub(crate) fn note(&self, host: Option<HostNo>, what: &str, detail: String) {
        self.record.lock().note(self.now(), host, what, detail);
    }

    /// The hosts of these that the world has.
    pub(crate) fn in_net<'a>(&self, hosts: impl IntoIterator<Item = &'a HostNo>) -> Vec<net::Host> {
        hosts.into_iter().filter_map(|no| self.places.get(no)).map(|place| place.at).collect()
    }

    /// Starts the agent of a host, as a new life of it.
    pub(crate) fn boot(&mut self, no: HostNo) {
        let Some(place) = self.places.get_mut(&no) else { return };
        place.lives += 1;
        self.net.restart(place.at);
        let seed = mix(mix(self.seed ^ u64::from(no.0)) ^ place.lives);
        let tasks = Tasks::new(seed, place.skew_ms);
        let (requests, asked) = mpsc::channel(REQUESTS);
        let net = Shared::new(None);
        place.running = Some(Running { tasks: tasks.clone(), requests, net: net.clone() });
        let life = Life {
            host: place.host.clone(),
            sockets: self.net.sockets(place.at),
            listen: multiaddress(&self.net, place.at),
            anchors: self.anchors.clone(),
            record: self.record.clone(),
            tasks: tasks.clone(),
            start: self.start,
            seed,
            version: place.version,
            requests: asked,
            net,
        };
        self.record.lock().up(self.now(), no);
        tasks.spawn(life.run());
    }

    /// Ends the agent of a host where it stands; false when none runs. On a loss of power its
    /// tasks end as well, and what was not synced is lost.
    pub(crate) fn kill(&mut self, no: HostNo, power_loss: bool) -> bool {
        let now = self.now();
        let Some(place) = self.places.get_mut(&no) else { return false };
        // First the network, so that what ends now says no good-bye.
        self.net.crash(place.at, power_loss);
        let ended = place.running.take();
        if let Some(running) = &ended {
            running.tasks.end();
            if let Some(net) = running.net.lock().as_ref() {
                add(&mut self.gone, net);
            }
            self.record.lock().down(now, no);
        }
        if power_loss {
            place.host.lock().lose_power(now);
        }
        ended.is_some()
    }

    /// Freezes an agent, or lets it go on; false when none runs.
    pub(crate) fn freeze(&self, no: HostNo, frozen: bool) -> bool {
        let running = self.places.get(&no).and_then(|place| place.running.as_ref());
        running.inspect(|running| running.tasks.freeze(frozen)).is_some()
    }

    /// Moves the wall clock of a host.
    pub(crate) fn jump(&mut self, no: HostNo, by_ms: i64) {
        if let Some(place) = self.places.get_mut(&no) {
            place.skew_ms = place.skew_ms.saturating_add(by_ms);
            if let Some(running) = &place.running {
                running.tasks.set_skew(place.skew_ms);
            }
        }
    }

    /// The way to the agent of a host, if one runs.
    pub(crate) fn agent(&self, no: HostNo) -> Option<mpsc::Sender<Asked>> {
        Some(self.places.get(&no)?.running.as_ref()?.requests.clone())
    }

    /// Asks the agent of a host. None when it does not run or does not answer in time.
    pub(crate) async fn ask(&self, no: HostNo, request: Request) -> Option<Result<Value, ApiError>> {
        ask(&self.agent(no)?, request).await
    }

    /// What the networks of all lives refused, dropped or cut.
    pub(crate) fn net_counters(&self) -> BTreeMap<String, u64> {
        let mut all = self.gone.clone();
        for running in self.places.values().filter_map(|place| place.running.as_ref()) {
            if let Some(net) = running.net.lock().as_ref() {
                add(&mut all, net);
            }
        }
        all
    }

    /// Ends everything.
    pub(crate) fn end(&mut self) {
        self.places.values_mut().filter_map(|place| place.running.take()).for_each(|running| running.tasks.end());
    }
}

fn add(to: &mut BTreeMap<String, u64>, net: &NetHandle) {
    for (name, count) in net.counters() {
        *to.entry(format!("net_{name}")).or_default() += count;
    }
}

/// Asks an agent; none when it does not answer in time.
pub(crate) async fn ask(agent: &mpsc::Sender<Asked>, request: Request) -> Option<Result<Value, ApiError>> {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        agent.send((request, reply)).await.ok()?;
        answer.await.ok()
    };
    timeout(ANSWER, asked).await.ok().flatten()
}

fn multiaddress(net: &Net, host: net::Host) -> String {
    let at = net.address(host);
    format!("/ip4/{}/tcp/{}", at.ip(), at.port())
}

/// What one life of an agent is made of.
struct Life {
    host: Shared<Host>,
    sockets: net::SimSockets,
    listen: String,
    anchors: Vec<(NodeId, Vec<String>)>,
    record: Shared<Record>,
    tasks: Tasks,
    start: Instant,
    seed: u64,
    version: &'static str,
    requests: mpsc::Receiver<Asked>,
    net: Shared<Option<NetHandle>>,
}

impl Life {
    /// The life, as one of the tasks that end with it.
    async fn run(self) {
        let (record, no, start) = (self.record.clone(), self.host.lock().no, self.start);
        if let Err(error) = self.live().await {
            let at = Ms(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX));
            record.lock().failed_to_start(at, no, error.to_string());
        }
    }

    async fn live(self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let config = self.config()?;
        let net = NetConfig {
            key: config.key.clone(),
            chain: config.chain.clone(),
            mesh: config.mesh,
            incarnation: config.incarnation,
            listen: vec![self.listen],
            mdns: false,
            clock: Arc::new(agent::wall),
            reach: ReachConfig::off(),
            limits: Limits::default(),
        };
        let tasks = self.tasks;
        let net = start_on(net, self.sockets, Arc::new(move |task| tasks.spawn(task))).await?;
        *self.net.lock() = Some(net.handle.clone());
        let elapsed = self.start.elapsed();
        let now = Ms(u64::try_from(elapsed.as_millis())?);
        let (disk, found) = {
            let mut host = self.host.lock();
            (Box::new(host.disk.clone()), host.found(now))
        };
        let mut effects = Vec::new();
        let now = Now { mono: Mono(elapsed), wall: agent::wall() };
        let node = Node::open(config, disk, found, now, &mut effects)?;
        let (requests, host, record, start) = (self.requests, self.host, self.record, self.start);
        Agent { node, effects, net, requests, host, record, start, waiting: Waiting::default() }.run().await;
        Ok(())
    }

    fn config(&self) -> Result<Config, Box<dyn std::error::Error + Send + Sync>> {
        let mut host = self.host.lock();
        let capacity = Amounts { cpu: 4000, memory: 4 << 30, disk: 32 << 30, extended: BTreeMap::new() };
        let own = host.id();
        Ok(Config {
            mesh: host::mesh(),
            mesh_name: "sim".parse()?,
            key: host.key.clone(),
            chain: host.chain.clone(),
            incarnation: host.count_start(agent::wall(), self.seed as u32)?,
            seed: self.seed,
            info: NodeInfo { labels: BTreeMap::new(), capacity, arch: "x86_64".into(), version: self.version.into() },
            authority: None,
            peers: self.anchors.iter().filter(|(id, _)| *id != own).cloned().collect(),
            liveness: Default::default(),
            healer: Default::default(),
            repair_every: Duration::from_secs(10),
            max_tasks: 250,
            grace: Duration::from_secs(10),
        })
    }
}
