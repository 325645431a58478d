//! What happens when: a heap in the order of time, then of scheduling.

use super::event::Event;
use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

/// Virtual time, in microseconds since the run began.
pub(crate) type At = u64;

/// A second of virtual time.
pub(crate) const SECOND: At = 1_000_000;

/// Milliseconds of a plan as virtual time.
pub(crate) fn at_ms(ms: crate::scenario::Ms) -> At {
    ms.0.saturating_mul(1_000)
}

struct Entry {
    at: At,
    order: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    order: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, at: At, event: Event) {
        self.order += 1;
        self.heap.push(Reverse(Entry { at, order: self.order, event }));
    }

    /// The next event, if it comes no later than `until`.
    pub(crate) fn pop_until(&mut self, until: At) -> Option<(At, Event)> {
        if self.heap.peek().is_none_or(|Reverse(next)| next.at > until) {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.event))
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}
