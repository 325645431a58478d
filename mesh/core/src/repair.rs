//! Anti-entropy: two replicas of a scope find out what each lacks, and send it.
//!
//! ```text
//! A                                B
//! Root(digest)            ------>         equal: the end. Otherwise:
//!                         <------  Buckets(256 digests)
//! Docs(of the buckets that differ) -->
//!                         <------  Want(documents, what B has of them)
//!                         <------  Docs(B's side, echo)
//! Changes(...)            ------>
//! Want(...)               ------>
//!                         <------  Changes(...)
//! ```
//!
//! No message depends on remembered state, so loss, repetition and restarts need no handling:
//! the next round starts from the digests again. This is the bucketed form of Merkle-style
//! reconciliation (Demers et al., "Epidemic algorithms for replicated database maintenance", 1987).

use holm_types::{ActorId, Digest, DocId, Scope, TypeError, cbor};
use serde::{Deserialize, Serialize};

/// A digest of one document's heads.
pub type DocDigest = [u8; 16];
/// Buckets of a scope.
pub const BUCKETS: usize = 256;
/// An encoded message is never longer than this, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// Documents named in one message, at most.
pub const MAX_DOCS: usize = 2048;
/// Documents asked for in one message, at most.
pub const MAX_WANTED: usize = 256;
/// Actors in one vector, at most.
pub const MAX_ACTORS: usize = 512;
/// Bytes of changes in one message.
pub const BATCH_BYTES: usize = 256 * 1024;

/// What a replica must tell about itself.
pub trait Replica {
    /// Digest of all documents of a scope.
    fn root(&self, scope: &Scope) -> Digest;
    /// Digests of its 256 buckets.
    fn buckets(&self, scope: &Scope) -> Vec<DocDigest>;
    /// The documents of one bucket.
    fn bucket(&self, scope: &Scope, index: u8) -> Vec<(DocId, DocDigest)>;
    /// What is held of a document: the last sequence of each actor.
    fn vector(&self, doc: &DocId) -> Vec<(ActorId, u64)>;
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
    /// "Mine differs; these are my buckets." 256 digests of 16 bytes.
    Buckets {
        /// The scope.
        scope: Scope,
        /// All digests, one after another.
        #[serde(with = "serde_bytes")]
        digests: Vec<u8>,
    },
    /// "These are my documents in the buckets that differ."
    Docs {
        /// The scope.
        scope: Scope,
        /// The buckets.
        #[serde(with = "serde_bytes")]
        buckets: Vec<u8>,
        /// Their documents.
        docs: Vec<DocEntry>,
        /// It answers such a message: do not answer with another.
        echo: bool,
    },
    /// "Send me what is beyond this."
    Want {
        /// The scope.
        scope: Scope,
        /// Documents, and what the sender has of them.
        docs: Vec<(DocId, Vec<(ActorId, u64)>)>,
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
            Message::Root { .. } | Message::Changes { .. } => {}
            Message::Buckets { digests, .. } => bound(digests.len() == BUCKETS * 16, "not 256 buckets")?,
            Message::Docs { buckets, docs, .. } => {
                bound(docs.len() <= MAX_DOCS, "too many documents")?;
                bound(buckets.is_sorted_by(|a, b| a < b), "buckets are unsorted or repeated")?;
            }
            Message::Want { docs, .. } => {
                bound(docs.len() <= MAX_WANTED, "too many documents wanted")?;
                bound(docs.iter().all(|(_, vector)| vector.len() <= MAX_ACTORS), "a vector is too long")?;
            }
        }
        Ok(message)
    }

    /// The scope that it is about.
    pub fn scope(&self) -> &Scope {
        match self {
            Message::Root { scope, .. }
            | Message::Buckets { scope, .. }
            | Message::Docs { scope, .. }
            | Message::Want { scope, .. }
            | Message::Changes { scope, .. } => scope,
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
        Message::Buckets { scope, digests } => on_buckets(replica, scope, digests),
        Message::Docs { scope, buckets, docs, echo } => on_docs(replica, scope, buckets, docs, *echo),
        Message::Want { scope, docs } => on_want(replica, scope, docs),
        Message::Changes { .. } => Vec::new(),
    }
}

fn on_root(replica: &impl Replica, scope: &Scope, theirs: &Digest) -> Vec<Message> {
    if replica.root(scope) == *theirs {
        return Vec::new();
    }
    vec![Message::Buckets { scope: scope.clone(), digests: replica.buckets(scope).concat() }]
}

fn on_buckets(replica: &impl Replica, scope: &Scope, theirs: &[u8]) -> Vec<Message> {
    let ours = replica.buckets(scope);
    let differ: Vec<u8> =
        (0..=u8::MAX).zip(theirs.chunks(16)).filter(|(i, d)| ours[usize::from(*i)] != **d).map(|(i, _)| i).collect();
    if differ.is_empty() { Vec::new() } else { vec![docs_of(replica, scope, &differ, false)] }
}

fn docs_of(replica: &impl Replica, scope: &Scope, buckets: &[u8], echo: bool) -> Message {
    let mut docs = Vec::new();
    let mut covered = Vec::new();
    for bucket in buckets {
        let entries = replica.bucket(scope, *bucket);
        if !docs.is_empty() && docs.len() + entries.len() > MAX_DOCS {
            break;
        }
        covered.push(*bucket);
        docs.extend(entries.into_iter().map(|(doc, digest)| DocEntry(doc, digest)));
    }
    docs.truncate(MAX_DOCS);
    Message::Docs { scope: scope.clone(), buckets: covered, docs, echo }
}

fn on_docs(replica: &impl Replica, scope: &Scope, buckets: &[u8], theirs: &[DocEntry], echo: bool) -> Vec<Message> {
    let mut ours: Vec<(DocId, DocDigest)> = buckets.iter().flat_map(|b| replica.bucket(scope, *b)).collect();
    ours.sort_unstable();
    let same =
        |entry: &DocEntry| ours.binary_search_by_key(&entry.0, |(doc, _)| *doc).is_ok_and(|i| ours[i].1 == entry.1);
    let wanted: Vec<_> = theirs
        .iter()
        .filter(|entry| !same(entry))
        .map(|DocEntry(doc, _)| (*doc, bounded(replica.vector(doc))))
        .collect();
    let mut answers: Vec<Message> = wanted
        .chunks(MAX_WANTED)
        .take(4)
        .map(|docs| Message::Want { scope: scope.clone(), docs: docs.to_vec() })
        .collect();
    if !echo {
        answers.push(docs_of(replica, scope, buckets, true));
    }
    answers
}

fn bounded(mut vector: Vec<(ActorId, u64)>) -> Vec<(ActorId, u64)> {
    vector.truncate(MAX_ACTORS);
    vector
}

fn on_want(replica: &impl Replica, scope: &Scope, docs: &[(DocId, Vec<(ActorId, u64)>)]) -> Vec<Message> {
    let mut changes = Vec::new();
    let mut room = BATCH_BYTES;
    let mut more = false;
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
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, VecDeque};

    /// A replica of documents that are lists of numbered changes by a few actors.
    #[derive(Default, Clone, Debug)]
    struct Toy(BTreeMap<DocId, BTreeMap<ActorId, u64>>);

    impl Toy {
        fn entry(&self, doc: &DocId) -> DocDigest {
            let vector = self.vector(doc);
            let flat: Vec<u8> = vector.iter().flat_map(|(a, s)| [&a.0[..], &s.to_be_bytes()].concat()).collect();
            Digest::of("toy", &[&doc.0, &flat]).0[..16].try_into().unwrap()
        }
        fn apply(&mut self, bytes: &[u8]) {
            let doc = DocId::from_slice(&bytes[..16]).unwrap();
            let actor = ActorId::from_slice(&bytes[16..32]).unwrap();
            let seq = u64::from_be_bytes(bytes[32..40].try_into().unwrap());
            let last = self.0.entry(doc).or_default().entry(actor).or_default();
            if seq == *last + 1 {
                *last = seq;
            }
        }
    }

    impl Replica for Toy {
        fn root(&self, scope: &Scope) -> Digest {
            Digest::of("root", &[&self.buckets(scope).concat()])
        }
        fn buckets(&self, scope: &Scope) -> Vec<DocDigest> {
            (0..=255)
                .map(|i| {
                    let flat: Vec<u8> = self.bucket(scope, i).iter().flat_map(|(_, d)| *d).collect();
                    Digest::of("bucket", &[&flat]).0[..16].try_into().unwrap()
                })
                .collect()
        }
        fn bucket(&self, _: &Scope, index: u8) -> Vec<(DocId, DocDigest)> {
            self.0.keys().filter(|d| d.0[15] == index).map(|d| (*d, self.entry(d))).collect()
        }
        fn vector(&self, doc: &DocId) -> Vec<(ActorId, u64)> {
            self.0.get(doc).map(|v| v.iter().map(|(a, s)| (*a, *s)).collect()).unwrap_or_default()
        }
        fn changes_since(&self, _: &Scope, doc: &DocId, vector: &[(ActorId, u64)], max: usize) -> (Vec<Vec<u8>>, bool) {
            let mut out = Vec::new();
            for (actor, last) in self.vector(doc) {
                let have = vector.iter().find(|(a, _)| *a == actor).map_or(0, |(_, s)| *s);
                out.extend((have + 1..=last).map(|s| [&doc.0[..], &actor.0, &s.to_be_bytes()].concat()));
            }
            let fits = (max / 40).max(1);
            let more = out.len() > fits;
            out.truncate(fits);
            (out, more)
        }
    }

    /// Runs rounds until both replicas are silent; answers the messages that it took.
    fn heal(a: &mut Toy, b: &mut Toy, drop_every: usize) -> usize {
        let (mut count, mut rounds) = (0usize, 0);
        while a.root(&Scope::Mesh) != b.root(&Scope::Mesh) {
            rounds += 1;
            assert!(rounds < 200, "does not converge");
            let mut queue = VecDeque::from([(true, open(a, &Scope::Mesh))]);
            while let Some((to_b, message)) = queue.pop_front() {
                count += 1;
                // By hash, not by count: a period could hit the same step of every round.
                let luck = usize::from(Digest::of("luck", &[&count.to_be_bytes()]).0[0]);
                if drop_every > 0 && luck % drop_every == 0 {
                    continue;
                }
                let message = Message::decode(&message.encode().unwrap()).unwrap();
                let target = if to_b { &mut *b } else { &mut *a };
                if let Message::Changes { changes, .. } = &message {
                    changes.iter().for_each(|c| target.apply(c));
                }
                queue.extend(answer(target, &message).into_iter().map(|m| (!to_b, m)));
            }
        }
        count
    }

    fn toy() -> impl Strategy<Value = Toy> {
        proptest::collection::vec((any::<u8>(), 0u8..40, 0u8..3, 1u64..9), 0..60).prop_map(|rows| {
            let mut toy = Toy::default();
            for (bucket, doc, actor, seq) in rows {
                let mut id = [doc; 16];
                id[15] = bucket % 7;
                let last = toy.0.entry(DocId(id)).or_default().entry(ActorId([actor; 16])).or_default();
                *last = seq.max(*last);
            }
            toy
        })
    }

    proptest! {
        #[test]
        fn any_two_replicas_become_equal(a in toy(), b in toy()) {
            let (mut a, mut b) = (a, b);
            heal(&mut a, &mut b, 0);
            prop_assert_eq!(a.0, b.0);
        }

        #[test]
        fn lost_messages_only_cost_rounds(a in toy(), b in toy(), n in 3usize..9) {
            let (mut a, mut b) = (a, b);
            heal(&mut a, &mut b, n);
            prop_assert_eq!(a.0, b.0);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Message::decode(&bytes);
        }
    }

    #[test]
    fn equal_replicas_say_nothing() {
        let toy = Toy::default();
        assert!(answer(&toy, &open(&toy, &Scope::Mesh)).is_empty());
    }

    #[test]
    fn thousands_of_documents_heal_in_bounded_messages() {
        let mut a = Toy::default();
        for n in 0..6000u32 {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_be_bytes());
            id[15] = (n % 256) as u8;
            a.0.entry(DocId(id)).or_default().insert(ActorId([1; 16]), 3);
        }
        let mut b = Toy::default();
        heal(&mut a, &mut b, 0);
        assert_eq!(a.0, b.0);
    }
}
