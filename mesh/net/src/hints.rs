//! What mDNS says, tamed. `_p2p._udp` is shared by every libp2p network on the LAN and signed by
//! nobody: a hint to dial, which the gate then checks. Pure: time comes in.

use holm_types::{Mono, NodeId};
use std::{collections::BTreeMap, time::Duration};

/// The same node is not told again before this.
const AGAIN: Duration = Duration::from_secs(30);
/// Nodes remembered; beyond, hints are dropped until the oldest are due again.
const MAX_NODES: usize = 256;

/// Limits how often each node is hinted at, and how many are.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    told: BTreeMap<NodeId, Mono>,
}

impl Hints {
    /// Whether `node` may be told now; it then counts as told.
    pub(crate) fn admit(&mut self, node: NodeId, now: Mono) -> bool {
        if self.told.get(&node).is_some_and(|at| now.since(*at) < AGAIN) {
            return false;
        }
        if self.told.len() >= MAX_NODES {
            self.told.retain(|_, at| now.since(*at) < AGAIN);
        }
        if self.told.len() >= MAX_NODES && !self.told.contains_key(&node) {
            return false;
        }
        self.told.insert(node, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Mono {
        Mono(Duration::from_secs(s))
    }

    #[test]
    fn hints_are_rare_and_few() {
        let mut hints = Hints::default();
        assert!(hints.admit(NodeId([1; 32]), at(0)));
        assert!(!hints.admit(NodeId([1; 32]), at(29)));
        assert!(hints.admit(NodeId([1; 32]), at(30)));
        let flood = (0..10_000u32).filter(|n| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            hints.admit(NodeId(id), at(31))
        });
        assert_eq!(flood.count(), MAX_NODES - 1);
        assert!(hints.admit(NodeId([9; 32]), at(61)), "the flood is forgotten");
    }
}
