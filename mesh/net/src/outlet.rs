//! The way out for events: one bounded channel, two kinds of promise.
//!
//! A *hint* (gossip, an address, a discovery) is dropped and counted when the owner is slow: repair
//! does not depend on it, and the swarm must not wait for it. A *fact* (a peer came or went, a
//! frame) is never lost: it waits here, in order, until the channel has room. Facts are bounded at
//! their sources, since frames hold their share of the intake while they wait; should they pile up
//! all the same because the owner stands still, the swarm is not polled any further.
//!
//! The bytes in the channel are known exactly without a hook on the receiver: it is first in, first
//! out, so what is still in it are the last events that were put in, as many as it holds.

use crate::{NetEvent, limits::Limits};
use std::collections::VecDeque;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Facts that may wait before the swarm stops.
const MAX_WAITING: usize = 1024;

/// A fact, with what it holds on to while it waits.
type Waiting = (NetEvent, Option<OwnedSemaphorePermit>);

/// The sending end.
pub(crate) struct Outlet {
    channel: mpsc::Sender<NetEvent>,
    max_bytes: usize,
    waiting: VecDeque<Waiting>,
    /// Sizes of the events in the channel, the oldest first.
    sizes: VecDeque<usize>,
    bytes: usize,
    /// Events in the channel when it last had no room.
    blocked_at: usize,
}

impl Outlet {
    pub(crate) fn new(limits: &Limits) -> (Outlet, mpsc::Receiver<NetEvent>) {
        let (channel, receiver) = mpsc::channel(limits.events);
        let (waiting, sizes) = (VecDeque::new(), VecDeque::new());
        (Outlet { channel, max_bytes: limits.event_bytes, waiting, sizes, bytes: 0, blocked_at: 0 }, receiver)
    }

    /// Hands a fact over, now or as soon as there is room.
    pub(crate) fn fact(&mut self, event: NetEvent, permit: Option<OwnedSemaphorePermit>) {
        self.waiting.push_back((event, permit));
        self.flush();
    }

    /// Hands a hint over if there is room now; false when it was dropped.
    pub(crate) fn hint(&mut self, event: NetEvent) -> bool {
        // Never ahead of a fact, and never in the place that a fact waits for.
        self.waiting.is_empty() && self.put(event).is_ok()
    }

    /// Hands over the facts that there is room for.
    pub(crate) fn flush(&mut self) {
        while let Some((event, permit)) = self.waiting.pop_front() {
            if let Err(event) = self.put(event) {
                self.waiting.push_front((event, permit));
                return;
            }
        }
    }

    /// Whether facts wait for room.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether so many facts wait that no more may come.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_WAITING
    }

    /// Whether the owner has let go of the events.
    pub(crate) fn is_closed(&self) -> bool {
        self.channel.is_closed()
    }

    /// Waits until the owner has taken an event since there was no room, or is gone. Can be cancelled.
    pub(crate) fn room(&self) -> impl Future<Output = ()> + use<> {
        let channel = self.channel.clone();
        let wanted = (channel.max_capacity() - self.blocked_at + 1).min(channel.max_capacity());
        async move {
            // One place more than there was. The permits are given back at once.
            let _ = channel.reserve_many(wanted).await;
        }
    }

    fn put(&mut self, event: NetEvent) -> Result<(), NetEvent> {
        let held = self.channel.max_capacity() - self.channel.capacity();
        while self.sizes.len() > held {
            self.bytes -= self.sizes.pop_front().unwrap_or(0);
        }
        let size = size_of(&event);
        // An event larger than the bound passes an empty channel, so that nothing waits for ever.
        if self.bytes + size > self.max_bytes && held > 0 {
            self.blocked_at = held;
            return Err(event);
        }
        if let Err(error) = self.channel.try_send(event) {
            self.blocked_at = held;
            return Err(error.into_inner());
        }
        self.sizes.push_back(size);
        self.bytes += size;
        Ok(())
    }
}

/// About the memory that an event holds.
fn size_of(event: &NetEvent) -> usize {
    const EVENT: usize = 128;
    EVENT
        + match event {
            NetEvent::Gossip { bytes, topic, .. } => bytes.len() + topic.len(),
            NetEvent::Frame { bytes, .. } => bytes.len(),
            NetEvent::PeerUp { .. } => 1024,
            NetEvent::Discovered { addresses, .. }
            | NetEvent::PeerAddresses { addresses, .. }
            | NetEvent::Announce { addresses } => addresses.iter().map(String::len).sum(),
            NetEvent::Listening { address }
            | NetEvent::Observed { address }
            | NetEvent::PathChanged { address, .. } => address.len(),
            NetEvent::DialFailed { error, .. } => error.len(),
            NetEvent::PeerDown { .. } | NetEvent::Superseded { .. } => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use holm_types::NodeId;

    fn frame(n: u8, len: usize) -> NetEvent {
        NetEvent::Frame { from: NodeId([n; 32]), bytes: vec![n; len] }
    }

    fn gossip(len: usize) -> NetEvent {
        NetEvent::Gossip { source: NodeId([0; 32]), topic: String::new(), bytes: vec![0; len] }
    }

    fn author(event: Option<NetEvent>) -> Option<u8> {
        match event {
            Some(NetEvent::Frame { from, .. }) => Some(from.0[0]),
            _ => None,
        }
    }

    #[test]
    fn facts_wait_in_order_and_hints_are_dropped() {
        let (mut outlet, mut events) = Outlet::new(&Limits { events: 2, ..Limits::default() });
        for n in 1..=4 {
            outlet.fact(frame(n, 10), None);
        }
        assert!(outlet.is_waiting() && !outlet.hint(gossip(1)));
        assert_eq!(outlet.room().now_or_never(), None, "nothing was taken");
        let room = outlet.room();
        for n in 1..=4 {
            assert_eq!(author(events.recv().now_or_never().unwrap()), Some(n));
            outlet.flush();
        }
        assert_eq!(room.now_or_never(), Some(()));
        assert!(!outlet.is_waiting() && outlet.hint(gossip(1)));
    }

    #[test]
    fn bytes_are_bounded_and_the_permit_goes_with_the_event() {
        let (mut outlet, mut events) = Outlet::new(&Limits { events: 100, event_bytes: 1000, ..Limits::default() });
        let intake = std::sync::Arc::new(tokio::sync::Semaphore::new(2));
        let permit = || intake.clone().try_acquire_owned().ok();
        outlet.fact(frame(1, 800), permit());
        assert_eq!(intake.available_permits(), 2, "handed over");
        outlet.fact(frame(2, 800), permit());
        assert_eq!(intake.available_permits(), 1, "waits");
        assert!(!outlet.hint(gossip(10)));
        assert_eq!(outlet.room().now_or_never(), None, "nothing was taken");
        assert_eq!(author(events.recv().now_or_never().unwrap()), Some(1));
        assert_eq!(outlet.room().now_or_never(), Some(()), "it was taken before anybody waited");
        outlet.flush();
        assert_eq!(intake.available_permits(), 2);
        assert!(!outlet.hint(gossip(800)), "a hint has no right to more bytes");
        outlet.fact(frame(3, 5000), None);
        assert!(events.recv().now_or_never().is_some());
        outlet.flush();
        assert_eq!(author(events.recv().now_or_never().unwrap()), Some(3), "too large, but alone");
    }
}
