//! Digests of what is held, scope by scope, for anti-entropy: a tree over the ids of the documents (Merkle, 1987; the division
//! follows the content, as in range-based set reconciliation, Meyer, 2023), so that two nodes find the few documents in
//! which they differ in a few small messages. Each digest is a hash of what is below it, no sum: who writes
//! documents cannot choose them so that a difference does not show.

use holm_types::{
    Digest, DocId, Scope,
    branch::{Branch, FAN_OUT, MAX_DEPTH},
};
use std::collections::BTreeMap;

/// Digest of one document's heads, or of a branch.
pub type DocDigest = [u8; 16];

/// A branch of more documents is divided.
const LEAF: usize = 16;

pub(crate) fn truncated(hasher: &blake3::Hasher) -> DocDigest {
    let mut digest = [0; 16];
    hasher.finalize_xof().fill(&mut digest);
    digest
}

/// The tree of one scope. Its shape follows from the documents alone.
#[derive(Debug, Default)]
struct Tree {
    /// By [`Branch::key`].
    docs: BTreeMap<[u8; 16], DocDigest>,
    /// Those branches that are divided.
    inner: BTreeMap<Branch, [DocDigest; FAN_OUT]>,
    root: DocDigest,
}

impl Tree {
    fn of(&self, branch: &Branch) -> impl Iterator<Item = (&[u8; 16], &DocDigest)> {
        let (first, last) = branch.span();
        self.docs.range(first..=last)
    }

    fn set(&mut self, doc: &DocId, digest: DocDigest) {
        self.docs.insert(Branch::key(doc), digest);
        let mut path = Vec::new();
        let mut branch = Branch::ROOT;
        while self.inner.contains_key(&branch) {
            path.push(branch);
            branch = branch.child(branch.nibble(doc));
        }
        let below = self.build(branch);
        self.root = self.update(path, doc, below);
    }

    fn remove(&mut self, doc: &DocId) {
        if self.docs.remove(&Branch::key(doc)).is_none() {
            return;
        }
        let mut path = Vec::new();
        let mut branch = Branch::ROOT;
        while self.inner.contains_key(&branch) {
            if self.of(&branch).take(LEAF + 1).count() <= LEAF {
                self.undivide(branch, doc);
                break;
            }
            path.push(branch);
            branch = branch.child(branch.nibble(doc));
        }
        self.root = self.update(path, doc, self.leaf(&branch));
    }

    /// A branch of which too few are left; what is divided below it held all of them, so `doc` as well.
    fn undivide(&mut self, mut branch: Branch, doc: &DocId) {
        while self.inner.remove(&branch).is_some() {
            branch = branch.child(branch.nibble(doc));
        }
    }

    /// Takes a new digest of what is below `path` up to the root; gives the root's.
    fn update(&mut self, path: Vec<Branch>, doc: &DocId, mut below: DocDigest) -> DocDigest {
        for parent in path.into_iter().rev() {
            if let Some(children) = self.inner.get_mut(&parent) {
                children[parent.nibble(doc)] = below;
                below = digest_of(children);
            }
        }
        below
    }

    /// The digest of a branch that is not divided yet, and is now if it has to be.
    fn build(&mut self, branch: Branch) -> DocDigest {
        if self.of(&branch).take(LEAF + 1).count() <= LEAF || branch.depth() == MAX_DEPTH {
            return self.leaf(&branch);
        }
        let children = std::array::from_fn(|n| self.build(branch.child(n)));
        let digest = digest_of(&children);
        self.inner.insert(branch, children);
        digest
    }

    /// 0 when there is nothing.
    fn leaf(&self, branch: &Branch) -> DocDigest {
        let mut docs = self.of(branch).peekable();
        if docs.peek().is_none() {
            return DocDigest::default();
        }
        let mut hasher = blake3::Hasher::new_derive_key("holm documents of a branch v1");
        for (doc, digest) in docs {
            hasher.update(doc);
            hasher.update(digest);
        }
        truncated(&hasher)
    }
}

fn digest_of(children: &[DocDigest; FAN_OUT]) -> DocDigest {
    let mut hasher = blake3::Hasher::new_derive_key("holm branches of a branch v1");
    hasher.update(children.as_flattened());
    truncated(&hasher)
}

/// Digests of all scopes, kept up to date.
#[derive(Debug, Default)]
pub(crate) struct Digests(BTreeMap<Scope, Tree>);

impl Digests {
    pub(crate) fn set(&mut self, scope: &Scope, doc: &DocId, digest: DocDigest) {
        if !self.0.contains_key(scope) {
            self.0.insert(scope.clone(), Tree::default());
        }
        if doc.0[15].is_multiple_of(2) && holm_types::sabotaged!("a digest misses documents") {
            return;
        }
        if let Some(tree) = self.0.get_mut(scope) {
            tree.set(doc, digest);
        }
    }

    /// Nothing is held of a document any more.
    pub(crate) fn remove(&mut self, scope: &Scope, doc: &DocId) {
        let Some(tree) = self.0.get_mut(scope) else { return };
        tree.remove(doc);
        if tree.docs.is_empty() {
            self.0.remove(scope);
        }
    }

    pub(crate) fn scopes(&self) -> Vec<Scope> {
        self.0.keys().cloned().collect()
    }

    /// A scope of which nothing is held has a digest too, the same on every node.
    pub(crate) fn root(&self, scope: &Scope) -> Digest {
        let root = self.0.get(scope).map_or_else(DocDigest::default, |tree| tree.root);
        Digest::of("holm scope v2", &[&root])
    }

    /// The digests of the branches of a branch; none if it is not divided.
    pub(crate) fn branches(&self, scope: &Scope, branch: &Branch) -> Option<[DocDigest; FAN_OUT]> {
        self.0.get(scope)?.inner.get(branch).copied()
    }

    /// Documents of a branch, in the order of branches, `limit` at most.
    pub(crate) fn documents(&self, scope: &Scope, branch: &Branch, limit: usize) -> Vec<(DocId, DocDigest)> {
        let tree = self.0.get(scope).into_iter();
        let docs = tree.flat_map(|tree| tree.of(branch)).take(limit);
        docs.map(|(key, digest)| (Branch::doc(key), *digest)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn docs() -> impl Strategy<Value = BTreeMap<[u8; 16], DocDigest>> {
        // Few different last bytes, so that branches become deep.
        prop::collection::btree_map(any::<[u8; 16]>(), any::<DocDigest>(), 0..120).prop_map(|docs| {
            let near = |(mut id, digest): ([u8; 16], DocDigest)| {
                id[15] &= 0x11;
                id[14] &= 0x03;
                (id, digest)
            };
            docs.into_iter().map(near).collect()
        })
    }

    proptest! {
        #[test]
        fn digests_depend_on_what_is_held_and_not_on_how_it_came(docs in docs(), seed: u64) {
            let (mut one, mut two) = (Digests::default(), Digests::default());
            for (id, digest) in &docs {
                one.set(&Scope::Mesh, &DocId(*id), *digest);
            }
            let mut shuffled: Vec<_> = docs.iter().collect();
            shuffled.sort_by_key(|(id, _)| Digest::of("shuffle", &[&id[..], &seed.to_be_bytes()]));
            for (id, digest) in shuffled {
                two.set(&Scope::Mesh, &DocId(*id), [7; 16]);
                two.set(&Scope::Mesh, &DocId(*id), *digest);
            }
            prop_assert_eq!(one.root(&Scope::Mesh), two.root(&Scope::Mesh));
            prop_assert_eq!(&one.0.get(&Scope::Mesh).map(|t| &t.inner), &two.0.get(&Scope::Mesh).map(|t| &t.inner));
            let site = Scope::Site("a".parse().unwrap());
            prop_assert_eq!(one.root(&site), Digests::default().root(&Scope::Mesh), "nothing is held of another scope");
            if let Some((id, digest)) = docs.first_key_value() {
                let mut other = *digest;
                other[3] ^= 1;
                two.set(&Scope::Mesh, &DocId(*id), other);
                prop_assert_ne!(one.root(&Scope::Mesh), two.root(&Scope::Mesh));
            }
        }

        #[test]
        fn what_is_gone_was_never_there(docs in docs(), gone in docs()) {
            let (mut one, mut two) = (Digests::default(), Digests::default());
            let gone: Vec<_> = gone.keys().filter(|id| !docs.contains_key(*id)).collect();
            for (id, digest) in &docs {
                one.set(&Scope::Mesh, &DocId(*id), *digest);
                two.set(&Scope::Mesh, &DocId(*id), *digest);
            }
            gone.iter().for_each(|id| one.set(&Scope::Mesh, &DocId(**id), [9; 16]));
            gone.iter().for_each(|id| one.remove(&Scope::Mesh, &DocId(**id)));
            prop_assert_eq!(one.root(&Scope::Mesh), two.root(&Scope::Mesh));
            prop_assert_eq!(&one.0.get(&Scope::Mesh).map(|t| &t.inner), &two.0.get(&Scope::Mesh).map(|t| &t.inner));
            prop_assert_eq!(one.scopes(), two.scopes());
        }

        #[test]
        fn a_branch_is_the_sum_of_its_branches(docs in docs()) {
            let mut digests = Digests::default();
            for (id, digest) in &docs {
                digests.set(&Scope::Mesh, &DocId(*id), *digest);
            }
            let mut open = vec![Branch::ROOT];
            let mut found = 0;
            while let Some(branch) = open.pop() {
                let held = digests.documents(&Scope::Mesh, &branch, usize::MAX);
                match digests.branches(&Scope::Mesh, &branch) {
                    Some(children) => {
                        prop_assert!(held.len() > LEAF);
                        for (n, digest) in children.iter().enumerate() {
                            let child = digests.documents(&Scope::Mesh, &branch.child(n), 1);
                            prop_assert_eq!(child.is_empty(), *digest == DocDigest::default());
                            open.push(branch.child(n));
                        }
                    }
                    None => {
                        prop_assert!(held.len() <= LEAF);
                        found += held.len();
                    }
                }
            }
            prop_assert_eq!(found, docs.len());
        }
    }
}
