//! What the validator must know of a document's changes: who made each, and what it follows.

use crate::error::Refusal;
use holm_types::{ActorId, Digest, change::WireChange};
use std::collections::{BTreeMap, BTreeSet};

/// A change without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) actor: ActorId,
    pub(crate) seq: u64,
    /// Lamport number of its last operation: greater than that of every change it follows.
    pub(crate) max_op: u64,
    pub(crate) deps: Vec<Digest>,
    /// Marks of the keys that it wrote.
    keys: Box<[u32]>,
}

impl Node {
    pub(crate) fn of(wire: &WireChange) -> Result<Node, Refusal> {
        let actor = *wire.actors.first().ok_or(Refusal::Form("no actor"))?;
        let max_op = wire.start_op + wire.ops.len() as u64 - 1;
        let keys = wire.ops.iter().map(|op| mark(&op.key)).collect();
        Ok(Node { actor, seq: wire.seq, max_op, deps: wire.deps.clone(), keys })
    }

    /// Whether it may have written a key; false is certain.
    pub(crate) fn may_have_written(&self, key: &str) -> bool {
        self.keys.contains(&mark(key))
    }
}

/// FNV-1a (Fowler, Noll, Vo). Two keys may have one mark, by chance or by intent: that costs time and changes no verdict.
fn mark(key: &str) -> u32 {
    key.bytes().fold(0x811c_9dc5, |mark, byte| (mark ^ u32::from(byte)).wrapping_mul(0x0100_0193))
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

impl Graph {
    /// The ancestors of `heads` (these included) that are not ancestors of `deps`: what whoever wrote upon `deps` had not seen.
    pub(crate) fn beyond(&self, heads: &[Digest], deps: &[Digest]) -> Vec<&Node> {
        // By descending number: all that builds upon a change was looked at before, so it is known by then which side it is on.
        let mut open: BTreeMap<(u64, Digest), bool> = BTreeMap::new();
        let mut unseen = 0_usize;
        let add = |open: &mut BTreeMap<(u64, Digest), bool>, unseen: &mut usize, hash: &Digest, seen: bool| {
            let Some(node) = self.get(hash) else { return };
            match open.get_mut(&(node.max_op, *hash)) {
                Some(known) if seen && !*known => {
                    *known = true;
                    *unseen -= 1;
                }
                Some(_) => {}
                None => {
                    open.insert((node.max_op, *hash), seen);
                    *unseen += usize::from(!seen);
                }
            }
        };
        heads.iter().for_each(|hash| add(&mut open, &mut unseen, hash, false));
        deps.iter().for_each(|hash| add(&mut open, &mut unseen, hash, true));
        let mut found = Vec::new();
        while unseen > 0 {
            let Some(((_, hash), seen)) = open.pop_last() else { break };
            let Some(node) = self.get(&hash) else { continue };
            if !seen {
                unseen -= 1;
                found.push(node);
            }
            node.deps.iter().for_each(|hash| add(&mut open, &mut unseen, hash, seen));
        }
        found
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
                graph.insert(hash(n), Node { actor, seq: 1, max_op, deps, keys: Box::default() });
                let mut all: BTreeSet<usize> = parents.iter().flat_map(|p| closure[*p].clone()).collect();
                all.insert(n);
                closure.push(all);
            }
            for (from, all) in closure.iter().enumerate() {
                for (to, before) in closure.iter().enumerate() {
                    prop_assert_eq!(graph.reaches(&[hash(from)], &hash(to)), all.contains(&to));
                    let mut beyond: Vec<Node> = graph.beyond(&[hash(from)], &[hash(to)]).into_iter().cloned().collect();
                    let mut expected: Vec<Node> =
                        all.difference(before).map(|n| graph.get(&hash(*n)).unwrap().clone()).collect();
                    beyond.sort_by_key(|node| (node.max_op, node.deps.clone()));
                    expected.sort_by_key(|node| (node.max_op, node.deps.clone()));
                    prop_assert_eq!(beyond, expected);
                }
            }
        }
    }
}
