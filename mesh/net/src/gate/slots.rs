//! Places for work that a stranger can start: when they are all taken, the oldest makes room.
//!
//! Refusing the newest would let a host that opens connections and says nothing keep every member
//! out until its time-outs. Members finish in milliseconds, so the oldest is almost surely not one.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// A fixed number of places.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    capacity: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    taken: BTreeMap<u64, oneshot::Sender<()>>,
}

/// The work was cut to make room for newer work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Evicted;

/// Gives the place back when dropped, however the work ends.
struct Place<'a> {
    slots: &'a Slots,
    id: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.slots.lock().taken.remove(&self.id);
    }
}

impl Slots {
    pub(crate) fn new(capacity: usize) -> Slots {
        Slots { capacity, open: Arc::default() }
    }

    /// Runs `work` in a place of its own.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, Evicted> {
        let (place, evicted) = self.enter();
        let result = tokio::select! {
            biased;
            done = work => Ok(done),
            _ = evicted => Err(Evicted),
        };
        drop(place);
        result
    }

    fn enter(&self) -> (Place<'_>, oneshot::Receiver<()>) {
        let (sender, evicted) = oneshot::channel();
        let mut open = self.lock();
        if open.taken.len() >= self.capacity {
            // Dropping the sender is the signal.
            open.taken.pop_first();
        }
        let id = open.next;
        open.next += 1;
        open.taken.insert(id, sender);
        (Place { slots: self, id }, evicted)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Nothing panics while the lock is held; the map is whole in any case.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, future::pending};

    #[test]
    fn the_oldest_makes_room_and_places_come_back() {
        let slots = Slots::new(2);
        let mut first = Box::pin(slots.run(pending::<()>()));
        let mut second = Box::pin(slots.run(pending::<()>()));
        assert_eq!(first.as_mut().now_or_never(), None);
        assert_eq!(second.as_mut().now_or_never(), None);
        assert_eq!(slots.run(async { 7 }).now_or_never(), Some(Ok(7)));
        assert_eq!(first.as_mut().now_or_never(), Some(Err(Evicted)));
        assert_eq!(second.as_mut().now_or_never(), None);
        drop(second);
        assert!(slots.lock().taken.is_empty());
    }
}
