//! What the validator must know of a document's changes: who made each, and what it follows.

use holm_types::{ActorId, Digest};
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

/// A change without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) actor: ActorId,
    /// Lamport number of its first operation.
    pub(crate) start_op: u64,
    /// Lamport number of its last operation: greater than that of every change it follows.
    pub(crate) max_op: u64,
    pub(crate) deps: Vec<Digest>,
}

/// The changes of one document.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph(BTreeMap<Digest, Node>);

/// What somebody who knows only a part of a document has not seen of it.
///
/// An author's changes are one chain, so what is not seen of them is the end of it: the number of
/// the first operation of that end says it all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unseen(BTreeMap<ActorId, u64>);

impl Unseen {
    /// Whether an operation was seen.
    pub(crate) fn has_seen(&self, actor: &ActorId, counter: u64) -> bool {
        self.0.get(actor).is_none_or(|first| counter < *first)
    }

    /// Whether everything of an actor was seen.
    pub(crate) fn has_seen_all_of(&self, actor: &ActorId) -> bool {
        !self.0.contains_key(actor)
    }

    fn add(&mut self, node: &Node) {
        let first = self.0.entry(node.actor).or_insert(node.start_op);
        *first = node.start_op.min(*first);
    }
}

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

    /// The changes that no other follows, sorted.
    pub(crate) fn heads(&self) -> Vec<Digest> {
        let followed: BTreeSet<&Digest> = self.0.values().flat_map(|node| &node.deps).collect();
        self.0.keys().filter(|hash| !followed.contains(hash)).copied().collect()
    }

    /// What is in the document of `heads` and neither among `deps` nor followed by them.
    ///
    /// Numbers only grow along the graph: when the changes are looked at from the highest down, it is
    /// known of each whether `deps` follow it, and the walk ends where all that is left is seen.
    pub(crate) fn unseen<'a>(&'a self, heads: &'a [Digest], deps: &'a [Digest]) -> Unseen {
        let mut unseen = Unseen::default();
        let mut walk: BTreeMap<(u64, &'a Digest), bool> = BTreeMap::new();
        // Changes in the walk that nobody at `deps` has seen, as far as is known.
        let mut open = 0;
        let visit = |walk: &mut BTreeMap<(u64, &'a Digest), bool>, hash: &'a Digest, seen: bool, open: &mut usize| {
            let Some(node) = self.get(hash) else { return };
            match walk.entry((node.max_op, hash)) {
                Entry::Vacant(new) => {
                    new.insert(seen);
                    *open += usize::from(!seen);
                }
                Entry::Occupied(mut known) if seen && !*known.get() => {
                    known.insert(true);
                    *open -= 1;
                }
                Entry::Occupied(_) => {}
            }
        };
        heads.iter().for_each(|hash| visit(&mut walk, hash, false, &mut open));
        deps.iter().for_each(|hash| visit(&mut walk, hash, true, &mut open));
        while open > 0
            && let Some(((_, hash), seen)) = walk.pop_last()
        {
            let Some(node) = self.get(hash) else { continue };
            if !seen {
                open -= 1;
                unseen.add(node);
            }
            node.deps.iter().for_each(|hash| visit(&mut walk, hash, seen, &mut open));
        }
        unseen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holm_types::{Incarnation, NodeId};
    use proptest::prelude::*;

    fn actor(n: usize) -> ActorId {
        ActorId::new(&NodeId([n as u8; 32]), Incarnation(0))
    }

    proptest! {
        /// Three writers, each with a chain of its own, who hear of each other now and then.
        #[test]
        fn unseen_is_what_the_closure_of_the_deps_lacks(
            edges in prop::collection::vec((0..3usize, prop::collection::vec(any::<prop::sample::Index>(), 0..3)), 1..25),
        ) {
            let hash = |n: usize| Digest([n as u8; 32]);
            let mut graph = Graph::default();
            let mut closure: Vec<BTreeSet<usize>> = Vec::new();
            let mut tips = [None; 3];
            for (n, (writer, parents)) in edges.iter().enumerate() {
                let mut parents: BTreeSet<usize> = parents.iter().filter(|_| n > 0).map(|p| p.index(n)).collect();
                parents.extend(tips[*writer]);
                tips[*writer] = Some(n);
                let deps: Vec<Digest> = parents.iter().map(|p| hash(*p)).collect();
                let start_op = graph.max_op(&deps) + 1;
                graph.insert(hash(n), Node { actor: actor(*writer), start_op, max_op: start_op + n as u64 % 3, deps });
                let mut all: BTreeSet<usize> = parents.iter().flat_map(|p| closure[*p].clone()).collect();
                all.insert(n);
                closure.push(all);
            }
            let heads = graph.heads();
            for from in 0..edges.len() {
                let unseen = graph.unseen(&heads, &[hash(from)]);
                for (n, (writer, _)) in edges.iter().enumerate() {
                    let node = graph.get(&hash(n)).unwrap();
                    prop_assert_eq!(unseen.has_seen(&actor(*writer), node.start_op), closure[from].contains(&n));
                    prop_assert_eq!(unseen.has_seen(&actor(*writer), node.max_op), closure[from].contains(&n));
                }
            }
            prop_assert_eq!(graph.unseen(&heads, &heads), Unseen::default());
        }
    }
}
