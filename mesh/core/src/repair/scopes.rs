//! Repair between two keepers, which hold every scope: one digest says whether any of them differs, and 64 say
//! where to look, so that a thousand sites cost one short message as long as nothing does.
//!
//! ```text
//! A                                B
//! All(digest)             ------>         equal: the end. Otherwise:
//!                         <------  Buckets(digests of 64 buckets of scopes)
//! Roots(of those that differ) -->         as a Root for each of the scopes, and for those that A lacks
//! ```

use super::{DocDigest, Message, Replica, on_root};
use holm_types::{Digest, Scope};
use std::collections::{BTreeMap, BTreeSet};

/// Buckets that the scopes are spread over, by the hash of their names.
pub const BUCKETS: usize = 64;
/// Scopes in one message, at most.
pub const MAX_ROOTS: usize = 2048;

type Held = BTreeMap<u8, Vec<(Scope, Digest)>>;

/// The first message of a round about all scopes.
pub fn open_all(replica: &impl Replica) -> Message {
    Message::All { digest: of_all(&held(replica)) }
}

pub(super) fn on_all(replica: &impl Replica, theirs: &Digest) -> Vec<Message> {
    let held = held(replica);
    if of_all(&held) == *theirs {
        return Vec::new();
    }
    vec![Message::Buckets { digests: buckets(&held).concat().into() }]
}

pub(super) fn on_buckets(replica: &impl Replica, theirs: &[u8]) -> Vec<Message> {
    let mut held = held(replica);
    let ours = buckets(&held);
    let (mut differing, mut roots) = (Vec::new(), Vec::new());
    for (n, (ours, theirs)) in (0u8..).zip(ours.iter().zip(theirs.chunks(size_of::<DocDigest>()))) {
        if ours == theirs {
            continue;
        }
        let scopes = held.remove(&n).unwrap_or_default();
        if !differing.is_empty() && roots.len() + scopes.len() > MAX_ROOTS {
            break; // The next round goes on here.
        }
        differing.push(n);
        roots.extend(scopes);
    }
    roots.truncate(MAX_ROOTS);
    if differing.is_empty() { Vec::new() } else { vec![Message::Roots { buckets: differing, roots }] }
}

pub(super) fn on_roots(replica: &impl Replica, buckets: &[u8], theirs: &[(Scope, Digest)]) -> Vec<Message> {
    let named: BTreeSet<&Scope> = theirs.iter().map(|(scope, _)| scope).collect();
    let nothing = Digest([0; 32]);
    let ours = replica.scopes();
    let unnamed = ours.iter().filter(|scope| buckets.contains(&bucket_of(scope)) && !named.contains(scope));
    let unnamed = unnamed.map(|scope| (scope, &nothing));
    let differing = theirs.iter().map(|(scope, digest)| (scope, digest)).chain(unnamed);
    differing.flat_map(|(scope, digest)| on_root(replica, scope, digest)).collect()
}

fn held(replica: &impl Replica) -> Held {
    let mut held = Held::new();
    for scope in replica.scopes() {
        let root = replica.root(&scope);
        held.entry(bucket_of(&scope)).or_default().push((scope, root));
    }
    held.values_mut().for_each(|scopes| scopes.sort_unstable());
    held
}

fn bucket_of(scope: &Scope) -> u8 {
    let digest = Digest::of("holm bucket of a scope v1", &[scope.to_string().as_bytes()]);
    digest.0[0] % BUCKETS as u8
}

fn buckets(held: &Held) -> Vec<DocDigest> {
    let of = |scopes: &Vec<(Scope, Digest)>| {
        let parts = scopes.iter().flat_map(|(scope, root)| [scope.to_string().into_bytes(), root.0.to_vec()]);
        let parts: Vec<Vec<u8>> = parts.collect();
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let digest = Digest::of("holm bucket v1", &parts);
        std::array::from_fn(|n| digest.0[n])
    };
    (0..BUCKETS).map(|n| held.get(&(n as u8)).map_or_else(DocDigest::default, of)).collect()
}

fn of_all(held: &Held) -> Digest {
    Digest::of("holm all scopes v1", &[buckets(held).as_flattened()])
}

#[cfg(test)]
#[path = "scopes_tests.rs"]
mod tests;
