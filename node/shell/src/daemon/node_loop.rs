//! The loop: takes inputs from the inbox, lets the core think, carries its effects out.

use super::{
    certificate::Keeper,
    database::Damaged,
    disk::Outbox,
    gauges::Gauges,
    inbox::{Inbox, Reply, Turn, Work},
    watchers::Watchers,
};
use crate::environment;
use anyhow::{Result, bail};
use holm_exec::{Runner, TaskSpec};
use holm_mesh_net::{NetCommand, NetHandle};
use holm_node_core::{Effect, Input, Node, RequestId, StartTask};
use holm_types::{NodeId, TaskId, cert::CertChain, change::SignedChange, token::Enrolment};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How soon the runner is asked again when its queue was full.
const RETRY: Duration = Duration::from_millis(10);
/// A peer notices within this time that the last life of a node has ended.
const NEWBORN: Duration = Duration::from_secs(20);

/// What the node's own actors send.
#[expect(clippy::large_enum_variant, reason = "almost all of them are the large one")]
pub enum Message {
    /// An input of the core.
    Input(Input),
    /// Somebody wants to join.
    Enrol(holm_mesh_net::EnrolRequest),
    /// A member whose certificate has ended wants another one.
    Renew(holm_mesh_net::RenewRequest),
    /// Nothing can be made durable any more.
    DiskFailed(anyhow::Error),
    /// This member is connected to a later process with this node's identity.
    Superseded(NodeId),
    /// Where does the node listen, as far as it knows?
    Listening(oneshot::Sender<Vec<String>>),
}

/// Where effects go.
pub struct Outlets {
    pub net: NetHandle,
    pub runner: Runner,
    pub disk: Outbox<Arc<holm_state::Batch>>,
    pub verify: Outbox<Vec<SignedChange>>,
    pub watchers: Arc<Watchers>,
    pub gauges: Arc<Gauges>,
    pub certificate: Keeper,
}

/// The loop's state beside the core.
pub struct Loop {
    node: Node,
    inbox: Inbox<Message>,
    outlets: Outlets,
    effects: Vec<Effect>,
    requests: BTreeMap<RequestId, Reply>,
    enrolments: BTreeMap<RequestId, Waiting>,
    next_id: RequestId,
    /// Commands that found the runner's queue full. Order matters, so later ones wait behind.
    unsent: VecDeque<Command>,
    /// What the network must not miss, and found its queue full.
    untold: VecDeque<NetCommand>,
    /// Why nothing can be made durable any more.
    disk_failed: Option<anyhow::Error>,
    /// A peer that holds a later process for this node.
    superseded_at: Option<NodeId>,
}

/// Who waits for a certificate.
enum Waiting {
    Joins(oneshot::Sender<Result<Enrolment, String>>),
    Renews(oneshot::Sender<Result<CertChain, String>>),
}

enum Command {
    Run(TaskSpec),
    Extend(TaskId, u64),
    Stop(TaskId),
}

#[expect(clippy::large_enum_variant, reason = "it lives from the select to the match")]
enum Branch {
    Stop,
    Work(Work<Message>),
    Deadline,
}

impl Loop {
    pub fn new(node: Node, inbox: Inbox<Message>, outlets: Outlets, effects: Vec<Effect>) -> Loop {
        Loop {
            node,
            inbox,
            outlets,
            effects,
            requests: BTreeMap::new(),
            enrolments: BTreeMap::new(),
            next_id: 0,
            unsent: VecDeque::new(),
            untold: VecDeque::new(),
            disk_failed: None,
            superseded_at: None,
        }
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// The disk failed or is damaged, or another process has this node's identity.
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        loop {
            if !self.carry_out().await {
                bail!("the disk has failed: this node stops, and acknowledges nothing more");
            }
            self.command_runner();
            self.tell_network();
            match self.next(&stop).await {
                Branch::Stop => return Ok(()),
                Branch::Work(first) => self.turn(first),
                Branch::Deadline => {}
            }
            if let Some(failure) = self.disk_failed.take() {
                return Err(failure);
            }
            self.check_identity()?;
            let now = environment::now();
            self.node.settle(now, &mut self.effects);
            self.outlets.gauges.update(&self.node, now.mono);
            if let Some(what) = self.node.damage() {
                return Err(Damaged(what.to_owned()).into());
            }
        }
    }

    async fn next(&mut self, stop: &CancellationToken) -> Branch {
        let mut deadline = self.node.next_deadline().map(environment::instant_of);
        if !self.unsent.is_empty() || !self.untold.is_empty() {
            let soon = environment::instant_of(environment::now().mono.after(RETRY));
            deadline = Some(deadline.map_or(soon, |at| at.min(soon)));
        }
        let timer = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => Branch::Stop,
            work = self.inbox.next() => work.map_or(Branch::Stop, Branch::Work),
            () = timer => Branch::Deadline,
        }
    }

    /// A peer may still hold a connection of this node's last life for a moment; later, two
    /// processes share one identity. The newer one is heard, so this one must not go on alone.
    fn check_identity(&mut self) -> Result<()> {
        let Some(by) = self.superseded_at.take().filter(|_| environment::now().mono.0 > NEWBORN) else {
            return Ok(());
        };
        bail!(
            "node {by} is connected to a process with this node's identity that was started later: its data folder \
             was copied. Two hosts must not share one: enrol one of them anew, with an empty data folder. The tasks \
             of this one go on"
        );
    }

    fn turn(&mut self, first: Work<Message>) {
        let mut turn = Turn::of(first);
        // The time is asked for each piece: what the one before has cost counts.
        while let Some(work) = self.inbox.pull(&mut turn, environment::now().mono) {
            self.take(work);
        }
    }

    fn take(&mut self, work: Work<Message>) {
        let input = match work {
            Work::Asked(asked) => {
                self.next_id += 1;
                self.requests.insert(self.next_id, asked.reply);
                Input::Request { id: self.next_id, request: asked.request }
            }
            Work::Input(message) => match self.input_of(message) {
                Some(input) => input,
                None => return,
            },
        };
        self.node.handle(environment::now(), input, &mut self.effects);
    }

    fn input_of(&mut self, message: Message) -> Option<Input> {
        Some(match message {
            Message::Input(input) => input,
            Message::Enrol(asked) => {
                self.next_id += 1;
                self.enrolments.insert(self.next_id, Waiting::Joins(asked.reply));
                Input::Enrol {
                    id: self.next_id,
                    token: asked.token,
                    subject: asked.subject,
                    name: asked.name.to_string(),
                }
            }
            Message::Renew(asked) => {
                self.next_id += 1;
                self.enrolments.insert(self.next_id, Waiting::Renews(asked.reply));
                Input::Renew { id: self.next_id, node: asked.node, chain: asked.chain }
            }
            Message::DiskFailed(why) => {
                self.disk_failed = Some(why);
                return None;
            }
            Message::Superseded(by) => {
                self.superseded_at = Some(by);
                return None;
            }
            Message::Listening(reply) => {
                let _ = reply.send(self.node.listening().to_vec());
                return None;
            }
        })
    }

    /// False when the disk has failed.
    async fn carry_out(&mut self) -> bool {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Reply { id, result } => {
                    // A client that went away needs no answer.
                    self.requests.remove(&id).map(|reply| reply.send(result));
                }
                Effect::Enrolled { id, result } => {
                    // Who went away meanwhile needs no answer.
                    match self.enrolments.remove(&id) {
                        Some(Waiting::Joins(reply)) => drop(reply.send(result)),
                        Some(Waiting::Renews(reply)) => drop(reply.send(result.map(|given| given.chain))),
                        None => {}
                    }
                }
                Effect::Persist(batch) => {
                    if self.outlets.disk.send(batch).await.is_err() {
                        return false;
                    }
                }
                Effect::Verify(changes) => {
                    if self.outlets.verify.send(changes).await.is_err() {
                        return false;
                    }
                }
                Effect::Subscribe(topic) => self.command(NetCommand::Subscribe(topic)),
                Effect::Publish { topic, bytes } => self.command(NetCommand::Publish { topic, bytes }),
                Effect::Send { peer, bytes } => self.command(NetCommand::Send { peer, bytes }),
                Effect::Check(peer) => self.command(NetCommand::Check { peer }),
                Effect::Dial { peer, addresses } => self.command(NetCommand::Dial { peer, addresses }),
                Effect::Distrust(distrust) => self.untold.push_back(NetCommand::Distrust(distrust)),
                Effect::PeerRenewed(chain) => self.untold.push_back(NetCommand::Renewed(chain)),
                Effect::Present(chain) => {
                    self.outlets.certificate.keep(&chain);
                    self.untold.push_back(NetCommand::Present(chain));
                }
                Effect::Renew { issuer, addresses, chain } => self.outlets.certificate.renew(issuer, addresses, chain),
                Effect::Start(task) => self.unsent.push_back(Command::Run(spec_of(task))),
                Effect::Lease { id, until } => {
                    self.unsent.push_back(Command::Extend(id, environment::boot_ms_of(until)));
                }
                Effect::Stop(id) => self.unsent.push_back(Command::Stop(id)),
                Effect::Emit(event) => self.outlets.watchers.emit(event),
            }
        }
        true
    }

    fn command(&self, command: NetCommand) {
        // A full queue drops it, counted by the network: gossip and repair are repeated.
        self.outlets.net.try_send(command);
    }

    /// Gives the network what it can take of what it must not miss.
    fn tell_network(&mut self) {
        while let Some(command) = self.untold.front() {
            if !self.outlets.net.try_send(command.clone()) {
                return;
            }
            self.untold.pop_front();
        }
    }

    /// Gives the runner what it can take.
    fn command_runner(&mut self) {
        while let Some(command) = self.unsent.front() {
            let taken = match command {
                Command::Run(spec) => self.outlets.runner.run(spec.clone()),
                Command::Extend(id, until_ms) => self.outlets.runner.extend(id.clone(), *until_ms),
                Command::Stop(id) => self.outlets.runner.stop(id.clone()),
            };
            if !taken {
                return;
            }
            self.unsent.pop_front();
        }
    }
}

fn spec_of(task: StartTask) -> TaskSpec {
    TaskSpec {
        id: task.id,
        command: task.command,
        env: task.env,
        restart: task.restart,
        grace: task.grace,
        lease: task.lease.map(environment::boot_ms_of),
        max_log_bytes: holm_exec::DEFAULT_MAX_LOG_BYTES,
    }
}
