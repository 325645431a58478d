//! The engine: hosts, links, one queue of what happens when, and the judges that look on. It feeds
//! each agent its inputs and carries its effects out, as the shell of a real node does.

use super::{
    disk::Shelf,
    event::{Event, HostIndex, TopicNo},
    host::Host,
    launch::Due,
    links::Links,
    queue::{At, Queue, SECOND},
    record::Record,
};
use crate::{
    SimError,
    judge::Judges,
    scenario::{HostNo, Ms, Plan, PlannedFault, PlannedHost, Trouble},
};
use holm_node_core::{Effect, Input, Node, RequestId};
use holm_state::{Batch, StoreWrite as _};
use holm_types::{Digest, NodeId, api::ApiError, change::SignedChange, keys::KeyPair};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// What a write takes on a healthy disk, synced or not.
const DISK_WRITE: At = 2_000;
const DISK_WRITE_UNSYNCED: At = 200;
/// What verifying one signature takes.
const VERIFY: At = 50;
/// How soon a node that asks to be called again is called: a deadline that is always now must not
/// stop the world.
const SOONEST: At = 100;

/// How signatures are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// Each is verified once for all hosts, and its verdict remembered: every host would come to
    /// the same one. That is for speed, and no part of the product.
    #[default]
    Remembered,
    /// By each host, as in the real world.
    Each,
}

/// How a plan is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Options {
    /// How signatures are verified.
    pub verify: Verify,
    /// The run is broken off at this time, if that is before the end of the plan; nothing is judged at the end then.
    pub until: Option<Ms>,
    /// How many of the last events are kept; [`crate::outcome::EVENTS_KEPT`] when nothing is said.
    pub events: Option<usize>,
}

impl Options {
    /// With signatures verified like this.
    pub fn verify(self, verify: Verify) -> Options {
        Options { verify, ..self }
    }

    /// Broken off at this time.
    pub fn until(self, until: Ms) -> Options {
        Options { until: Some(until), ..self }
    }

    /// With so many of the last events.
    pub fn events(self, events: usize) -> Options {
        Options { events: Some(events), ..self }
    }
}

/// What a node answered to a request.
pub(crate) type Answer = Result<serde_json::Value, ApiError>;

/// See the [module](self).
pub(crate) struct Engine {
    pub(crate) plan: Arc<Plan>,
    pub(crate) options: Options,
    pub(crate) hosts: Vec<Host>,
    pub(crate) links: Links,
    pub(crate) now: At,
    pub(crate) record: Record,
    pub(crate) judges: Judges,
    pub(crate) topics: Vec<String>,
    topic_nos: BTreeMap<String, TopicNo>,
    pub(crate) answers: BTreeMap<RequestId, Answer>,
    /// Which request is whose: the host and, for a submission of the plan, its place there.
    pub(crate) asked: BTreeMap<RequestId, (HostIndex, Option<usize>)>,
    pub(super) authority: KeyPair,
    pub(super) next_connection: u64,
    pub(super) next_pid: u32,
    pub(super) next_request: RequestId,
    /// Marks the hosts that a message has come to, by its number.
    pub(super) visited: Vec<u64>,
    pub(super) round: u64,
    /// Storms and liars that are at work: only then hosts remember what they hear.
    pub(super) storms: u32,
    /// Faults that have ended early, because all of them end with the plan.
    pub(super) ended: Vec<bool>,
    queue: Queue,
    shelf: Shelf,
    ids: BTreeMap<NodeId, HostIndex>,
    sites: BTreeMap<String, u32>,
    /// The hosts of each site, and those that everybody is told of who is enrolled.
    site_hosts: BTreeMap<u32, Vec<HostIndex>>,
    pub(super) anchors: Vec<HostIndex>,
    verdicts: BTreeMap<Digest, bool>,
}

impl Engine {
    pub(crate) fn new(plan: Arc<Plan>, options: Options) -> Engine {
        Engine {
            links: Links::new(plan.seed, plan.wan, plan.lan),
            ended: vec![false; plan.faults.len()],
            judges: Judges::new(plan.fenced_overlap_max),
            hosts: Vec::with_capacity(plan.hosts.len()),
            plan,
            options,
            now: 0,
            record: Record::keeping(options.events),
            topics: Vec::new(),
            topic_nos: BTreeMap::new(),
            answers: BTreeMap::new(),
            asked: BTreeMap::new(),
            authority: KeyPair::from_secret(&[0xa5; 32]),
            next_connection: 0,
            next_pid: 0,
            next_request: 0,
            visited: Vec::new(),
            round: 0,
            storms: 0,
            queue: Queue::default(),
            shelf: Shelf::default(),
            ids: BTreeMap::new(),
            sites: BTreeMap::new(),
            site_hosts: BTreeMap::new(),
            anchors: Vec::new(),
            verdicts: BTreeMap::new(),
        }
    }

    /// Adds a host; its agent is not started yet.
    pub(crate) fn add_host(&mut self, planned: PlannedHost) -> Result<HostIndex, SimError> {
        let index = self.hosts.len();
        let sites = self.sites.len() as u32;
        let site = *self.sites.entry(planned.site.clone()).or_insert(sites);
        self.links.add_host(planned.no, site);
        self.site_hosts.entry(site).or_default().push(index);
        self.anchors.extend(planned.anchor.then_some(index));
        let no = planned.no;
        let mut host = Host::new(&self.authority, planned, self.plan.seed, &self.shelf)?;
        let revokes = |fault: &PlannedFault| matches!(fault.trouble, Trouble::Revoke { by, .. } if by == no);
        if self.plan.faults.iter().any(revokes) {
            host.config.authority = Some(self.authority.clone());
        }
        self.ids.insert(host.id, index);
        self.hosts.push(host);
        self.visited.push(0);
        self.judges.add_host();
        Ok(index)
    }

    pub(crate) fn index_of(&self, node: &NodeId) -> Option<HostIndex> {
        self.ids.get(node).copied()
    }

    pub(crate) fn index_of_no(&self, no: HostNo) -> Option<HostIndex> {
        // Hosts are in the order of their numbers, and few are ever taken out.
        self.hosts.binary_search_by_key(&no, |host| host.plan.no).ok()
    }

    /// The hosts of a host's site, in their order.
    pub(super) fn neighbourhood(&self, host: HostIndex) -> impl Iterator<Item = HostIndex> {
        let site = self.sites.get(&self.hosts[host].plan.site);
        site.and_then(|site| self.site_hosts.get(site)).into_iter().flatten().copied()
    }

    pub(crate) fn no(&self, host: HostIndex) -> HostNo {
        self.hosts[host].plan.no
    }

    pub(super) fn address(&self, host: HostIndex) -> String {
        format!("/sim/{}", self.hosts[host].plan.no.0)
    }

    pub(crate) fn push(&mut self, at: At, event: Event) {
        self.queue.push(at, event);
    }

    pub(crate) fn note(&mut self, host: Option<HostIndex>, what: &str, detail: &str) {
        let no = host.map(|host| self.no(host));
        self.record.note(self.now, no, what, detail.to_owned());
    }

    /// Lets everything happen up to a point of time.
    pub(crate) fn run_until(&mut self, until: At) {
        while let Some((at, event)) = self.queue.pop_until(until) {
            self.now = self.now.max(at);
            self.record.count("events", 1);
            self.happen(event);
        }
        self.now = until;
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// For an agent that is frozen, or that is not the one that it was meant for?
    fn misses(&mut self, host: HostIndex, life: Option<u32>, event: Event) -> Option<Event> {
        let there = &mut self.hosts[host];
        if there.node.is_none() || life.is_some_and(|life| life != there.life) {
            return None;
        }
        if there.frozen > 0 {
            there.thawed.push_back(event);
            return None;
        }
        Some(event)
    }

    pub(super) fn happen(&mut self, event: Event) {
        let addressee = match &event {
            Event::Input { host, life, .. } | Event::Written { host, life, .. } | Event::Wake { host, life } => {
                Some((*host, Some(*life)))
            }
            Event::Gossip { to, life, .. } => Some((*to, Some(*life))),
            Event::Frame { to, .. } => Some((*to, None)),
            Event::Dialled { from, life, .. } => Some((*from, Some(*life))),
            Event::Probe { host, .. } | Event::Closed { host, .. } => Some((*host, None)),
            _ => None,
        };
        let event = match addressee {
            Some((host, life)) => match self.misses(host, life, event) {
                Some(event) => event,
                None => return,
            },
            None => event,
        };
        self.trace(&event, addressee.map(|(host, _)| host));
        match event {
            Event::Input { host, input, .. } => self.deliver(host, *input),
            Event::Gossip { to, author, topic, bytes, .. } => self.gossip(to, author, topic, &bytes),
            Event::Frame { to, from, connection, bytes } => self.frame(to, from, connection, &bytes),
            Event::Written { host, batch, .. } => self.written(host, &batch),
            Event::Wake { host, .. } => self.wake(host),
            Event::Dialled { from, to, .. } => self.dialled(from, to),
            Event::Probe { host, peer, connection } => self.probe(host, peer, connection),
            Event::Closed { host, peer, connection } => self.closed(host, peer, connection),
            Event::Process { host, due } => self.process(host, &due),
            Event::FaultBegins(n) => self.fault_begins(n),
            Event::FaultEnds(n) => self.fault_ends(n),
            Event::FaultActs(n) => self.fault_acts(n),
            Event::Backup(n) => self.back_up(n),
            Event::Submit(n) => self.submit(n),
            Event::Sample => self.sample(),
            Event::HealCheck { heal, since } => self.heal_check(heal, since),
        }
    }

    /// What happened goes into the run's hash: when, what, where, and the size of it.
    fn trace(&mut self, event: &Event, host: Option<HostIndex>) {
        let host = host.map_or(u64::MAX, |host| u64::from(self.hosts[host].plan.no.0));
        let (what, detail) = match event {
            Event::Input { .. } => (1, 0),
            Event::Gossip { author, bytes, .. } => (2, (*author as u64) << 32 | bytes.len() as u64),
            Event::Frame { from, bytes, .. } => (3, (*from as u64) << 32 | bytes.len() as u64),
            Event::Written { batch, .. } => (4, batch.puts.len() as u64),
            Event::Wake { .. } => (5, 0),
            Event::Dialled { to, .. } => (6, *to as u64),
            Event::Probe { peer, .. } => (7, *peer as u64),
            Event::Closed { peer, .. } => (8, *peer as u64),
            Event::Process { host, due } => {
                let (what, pid) = match **due {
                    Due::Launched { pid, .. } => (9, pid),
                    Due::Ended { pid, .. } => (10, pid),
                    Due::Restart { after_pid, .. } => (11, after_pid),
                    Due::LeaseEnds { pid, .. } => (19, pid),
                };
                (what, (*host as u64) << 32 | u64::from(pid))
            }
            Event::FaultBegins(n) => (12, *n as u64),
            Event::FaultEnds(n) => (13, *n as u64),
            Event::FaultActs(n) => (14, *n as u64),
            Event::Backup(n) => (15, *n as u64),
            Event::Submit(n) => (16, *n as u64),
            Event::Sample => (17, 0),
            Event::HealCheck { heal, .. } => (18, *heal as u64),
        };
        self.record.trace(self.now, what, host, detail);
    }

    /// Hands an input to an agent, if one runs, and carries out what comes of it.
    pub(crate) fn deliver(&mut self, host: HostIndex, input: Input) {
        if self.hosts[host].frozen > 0 {
            let life = self.hosts[host].life;
            self.hosts[host].thawed.push_back(Event::Input { host, life, input: Box::new(input) });
            return;
        }
        self.think(host, |node, now, effects| node.handle(now, input, effects));
    }

    fn wake(&mut self, host: HostIndex) {
        if self.hosts[host].wake_at.is_some_and(|at| at <= self.now) {
            self.hosts[host].wake_at = None;
            self.think(host, |_, _, _| {});
        }
    }

    fn think(&mut self, host: HostIndex, input: impl FnOnce(&mut Node, holm_types::Now, &mut Vec<Effect>)) {
        let now = self.hosts[host].clocks(self.now);
        let mut effects = Vec::new();
        if let Some(node) = &mut self.hosts[host].node {
            input(node, now, &mut effects);
            node.settle(now, &mut effects);
        }
        self.carry_out(host, effects);
    }

    pub(super) fn carry_out(&mut self, host: HostIndex, effects: Vec<Effect>) {
        for effect in effects {
            self.carry_out_one(host, effect);
        }
        let there = &self.hosts[host];
        let Some(deadline) = there.node.as_ref().and_then(Node::next_deadline) else { return };
        let deadline = u64::try_from(deadline.0.as_micros()).unwrap_or(At::MAX).max(self.now + SOONEST);
        // One wake in the queue is enough; an earlier deadline takes its place.
        if there.wake_at.is_none_or(|at| deadline < at) {
            let life = there.life;
            self.hosts[host].wake_at = Some(deadline);
            self.push(deadline, Event::Wake { host, life });
        }
    }

    fn carry_out_one(&mut self, host: HostIndex, effect: Effect) {
        let life = self.hosts[host].life;
        match effect {
            Effect::Reply { id, result } => self.replied(host, id, result),
            Effect::Persist(batch) => {
                let takes = if batch.sync { DISK_WRITE } else { DISK_WRITE_UNSYNCED };
                let there = &mut self.hosts[host];
                let done = there.disk_free.max(self.now) + takes + there.slow_disk;
                there.disk_free = done;
                if there.slow_disk > 0 {
                    self.record.count("writes_slowed", 1);
                }
                self.push(done, Event::Written { host, life, batch });
            }
            Effect::Verify(changes) => {
                let takes = VERIFY * changes.len() as u64;
                let verdicts = self.verify(host, &changes);
                let input = Box::new(Input::Verified { verdicts });
                self.push(self.now + takes, Event::Input { host, life, input });
            }
            Effect::Subscribe(topic) => {
                let no = self.topic_no(&topic);
                self.joins(host, no);
            }
            Effect::Publish { topic, bytes } => {
                let topic = self.topic_no(&topic);
                if self.carries_state(topic) {
                    let at = self.now;
                    self.judges.published(at, host, &self.hosts[host], &bytes);
                }
                self.publish(host, host, topic, bytes.into());
            }
            Effect::Send { peer, bytes } => self.send(host, &peer, bytes),
            Effect::Check(peer) => self.check(host, &peer),
            Effect::Dial { peer, .. } => self.dial(host, &peer),
            Effect::Start(task) => self.spawn(host, task),
            Effect::Lease { id, until } => self.extend(host, &id, until),
            Effect::Stop(id) => self.stop(host, &id),
            Effect::Emit(event) => {
                self.judges.emitted(self.now, host, &event);
                let detail = match (&event.task, &event.app) {
                    (Some(task), _) => format!("{task}: {}", event.detail),
                    (None, Some(app)) => format!("{app}: {}", event.detail),
                    (None, None) => event.detail,
                };
                let what = format!("{:?}", event.kind);
                self.note(Some(host), &what, &detail);
            }
            Effect::Distrust(distrust) => self.distrust(host, distrust),
            // Certificates do not end in the simulated world.
            Effect::Enrolled { .. } | Effect::Present(_) | Effect::PeerRenewed(_) | Effect::Renew { .. } => {}
        }
    }

    /// A batch is on the disk: the judges see what a host holds now.
    fn written(&mut self, host: HostIndex, batch: &Batch) {
        // A simulated disk is slow, loses and tears; it does not refuse.
        let _ = self.hosts[host].disk.write(batch);
        self.judges.written(self.now, host, &self.hosts[host], batch);
        self.deliver(host, Input::Persisted);
    }

    fn verify(&mut self, host: HostIndex, changes: &[SignedChange]) -> Vec<bool> {
        let mesh = self.hosts[host].config.mesh;
        if self.options.verify == Verify::Each {
            return holm_state::verify_batch(&mesh, changes);
        }
        let mut verdict = |change: &SignedChange| {
            let signed = [&change.author.0[..], &change.signed_message(&mesh), change.signature()];
            let key = Digest::of("sim verdict", &signed);
            *self.verdicts.entry(key).or_insert_with(|| change.verify(&mesh).is_ok())
        };
        changes.iter().map(&mut verdict).collect()
    }

    fn topic_no(&mut self, topic: &str) -> TopicNo {
        if let Some(known) = self.topic_nos.get(topic) {
            return *known;
        }
        let no = self.topics.len() as TopicNo;
        self.topics.push(topic.to_owned());
        self.topic_nos.insert(topic.to_owned(), no);
        no
    }

    /// All but heartbeats.
    pub(super) fn carries_state(&self, topic: TopicNo) -> bool {
        crate::fleet::carries_state(&self.topics[topic as usize])
    }

    /// Once a second the fleet is looked at as a whole.
    fn sample(&mut self) {
        let up: Vec<HostIndex> = (0..self.hosts.len()).filter(|h| self.hosts[*h].is_up()).collect();
        let running = self.hosts.iter().map(|h| h.processes.up().count()).sum::<usize>();
        let busiest = self.hosts.iter().map(|h| h.sent).max().unwrap_or(0);
        self.judges.sampled(self.now, &self.hosts, self.plan.messages_per_s);
        self.hosts.iter_mut().for_each(|h| h.sent = 0);
        let parts = self.links.parts(&up);
        self.record.take_sample(self.now, up.len() as u32, parts, running as u32, busiest);
        self.push(self.now + SECOND, Event::Sample);
    }

    /// Requests that are not answered yet.
    pub(crate) fn thaw(&mut self, host: HostIndex) {
        let waiting: VecDeque<Event> = std::mem::take(&mut self.hosts[host].thawed);
        for event in waiting {
            self.happen(event);
        }
    }
}
