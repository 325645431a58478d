//! Lives of a node's process, and how they are told apart.

use crate::Wall;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One life of a node's process; a later life is greater.
///
/// The upper 32 bits are a count that every start raises, to the date in seconds where that is
/// more: a node whose disk was restored from an old backup counts on from there, and must not
/// begin below what its peers have heard of it. The lower 32 bits are random, so that two lives
/// that began from the same disk are never taken for one, even when the clock stands still.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// The life with this count and random part.
    pub fn new(count: u32, random: u32) -> Incarnation {
        Incarnation(u64::from(count) << 32 | u64::from(random))
    }

    /// A life that begins now, after `last`. None when the count is used up (2106, or a damaged
    /// store).
    pub fn begin(last: Option<Incarnation>, now: Wall, random: u32) -> Option<Incarnation> {
        if crate::sabotaged!("a restored disk counts on from what it knows") {
            return Some(Incarnation::new(last.map_or(1, |last| last.count().saturating_add(1)), 0));
        }
        let date = u32::try_from(now.seconds()).unwrap_or(0);
        let next = last.map_or(Some(1), |last| last.count().checked_add(1))?;
        Some(Incarnation::new(next.max(date), random))
    }

    /// This life goes on as one that is later than `other`.
    #[must_use]
    pub fn beyond(self, other: Incarnation) -> Incarnation {
        Incarnation::new(other.count().saturating_add(1), self.random())
    }

    fn count(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn random(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:08x}", self.count(), self.random())
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
        fn a_start_is_later_than_the_last(count in 0..u32::MAX, a: u32, b: u32, date in 0..u64::MAX) {
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
    fn the_count_ends_before_it_wraps() {
        assert_eq!(Incarnation::begin(Some(Incarnation::new(u32::MAX, 0)), NOON, 0), None);
    }
}
