//! The agent of one node: the shell around its core, with the real network below it and a disk and a
//! runner that are made up. The counterpart of `node/shell/src/daemon/node_loop.rs`.

use futures::future::pending;
use holm_mesh_net::{Net, NetCommand, NetEvent};
use holm_node_core::{Effect, Input, RequestId, RunnerInput};
use holm_node_net::{Heard, heard};
use holm_simulations::fleet::{At, Fleet};
use holm_state::Batch;
use holm_types::{
    Mono, NodeId,
    api::{ApiError, Request},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

/// What a write takes on a disk that is well, synced or not.
const SYNC: At = 2_000;
const WRITE: At = 200;
/// What verifying one signature takes on another thread.
const VERIFY: Duration = Duration::from_micros(50);
/// Inputs taken before effects are carried out, at most, as in the shell.
const BURST: usize = 256;

/// A request and where its answer goes.
pub(crate) type Asked = (Request, oneshot::Sender<Result<Value, ApiError>>);

/// What several tasks of the simulation look at, each for a moment.
pub(crate) struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared(self.0.clone())
    }
}

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Shared<T> {
        Shared(Arc::new(Mutex::new(value)))
    }

    /// Never hold it across an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        // A panic in a core ends the run, and what it left is not looked at any more.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Microseconds since the simulation began.
pub(crate) fn since(start: Instant) -> At {
    At::try_from(start.elapsed().as_micros()).unwrap_or(At::MAX)
}

/// See the [module](self).
pub(crate) struct Agent {
    /// Its host's place in the fleet.
    pub(crate) host: usize,
    pub(crate) fleet: Shared<Fleet>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) net: Net,
    pub(crate) requests: mpsc::Receiver<Asked>,
    pub(crate) runner: mpsc::Receiver<RunnerInput>,
    pub(crate) start: Instant,
    pub(crate) waiting: Waiting,
}

/// What the agent waits for from its disk and its verifier.
#[derive(Default)]
pub(crate) struct Waiting {
    /// What comes at a time.
    due: BTreeMap<(Mono, u64), Due>,
    order: u64,
    replies: BTreeMap<RequestId, oneshot::Sender<Result<Value, ApiError>>>,
    next_request: RequestId,
}

enum Due {
    Verified(Vec<bool>),
    Written(Arc<Batch>),
}

impl Waiting {
    fn at(&mut self, at: Mono, due: Due) {
        self.order += 1;
        self.due.insert((at, self.order), due);
    }
}

#[expect(clippy::large_enum_variant, reason = "it lives from the select to the match")]
enum Branch {
    Ended,
    Event(NetEvent),
    Runner(RunnerInput),
    Asked(Asked),
    Time,
}

impl Agent {
    /// Runs until the network ends, or the task is ended.
    pub(crate) async fn run(mut self) {
        loop {
            self.carry_out();
            match self.next().await {
                Branch::Ended => return,
                Branch::Event(event) => self.take_burst(event),
                Branch::Runner(said) => self.take(Input::Runner(said)),
                Branch::Asked((request, reply)) => self.take_request(request, reply),
                Branch::Time => {}
            }
            self.take_due();
            self.fleet.lock().settle(self.host, since(self.start), &mut self.effects);
        }
    }

    async fn next(&mut self) -> Branch {
        let own = self.waiting.due.keys().next().map(|(at, _)| *at);
        let due = [self.fleet.lock().next_deadline(self.host), own].into_iter().flatten().min();
        let timer = async {
            match due {
                Some(due) => sleep_until(self.start + due.0).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            event = self.net.events.recv() => event.map_or(Branch::Ended, Branch::Event),
            Some(said) = self.runner.recv() => Branch::Runner(said),
            asked = self.requests.recv() => asked.map_or(Branch::Ended, Branch::Asked),
            () = timer => Branch::Time,
        }
    }

    fn take(&mut self, input: Input) {
        self.fleet.lock().handle(self.host, since(self.start), input, &mut self.effects);
    }

    fn take_burst(&mut self, first: NetEvent) {
        self.take_event(first);
        for _ in 1..BURST {
            match self.net.events.try_recv() {
                Ok(event) => self.take_event(event),
                Err(_) => break,
            }
        }
    }

    fn take_event(&mut self, event: NetEvent) {
        self.tell(&event);
        if let Heard::Input(input) = heard(event) {
            self.take(input);
        }
    }

    /// Tells the fleet what the network says. No number of a connection gets in there: libp2p counts them over
    /// the whole process.
    fn tell(&self, event: &NetEvent) {
        let (at, host) = (since(self.start), Some(self.host));
        let mut fleet = self.fleet.lock();
        let mut trace = |what: &'static str, from: Option<&NodeId>, detail: &[u8]| {
            fleet.count(what, 1);
            fleet.trace(at, host, what, detail);
            if let Some(from) = from {
                fleet.trace(at, host, "from", &from.0);
                fleet.heard(self.host, at, from);
            }
        };
        match event {
            NetEvent::Gossip { source, bytes, .. } => trace("gossip_heard", Some(source), bytes),
            NetEvent::Frame { from, bytes } => trace("frames_heard", Some(from), bytes),
            NetEvent::Discovered { node, .. } | NetEvent::PeerAddresses { node, .. } => {
                trace("addresses_heard", None, &node.0);
            }
            NetEvent::Superseded { by } => trace("superseded", None, &by.0),
            NetEvent::Observed { address } => trace("addresses_observed", None, address.as_bytes()),
            NetEvent::Listening { address } => fleet.note(at, host, "listening", address),
            NetEvent::PeerUp { node, .. } => fleet.note(at, host, "peer-up", &node.mark()),
            NetEvent::PathChanged { .. } | NetEvent::Announce { .. } => {}
            NetEvent::PeerDown { node } => fleet.note(at, host, "peer-down", &node.mark()),
            NetEvent::DialFailed { node, error } => {
                fleet.count("dials_failed", 1);
                fleet.note(at, host, "dial-failed", &format!("{}: {error}", node.mark()));
            }
        }
    }

    fn take_request(&mut self, request: Request, reply: oneshot::Sender<Result<Value, ApiError>>) {
        self.waiting.next_request += 1;
        let id = self.waiting.next_request;
        self.waiting.replies.insert(id, reply);
        self.take(Input::Request { id, request });
    }

    /// Takes what the disk and the verifier have to say by now.
    fn take_due(&mut self) {
        let at = since(self.start);
        while let Some(entry) = self.waiting.due.first_entry() {
            if entry.key().0.0 > Duration::from_micros(at) {
                break;
            }
            let input = match entry.remove() {
                Due::Verified(verdicts) => Input::Verified { verdicts },
                Due::Written(batch) => {
                    self.fleet.lock().written(self.host, at, &batch);
                    Input::Persisted
                }
            };
            self.take(input);
        }
    }

    fn carry_out(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            self.carry_out_one(effect);
        }
    }

    fn carry_out_one(&mut self, effect: Effect) {
        let (host, at) = (self.host, since(self.start));
        match effect {
            Effect::Reply { id, result } => {
                // Who asked may be gone.
                self.waiting.replies.remove(&id).map(|reply| reply.send(result));
            }
            Effect::Persist(batch) => {
                let done = self.fleet.lock().write(host, at, if batch.sync { SYNC } else { WRITE });
                self.waiting.at(Mono(Duration::from_micros(done)), Due::Written(batch));
            }
            Effect::Verify(changes) => {
                let verdicts = self.fleet.lock().verify(&changes);
                let cost = VERIFY * u32::try_from(changes.len()).unwrap_or(u32::MAX);
                self.waiting.at(Mono(Duration::from_micros(at) + cost), Due::Verified(verdicts));
            }
            Effect::Subscribe(topic) => self.command(NetCommand::Subscribe(topic)),
            Effect::Publish { topic, bytes } => {
                self.fleet.lock().published(host, at, &topic, &bytes);
                self.command(NetCommand::Publish { topic, bytes });
            }
            Effect::Send { peer, bytes } => {
                self.fleet.lock().sent_frame(host, &bytes);
                self.command(NetCommand::Send { peer, bytes });
            }
            Effect::Check(peer) => self.command(NetCommand::Check { peer }),
            Effect::Dial { peer, addresses } => self.command(NetCommand::Dial { peer, addresses }),
            Effect::Start(task) => {
                let said = self.fleet.lock().spawn(host, at, task);
                self.take_runner(said);
            }
            Effect::Lease { id, until } => self.fleet.lock().extend(host, at, &id, until),
            Effect::Stop(id) => {
                let said = self.fleet.lock().stop(host, at, &id);
                self.take_runner(said);
            }
            Effect::Emit(event) => self.fleet.lock().emitted(host, at, &event),
            Effect::Distrust(distrust) => self.command(NetCommand::Distrust(distrust)),
            Effect::Present(chain) => self.command(NetCommand::Present(chain)),
            Effect::PeerRenewed(chain) => self.command(NetCommand::Renewed(chain)),
            // Nobody enrols here: every host is a member from the start, for ever.
            Effect::Enrolled { .. } | Effect::Renew { .. } => {}
        }
    }

    fn take_runner(&mut self, said: Option<RunnerInput>) {
        if let Some(said) = said {
            self.take(Input::Runner(said));
        }
    }

    fn command(&self, command: NetCommand) {
        // A full queue drops it, counted by the network, as in the shell.
        self.net.handle.try_send(command);
    }
}
