//! Who may be connected: places for clients that have shown the credential, and apart from them a few for
//! connections that have not, yet.
//!
//! Those few are never all taken for long: when one more connection comes, the oldest of them has to go. A client
//! shows its credential with the first bytes that it sends, so it is a stranger for a moment only, however many
//! others sit there and send nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio_util::sync::CancellationToken;

/// All places.
#[derive(Debug)]
pub(crate) struct Places {
    max_clients: usize,
    max_strangers: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// In the order in which they came.
    strangers: BTreeMap<u64, CancellationToken>,
    clients: usize,
}

/// The place of one connection. Dropping it frees it.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    lost: CancellationToken,
    is_client: Mutex<bool>,
}

impl Places {
    /// At least one stranger is let in: else nobody could show a credential.
    pub(crate) fn new(max_clients: usize, max_strangers: usize) -> Places {
        Places { max_clients, max_strangers: max_strangers.max(1), taken: Mutex::default() }
    }

    /// A place for a new connection, and whether the oldest stranger has lost its own for it.
    pub(crate) fn enter(self: &Arc<Places>) -> (Place, bool) {
        let mut taken = self.taken();
        let oldest = if taken.strangers.len() >= self.max_strangers { taken.strangers.pop_first() } else { None };
        let number = taken.next;
        taken.next += 1;
        let lost = CancellationToken::new();
        taken.strangers.insert(number, lost.clone());
        let dropped = oldest.map(|(_, token)| token.cancel()).is_some();
        (Place { places: Arc::clone(self), number, lost, is_client: Mutex::new(false) }, dropped)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections of clients and of strangers.
    pub(crate) fn count(&self) -> (usize, usize) {
        let taken = self.taken();
        (taken.clients, taken.strangers.len())
    }
}

impl Place {
    /// The connection has shown the credential. False when all places of clients are taken.
    pub(crate) fn admit(&self) -> bool {
        let mut is_client = self.is_client.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_client {
            return true;
        }
        let mut taken = self.places.taken();
        if taken.clients >= self.places.max_clients {
            return false;
        }
        // One that lost its place in this very moment is a client now, but its connection is closed already.
        taken.strangers.remove(&self.number);
        taken.clients += 1;
        *is_client = true;
        true
    }

    /// Comes back when a newer connection got this place.
    pub(crate) async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let is_client = *self.is_client.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut taken = self.places.taken();
        if is_client {
            taken.clients -= 1;
        } else {
            taken.strangers.remove(&self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_oldest_stranger_makes_room_and_clients_stay() {
        let places = Arc::new(Places::new(1, 2));
        let (client, _) = places.enter();
        assert!(client.admit() && client.admit(), "once a client, always a client");
        let (first, _) = places.enter();
        let (second, dropped) = places.enter();
        assert!(!dropped);
        assert!(!second.admit(), "the only place of a client is taken");
        let (_third, dropped) = places.enter();
        assert!(dropped && first.lost.is_cancelled() && !second.lost.is_cancelled() && !client.lost.is_cancelled());
        drop(client);
        assert!(second.admit());
    }

    proptest! {
        #[test]
        fn no_more_than_there_are_places(steps in proptest::collection::vec((0..3_u8, any::<u16>()), 0..200)) {
            let places = Arc::new(Places::new(5, 3));
            let mut open: Vec<Place> = Vec::new();
            for (step, which) in steps {
                let which = usize::from(which) % open.len().max(1);
                match step {
                    0 => {
                        open.push(places.enter().0);
                        prop_assert!(open.last().is_some_and(|newest| !newest.lost.is_cancelled()));
                    }
                    1 if !open.is_empty() => drop(open.remove(which)),
                    2 if !open.is_empty() => drop(open[which].admit()),
                    _ => {}
                }
                open.retain(|place| !place.lost.is_cancelled());
                let clients = open.iter().filter(|place| place.is_client.lock().is_ok_and(|is| *is)).count();
                prop_assert_eq!(places.count(), (clients, open.len() - clients));
                prop_assert!(clients <= 5 && open.len() - clients <= 3);
            }
            drop(open);
            prop_assert_eq!(places.count(), (0, 0));
        }
    }
}
