//! How a node is reached and reaches others, in the words of `mesh.status`. Re-exported by [`crate::api`].

use crate::{NodeId, api::Path};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What stands between a node and the rest of the world, as far as its peers' words tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NatKind {
    /// No peer outside the LAN has said how it sees this node.
    #[default]
    Unknown,
    /// Nothing that rewrites addresses.
    None,
    /// One that rewrites them; what kind, a single peer cannot tell.
    Translated,
    /// One outside port for one inside port: peers can be met half-way.
    Cone,
    /// Another outside port for each peer: only peers that anybody can dial are reached directly.
    Symmetric,
}

/// How this node can be reached and reaches others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reach {
    /// The kind of NAT that was found.
    pub nat: NatKind,
    /// Whether UDP passes (QUIC): unknown until it was tried.
    pub udp: Option<bool>,
    /// Own addresses.
    pub addresses: Vec<OwnAddress>,
    /// Addresses that others are told.
    pub announced: Vec<String>,
    /// Relays that forward to this node.
    pub relays: Vec<RelayRow>,
    /// Connected members that offer to forward.
    pub relays_known: u32,
    /// Whether this node offers to forward for others.
    pub relaying: bool,
    /// Connections of others that it forwards now.
    pub circuits: u32,
    /// The router's UPnP: a word.
    pub upnp: String,
    /// Connected peers.
    pub peers: Vec<PeerPath>,
}

/// An address of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnAddress {
    /// A multiaddress.
    pub address: String,
    /// What is known of it.
    pub state: String,
}

/// A relay that forwards to this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RelayRow {
    /// Which member.
    pub node: NodeId,
    /// Where it is.
    pub address: String,
}

/// How a connected peer is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PeerPath {
    /// Which member.
    pub node: NodeId,
    /// Directly or over a relay.
    pub path: Path,
    /// Where the connection leads; for one that came in, from where.
    pub address: String,
    /// Round trip in milliseconds, once measured.
    pub rtt_ms: Option<f64>,
}
