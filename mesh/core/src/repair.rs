//! Anti-entropy: two replicas of a scope find out what each lacks, and send it.
//!
//! ```text
//! A                                B
//! Root(digest)            ------>         equal: the end. Otherwise:
//!                         <------  Branches(digests of 16 branches)
//! Branches(of those that differ) ->       and so on, down to branches of few documents
//!                         <------  Docs(of the branches that differ)
//! Want(documents, what A has) ---->
//! Docs(A's side, echo)    ------>
//!                         <------  Changes(...)
//!                         <------  Want(...)
//! Changes(...)            ------>
//! ```
//!
//! No message depends on remembered state, so loss, repetition and restarts need no handling:
//! the next round starts from the digests again. This is range-based set reconciliation (Meyer, "Range-based set reconciliation",
//! 2023) over a tree of hashes, whose ranges are the [branches](Branch) of the document ids: about 16 x 16 bytes a level and difference, whatever
//! else the two hold.

use holm_types::{
    ActorId, Digest, DocId, Scope, TypeError,
    branch::{Branch, FAN_OUT},
    cbor,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

mod scopes;
pub use scopes::{BUCKETS, MAX_ROOTS, open_all};

/// A digest of one document's heads.
pub type DocDigest = [u8; 16];
/// Divided branches in one message, at most.
pub const MAX_BRANCHES: usize = 256;
/// Branches in one message whose documents are told, at most.
pub const MAX_COVERED: usize = 2048;
/// An encoded message is never longer than this, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// Documents named in one message, at most.
pub const MAX_DOCS: usize = 2048;
/// Documents asked for in one message, at most.
pub const MAX_WANTED: usize = 256;
/// Messages that ask, in one answer, at most.
const WANTS: usize = 4;
/// Actors in one vector, at most.
pub const MAX_ACTORS: usize = 512;
/// Bytes of changes in one message.
pub const BATCH_BYTES: usize = 256 * 1024;

/// What a replica must tell about itself.
pub trait Replica {
    /// The scopes of which something is held.
    fn scopes(&self) -> Vec<Scope>;
    /// Digest of all documents of a scope.
    fn root(&self, scope: &Scope) -> Digest;
    /// The digests of the branches of a branch, 0 for an empty one; none if it holds too few documents to be divided.
    fn branches(&self, scope: &Scope, branch: &Branch) -> Option<[DocDigest; FAN_OUT]>;
    /// Documents of a branch, `limit` at most.
    fn documents(&self, scope: &Scope, branch: &Branch, limit: usize) -> Vec<(DocId, DocDigest)>;
    /// What is held of a document: the last sequence of each actor.
    fn vector(&self, doc: &DocId) -> Vec<(ActorId, u64)>;
    /// Whether more of a document is wanted, if a peer has it.
    fn wants(&self, _scope: &Scope, _doc: &DocId) -> bool {
        true
    }
    /// Encoded changes beyond a vector, in causal order, about `max_bytes` at most, and whether
    /// more remain.
    fn changes_since(
        &self,
        scope: &Scope,
        doc: &DocId,
        vector: &[(ActorId, u64)],
        max_bytes: usize,
    ) -> (Vec<Vec<u8>>, bool);
}

/// A document and its digest, as they travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocEntry(pub DocId, #[serde(with = "serde_bytes")] pub DocDigest);

/// A repair message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// "This is my state of the scope."
    Root {
        /// The scope.
        scope: Scope,
        /// Digest of all.
        digest: Digest,
    },
    /// "Mine differs, and is divided like this."
    Branches {
        /// The scope.
        scope: Scope,
        /// Divided branches with the digests of their branches, 16 of 16 bytes each.
        divided: Vec<(Branch, serde_bytes::ByteBuf)>,
        /// More differ than are told here.
        more: bool,
    },
    /// "These are my documents in the branches that differ."
    Docs {
        /// The scope.
        scope: Scope,
        /// The branches.
        branches: Vec<Branch>,
        /// All documents of them.
        docs: Vec<DocEntry>,
        /// It answers such a message: do not answer with another.
        echo: bool,
        /// More differ than are told here.
        more: bool,
    },
    /// "Send me what is beyond this."
    Want {
        /// The scope.
        scope: Scope,
        /// Documents, and what the sender has of them.
        docs: Vec<(DocId, Vec<(ActorId, u64)>)>,
        /// More is wanted than is told here.
        more: bool,
    },
    /// "Here it is."
    Changes {
        /// The scope.
        scope: Scope,
        /// Encoded signed changes.
        changes: Vec<serde_bytes::ByteBuf>,
        /// There is more: start again from the root when these are applied.
        more: bool,
    },
    /// "This is my state of all scopes." From a keeper to a keeper, as the two that follow from it.
    All {
        /// Digest of the buckets.
        digest: Digest,
    },
    /// "Mine differs, and these are its buckets."
    Buckets {
        /// [`BUCKETS`](scopes::BUCKETS) digests of 16 bytes.
        digests: serde_bytes::ByteBuf,
    },
    /// "These are my scopes in the buckets that differ."
    Roots {
        /// The buckets.
        buckets: Vec<u8>,
        /// All scopes of them of which something is held, and their digests.
        roots: Vec<(Scope, Digest)>,
    },
}

/// Why a message was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RepairError {
    /// It cannot be read.
    #[error(transparent)]
    Decode(#[from] TypeError),
    /// It breaks a bound.
    #[error("repair message refused: {0}")]
    Bound(&'static str),
}

impl Message {
    /// The one encoding.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn encode(&self) -> Result<Vec<u8>, RepairError> {
        Ok(cbor::to_vec("repair message", self)?)
    }

    /// Reads a peer's message and checks its bounds.
    ///
    /// # Errors
    /// Malformed, or over a bound.
    pub fn decode(bytes: &[u8]) -> Result<Message, RepairError> {
        let message: Message = cbor::from_canonical("repair message", bytes, MAX_MESSAGE_BYTES)?;
        let bound = |ok: bool, what| if ok { Ok(()) } else { Err(RepairError::Bound(what)) };
        match &message {
            Message::Root { .. } | Message::Changes { .. } | Message::All { .. } => {}
            Message::Buckets { digests } => bound(digests.len() == scopes::BUCKETS * 16, "not 64 buckets")?,
            Message::Roots { buckets, roots } => {
                bound(buckets.len() <= scopes::BUCKETS, "too many buckets")?;
                bound(roots.len() <= scopes::MAX_ROOTS, "too many scopes")?;
            }
            Message::Branches { divided, .. } => {
                bound(divided.len() <= MAX_BRANCHES, "too many branches")?;
                bound(divided.iter().all(|(_, digests)| digests.len() == FAN_OUT * 16), "not 16 branches")?;
                bound(divided.is_sorted_by(|a, b| a.0 < b.0), "branches are unsorted or repeated")?;
            }
            Message::Docs { branches, docs, .. } => {
                bound(docs.len() <= MAX_DOCS, "too many documents")?;
                bound(branches.len() <= MAX_COVERED, "too many branches")?;
                bound(branches.is_sorted_by(|a, b| a < b), "branches are unsorted or repeated")?;
            }
            Message::Want { docs, .. } => {
                bound(docs.len() <= MAX_WANTED, "too many documents wanted")?;
                bound(docs.iter().all(|(_, vector)| vector.len() <= MAX_ACTORS), "a vector is too long")?;
            }
        }
        Ok(message)
    }

    /// The scope that it is about; none if about all.
    pub fn scope(&self) -> Option<&Scope> {
        match self {
            Message::Root { scope, .. }
            | Message::Branches { scope, .. }
            | Message::Docs { scope, .. }
            | Message::Want { scope, .. }
            | Message::Changes { scope, .. } => Some(scope),
            Message::All { .. } | Message::Buckets { .. } | Message::Roots { .. } => None,
        }
    }
}

/// The first message of a round.
pub fn open(replica: &impl Replica, scope: &Scope) -> Message {
    Message::Root { scope: scope.clone(), digest: replica.root(scope) }
}

/// Answers any message but [`Message::Changes`], which the caller verifies and applies.
pub fn answer(replica: &impl Replica, message: &Message) -> Vec<Message> {
    match message {
        Message::Root { scope, digest } => on_root(replica, scope, digest),
        Message::Branches { scope, divided, more } => on_branches(replica, scope, divided, *more),
        Message::Docs { scope, branches, docs, echo, more } => {
            let mut answers = wants(replica, scope, branches, docs, *more);
            if !echo {
                answers.push(docs_of(replica, scope, branches.clone(), true, false));
            }
            answers
        }
        Message::Want { scope, docs, more } => on_want(replica, scope, docs, *more),
        Message::Changes { .. } => Vec::new(),
        Message::All { digest } => scopes::on_all(replica, digest),
        Message::Buckets { digests } => scopes::on_buckets(replica, digests),
        Message::Roots { buckets, roots } => scopes::on_roots(replica, buckets, roots),
    }
}

fn on_root(replica: &impl Replica, scope: &Scope, theirs: &Digest) -> Vec<Message> {
    if replica.root(scope) == *theirs {
        return Vec::new();
    }
    let mut differing = Differing::default();
    differing.add(replica, scope, Branch::ROOT);
    differing.told(replica, scope, false)
}

/// Branches that differ, as they are told: by the digests of their branches, or by their documents.
#[derive(Default)]
struct Differing {
    divided: Vec<(Branch, serde_bytes::ByteBuf)>,
    leaves: Vec<Branch>,
}

impl Differing {
    fn add(&mut self, replica: &impl Replica, scope: &Scope, branch: Branch) {
        match replica.branches(scope, &branch) {
            Some(digests) => self.divided.push((branch, digests.concat().into())),
            None => self.leaves.push(branch),
        }
    }

    fn told(mut self, replica: &impl Replica, scope: &Scope, more: bool) -> Vec<Message> {
        let more = more || self.divided.len() > MAX_BRANCHES;
        self.divided.truncate(MAX_BRANCHES);
        let mut told = Vec::new();
        if !self.divided.is_empty() {
            self.divided.sort_unstable();
            told.push(Message::Branches { scope: scope.clone(), divided: self.divided, more });
        }
        if !self.leaves.is_empty() {
            told.push(docs_of(replica, scope, self.leaves, false, more));
        }
        told
    }
}

fn on_branches(
    replica: &impl Replica,
    scope: &Scope,
    theirs: &[(Branch, serde_bytes::ByteBuf)],
    more: bool,
) -> Vec<Message> {
    let mut differing = Differing::default();
    for (branch, digests) in theirs {
        let Some(ours) = replica.branches(scope, branch) else {
            differing.leaves.push(*branch);
            continue;
        };
        for (n, theirs) in digests.chunks(16).enumerate().filter(|(n, theirs)| ours[*n] != **theirs) {
            // Where they have nothing, all of ours is news to them.
            match *theirs == DocDigest::default() {
                true => differing.leaves.push(branch.child(n)),
                false => differing.add(replica, scope, branch.child(n)),
            }
        }
    }
    differing.told(replica, scope, more)
}

/// The documents of branches; those that hold too many for a message are divided, and what does not fit is left out.
fn docs_of(replica: &impl Replica, scope: &Scope, mut branches: Vec<Branch>, echo: bool, more: bool) -> Message {
    branches.sort_unstable_by(|a, b| b.cmp(a));
    let (mut docs, mut covered, mut more) = (Vec::new(), Vec::new(), more);
    while let Some(branch) = branches.pop() {
        let room = MAX_DOCS - docs.len();
        let held = replica.documents(scope, &branch, room + 1);
        if covered.len() == MAX_COVERED {
            more = true;
            break;
        }
        if held.len() <= room {
            covered.push(branch);
            docs.extend(held.into_iter().map(|(doc, digest)| DocEntry(doc, digest)));
        } else if replica.branches(scope, &branch).is_some() {
            branches.extend((0..FAN_OUT).rev().map(|n| branch.child(n)));
        } else {
            more = true;
            break;
        }
    }
    covered.sort_unstable();
    Message::Docs { scope: scope.clone(), branches: covered, docs, echo, more }
}

/// Asks for what a peer has in these branches and this replica has not.
fn wants(replica: &impl Replica, scope: &Scope, branches: &[Branch], theirs: &[DocEntry], more: bool) -> Vec<Message> {
    let ours: BTreeMap<DocId, DocDigest> =
        branches.iter().flat_map(|branch| replica.documents(scope, branch, MAX_DOCS)).take(2 * MAX_DOCS).collect();
    let wanted: Vec<_> = theirs
        .iter()
        .filter(|DocEntry(doc, digest)| ours.get(doc) != Some(digest) && replica.wants(scope, doc))
        .map(|DocEntry(doc, _)| (*doc, bounded(replica.vector(doc))))
        .collect();
    let chunks: Vec<_> = wanted.chunks(MAX_WANTED).collect();
    let more = more || chunks.len() > WANTS;
    let wants = chunks.into_iter().take(WANTS);
    wants.map(|docs| Message::Want { scope: scope.clone(), docs: docs.to_vec(), more }).collect()
}

fn bounded(mut vector: Vec<(ActorId, u64)>) -> Vec<(ActorId, u64)> {
    vector.truncate(MAX_ACTORS);
    vector
}

fn on_want(replica: &impl Replica, scope: &Scope, docs: &[(DocId, Vec<(ActorId, u64)>)], more: bool) -> Vec<Message> {
    let mut changes = Vec::new();
    let mut room = BATCH_BYTES;
    let mut more = more;
    for (doc, vector) in docs {
        if room == 0 {
            more = true;
            break;
        }
        let (batch, rest) = replica.changes_since(scope, doc, vector, room);
        more |= rest;
        room = room.saturating_sub(batch.iter().map(Vec::len).sum());
        changes.extend(batch.into_iter().map(serde_bytes::ByteBuf::from));
    }
    if changes.is_empty() { Vec::new() } else { vec![Message::Changes { scope: scope.clone(), changes, more }] }
}

#[cfg(test)]
mod tests;
