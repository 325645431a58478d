//! What a node is told when it starts.

use holm_mesh_core::{healer, liveness};
use holm_types::{Label, MeshId, NodeId, Wall, cert::CertChain, keys::KeyPair, view::NodeInfo};
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
    /// Counts the starts of the process; the shell makes it durable before it starts the core.
    pub incarnation: u32,
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
    /// Tasks on this node, at most.
    pub max_tasks: u32,
    /// Time that a task has between TERM and KILL.
    pub grace: Duration,
}

/// 2024-01-01, from which starts are counted when the disk knows nothing better.
const COUNTED_FROM_S: u64 = 1_704_067_200;

/// The incarnation of a start: greater than the one that the disk holds, and at least the seconds
/// since 2024. A disk that was wiped, or restored from a backup, does not know of later starts;
/// counting on from it would use their numbers again: peers would take the node's heartbeats for old
/// ones and hold it for dead, and its changes for forgeries of its own. Only a host whose disk and
/// whose clock both went back can still do that.
pub fn next_incarnation(stored: Option<u32>, now: Wall) -> u32 {
    let by_clock = now.seconds().saturating_sub(COUNTED_FROM_S);
    let by_clock = u32::try_from(by_clock).unwrap_or(0);
    stored.map_or(1, |last| last.saturating_add(1)).max(by_clock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_later_than_all_before_it_even_on_an_empty_or_older_disk() {
        let at = |s: u64| Wall((COUNTED_FROM_S + s) * 1000);
        let first = next_incarnation(None, at(1_000));
        assert_eq!(first, 1_000);
        assert_eq!(next_incarnation(Some(first), at(1_000)), 1_001, "twice in a second");
        assert_eq!(next_incarnation(None, at(2_000)), 2_000, "a wiped disk");
        assert_eq!(next_incarnation(Some(first), at(2_000)), 2_000, "a restored one");
        assert_eq!(next_incarnation(Some(2_000), Wall(0)), 2_001, "a clock that went back");
        assert_eq!(next_incarnation(None, Wall(0)), 1);
    }
}
