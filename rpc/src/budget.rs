//! How many bytes of answers may wait for their clients, and who may add to them.
//!
//! The size of an answer is only known once the node has made it, so what a message may lead to is set aside
//! before it is given to the node: little for a method whose answer is short, a connection's whole share for one
//! whose answer grows with the mesh. Once the answers are known the rest goes back; what is left goes back when
//! they are sent. Who finds too little left waits, and the server reads nothing more from that connection: a client
//! that does not take its answers gets no new ones made.
//!
//! An answer can turn out larger than what was set aside. It then takes as much more as is free. The budget is
//! overdrawn by what is still missing, and only by those that were under way at that moment: nothing follows them.

use std::sync::Arc;
use tokio::sync::Semaphore;

/// Bytes set aside for a message whose answer is short.
const BRIEF: usize = 64 << 10;

/// How long the answer to a message may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// A few kilobytes.
    Brief,
    /// It grows with the mesh.
    Bulk,
}

/// The bytes of all connections. Short answers have a quarter to themselves: one of them never waits for
/// long ones that nobody takes.
pub(crate) struct Budget {
    brief: Pot,
    bulk: Pot,
    share: usize,
}

/// The bytes of one connection.
pub(crate) struct Share(Pot);

/// Bytes set aside. Dropping it gives them back.
pub(crate) struct Reservation {
    common: Taken,
    own: Taken,
}

impl Budget {
    /// `total` bytes, of which a connection has `share` at most. Both are rounded to what can work: a share holds
    /// short answers, and what long answers have is at least a share.
    pub(crate) fn new(total: usize, share: usize) -> Budget {
        let share = share.clamp(BRIEF, u32::MAX as usize);
        let total = total.min(Semaphore::MAX_PERMITS);
        Budget { brief: Pot::new((total / 4).max(BRIEF)), bulk: Pot::new((total / 4 * 3).max(share)), share }
    }

    /// The share of a new connection.
    pub(crate) fn share(&self) -> Share {
        Share(Pot::new(self.share))
    }

    /// Bytes that the answers to one message may reach before no more calls of it are made.
    pub(crate) fn bytes_each(&self) -> usize {
        self.share
    }

    /// Sets bytes aside for a message, as soon as both the connection and the server have them. First come, first served.
    pub(crate) async fn reserve(&self, own: &Share, weight: Weight) -> Reservation {
        let (pot, bytes) = match weight {
            Weight::Brief => (&self.brief, BRIEF),
            Weight::Bulk => (&self.bulk, self.share),
        };
        // The connection's own first: while it waits for that, it keeps nothing from the others.
        let own = own.0.take(bytes).await;
        Reservation { common: pot.take(bytes).await, own }
    }

    /// Bytes that are set aside or wait to be sent.
    pub(crate) fn used(&self) -> usize {
        self.brief.used() + self.bulk.used()
    }
}

impl Reservation {
    /// The answers are known, and have so many bytes.
    pub(crate) fn settle(&mut self, bytes: usize) {
        self.common.settle(bytes);
        self.own.settle(bytes);
    }
}

struct Pot {
    left: Arc<Semaphore>,
    size: usize,
}

impl Pot {
    fn new(size: usize) -> Pot {
        Pot { left: Arc::new(Semaphore::new(size)), size }
    }

    async fn take(&self, bytes: usize) -> Taken {
        let wanted = u32::try_from(bytes.min(self.size)).unwrap_or(u32::MAX);
        let mut taken = Taken { from: Arc::clone(&self.left), bytes: 0 };
        // A semaphore only fails when it is closed, and nobody closes these.
        if let Ok(permits) = self.left.acquire_many(wanted).await {
            permits.forget();
            taken.bytes = wanted as usize;
        }
        taken
    }

    fn used(&self) -> usize {
        self.size.saturating_sub(self.left.available_permits())
    }
}

struct Taken {
    from: Arc<Semaphore>,
    bytes: usize,
}

impl Taken {
    fn settle(&mut self, bytes: usize) {
        if bytes < self.bytes {
            self.from.add_permits(self.bytes - bytes);
            self.bytes = bytes;
        } else {
            self.bytes += self.from.forget_permits(bytes - self.bytes);
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.from.add_permits(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use proptest::prelude::*;

    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;

    #[test]
    fn a_connection_gets_no_more_than_its_share() {
        let budget = Budget::new(32 * MIB, 8 * MIB);
        let own = budget.share();
        let mut first = budget.reserve(&own, Weight::Bulk).now_or_never().expect("all is free");
        assert!(budget.reserve(&own, Weight::Brief).now_or_never().is_none(), "its share is set aside");
        first.settle(7 * MIB);
        let brief = budget.reserve(&own, Weight::Brief).now_or_never().expect("a short answer fits beside it");
        assert!(budget.reserve(&own, Weight::Bulk).now_or_never().is_none(), "a long one does not");
        drop((first, brief));
        assert!(budget.reserve(&own, Weight::Bulk).now_or_never().is_some());
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn long_answers_leave_room_for_short_ones() {
        let budget = Budget::new(32 * MIB, 8 * MIB);
        let shares: Vec<Share> = (0..4).map(|_| budget.share()).collect();
        let held: Vec<Reservation> =
            shares.iter().filter_map(|own| budget.reserve(own, Weight::Bulk).now_or_never()).collect();
        assert_eq!(held.len(), 3, "24 of the 32 MiB are for long answers");
        assert!(budget.reserve(&budget.share(), Weight::Brief).now_or_never().is_some());
    }

    #[test]
    fn an_answer_that_is_larger_takes_what_is_free() {
        let budget = Budget::new(32 * MIB, 8 * MIB);
        let mut large = budget.reserve(&budget.share(), Weight::Bulk).now_or_never().expect("all is free");
        large.settle(30 * MIB);
        assert_eq!(budget.used(), 24 * MIB);
        assert!(budget.reserve(&budget.share(), Weight::Bulk).now_or_never().is_none(), "nothing follows it");
        drop(large);
        assert_eq!(budget.used(), 0);
    }

    proptest! {
        /// Whatever is reserved, settled and given back: nothing is lost, and before answers are known no more is
        /// handed out than there is.
        #[test]
        fn all_comes_back(steps in proptest::collection::vec((any::<bool>(), 0..4_usize, 0..64 * KIB), 0..60)) {
            let budget = Budget::new(1024 * KIB, 256 * KIB);
            let shares: Vec<Share> = (0..4).map(|_| budget.share()).collect();
            let mut held = Vec::new();
            for (bulk, connection, size) in steps {
                let weight = if bulk { Weight::Bulk } else { Weight::Brief };
                match budget.reserve(&shares[connection], weight).now_or_never() {
                    Some(mut reservation) => {
                        reservation.settle(if bulk { size * 4 } else { size });
                        held.push(reservation);
                    }
                    None => held.clear(),
                }
                prop_assert!(budget.used() <= 1024 * KIB);
            }
            drop(held);
            prop_assert_eq!(budget.used(), 0);
            for own in &shares {
                prop_assert_eq!(own.0.used(), 0);
            }
        }
    }
}
