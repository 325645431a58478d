//! Digests of what is held, scope by scope, for anti-entropy: a scope has 256 buckets of
//! documents, so that two nodes find the few documents in which they differ in three messages.

use holm_types::{Digest, DocId, Scope};
use std::{collections::BTreeMap, sync::OnceLock};

/// Digest of one document's heads, or of a bucket.
pub type DocDigest = [u8; 16];

/// Buckets of a scope.
pub const BUCKETS: usize = 256;

pub(crate) fn truncated(hasher: &blake3::Hasher) -> DocDigest {
    let mut digest = [0; 16];
    hasher.finalize_xof().fill(&mut digest);
    digest
}

#[derive(Debug, Default)]
struct Bucket {
    docs: BTreeMap<DocId, DocDigest>,
    digest: OnceLock<DocDigest>,
}

impl Bucket {
    fn digest(&self) -> DocDigest {
        *self.digest.get_or_init(|| {
            let mut hasher = blake3::Hasher::new_derive_key("holm bucket v1");
            for (doc, digest) in &self.docs {
                hasher.update(&doc.0);
                hasher.update(digest);
            }
            truncated(&hasher)
        })
    }
}

#[derive(Debug, Default)]
struct ScopeDigests {
    /// Only buckets that hold something; the others have the digest 0.
    buckets: BTreeMap<u8, Bucket>,
    root: OnceLock<Digest>,
}

/// Digests of all scopes: kept up to date by change, computed when asked for.
#[derive(Debug, Default)]
pub(crate) struct Digests(BTreeMap<Scope, ScopeDigests>);

/// Document ids end in hash bytes whatever their kind.
fn bucket_of(doc: &DocId) -> u8 {
    doc.0[15]
}

impl Digests {
    pub(crate) fn set(&mut self, scope: &Scope, doc: &DocId, digest: DocDigest) {
        if !self.0.contains_key(scope) {
            self.0.insert(scope.clone(), ScopeDigests::default());
        }
        let Some(scope) = self.0.get_mut(scope) else { return };
        let bucket = scope.buckets.entry(bucket_of(doc)).or_default();
        if bucket_of(doc).is_multiple_of(8) && holm_types::sabotaged!("a digest misses documents") {
            return;
        }
        bucket.docs.insert(*doc, digest);
        bucket.digest.take();
        scope.root.take();
    }

    /// Nothing is held of a document any more.
    pub(crate) fn remove(&mut self, scope: &Scope, doc: &DocId) {
        let Some(digests) = self.0.get_mut(scope) else { return };
        if let Some(bucket) = digests.buckets.get_mut(&bucket_of(doc)) {
            bucket.docs.remove(doc);
            bucket.digest.take();
            if bucket.docs.is_empty() {
                digests.buckets.remove(&bucket_of(doc));
            }
        }
        digests.root.take();
        if digests.buckets.is_empty() {
            self.0.remove(scope);
        }
    }

    pub(crate) fn scopes(&self) -> Vec<Scope> {
        self.0.keys().cloned().collect()
    }

    /// A scope of which nothing is held has a digest too, the same on every node.
    pub(crate) fn root(&self, scope: &Scope) -> Digest {
        let compute = || Digest::of("holm scope v1", &[self.buckets(scope).as_flattened()]);
        self.0.get(scope).map_or_else(compute, |digests| *digests.root.get_or_init(compute))
    }

    pub(crate) fn buckets(&self, scope: &Scope) -> Vec<DocDigest> {
        let mut digests = vec![DocDigest::default(); BUCKETS];
        for (index, bucket) in self.0.get(scope).into_iter().flat_map(|scope| &scope.buckets) {
            digests[usize::from(*index)] = bucket.digest();
        }
        digests
    }

    pub(crate) fn bucket(&self, scope: &Scope, index: u8) -> Vec<(DocId, DocDigest)> {
        let bucket = self.0.get(scope).and_then(|scope| scope.buckets.get(&index));
        bucket.map_or_else(Vec::new, |bucket| bucket.docs.iter().map(|(doc, digest)| (*doc, *digest)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(n: u8) -> DocId {
        DocId([n; 16])
    }

    #[test]
    fn digests_depend_on_what_is_held_and_not_on_how_it_came() {
        let (mut one, mut two) = (Digests::default(), Digests::default());
        let empty = one.root(&Scope::Mesh);
        for n in 0..50 {
            one.set(&Scope::Mesh, &doc(n), [n; 16]);
            let _ = one.root(&Scope::Mesh);
            two.set(&Scope::Mesh, &doc(49 - n), [7; 16]);
            two.set(&Scope::Mesh, &doc(49 - n), [49 - n; 16]);
        }
        assert_ne!(one.root(&Scope::Mesh), empty);
        assert_eq!(one.root(&Scope::Mesh), two.root(&Scope::Mesh));
        two.set(&Scope::Mesh, &doc(9), [0; 16]);
        assert_ne!(one.root(&Scope::Mesh), two.root(&Scope::Mesh));
        let differ: Vec<usize> =
            (0..BUCKETS).filter(|n| one.buckets(&Scope::Mesh)[*n] != two.buckets(&Scope::Mesh)[*n]).collect();
        assert_eq!(differ, [9]);
        assert_eq!(two.bucket(&Scope::Mesh, 9), [(doc(9), [0; 16])]);
        for n in 0..50 {
            one.remove(&Scope::Mesh, &doc(n));
        }
        assert_eq!(one.root(&Scope::Mesh), empty);
        assert!(one.scopes().is_empty());
        let site = Scope::Site("a".parse().unwrap());
        assert_eq!(one.root(&site), empty, "nothing is held of another scope");
    }
}
