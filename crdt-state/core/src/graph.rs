//! What the validator must know of a document's changes: who made each, and what it follows.

use holm_types::{ActorId, Digest};
use std::collections::{BTreeMap, BTreeSet};

/// A change without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) actor: ActorId,
    pub(crate) seq: u64,
    /// Lamport number of its last operation: greater than that of every change it follows.
    pub(crate) max_op: u64,
    pub(crate) deps: Vec<Digest>,
}

/// The changes of one document.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph(BTreeMap<Digest, Node>);

impl Graph {
    pub(crate) fn get(&self, hash: &Digest) -> Option<&Node> {
        self.0.get(hash)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn insert(&mut self, hash: Digest, node: Node) {
        self.0.insert(hash, node);
    }

    /// Lamport number of the last operation among `deps`, 0 if there are none.
    pub(crate) fn max_op(&self, deps: &[Digest]) -> u64 {
        deps.iter().filter_map(|hash| self.get(hash)).map(|node| node.max_op).max().unwrap_or(0)
    }

    /// Whether `wanted` is one of `from` or an ancestor of one. As numbers only grow along the
    /// graph, nothing below that of `wanted` needs a look.
    pub(crate) fn reaches(&self, from: &[Digest], wanted: &Digest) -> bool {
        let Some(floor) = self.get(wanted).map(|node| node.max_op) else { return false };
        let mut seen = BTreeSet::new();
        let mut open: Vec<&Digest> = from.iter().collect();
        while let Some(hash) = open.pop() {
            if hash == wanted {
                return true;
            }
            match self.get(hash) {
                Some(node) if node.max_op > floor && seen.insert(hash) => open.extend(&node.deps),
                _ => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holm_types::{Incarnation, NodeId};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reaches_is_the_transitive_closure(edges in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..3), 1..25)) {
            let actor = ActorId::new(&NodeId([1; 32]), Incarnation(0));
            let hash = |n: usize| Digest([n as u8; 32]);
            let mut graph = Graph::default();
            let mut closure: Vec<BTreeSet<usize>> = Vec::new();
            for (n, parents) in edges.iter().enumerate() {
                let parents: BTreeSet<usize> = parents.iter().filter(|_| n > 0).map(|p| p.index(n)).collect();
                let deps: Vec<Digest> = parents.iter().map(|p| hash(*p)).collect();
                let max_op = graph.max_op(&deps) + 1;
                graph.insert(hash(n), Node { actor, seq: 1, max_op, deps });
                let mut all: BTreeSet<usize> = parents.iter().flat_map(|p| closure[*p].clone()).collect();
                all.insert(n);
                closure.push(all);
            }
            for (from, all) in closure.iter().enumerate() {
                for to in 0..edges.len() {
                    prop_assert_eq!(graph.reaches(&[hash(from)], &hash(to)), all.contains(&to));
                }
            }
        }
    }
}
