//! Gossip: hints to everybody who subscribed to a topic.

use crate::{NetError, limits::Limits};
use holm_types::Digest;
use libp2p::{
    gossipsub::{
        Behaviour, ConfigBuilder, IdentityTransform, MaxCountSubscriptionFilter, Message, MessageAuthenticity,
        MessageId, TopicHash, TopicSubscriptionFilter, ValidationMode,
    },
    identity,
};
use std::time::Duration;

/// A topic's name is never longer than this, in bytes.
pub(crate) const MAX_TOPIC: usize = 128;
/// What gossipsub adds to a payload: author, key, signature, sequence number, topic.
const ENVELOPE: usize = 1 << 10;

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

/// One author's same words on one topic are one message: a change that is pushed twice travels once.
/// The author belongs to it, or a member could sign another's words first and have the original
/// taken for the copy.
fn message_id(message: &Message) -> MessageId {
    let author = message.source.map(|peer| peer.to_bytes()).unwrap_or_default();
    let digest = Digest::of("holm gossip v1", &[&author, message.topic.as_str().as_bytes(), &message.data]);
    MessageId::new(&digest.0[..20])
}

/// Builds the behaviour.
///
/// Every message is signed by its author, and validated here before it is forwarded. The mesh of a
/// topic is small (4 peers, 3 to 8), as sites are. `flood_publish` is off: while a node has no more
/// than 4 subscribed peers it publishes to all of them anyway, and with more of them it would pay
/// for every copy out of an edge node's uplink. Peer scoring and peer exchange are off: members are
/// known by certificate, and several of them often share one address.
pub(crate) fn behaviour(key: &identity::Keypair, limits: &Limits) -> Result<Gossip, NetError> {
    let setup = |why: String| NetError::Setup { what: "gossip", why };
    let config = ConfigBuilder::default()
        .protocol_id_prefix("/holm/gossip/1")
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        .message_id_fn(message_id)
        .max_transmit_size(limits.gossip_bytes + ENVELOPE)
        .connection_handler_queue_len(limits.gossip_queue)
        .heartbeat_interval(Duration::from_millis(700))
        .heartbeat_initial_delay(Duration::from_millis(200))
        .mesh_n(4)
        .mesh_n_low(3)
        .mesh_n_high(8)
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
    let author = MessageAuthenticity::Signed(key.clone());
    Behaviour::new_with_subscription_filter(author, config, bound).map_err(|e| setup(e.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::PeerId;

    #[test]
    fn a_message_is_its_author_topic_and_words() {
        let message = |source, topic: &str, data: &[u8], number| Message {
            source: Some(source),
            data: data.to_vec(),
            sequence_number: Some(number),
            topic: TopicHash::from_raw(topic),
        };
        let (a, b) = (PeerId::random(), PeerId::random());
        let id = |m: &Message| message_id(m);
        let first = message(a, "t", b"words", 1);
        assert_eq!(id(&first), id(&message(a, "t", b"words", 2)));
        assert_ne!(id(&first), id(&message(b, "t", b"words", 1)));
        assert_ne!(id(&first), id(&message(a, "u", b"words", 1)));
        assert_ne!(id(&first), id(&message(a, "t", b"other", 1)));
    }
}
