//! What goes into the loop, and what comes out.

use holm_state::Batch;
use holm_types::{
    Mono, NodeId, TaskId, Wall,
    api::{ApiError, Request},
    cert::CertChain,
    change::SignedChange,
    distrust::Distrust,
    event::Event,
    manifest::RestartPolicy,
    token::{Enrolment, Token},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Correlates a request and its reply.
pub type RequestId = u64;

/// Something that happened outside.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is a submission, which is rare; a box would cost every caller"
)]
pub enum Input {
    /// A client asks.
    Request {
        /// To be given back with the reply.
        id: RequestId,
        /// What it asks.
        request: Request,
    },
    /// Somebody with a token wants to join.
    Enrol {
        /// To be given back with the answer.
        id: RequestId,
        /// The token.
        token: Token,
        /// The joining node's key, proved by the transport.
        subject: NodeId,
        /// The name that it asks for.
        name: String,
    },
    /// A member whose certificate ends, and that peers may let in no more, wants another one.
    Renew {
        /// To be given back with the answer.
        id: RequestId,
        /// The member, its key proved by the transport.
        node: NodeId,
        /// What it holds; verified but for its end.
        chain: CertChain,
    },
    /// What came of [`Effect::Renew`].
    Renewed {
        /// The new certificate.
        chain: CertChain,
    },
    /// The first connection to a member is up.
    PeerUp {
        /// The member.
        node: NodeId,
        /// Its certificate, verified by the transport.
        chain: CertChain,
        /// Its address.
        address: String,
        /// Whether a relay carries it.
        relayed: bool,
    },
    /// The last connection to a member is gone.
    PeerDown {
        /// The member.
        node: NodeId,
    },
    /// A connected member is reached in another way than before, or over another connection of the same kind: frames may be lost.
    PathChanged {
        /// The member.
        node: NodeId,
        /// The address of the connection.
        address: String,
        /// Whether a relay carries it.
        relayed: bool,
    },
    /// Where others are to look for this node from now on.
    Announce {
        /// Multiaddresses, the best first.
        addresses: Vec<String>,
    },
    /// A gossip message of a member, signed by it.
    Gossip {
        /// The member that published it.
        source: NodeId,
        /// The topic.
        topic: String,
        /// The message.
        bytes: Vec<u8>,
    },
    /// A message of a connected member.
    Frame {
        /// The member.
        from: NodeId,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Addresses of a node, from a source that proves nothing about membership.
    Discovered {
        /// The node.
        node: NodeId,
        /// Its addresses.
        addresses: Vec<String>,
    },
    /// This node listens at an address.
    Listening {
        /// The address.
        address: String,
    },
    /// What the runner says.
    Runner(RunnerInput),
    /// Verdicts on the oldest batch of [`Effect::Verify`] that is unanswered.
    Verified {
        /// One verdict a change.
        verdicts: Vec<bool>,
    },
    /// The oldest batch of [`Effect::Persist`] that is unanswered is on disk.
    Persisted,
}

/// What the runner of tasks says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunnerInput {
    /// A task runs.
    Started {
        /// The task.
        id: TaskId,
        /// Its process.
        pid: u32,
        /// Restarts in place so far.
        restarts: u32,
        /// When this run began.
        started_at: Wall,
    },
    /// A task's process ended, or could not be started.
    Ended {
        /// The task.
        id: TaskId,
        /// Exit code (a signal `n` is 128 + n); none when it could not be started.
        exit_code: Option<i32>,
        /// When.
        finished_at: Wall,
        /// Restarts in place so far.
        restarts: u32,
        /// Whether the runner starts it again by its restart policy.
        restarting: bool,
        /// The end of its standard output.
        output: Vec<u8>,
        /// Why it could not be started, or what else is to be said.
        reason: String,
        /// Its supervisor ended it, or did not start it, because its lease was over.
        lease_ended: bool,
    },
    /// The host cannot start it, for a reason that is none of the task's: another node may.
    Unable {
        /// The task.
        id: TaskId,
        /// Why.
        reason: String,
    },
}

/// A task found on disk when the agent starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The task.
    pub id: TaskId,
    /// The environment that it was started with.
    pub env: BTreeMap<String, String>,
    /// Whether it runs under a lease, as [`StartTask::lease`] says.
    pub leased: bool,
    /// What became of it.
    pub state: FoundState,
}

/// What became of a task while the agent was away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundState {
    /// It runs, or the runner is about to restart it by its policy.
    Alive {
        /// Its process, unless it is being restarted.
        pid: Option<u32>,
        /// When it was started.
        started_at: Wall,
        /// Restarts in place so far.
        restarts: u32,
    },
    /// It ended, and is not restarted.
    Exited {
        /// Exit code.
        exit_code: i32,
        /// When.
        finished_at: Wall,
        /// Restarts in place so far.
        restarts: u32,
        /// The end of its standard output.
        output: Vec<u8>,
        /// Its supervisor ended it because its lease was over.
        lease_ended: bool,
    },
    /// The host was restarted, or the process is gone without a trace.
    Gone,
}

/// A task to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartTask {
    /// The task.
    pub id: TaskId,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// Whether it is restarted in place.
    pub restart: RestartPolicy,
    /// Time between TERM and KILL.
    pub grace: Duration,
    /// When its lease ends, if it runs under one: at this point of the monotonic clock its supervisor kills
    /// it, whether or not this node still runs, unless [`Effect::Lease`] came before.
    pub lease: Option<Mono>,
}

/// Something to be done outside.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Answer a client.
    Reply {
        /// From [`Input::Request`].
        id: RequestId,
        /// The answer.
        result: Result<serde_json::Value, ApiError>,
    },
    /// Answer somebody who wants to join, or another certificate.
    Enrolled {
        /// From [`Input::Enrol`] or [`Input::Renew`].
        id: RequestId,
        /// The certificate, or why not.
        result: Result<Enrolment, String>,
    },
    /// Write a batch, sync it if it says so, then give [`Input::Persisted`].
    Persist(Arc<Batch>),
    /// Verify signatures, then give [`Input::Verified`].
    Verify(Vec<SignedChange>),
    /// Take part in a topic.
    Subscribe(String),
    /// Publish to a topic.
    Publish {
        /// The topic.
        topic: String,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Send to a connected peer.
    Send {
        /// The peer.
        peer: NodeId,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Connect to a member.
    Dial {
        /// The member.
        peer: NodeId,
        /// Where it may listen.
        addresses: Vec<String>,
    },
    /// Find out whether a connected member is still there, and close the connection if it is not.
    Check(
        /// The member.
        NodeId,
    ),
    /// Let nobody in any more whom this names, and close the connections with them.
    Distrust(Arc<Distrust>),
    /// Show this certificate from now on, and keep it for the next start.
    Present(CertChain),
    /// The certificate of a connected peer was renewed.
    PeerRenewed(CertChain),
    /// Ask at the gate of an issuer for a new certificate, then give [`Input::Renewed`] if one came.
    Renew {
        /// The issuer.
        issuer: NodeId,
        /// Where it may listen.
        addresses: Vec<String>,
        /// What this node holds.
        chain: CertChain,
    },
    /// Start a task.
    Start(StartTask),
    /// The lease of a task that was started, or is being started, lasts longer.
    Lease {
        /// The task.
        id: TaskId,
        /// When it ends now.
        until: Mono,
    },
    /// Stop a task.
    Stop(TaskId),
    /// Tell who listens to events.
    Emit(Event),
}
