//! What nodes say to each other about leases: asks, answers and releases, over the connection of two
//! members. Ephemeral: each may be lost, late, repeated or out of order, and nothing is kept of it.
//!
//! Who grants what, and when a lease is over, is decided where the apps are known (`node/core`).

use holm_types::{DocId, Epoch, NodeId, Slot, TypeError, cbor};
use serde::{Deserialize, Serialize};

/// Leases that one message speaks of, at most. A node that has more sends more messages.
pub const MAX_LEASES: usize = 256;
/// An encoded message is never longer than this, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// The first byte of such a message: no other frame begins like this, since they are CBOR maps.
const MARK: u8 = 0x4c;

/// Which lease: that of a slot, for the task of one epoch on the node that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeaseKey(
    /// The app.
    pub DocId,
    /// Its generation.
    pub u64,
    /// The slot.
    pub Slot,
    /// The epoch.
    pub Epoch,
);

/// What a guard answers about one lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It is granted, for as long as was asked, from the moment of the ask.
    Granted,
    /// Another node has it.
    Held(NodeId),
    /// The guard has just started, and does not know what it granted before.
    Young,
    /// The guard does not know the app in this generation, or not as one that it guards.
    Unknown,
}

/// A message about leases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// "Grant me these, for so many milliseconds each."
    Ask {
        /// Given back in the answer: it tells the asks of a node apart, in all its lives.
        seq: u64,
        /// The leases.
        leases: Vec<(LeaseKey, u32)>,
    },
    /// "This is what I say to your ask."
    Answer {
        /// Of the ask.
        seq: u64,
        /// In its order.
        verdicts: Vec<(LeaseKey, Verdict)>,
    },
    /// "I do not need these any more: my task has ended."
    Release {
        /// The leases, each with the last ask for it: a later ask is not taken back by an earlier release.
        leases: Vec<(LeaseKey, u64)>,
    },
}

impl Message {
    /// Whether a frame is to be read as one.
    pub fn is_marked(bytes: &[u8]) -> bool {
        bytes.first() == Some(&MARK)
    }

    /// The one encoding.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn encode(&self) -> Result<Vec<u8>, TypeError> {
        let mut bytes = vec![MARK];
        bytes.extend(cbor::to_vec("lease message", self)?);
        Ok(bytes)
    }

    /// Reads a peer's message and checks its bounds.
    ///
    /// # Errors
    /// Malformed, or over a bound.
    pub fn decode(bytes: &[u8]) -> Result<Message, TypeError> {
        let refuse = |why: &str| Err(TypeError::Decode { what: "lease message", why: why.into() });
        let Some((&MARK, rest)) = bytes.split_first() else { return refuse("it has not the mark of one") };
        let message: Message = cbor::from_canonical("lease message", rest, MAX_MESSAGE_BYTES)?;
        let count = match &message {
            Message::Ask { leases, .. } => leases.len(),
            Message::Answer { verdicts, .. } => verdicts.len(),
            Message::Release { leases } => leases.len(),
        };
        if (1..=MAX_LEASES).contains(&count) { Ok(message) } else { refuse("it speaks of no lease, or too many") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repair;
    use holm_types::{Digest, Scope};
    use proptest::prelude::*;

    fn key(n: u8) -> LeaseKey {
        LeaseKey(DocId([n; 16]), u64::MAX, u32::MAX, u64::MAX)
    }

    #[test]
    fn messages_come_back_as_they_were_and_the_longest_fits() {
        let many = |n: usize| (0..n).map(|_| (key(255), Verdict::Held(NodeId([255; 32])))).collect();
        let messages = [
            Message::Ask { seq: 7, leases: vec![(key(1), 10_000)] },
            Message::Answer { seq: 7, verdicts: vec![(key(1), Verdict::Granted), (key(2), Verdict::Young)] },
            Message::Release { leases: vec![(key(1), u64::MAX)] },
            Message::Answer { seq: u64::MAX, verdicts: many(MAX_LEASES) },
        ];
        for message in messages {
            let bytes = message.encode().unwrap();
            assert!(Message::is_marked(&bytes));
            assert_eq!(Message::decode(&bytes).unwrap(), message);
        }
        for message in
            [Message::Answer { seq: 1, verdicts: many(MAX_LEASES + 1) }, Message::Ask { seq: 1, leases: Vec::new() }]
        {
            assert!(Message::decode(&message.encode().unwrap()).is_err());
        }
    }

    #[test]
    fn a_frame_of_repair_is_none_of_leases() {
        let repair = repair::Message::Root { scope: Scope::Mesh, digest: Digest([0; 32]) };
        assert!(!Message::is_marked(&repair.encode().unwrap()));
        let lease = Message::Release { leases: vec![(key(1), 1)] };
        assert!(repair::Message::decode(&lease.encode().unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Message::decode(&[&[MARK], &bytes[..]].concat());
        }
    }
}
