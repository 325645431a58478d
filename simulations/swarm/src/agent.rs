//! The agent of one node: the shell around [`holm_node_core::Node`], with the real network below it
//! and a disk and a runner that are made up. The counterpart of `node/shell/src/daemon/node_loop.rs`.

use crate::{
    host::{self, Host},
    record::Record,
};
use futures::future::pending;
use holm_mesh_net::{Net, NetCommand, NetEvent};
use holm_node_core::{Effect, Input, Node, RequestId, RunnerInput};
use holm_simulations::scenario::Ms;
use holm_state::{StoreWrite as _, verify_batch};
use holm_types::{
    Mono, Now, Wall,
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

/// What a synced write takes on a disk that is well.
const SYNC: Duration = Duration::from_millis(2);
/// What a runner needs to start a process.
const LAUNCH: Duration = Duration::from_millis(5);
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
        // Nothing panics while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the [module](self).
pub(crate) struct Agent {
    pub(crate) node: Node,
    pub(crate) effects: Vec<Effect>,
    pub(crate) net: Net,
    pub(crate) requests: mpsc::Receiver<Asked>,
    pub(crate) host: Shared<Host>,
    pub(crate) record: Shared<Record>,
    pub(crate) start: Instant,
    pub(crate) waiting: Waiting,
}

/// What the agent waits for from its disk, its verifier and its runner.
#[derive(Default)]
pub(crate) struct Waiting {
    /// Inputs that come at a time.
    due: BTreeMap<(Mono, u64), Due>,
    order: u64,
    replies: BTreeMap<RequestId, oneshot::Sender<Result<Value, ApiError>>>,
    next_request: RequestId,
    /// When the disk is done with what it was given.
    disk_free: Mono,
}

enum Due {
    Input(Box<Input>),
    Synced,
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
                Branch::Asked((request, reply)) => self.take_request(request, reply),
                Branch::Time => {}
            }
            self.take_due();
            self.node.settle(self.now(), &mut self.effects);
        }
    }

    async fn next(&mut self) -> Branch {
        let own = self.waiting.due.keys().next().map(|(at, _)| *at);
        let ends = self.host.lock().next_end().map(|at| Mono(Duration::from_millis(at.0)));
        let due = [self.node.next_deadline(), own, ends].into_iter().flatten().min();
        let timer = async {
            match due {
                Some(due) => sleep_until(self.start + due.0).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            event = self.net.events.recv() => event.map_or(Branch::Ended, Branch::Event),
            asked = self.requests.recv() => asked.map_or(Branch::Ended, Branch::Asked),
            () = timer => Branch::Time,
        }
    }

    /// Both clocks of the node: the one that measures, and the one that may be wrong.
    fn now(&self) -> Now {
        Now { mono: Mono(self.start.elapsed()), wall: wall() }
    }

    /// The time of the simulation.
    fn elapsed(&self) -> Ms {
        Ms(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
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
        self.record.lock().heard(self.elapsed(), self.host.lock().no, &event);
        if let Some(input) = input_of(event) {
            self.node.handle(self.now(), input, &mut self.effects);
        }
    }

    fn take_request(&mut self, request: Request, reply: oneshot::Sender<Result<Value, ApiError>>) {
        self.waiting.next_request += 1;
        let id = self.waiting.next_request;
        self.waiting.replies.insert(id, reply);
        self.node.handle(self.now(), Input::Request { id, request }, &mut self.effects);
    }

    /// Takes what the disk, the verifier and the processes have to say by now.
    fn take_due(&mut self) {
        let now = self.now();
        while let Some(entry) = self.waiting.due.first_entry() {
            if entry.key().0 > now.mono {
                break;
            }
            let input = match entry.remove() {
                Due::Input(input) => *input,
                Due::Synced => {
                    // The disk of this layer does not fail.
                    let _ = self.host.lock().disk.sync();
                    Input::Persisted
                }
            };
            self.node.handle(now, input, &mut self.effects);
        }
        let ended = self.host.lock().take_ended(self.elapsed());
        for (id, exit_code) in ended {
            let input = RunnerInput::Ended {
                id,
                exit_code: Some(exit_code),
                finished_at: now.wall,
                restarts: 0,
                restarting: false,
                output: Vec::new(),
                reason: String::new(),
            };
            self.node.handle(now, Input::Runner(input), &mut self.effects);
        }
    }

    fn carry_out(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            self.carry_out_one(effect);
        }
    }

    fn carry_out_one(&mut self, effect: Effect) {
        let now = self.now();
        match effect {
            Effect::Reply { id, result } => {
                // Who asked may be gone.
                self.waiting.replies.remove(&id).map(|reply| reply.send(result));
            }
            Effect::Persist(batch) => {
                let mut host = self.host.lock();
                // The disk of this layer does not fail.
                let _ = host.disk.write(&batch);
                host.slow_writes += u64::from(!host.slow.is_zero());
                let done = self.waiting.disk_free.max(now.mono).after(SYNC + host.slow);
                self.waiting.disk_free = done;
                self.waiting.at(done, Due::Synced);
            }
            Effect::Verify(changes) => {
                let verdicts = verify_batch(&host::mesh(), &changes);
                let cost = VERIFY * u32::try_from(changes.len()).unwrap_or(u32::MAX);
                self.waiting.at(now.mono.after(cost), Due::Input(Box::new(Input::Verified { verdicts })));
            }
            Effect::Subscribe(topic) => self.command(NetCommand::Subscribe(topic)),
            Effect::Publish { topic, bytes } => {
                self.record.lock().said(self.host.lock().no, bytes.len(), host::is_presence(&topic));
                self.command(NetCommand::Publish { topic, bytes });
            }
            Effect::Send { peer, bytes } => {
                self.record.lock().said(self.host.lock().no, bytes.len(), false);
                self.command(NetCommand::Send { peer, bytes });
            }
            Effect::Dial { peer, addresses } => self.command(NetCommand::Dial { peer, addresses }),
            Effect::Start(task) => {
                let (no, pid) = {
                    let mut host = self.host.lock();
                    (host.no, host.start(&task, self.elapsed(), now.wall))
                };
                self.record.lock().note(self.elapsed(), Some(no), "process", format!("{} pid {pid}", task.id));
                let started = RunnerInput::Started { id: task.id, pid, restarts: 0, started_at: now.wall };
                self.waiting.at(now.mono.after(LAUNCH), Due::Input(Box::new(Input::Runner(started))));
            }
            Effect::Stop(id) => self.host.lock().stop(&id, self.elapsed()),
            Effect::Emit(event) => self.record.lock().emitted(self.elapsed(), self.host.lock().no, event),
            Effect::Distrust(distrust) => self.command(NetCommand::Distrust(distrust)),
            Effect::Present(chain) => self.command(NetCommand::Present(chain)),
            Effect::PeerRenewed(chain) => self.command(NetCommand::Renewed(chain)),
            // Nobody enrols here: every host is a member from the start, for ever.
            Effect::Enrolled { .. } | Effect::Renew { .. } => {}
        }
    }

    fn command(&self, command: NetCommand) {
        // A full queue drops it, counted by the network, as in the shell.
        self.net.handle.try_send(command);
    }
}

/// The date by the clock of the node whose task asks: the interposed libc knows its skew.
pub(crate) fn wall() -> Wall {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// As `node/shell/src/daemon/net.rs`.
fn input_of(event: NetEvent) -> Option<Input> {
    Some(match event {
        NetEvent::Listening { address } => Input::Listening { address },
        NetEvent::PeerUp { node, chain, address, relayed } => Input::PeerUp { node, chain, address, relayed },
        NetEvent::PeerDown { node } => Input::PeerDown { node },
        NetEvent::PathChanged { node, address, relayed } => Input::PathChanged { node, address, relayed },
        NetEvent::Announce { addresses } => Input::Announce { addresses },
        NetEvent::Gossip { source, topic, bytes } => Input::Gossip { source, topic, bytes },
        NetEvent::Frame { from, bytes } => Input::Frame { from, bytes },
        NetEvent::Discovered { node, addresses } | NetEvent::PeerAddresses { node, addresses } => {
            Input::Discovered { node, addresses }
        }
        NetEvent::Observed { .. } | NetEvent::DialFailed { .. } | NetEvent::Superseded { .. } => return None,
    })
}
