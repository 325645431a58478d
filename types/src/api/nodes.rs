//! Nodes and the mesh: `node.*`, `mesh.status`, `token.create`.

use super::Reach;
use crate::{Digest, Label, NodeId, Wall, cert::Role, view::Liveness};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Parameters of `token.create`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenParams {
    /// The role of the node that joins.
    pub role: Role,
    /// Its site; this node's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Label>,
    /// How long the token is good, in seconds (1 to 30 days); one hour if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u64>,
    /// How many nodes may join with it (1 to 10,000); 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// How long the certificate is good that it buys, in seconds (10 seconds to 10 years); 90 days if absent, 5
    /// years for an issuer. It is renewed in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validity_s: Option<u64>,
}

/// A row of `node.list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeRow {
    /// The node's id.
    pub id: NodeId,
    /// Its name.
    pub name: Label,
    /// Its site.
    pub site: Label,
    /// Its roles.
    pub roles: Vec<Role>,
    /// Whether it is there.
    pub state: Liveness,
    /// Whether it was revoked: it is no member any more.
    #[serde(default)]
    pub revoked: bool,
    /// Whether it was ever there, as far as is known here: not if it was enrolled and never came up.
    pub seen: bool,
    /// How this node reaches it.
    pub path: Path,
    /// Round trip to it in milliseconds, where there is a connection and it was measured.
    #[serde(default)]
    pub rtt_ms: Option<f64>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Its software's version.
    pub version: String,
    /// Version of the documents' schema that it knows; 0 if it has not said.
    #[serde(default)]
    pub schema: u32,
    /// Tasks that run there.
    pub running: u32,
}

/// How this node reaches another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// It is this node.
    #[serde(rename = "self")]
    Own,
    /// A connection of its own.
    Direct,
    /// Through a relay.
    Relayed,
    /// Not connected; through other nodes at best.
    Unknown,
}

/// Answer of `mesh.status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MeshStatus {
    /// The mesh's name.
    pub mesh: Label,
    /// The mesh's id.
    pub mesh_id: String,
    /// This node's name.
    pub node: Label,
    /// This node's id.
    pub node_id: NodeId,
    /// This node's site.
    pub site: Label,
    /// Whether it serves.
    pub ready: bool,
    /// Connected peers.
    pub peers: u32,
    /// Documents held.
    pub documents: u32,
    /// Digest of each scope: equal on two nodes means converged.
    pub heads: BTreeMap<String, Digest>,
    /// What is held of each scope, and how much may be.
    #[serde(default)]
    pub held: BTreeMap<String, Held>,
    /// Counters of what was dropped or refused, by name.
    pub counters: BTreeMap<String, u64>,
    /// How this node is reached and reaches others.
    #[serde(default)]
    pub reach: Reach,
}

/// What is held of a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// Documents.
    pub documents: u64,
    /// Bytes of their changes.
    pub bytes: u64,
    /// Bytes that this node keeps of one scope (`holm up --disk-budget`).
    pub budget: u64,
    /// What the budget leaves.
    pub room: Room,
}

/// What a budget leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Room {
    /// All is taken.
    Free,
    /// The budget is reached: no apps are submitted or changed here, and what others write is still taken.
    Full,
    /// A quarter beyond it: of what others write only what ends something is taken. This node falls behind.
    Over,
}

/// A row of `mesh.refused`: a change of some node that this one refused, as every honest node does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedRow {
    /// When, by this node's clock.
    pub at: Wall,
    /// Who signed it: a node's name, or its id when it is unknown.
    pub author: String,
    /// Whether that node has been revoked; what it still writes is refused as a matter of course.
    pub revoked: bool,
    /// The document, in hexadecimal digits.
    pub document: String,
    /// Why.
    pub why: String,
}
