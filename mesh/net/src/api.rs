//! What the owner of the network gives and gets.

use crate::{
    Limits, NetError, NetStream, Sockets, Spawn,
    counters::{Count, Counters},
    ground::Ground,
};
use holm_types::{
    Incarnation, Label, MeshId, NodeId, Wall,
    api::Reach,
    cert::CertChain,
    distrust::Distrust,
    keys::KeyPair,
    token::{Enrolment, Token},
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{mpsc, oneshot};

/// What the network needs to start.
pub struct NetConfig {
    /// The node's key: its identity on every connection.
    pub key: KeyPair,
    /// The certificate chain that it shows.
    pub chain: CertChain,
    /// The mesh whose members it talks to.
    pub mesh: MeshId,
    /// This life of the process: peers tell a restarted node from its last life by it.
    pub incarnation: Incarnation,
    /// Where to listen, as multiaddresses such as `/ip4/0.0.0.0/udp/4001/quic-v1`.
    pub listen: Vec<String>,
    /// Whether to look for peers on the local network.
    pub mdns: bool,
    /// The date, against which certificates are checked.
    pub clock: Arc<dyn Fn() -> Wall + Send + Sync>,
    /// How it makes itself reachable.
    pub reach: ReachConfig,
    /// The bounds.
    pub limits: Limits,
}

/// How a node makes itself reachable behind NATs, and helps others with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReachConfig {
    /// Use relays, meet peers half-way, have own addresses tested. Off: only what can be dialled is dialled.
    pub enabled: bool,
    /// Forward for other members, once this node is found to be reachable from outside.
    pub relay: bool,
    /// Keep reservations with relays though this node seems to be reachable: where a firewall lets in some
    /// networks and not others.
    pub reserve: bool,
    /// Ask the router to lead a port here.
    pub upnp: bool,
    /// Multiaddresses that others can dial, by the operator's word.
    pub advertise: Vec<String>,
}

impl ReachConfig {
    /// Nothing of it: for networks where everybody can dial everybody, such as simulated ones.
    pub fn off() -> ReachConfig {
        ReachConfig { enabled: false, relay: false, reserve: false, upnp: false, advertise: Vec::new() }
    }
}

impl Default for ReachConfig {
    fn default() -> ReachConfig {
        ReachConfig { enabled: true, relay: false, reserve: false, upnp: true, advertise: Vec::new() }
    }
}

impl fmt::Debug for NetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetConfig")
            .field("key", &self.key)
            .field("mesh", &self.mesh)
            .field("listen", &self.listen)
            .field("mdns", &self.mdns)
            .field("reach", &self.reach)
            .finish_non_exhaustive()
    }
}

/// What the owner asks of the network.
#[derive(Debug, Clone)]
pub enum NetCommand {
    /// Take part in a topic.
    Subscribe(String),
    /// Say something to a topic's subscribers. A hint: it may get lost.
    Publish {
        /// The topic.
        topic: String,
        /// At most [`Limits::gossip_bytes`].
        bytes: Vec<u8>,
    },
    /// Send a frame to a connected peer. It arrives unless the connection or the peer's queue fails it.
    Send {
        /// To whom.
        peer: NodeId,
        /// At most [`Limits::frame_bytes`].
        bytes: Vec<u8>,
    },
    /// Connect to a peer, unless it is connected or being dialled.
    Dial {
        /// Whom. Nobody else is spoken to at these addresses.
        peer: NodeId,
        /// Where it may be: multiaddresses, the first 8 count.
        addresses: Vec<String>,
    },
    /// Find out now whether a connected peer is still there, and close its connections if not.
    Check {
        /// Which.
        peer: NodeId,
    },
    /// Close every connection with a peer.
    Disconnect {
        /// Which.
        peer: NodeId,
    },
    /// Close every connection with a peer and let it in no more, whatever it shows: its certificate
    /// was revoked.
    Deny {
        /// Which.
        peer: NodeId,
    },
    /// Take a [`NetCommand::Deny`] back.
    Allow {
        /// Which.
        peer: NodeId,
    },
    /// Close the connections of all whom this names, and let nobody in any more with such a certificate. It
    /// takes the place of what was said before.
    Distrust(Arc<Distrust>),
    /// Show this chain on new connections: the certificate was renewed.
    Present(CertChain),
    /// The certificate of a connected peer was renewed: its connections need not end with the old one.
    Renewed(CertChain),
}

/// What the network tells its owner.
///
/// [`NetEvent::PeerUp`], [`NetEvent::PeerDown`], [`NetEvent::PathChanged`], [`NetEvent::Frame`],
/// [`NetEvent::Listening`] and [`NetEvent::Announce`] are never lost: when the owner is slow they wait, and peers are made to wait. The rest are hints, dropped
/// and counted when the owner is slow. The frames of a peer come between its `PeerUp` and its `PeerDown`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetEvent {
    /// The node listens here.
    Listening {
        /// A multiaddress with the real port.
        address: String,
    },
    /// A member is connected: the first connection with it stands.
    PeerUp {
        /// Who.
        node: NodeId,
        /// What it has shown; verified.
        chain: CertChain,
        /// The address of the connection.
        address: String,
        /// Whether the connection leads over a relay.
        relayed: bool,
    },
    /// A connected member is reached in another way than before, or over another connection of the same kind: what was under way
    /// on the one that was used before may be lost.
    PathChanged {
        /// Who.
        node: NodeId,
        /// The address of the connection.
        address: String,
        /// Whether the connection leads over a relay.
        relayed: bool,
    },
    /// Where other members should look for this node from now on, instead of where they did.
    Announce {
        /// At most 8 multiaddresses, the best first.
        addresses: Vec<String>,
    },
    /// The last connection with a member is gone.
    PeerDown {
        /// Who.
        node: NodeId,
    },
    /// A message on a topic that this node subscribed to. The signature of its author was checked, so nobody
    /// speaks for another; whether the author is a member is for the reader to check: a relaying peer is one
    /// for certain, an author is only a key.
    Gossip {
        /// The author.
        source: NodeId,
        /// The topic.
        topic: String,
        /// The message.
        bytes: Vec<u8>,
    },
    /// A frame from a connected member.
    Frame {
        /// Who sent it.
        from: NodeId,
        /// The frame.
        bytes: Vec<u8>,
    },
    /// Somebody on the local network says that a node is there. A hint: anybody can say so.
    Discovered {
        /// Who is said to be there.
        node: NodeId,
        /// Where.
        addresses: Vec<String>,
    },
    /// The address at which a peer sees this node.
    Observed {
        /// A multiaddress.
        address: String,
    },
    /// Where a connected member says that it listens.
    PeerAddresses {
        /// Who.
        node: NodeId,
        /// At most 8 multiaddresses.
        addresses: Vec<String>,
    },
    /// A peer is connected to a process with this node's identity that was started later: somebody
    /// copied the data folder. No peer will hear this process while the other one is connected.
    Superseded {
        /// The peer that says so.
        by: NodeId,
    },
    /// No connection came of a [`NetCommand::Dial`].
    DialFailed {
        /// Whom.
        node: NodeId,
        /// Why, for people.
        error: String,
    },
}

/// The owner's end for commands. When the last clone is dropped the network says good-bye and ends.
#[derive(Debug, Clone)]
pub struct NetHandle {
    pub(crate) commands: mpsc::Sender<Ask>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) reach: Arc<Mutex<Reach>>,
    pub(crate) frame_bytes: usize,
    pub(crate) gossip_bytes: usize,
}

impl NetHandle {
    /// Queues a command. False, and counted, when the queue is full, the network has ended, or the
    /// frame or message is over its limit.
    pub fn try_send(&self, command: NetCommand) -> bool {
        let refused = match &command {
            NetCommand::Send { bytes, .. } if bytes.len() > self.frame_bytes => Some(Count::OversizeRefused),
            NetCommand::Publish { bytes, .. } if bytes.len() > self.gossip_bytes => Some(Count::OversizeRefused),
            _ => self.commands.try_send(Ask::Command(command)).is_err().then_some(Count::CommandsDropped),
        };
        if let Some(why) = refused {
            self.counters.bump(why);
        }
        refused.is_none()
    }

    /// Opens a stream to a connected member.
    ///
    /// # Errors
    /// The member is not connected, does not serve streams, or the connection fails.
    pub async fn open(&self, peer: NodeId) -> Result<NetStream, StreamError> {
        let (opened, stream) = oneshot::channel();
        self.commands.try_send(Ask::Open(peer, opened)).map_err(|_| StreamError::Busy)?;
        stream.await.unwrap_or(Err(StreamError::NotConnected))
    }

    /// How this node is reached and reaches others, as it was a second ago at most.
    pub fn reach(&self) -> Reach {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was refused, dropped or cut so far, by name.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        self.counters.snapshot()
    }
}

/// A running network.
#[derive(Debug)]
pub struct Net {
    /// For commands.
    pub handle: NetHandle,
    /// What happens. Drop it and the network ends.
    pub events: mpsc::Receiver<NetEvent>,
    /// Streams that members open to this node. Drop it and they are refused.
    pub streams: mpsc::Receiver<IncomingStream>,
    /// Strangers that show a token. Drop it and the node does not enrol.
    pub enrolments: mpsc::Receiver<EnrolRequest>,
    /// Members whose certificates have ended. Drop it and the node renews none at its gate.
    pub renewals: mpsc::Receiver<RenewRequest>,
}

/// What goes to the network's task.
#[derive(Debug)]
pub(crate) enum Ask {
    Command(NetCommand),
    Open(NodeId, oneshot::Sender<Result<NetStream, StreamError>>),
}

/// A stream that a member opened to this node.
#[derive(Debug)]
pub struct IncomingStream {
    /// The member.
    pub from: NodeId,
    /// The stream.
    pub stream: NetStream,
}

/// Why a stream cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// There is no connection with the member.
    #[error("there is no connection to it")]
    NotConnected,
    /// Too many are being opened.
    #[error("too many streams are being opened: try again")]
    Busy,
    /// The member runs a version without streams.
    #[error("it runs a version of holm that does not serve this")]
    Unsupported,
    /// The connection failed.
    #[error("{0}")]
    Failed(String),
}

/// A host that wants to become a member. Answer within [`Limits::greeting_timeout`].
#[derive(Debug)]
pub struct EnrolRequest {
    /// The token that it shows. Nothing of it was checked.
    pub token: Token,
    /// Its key, which the connection has proved.
    pub subject: NodeId,
    /// The name that it asks for.
    pub name: Label,
    /// The certificate and first peers, or the text that the host is told.
    pub reply: oneshot::Sender<Result<Enrolment, String>>,
}

/// A member whose certificate has ended and that wants another one. Answer within [`Limits::greeting_timeout`].
#[derive(Debug)]
pub struct RenewRequest {
    /// The member; the connection has proved its key.
    pub node: NodeId,
    /// What it holds: of this mesh, for this key, and not revoked as far as the gate knows.
    pub chain: CertChain,
    /// The new certificate, or the text that the member is told.
    pub reply: oneshot::Sender<Result<CertChain, String>>,
}

/// Starts the network: opens the listeners, then spawns the task that owns everything into `tasks`.
///
/// # Errors
/// The certificate is not this key's in this mesh, an address cannot be listened on, limits
/// contradict each other, or `SSLKEYLOGFILE` is set.
pub async fn start(config: NetConfig, tasks: &mut tokio::task::JoinSet<()>) -> Result<Net, NetError> {
    let (net, task) = crate::swarm::open(config, Ground::system()?).await?;
    tasks.spawn(task.run());
    Ok(net)
}

/// Starts the network on `sockets` that are not the system's, with `spawn` to run all of its tasks:
/// everything but QUIC and the resolution of names is as in [`start`]. For the simulator.
///
/// # Errors
/// As [`start`].
pub async fn start_on(config: NetConfig, sockets: impl Sockets, spawn: Spawn) -> Result<Net, NetError> {
    let (net, task) = crate::swarm::open(config, Ground::on(sockets, spawn.clone())).await?;
    spawn(Box::pin(task.run()));
    Ok(net)
}
