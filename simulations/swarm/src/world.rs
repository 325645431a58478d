//! A fleet in virtual time: hosts with the real stack on a made-up network, and the fleet's own disks and runners.

use crate::{
    SwarmError,
    agent::{Agent, Asked, Shared, Waiting, since},
    net::{self, Net},
    tasks::Tasks,
    trace::mix,
};
use holm_mesh_net::{Limits, NetConfig, NetHandle, ReachConfig, start_on};
use holm_node_core::{Effect, RunnerInput};
use holm_simulations::{
    Options,
    fleet::{At, Fleet},
    outcome::Invariant,
    scenario::{Disk, HostNo, Ms, Plan},
};
use holm_types::{
    NodeId, Wall,
    api::{ApiError, Request},
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, mpsc, mpsc::error::TrySendError, oneshot},
    time::{Instant, sleep_until, timeout},
};

/// A request is answered within this time, or counts as not acknowledged.
const ANSWER: Duration = Duration::from_secs(5);
/// Requests that may wait for an agent.
const REQUESTS: usize = 64;
/// Words of its runner that may wait for an agent: 250 tasks and their restarts, while it is frozen.
const SAID: usize = 65_536;
/// With no process to end the runner sleeps this long, or until one is started.
const IDLE: Duration = Duration::from_secs(86_400);

/// An agent that runs.
struct Running {
    tasks: Tasks,
    requests: mpsc::Sender<Asked>,
    runner: mpsc::Sender<RunnerInput>,
    /// There once it listens.
    net: Shared<Option<NetHandle>>,
}

/// The agents that run, by their hosts' places.
type Agents = Shared<BTreeMap<usize, Running>>;

/// See the [module](self).
pub(crate) struct World {
    pub(crate) net: Net,
    pub(crate) fleet: Shared<Fleet>,
    agents: Agents,
    /// Faults that keep each host down.
    downs: Vec<u32>,
    lives: Vec<u64>,
    start: Instant,
    seed: u64,
    /// Members that everybody knows by their addresses.
    anchors: Vec<(NodeId, Vec<String>)>,
    /// What networks of lives that are over refused or dropped.
    gone: BTreeMap<String, u64>,
}

impl World {
    /// The fleet of a plan. Nothing runs yet.
    pub(crate) fn new(plan: &Arc<Plan>, options: Options, tasks: &Tasks) -> Result<World, SwarmError> {
        let net = Net::new(plan.seed, &plan.wan, &plan.lan);
        tasks.spawn(net.clone().pump());
        let fleet = Fleet::new(plan.clone(), options).map_err(|e| SwarmError::Plan(e.to_string()))?;
        let mut anchors = Vec::new();
        for (place, host) in plan.hosts.iter().enumerate() {
            // The network counts hosts as the fleet does.
            let at = net.add(&host.site, host.nat, host.kbps);
            if host.anchor {
                anchors.push((fleet.id(place), vec![multiaddress(&net, at)]));
            }
        }
        let (fleet, agents, start) = (Shared::new(fleet), Shared::new(BTreeMap::new()), Instant::now());
        tasks.spawn(run_processes(fleet.clone(), agents.clone(), start));
        let count = plan.hosts.len();
        let (downs, lives, gone, seed) = (vec![0; count], vec![0; count], BTreeMap::new(), plan.seed);
        Ok(World { net, fleet, agents, downs, lives, start, seed, anchors, gone })
    }

    /// The time of the simulation.
    pub(crate) fn at(&self) -> At {
        since(self.start)
    }

    /// When a time of the simulation comes.
    pub(crate) fn instant(&self, at: Ms) -> Instant {
        self.start + Duration::from_millis(at.0)
    }

    /// The places of hosts.
    pub(crate) fn places<'a>(&self, hosts: impl IntoIterator<Item = &'a HostNo>) -> Vec<usize> {
        let fleet = self.fleet.lock();
        hosts.into_iter().filter_map(|no| fleet.index_of(*no)).collect()
    }

    /// Starts the agent of a host, as a new life of it.
    pub(crate) fn boot(&mut self, host: usize) {
        self.lives[host] += 1;
        self.net.restart(host);
        let at = self.at();
        let (own, skew_ms) = {
            let fleet = self.fleet.lock();
            (fleet.id(host), fleet.skew_ms(host))
        };
        let known = self.anchors.iter().filter(|(id, _)| *id != own).cloned().collect();
        let Some(effects) = self.fleet.lock().start(host, at, known) else { return };
        let seed = mix(mix(self.seed ^ host as u64) ^ self.lives[host]);
        let tasks = Tasks::new(seed, skew_ms);
        tasks.freeze(self.fleet.lock().is_frozen(host));
        let (requests, asked) = mpsc::channel(REQUESTS);
        let (runner, said) = mpsc::channel(SAID);
        let net = Shared::new(None);
        let running = Running { tasks: tasks.clone(), requests, runner, net: net.clone() };
        self.agents.lock().insert(host, running);
        let life = Life {
            host,
            fleet: self.fleet.clone(),
            sockets: self.net.sockets(host),
            listen: multiaddress(&self.net, host),
            tasks: tasks.clone(),
            start: self.start,
            requests: asked,
            runner: said,
            effects,
            net,
        };
        tasks.spawn(life.run());
    }

    /// Ends the agent of a host where it stands; false when none runs. On a loss of power its tasks end as well,
    /// and what becomes of the disk is the fault's to say.
    fn kill(&mut self, host: usize, power_loss: bool) -> bool {
        // First the network, so that what ends now says no good-bye.
        self.net.crash(host, power_loss);
        if let Some(running) = self.agents.lock().remove(&host) {
            running.tasks.end();
            if let Some(net) = running.net.lock().as_ref() {
                add(&mut self.gone, net);
            }
        }
        let at = self.at();
        self.fleet.lock().kill(host, at)
    }

    /// A fault takes a host down, or its agent alone; whether an agent ran.
    pub(crate) fn take_down(&mut self, host: usize, power_loss: bool, disk: Disk, fault: u64) -> bool {
        self.downs[host] += 1;
        let ran = self.kill(host, power_loss);
        let at = self.at();
        self.fleet.lock().crash(host, at, power_loss, disk, fault);
        ran
    }

    /// One fault less keeps a host down; the last one lets it start.
    pub(crate) fn bring_up(&mut self, host: usize) {
        self.downs[host] = self.downs[host].saturating_sub(1);
        if self.downs[host] == 0 {
            self.boot(host);
        }
    }

    /// Freezes an agent, or lets it go on; whether one runs.
    pub(crate) fn freeze(&self, host: usize, frozen: bool) -> bool {
        let runs = self.fleet.lock().freeze(host, frozen);
        let still = self.fleet.lock().is_frozen(host);
        if let Some(running) = self.agents.lock().get(&host) {
            running.tasks.freeze(still);
        }
        runs
    }

    /// Moves the date of a host; whether an agent runs there.
    pub(crate) fn jump(&self, host: usize, by_ms: i64) -> bool {
        let mut fleet = self.fleet.lock();
        fleet.jump(host, by_ms);
        let agents = self.agents.lock();
        agents.get(&host).inspect(|running| running.tasks.set_skew(fleet.skew_ms(host))).is_some()
    }

    /// Sends a request of the plan on its way; its answer is told to the fleet when it comes.
    pub(crate) fn submit(&self, submission: usize, tasks: &Tasks) {
        let (start, fleet) = (self.start, self.fleet.clone());
        let asked = self.fleet.lock().submit(submission, self.at());
        let Some((host, request)) = asked else { return };
        let Some(agent) = self.agents.lock().get(&host).map(|running| running.requests.clone()) else { return };
        tasks.spawn(async move {
            let answer = ask(&agent, request).await;
            let mut fleet = fleet.lock();
            match answer {
                Some(answer) => fleet.answered(submission, host, since(start), &answer),
                None => fleet.count("unanswered", 1),
            }
        });
    }

    /// What the networks of all lives refused, dropped or cut.
    pub(crate) fn net_counters(&self) -> BTreeMap<String, u64> {
        let mut all = self.gone.clone();
        for running in self.agents.lock().values() {
            if let Some(net) = running.net.lock().as_ref() {
                add(&mut all, net);
            }
        }
        all
    }

    /// Ends everything.
    pub(crate) fn end(&mut self) {
        std::mem::take(&mut *self.agents.lock()).into_values().for_each(|running| running.tasks.end());
    }
}

/// Lets the processes of all hosts start and end when it is time, for ever; agents that run are told.
async fn run_processes(fleet: Shared<Fleet>, agents: Agents, start: Instant) {
    let sooner = Arc::new(Notify::new());
    fleet.lock().on_sooner({
        let sooner = sooner.clone();
        Box::new(move || sooner.notify_one())
    });
    loop {
        let said = fleet.lock().run_due(since(start));
        for (host, said) in said {
            if let Some(running) = agents.lock().get(&host) {
                // An agent that is about to end finds it out when it starts again.
                let full = matches!(running.runner.try_send(said), Err(TrySendError::Full(_)));
                assert!(!full, "more than {SAID} words of a runner wait for a frozen agent");
            }
        }
        let due = fleet.lock().next_due();
        let due = due.map_or_else(|| Instant::now() + IDLE, |at| start + Duration::from_micros(at));
        tokio::select! {
            biased;
            () = sooner.notified() => {}
            () = sleep_until(due) => {}
        }
    }
}

fn add(to: &mut BTreeMap<String, u64>, net: &NetHandle) {
    for (name, count) in net.counters() {
        *to.entry(format!("net_{name}")).or_default() += count;
    }
}

/// Asks an agent; none when it does not answer in time.
async fn ask(agent: &mpsc::Sender<Asked>, request: Request) -> Option<Result<Value, ApiError>> {
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

/// The date by the clock of the node whose task asks: the interposed libc knows its skew.
fn wall() -> Wall {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// What one life of an agent is made of.
struct Life {
    host: usize,
    fleet: Shared<Fleet>,
    sockets: net::SimSockets,
    listen: String,
    tasks: Tasks,
    start: Instant,
    requests: mpsc::Receiver<Asked>,
    runner: mpsc::Receiver<RunnerInput>,
    /// What the core wants done first.
    effects: Vec<Effect>,
    net: Shared<Option<NetHandle>>,
}

impl Life {
    /// The life, as one of the tasks that end with it.
    async fn run(self) {
        let (fleet, host, start) = (self.fleet.clone(), self.host, self.start);
        if let Err(error) = self.live().await {
            let mut fleet = fleet.lock();
            let no = fleet.plan().hosts[host].no;
            fleet.violated(Invariant::NodeStarts, since(start), vec![no], error.to_string());
        }
    }

    async fn live(self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let identity = self.fleet.lock().identity(self.host);
        let config = NetConfig {
            key: identity.key,
            chain: identity.chain,
            mesh: identity.mesh,
            incarnation: identity.incarnation,
            listen: vec![self.listen],
            mdns: false,
            clock: Arc::new(wall),
            reach: ReachConfig::off(),
            limits: Limits::default(),
        };
        let tasks = self.tasks;
        let net = start_on(config, self.sockets, Arc::new(move |task| tasks.spawn(task))).await?;
        *self.net.lock() = Some(net.handle.clone());
        let Life { host, fleet, start, requests, runner, effects, .. } = self;
        Agent { host, fleet, effects, net, requests, runner, start, waiting: Waiting::default() }.run().await;
        Ok(())
    }
}
