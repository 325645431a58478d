//! What a node is told when it starts.

use holm_mesh_core::{healer, liveness};
use holm_types::{Incarnation, Label, MeshId, NodeId, cert::CertChain, keys::KeyPair, view::NodeInfo};
use std::time::Duration;

/// Everything that a node's core needs to know about itself.
#[derive(Debug, Clone)]
pub struct Config {
    /// The mesh.
    pub mesh: MeshId,
    /// The mesh's name.
    pub mesh_name: Label,
    /// This node's identity.
    pub key: KeyPair,
    /// This node's certificate.
    pub chain: CertChain,
    /// This life of the process; the shell makes it durable before it starts the core.
    pub incarnation: Incarnation,
    /// Seed of the core's random choices.
    pub seed: u64,
    /// Labels, capacity, architecture, version.
    pub info: NodeInfo,
    /// The authority's key, on the node that enrols others.
    pub authority: Option<KeyPair>,
    /// Members known from the enrolment, to begin with.
    pub peers: Vec<(NodeId, Vec<String>)>,
    /// How liveness is judged.
    pub liveness: liveness::Config,
    /// How peers are dialled.
    pub healer: healer::Config,
    /// Time between two rounds of anti-entropy with some peer.
    pub repair_every: Duration,
    /// How long what is known of the tasks of a removed app is kept.
    pub keep_removed: Duration,
    /// Bytes of changes that are held of one scope, at most ([`holm_state::State::set_budget`]).
    pub disk_budget: u64,
    /// Changes of a document of tasks, after which it goes on in another volume. What the nodes say again there are a few changes
    /// each: far fewer than this, or it never ends.
    pub volume: u64,
    /// Tasks on this node, at most.
    pub max_tasks: u32,
    /// Time that a task has between TERM and KILL.
    pub grace: Duration,
}
