//! Gossip: hints to everybody who subscribed to a topic.
//!
//! A message travels in an [`Envelope`] of ours: its author, the author's signature, the words. gossipsub can sign
//! as well, but it checks every copy that arrives, before it looks whether it knows the message, and in a
//! mesh of degree four a node hears three or four copies of everything. Here gossipsub sees anonymous bytes; a message's
//! id is the hash of its whole envelope, so that a forged copy is another message; and the signature is
//! checked once, on the first copy, before anybody hears of it and before it travels on.

use crate::{NetError, limits::Limits};
use holm_types::{
    Digest, MeshId, NodeId,
    keys::{self, KeyPair, SIGNATURE_LEN},
};
use libp2p::gossipsub::{
    Behaviour, ConfigBuilder, IdentityTransform, MaxCountSubscriptionFilter, Message, MessageAuthenticity, MessageId,
    TopicHash, TopicSubscriptionFilter, ValidationMode,
};
use std::time::Duration;

/// A topic's name is never longer than this, in bytes.
pub(crate) const MAX_TOPIC: usize = 128;
/// What is added to a payload on its way: our envelope, and gossipsub's own frame with the topic.
const OVERHEAD: usize = 1 << 10;
/// What a topic takes at most in the list of all topics with which a connection begins: one message, as long as it is.
const ANNOUNCED: usize = MAX_TOPIC + 16;
/// Length of a node id.
const AUTHOR_LEN: usize = 32;

/// Bounds the topics that a peer can announce: their number, and the length of each.
///
/// It does not check them against our own. A peer announces its topics once, when it connects; one
/// that was filtered because we subscribe a moment later would stay unknown as a subscriber. What
/// a peer publishes on a topic that we do not have is ignored in any case.
pub(crate) type TopicBound = MaxCountSubscriptionFilter<ShortTopics>;

/// Refuses topics with long names.
#[derive(Debug, Clone, Default)]
pub(crate) struct ShortTopics;

impl TopicSubscriptionFilter for ShortTopics {
    fn can_subscribe(&mut self, topic: &TopicHash) -> bool {
        topic.as_str().len() <= MAX_TOPIC
    }
}

/// The gossip behaviour of a node.
pub(crate) type Gossip = Behaviour<IdentityTransform, TopicBound>;

/// Who says something, and the proof.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) author: NodeId,
    signature: [u8; SIGNATURE_LEN],
    pub(crate) payload: Vec<u8>,
}

/// What an author signs: these words, on this topic of this mesh.
fn signed_message(mesh: &MeshId, topic: &str, payload: &[u8]) -> Vec<u8> {
    let digest = Digest::of("holm gossip message v2", &[&mesh.0, topic.as_bytes(), payload]);
    [b"holm gossip v2\0".as_slice(), &digest.0].concat()
}

impl Envelope {
    /// The bytes that travel: author, signature, payload. Ed25519 draws nothing, so the same words are the same bytes,
    /// and a change that is pushed twice travels once.
    pub(crate) fn seal(author: &KeyPair, mesh: &MeshId, topic: &str, payload: &[u8]) -> Vec<u8> {
        let signature = author.sign(&signed_message(mesh, topic, payload));
        [author.node_id().0.as_slice(), &signature, payload].concat()
    }

    /// Reads what arrived; none when it is too short to be an envelope. Nothing of it is proved yet.
    pub(crate) fn read(mut bytes: Vec<u8>) -> Option<Envelope> {
        let (author, rest) = bytes.split_first_chunk::<AUTHOR_LEN>()?;
        let (signature, _) = rest.split_first_chunk::<SIGNATURE_LEN>()?;
        let (author, signature) = (NodeId(*author), *signature);
        bytes.drain(..AUTHOR_LEN + SIGNATURE_LEN);
        Some(Envelope { author, signature, payload: bytes })
    }

    /// Whether the author said these words on this topic of this mesh.
    pub(crate) fn is_genuine(&self, mesh: &MeshId, topic: &str) -> bool {
        let message = signed_message(mesh, topic, &self.payload);
        keys::verify("gossip", &self.author.0, &message, &self.signature).is_ok()
    }
}

/// One author's same words on one topic are one message. The author and the proof belong to it, or a member could
/// send another's words first, badly signed, and have the original taken for the copy.
fn message_id(message: &Message) -> MessageId {
    let digest = Digest::of("holm gossip v2", &[message.topic.as_str().as_bytes(), &message.data]);
    MessageId::new(&digest.0[..20])
}

/// Builds the behaviour.
///
/// Messages are anonymous to it (see the [module](self)), and forwarded when we say so. The mesh of a
/// topic is small (3 peers, 2 to 4), and of what was said only two more peers are reminded: most of what an idle
/// site says are heartbeats, which nobody needs to hear twice. `flood_publish` is off: while a node has no more
/// than 3 subscribed peers it publishes to all of them anyway, and with more of them it would pay
/// for every copy out of an edge node's uplink. Peer scoring and peer exchange are off: members are
/// known by certificate, and several of them often share one address.
pub(crate) fn behaviour(limits: &Limits) -> Result<Gossip, NetError> {
    let setup = |why: String| NetError::Setup { what: "gossip", why };
    let config = ConfigBuilder::default()
        .protocol_id_prefix("/holm/gossip/2")
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(message_id)
        .max_transmit_size((limits.gossip_bytes + OVERHEAD).max(limits.topics * ANNOUNCED))
        .max_control_message_size(limits.topics * ANNOUNCED)
        .connection_handler_queue_len(limits.gossip_queue)
        .heartbeat_interval(Duration::from_millis(700))
        .heartbeat_initial_delay(Duration::from_millis(200))
        .mesh_n(3)
        .mesh_n_low(2)
        .mesh_n_high(4)
        .gossip_lazy(2)
        .gossip_factor(0.0)
        .mesh_outbound_min(1)
        .flood_publish(false)
        .duplicate_cache_time(Duration::from_secs(60))
        .build()
        .map_err(|e| setup(e.to_string()))?;
    let bound = MaxCountSubscriptionFilter {
        filter: ShortTopics,
        max_subscribed_topics: limits.topics,
        max_subscriptions_per_request: limits.topics,
    };
    Behaviour::new_with_subscription_filter(MessageAuthenticity::Anonymous, config, bound)
        .map_err(|e| setup(e.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESH: MeshId = MeshId([3; 32]);

    fn key(n: u8) -> KeyPair {
        KeyPair::from_secret(&[n; 32])
    }

    #[test]
    fn an_envelope_is_genuine_only_as_it_was_sealed() {
        let sealed = Envelope::seal(&key(1), &MESH, "t", b"words");
        let envelope = Envelope::read(sealed.clone()).unwrap();
        assert_eq!((envelope.author, envelope.payload.as_slice()), (key(1).node_id(), b"words".as_slice()));
        assert!(envelope.is_genuine(&MESH, "t"));
        assert!(!envelope.is_genuine(&MESH, "u"), "another topic");
        assert!(!envelope.is_genuine(&MeshId([4; 32]), "t"), "another mesh");
        for at in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[at] ^= 1;
            assert!(!Envelope::read(forged).unwrap().is_genuine(&MESH, "t"), "byte {at}");
        }
        let of_another = [key(2).node_id().0.as_slice(), &sealed[AUTHOR_LEN..]].concat();
        assert!(!Envelope::read(of_another).unwrap().is_genuine(&MESH, "t"));
    }

    #[test]
    fn what_is_too_short_is_no_envelope() {
        assert_eq!(Envelope::read(vec![0; AUTHOR_LEN + SIGNATURE_LEN - 1]), None);
        assert!(Envelope::read(Envelope::seal(&key(1), &MESH, "t", b"")).unwrap().is_genuine(&MESH, "t"));
    }

    #[test]
    fn a_message_is_its_author_its_proof_its_topic_and_its_words() {
        let message = |topic: &str, data: Vec<u8>| Message {
            source: None,
            data,
            sequence_number: None,
            topic: TopicHash::from_raw(topic),
        };
        let sealed = |n, words: &[u8]| Envelope::seal(&key(n), &MESH, "t", words);
        let first = message_id(&message("t", sealed(1, b"words")));
        assert_eq!(first, message_id(&message("t", sealed(1, b"words"))), "said twice, one message");
        assert_ne!(first, message_id(&message("t", sealed(2, b"words"))));
        assert_ne!(first, message_id(&message("u", sealed(1, b"words"))));
        assert_ne!(first, message_id(&message("t", sealed(1, b"other"))));
        let mut badly_signed = sealed(1, b"words");
        badly_signed[AUTHOR_LEN] ^= 1;
        assert_ne!(first, message_id(&message("t", badly_signed)), "it must not keep the original out");
    }
}
