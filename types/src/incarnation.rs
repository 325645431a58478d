//! Lives of a node's process, and how they are told apart.

use crate::Wall;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One life of a node's process; a later life is greater.
///
/// The upper 42 bits are a count that every start raises, to the date in 1/1024 seconds where that is
/// more: a node whose disk was restored from an old backup counts on from there, and must not
/// begin below what its peers have heard of it. The unit is so small that of two processes started from
/// copies of one folder the one that was started later is the later life. The lower 22 bits are random, so
/// that two lives that began from the same disk are not taken for one, even when the clock stands still.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

/// Bits of the random part.
const RANDOM_BITS: u32 = 22;
/// A week: what lies between a life that said nothing that is kept and the last one that did, at most.
const SILENT: u64 = 7 * 86_400 * 1024;
const MAX_COUNT: u64 = u64::MAX >> RANDOM_BITS;
const MAX_RANDOM: u64 = (1 << RANDOM_BITS) - 1;

impl Incarnation {
    /// The life with this count, up to 2^42 - 1, and the lower 22 bits of `random`.
    pub fn new(count: u64, random: u32) -> Incarnation {
        Incarnation((count.min(MAX_COUNT) << RANDOM_BITS) | (u64::from(random) & MAX_RANDOM))
    }

    /// A life that begins now, after `last`. None when the count is used up (in the year 2106, or by a
    /// damaged store).
    pub fn begin(last: Option<Incarnation>, now: Wall, random: u32) -> Option<Incarnation> {
        if crate::sabotaged!("a restored disk counts on from what it knows") {
            return Some(Incarnation::new(last.map_or(1, |last| last.count() + 1), 0));
        }
        let date = u64::try_from(u128::from(now.0) * 1024 / 1000).ok();
        let next = last.map_or(1, |last| last.count() + 1);
        let begins = next.max(date.filter(|date| *date <= MAX_COUNT).unwrap_or(0));
        (begins <= MAX_COUNT).then(|| Incarnation::new(begins, random))
    }

    /// This life goes on as one that is later than `other`.
    #[must_use]
    pub fn beyond(self, other: Incarnation) -> Incarnation {
        Incarnation::new(other.count() + 1, self.random())
    }

    /// As [`Incarnation::beyond`], for a node that learns what it has said from others, and so perhaps not all: it goes on beyond
    /// every life that it can have had without a word that is kept ([`Incarnation::is_far_beyond`]).
    #[must_use]
    pub fn well_beyond(self, other: Incarnation) -> Incarnation {
        Incarnation::new(other.count().saturating_add(2 * SILENT), self.random())
    }

    /// Whether this life began so long after `other` that it must leave a word, if `other` was the last that did: with its
    /// clock put back and its disk lost, the node would have no way to know that it was heard as this one.
    pub fn is_far_beyond(self, other: Incarnation) -> bool {
        self.count() > other.count().saturating_add(SILENT)
    }

    fn count(self) -> u64 {
        self.0 >> RANDOM_BITS
    }

    fn random(self) -> u32 {
        (self.0 & MAX_RANDOM) as u32
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06x}", self.count(), self.random())
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOON: Wall = Wall(1_800_000_000_000);

    proptest! {
        #[test]
        fn a_start_is_later_than_the_last(count in 0..MAX_COUNT, a: u32, b: u32, date: u64) {
            let last = Incarnation::new(count, a);
            let next = Incarnation::begin(Some(last), Wall(date), b);
            prop_assert!(next.is_some_and(|next| next > last));
            prop_assert!(next.is_some_and(|next| next.beyond(last) > last));
        }
    }

    #[test]
    fn a_restored_disk_does_not_begin_below_what_was_heard() {
        let backup = Incarnation::begin(None, NOON, 1).unwrap();
        let lost = Incarnation::begin(Some(backup), NOON.after(std::time::Duration::from_secs(60)), 2).unwrap();
        let restored = Incarnation::begin(Some(backup), NOON.after(std::time::Duration::from_secs(120)), 3).unwrap();
        assert!(restored > lost);
        // Without a clock it may begin below, but it is not taken for the lost one.
        assert_ne!(Incarnation::begin(Some(backup), Wall(0), 3), Incarnation::begin(Some(backup), Wall(0), 2));
    }

    #[test]
    fn of_two_starts_from_one_folder_within_a_second_the_second_is_the_later_life() {
        let last = Incarnation::begin(None, Wall(NOON.0 - 400), 0);
        let first = Incarnation::begin(last, NOON, u32::MAX);
        assert!(Incarnation::begin(last, NOON.after(std::time::Duration::from_millis(2)), 0) > first);
    }

    #[test]
    fn who_learns_its_words_from_others_goes_beyond_the_lives_that_left_none() {
        let said = Incarnation::begin(None, NOON, 1).unwrap();
        let week = std::time::Duration::from_secs(7 * 86_400);
        let silent = Incarnation::begin(Some(said), NOON.after(week), 2).unwrap();
        assert!(!silent.is_far_beyond(said), "it may say nothing");
        let now = Incarnation::begin(None, Wall(0), 3).unwrap();
        assert!(now.beyond(said) < silent, "which is why that is not enough");
        assert!(now.well_beyond(said) > silent);
        let later = Incarnation::begin(Some(said), NOON.after(week * 2), 2).unwrap();
        assert!(later.is_far_beyond(said) && now.well_beyond(said).is_far_beyond(said));
    }

    #[test]
    fn the_count_ends_before_it_wraps() {
        assert_eq!(Incarnation::begin(Some(Incarnation::new(MAX_COUNT, 0)), NOON, 0), None);
    }
}
