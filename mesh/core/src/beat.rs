//! Heartbeats between partners: what keeps a quiet site watched.
//!
//! A heartbeat to everybody, signed and passed on by gossip, costs each node of a site of twenty hundreds of packets a second.
//! So while nothing happens each node has a few partners, and the two of a pair send each other a small frame every second. All
//! others hear of a node every two minutes. Who misses a partner calls the roll ([`Presence::calls`]): then everybody speaks to
//! everybody, and who is not heard is held for dead. A call proves nothing about anybody, so a node that lies about its partner
//! costs heartbeats and nothing else. (SWIM, Das et al. 2002, probes random members instead and spreads what it suspects; its
//! members believe each other.)
//!
//! Who has partners enough speaks seldom; who has not speaks to everybody every second ([`Partners::told`]).
//!
//! [`Presence::calls`]: holm_types::presence::Presence::calls

use holm_types::{Incarnation, Mono, NodeId, TypeError, cbor};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Duration,
};

/// An encoded beat is never longer than this, in bytes.
pub const MAX_BEAT_BYTES: usize = 64;
/// Partners that a node has among those of its kind, as far as there are so many.
pub const PARTNERS: usize = 2;
/// The first byte of such a frame: no other one begins like this.
const MARK: u8 = 0x42;
/// What a partner has chosen holds for so many of its beats.
const LAPSES: u32 = 5;

/// A heartbeat to one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat(
    /// The life of the sender.
    pub Incarnation,
    /// When the next one comes, in milliseconds; 0 when none comes any more.
    pub u32,
    /// The sender has chosen the receiver, and wants to hear it in the same way.
    pub bool,
);

impl Beat {
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
        bytes.extend(cbor::to_vec("beat", self)?);
        Ok(bytes)
    }

    /// Reads a peer's beat.
    ///
    /// # Errors
    /// Malformed, or too long.
    pub fn decode(bytes: &[u8]) -> Result<Beat, TypeError> {
        cbor::from_canonical("beat", bytes.get(1..).unwrap_or_default(), MAX_BEAT_BYTES)
    }
}

#[derive(Debug, Default)]
struct Partner {
    /// This node has chosen it.
    chosen: bool,
    /// It has chosen this node, until then.
    chooses: Option<Mono>,
    /// It was told to expect more.
    expects: bool,
}

impl Partner {
    fn is_chosen(&self, now: Mono) -> bool {
        self.chosen || self.chooses.is_some_and(|until| until > now)
    }
}

/// To whom this node sends beats. Only connected peers are among them, so there are never more than connections.
#[derive(Debug, Default)]
pub struct Partners(BTreeMap<NodeId, Partner>);

impl Partners {
    /// Chooses these, and no others any more.
    pub fn choose(&mut self, wanted: &BTreeSet<NodeId>) {
        for (node, partner) in &mut self.0 {
            partner.chosen = wanted.contains(node);
        }
        for node in wanted {
            self.0.entry(*node).or_default().chosen = true;
        }
    }

    /// A peer has sent a beat.
    pub fn heard(&mut self, node: NodeId, beat: Beat, now: Mono) {
        let Beat(_, every, chooses) = beat;
        let until = now.after(Duration::from_millis(u64::from(every)) * LAPSES);
        if chooses || self.0.contains_key(&node) {
            self.0.entry(node).or_default().chooses = chooses.then_some(until);
        }
    }

    /// A peer is not connected any more.
    pub fn lost(&mut self, node: &NodeId) {
        self.0.remove(node);
    }

    /// What to send now, once in `every`.
    pub fn beats(&mut self, life: Incarnation, every: Duration, now: Mono) -> Vec<(NodeId, Beat)> {
        let every = u32::try_from(every.as_millis()).unwrap_or(u32::MAX);
        let mut beats = Vec::new();
        self.0.retain(|node, partner| {
            let speaks = partner.is_chosen(now);
            if speaks {
                beats.push((*node, Beat(life, every, partner.chosen)));
            } else if partner.expects {
                beats.push((*node, Beat(life, 0, false)));
            }
            partner.expects = speaks;
            speaks
        });
        beats
    }

    /// Who hears this node's beats.
    pub fn told(&self) -> impl Iterator<Item = &NodeId> {
        self.0.iter().filter(|(_, partner)| partner.expects).map(|(node, _)| node)
    }

    /// Whether a peer hears this node's beats.
    pub fn tells(&self, node: &NodeId) -> bool {
        self.0.get(node).is_some_and(|partner| partner.expects)
    }
}

/// The two beside `me` in the ring of all ids. Each node chooses those beside it, so that a pair agrees on being one as far as both
/// see the same nodes; and whichever way a site is cut in two, a pair is cut.
pub fn beside(me: &NodeId, others: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let after = others.range((Bound::Excluded(*me), Bound::Unbounded)).chain(others.iter());
    let before = others.range(..*me).rev().chain(others.iter().rev());
    let neighbours = [after.copied().find(|node| node != me), before.copied().find(|node| node != me)];
    neighbours.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EVERY: Duration = Duration::from_secs(1);
    const LIFE: Incarnation = Incarnation(7);

    fn at(seconds: u64) -> Mono {
        Mono(Duration::from_secs(seconds))
    }

    fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    #[test]
    fn a_beat_is_small_and_reads_back() {
        let beat = Beat(Incarnation(u64::MAX), 1_000, true);
        let bytes = beat.encode().unwrap();
        assert!(bytes.len() <= 24, "{} bytes", bytes.len());
        assert!(Beat::is_marked(&bytes) && !crate::lease::Message::is_marked(&bytes));
        assert_eq!(Beat::decode(&bytes).unwrap(), beat);
        assert!(Beat::decode(&bytes[..bytes.len() - 1]).is_err() && Beat::decode(&[]).is_err());
    }

    #[test]
    fn a_pair_goes_on_as_long_as_one_of_the_two_has_chosen_it() {
        let (mut one, mut two) = (Partners::default(), Partners::default());
        one.choose(&BTreeSet::from([node(2)]));
        let mut pass = |seconds: u64, choose: Option<BTreeSet<NodeId>>| {
            if let Some(wanted) = choose {
                one.choose(&wanted);
            }
            let said = one.beats(LIFE, EVERY, at(seconds));
            said.iter().for_each(|(_, beat)| two.heard(node(1), *beat, at(seconds)));
            let answered = two.beats(LIFE, EVERY, at(seconds));
            answered.iter().for_each(|(_, beat)| one.heard(node(2), *beat, at(seconds)));
            (said, answered)
        };
        assert_eq!(
            pass(1, None),
            (vec![(node(2), Beat(LIFE, 1_000, true))], vec![(node(1), Beat(LIFE, 1_000, false))])
        );
        assert_eq!(
            pass(2, Some(BTreeSet::new())),
            (vec![(node(2), Beat(LIFE, 0, false))], vec![(node(1), Beat(LIFE, 0, false))])
        );
        assert_eq!(pass(3, None), (vec![], vec![]));
    }

    #[test]
    fn a_choice_lapses_when_the_chooser_is_not_heard_and_ends_with_the_connection() {
        let mut partners = Partners::default();
        partners.heard(node(1), Beat(LIFE, 1_000, true), at(0));
        partners.heard(node(3), Beat(LIFE, 1_000, false), at(0));
        assert_eq!(partners.beats(LIFE, EVERY, at(4)).len(), 1);
        assert!(partners.tells(&node(1)) && !partners.tells(&node(3)));
        assert_eq!(partners.beats(LIFE, EVERY, at(5)), [(node(1), Beat(LIFE, 0, false))]);
        partners.choose(&BTreeSet::from([node(1)]));
        partners.lost(&node(1));
        assert!(partners.beats(LIFE, EVERY, at(6)).is_empty() && partners.told().next().is_none());
    }

    proptest! {
        #[test]
        fn a_pair_agrees_and_a_cut_cuts_a_pair(ids in prop::collection::btree_set(any::<u8>(), 2..30), half in any::<u32>()) {
            let all: BTreeSet<NodeId> = ids.iter().map(|n| node(*n)).collect();
            let side = |id: &NodeId| half >> (id.0[0] % 32) & 1;
            let mut crossing = 0;
            for one in &all {
                let chosen = beside(one, &all);
                prop_assert!(!chosen.contains(one) && chosen.len() == (all.len() - 1).min(PARTNERS));
                prop_assert!(chosen.iter().all(|other| beside(other, &all).contains(one)));
                crossing += chosen.iter().filter(|other| side(other) != side(one)).count();
            }
            let sides: BTreeSet<u32> = all.iter().map(side).collect();
            prop_assert_eq!(crossing > 0, sides.len() == 2);
        }
    }
}
