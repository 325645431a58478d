//! # holm-mesh-net: connections between members
//!
//! The shell of the mesh towards the network, on libp2p. It carries bytes and knows no apps: the
//! cores decide whom to dial and what to say, this crate does it and reports what happened.
//!
//! ```no_run
//! use holm_mesh_net::{Limits, NetCommand, NetConfig, NetEvent, ReachConfig, start};
//! use holm_types::{Incarnation, MeshId, Wall, cert::CertChain, keys::KeyPair};
//! # async fn run(key: KeyPair, chain: CertChain, mesh: MeshId) -> Result<(), holm_mesh_net::NetError> {
//! let mut tasks = tokio::task::JoinSet::new();
//! let listen = vec!["/ip4/0.0.0.0/udp/0/quic-v1".to_owned(), "/ip4/0.0.0.0/tcp/0".to_owned()];
//! let clock = std::sync::Arc::new(|| Wall(1_700_000_000_000));
//! let config = NetConfig { key, chain, mesh, incarnation: Incarnation(1), listen, mdns: true, clock, reach: ReachConfig::default(), limits: Limits::default() };
//! let mut net = start(config, &mut tasks).await?;
//! while let Some(event) = net.events.recv().await {
//!     if let NetEvent::PeerUp { node, .. } = event {
//!         net.handle.try_send(NetCommand::Send { peer: node, bytes: b"hello".to_vec() });
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! ## Concepts
//!
//! * **Member or nobody.** TCP with noise and QUIC prove a peer's key; then the gate (`gate.rs`)
//!   exchanges certificates on the first stream, and only members of the mesh reach the swarm and its
//!   protocols. Nobody is told anything before the key at an address is the expected one.
//! * **Enrolment** is the one thing served to strangers: [`enrol`] shows a token to the issuer that
//!   the token names; the issuer's owner answers an [`EnrolRequest`].
//! * **Gossip** ([`NetCommand::Publish`]) is a hint to all subscribers of a topic; **frames**
//!   ([`NetCommand::Send`]) go to one connected peer, in order, over its direct connection if it has one;
//!   a **stream** ([`NetHandle::open`]) is a conversation of its own with such a peer.
//! * **Facts and hints.** Peers and frames are never lost on the way to the owner; gossip, addresses and
//!   discoveries are, when it is slow, and are counted.
//! * **Reach.** A node that others cannot dial has reservations with two relays (`reach.rs`); a peer that
//!   is reached over a relay is met half-way (`meet.rs`), and moves to the direct connection that comes of it.
//!   [`NetEvent::Announce`] says what to tell others; [`NetHandle::reach`] explains it to people.
//! * **Bounds.** Every queue, window, size and number of connections has its bound in [`Limits`];
//!   [`NetHandle::counters`] tells what they cut. What strangers can occupy (unfinished
//!   connections) makes room by dropping the oldest, so that silence cannot keep members out.
//!
//! * **Ground.** [`start`] stands on the system's sockets and tokio's executor. [`start_on`] has both
//!   handed in ([`Sockets`], [`Spawn`]): the same gate, behaviours and swarm then run in a made-up world.
//!
//! No type of libp2p is public: whoever uses this crate can be tested, and simulated, without it.

mod address;
mod api;
mod behaviour;
mod counters;
mod enrol;
mod error;
mod gate;
mod gossip;
mod ground;
mod hello;
mod hints;
mod ids;
mod limits;
mod meet;
mod muxer;
mod outlet;
mod peers;
mod pulse;
mod reach;
mod streams;
mod swarm;
mod transport;
mod wire;

pub use api::{
    EnrolRequest, IncomingStream, Net, NetCommand, NetConfig, NetEvent, NetHandle, ReachConfig, RenewRequest,
    StreamError, start, start_on,
};
pub use enrol::{enrol, renew};
pub use error::NetError;
pub use ground::{Accepted, Sockets, Spawn};
pub use limits::{Limits, RelayLimits};
pub use streams::NetStream;
