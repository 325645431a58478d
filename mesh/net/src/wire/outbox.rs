//! Frames that wait for one peer, and which of its connections may take them.

use libp2p::swarm::ConnectionId;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
};

/// How a connection reaches the peer, the preferred first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Path {
    Direct,
    Relayed,
}

/// The queue of one peer.
#[derive(Debug)]
pub(crate) struct Outbox {
    max_frames: usize,
    max_bytes: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
    paths: BTreeMap<ConnectionId, Path>,
    /// The one connection that takes frames now.
    active: Option<ConnectionId>,
    wakers: BTreeMap<ConnectionId, Waker>,
}

impl Inner {
    /// Keeps the active connection as long as there is none on a better path: frames that change
    /// connections may overtake each other.
    fn elect(&mut self) {
        let best = self.paths.values().min().copied();
        let stays = self.active.is_some_and(|id| self.paths.get(&id).copied() == best && best.is_some());
        if !stays {
            self.active = self.paths.iter().find(|(_, path)| Some(**path) == best).map(|(id, _)| *id);
            self.wake();
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.active.and_then(|id| self.wakers.remove(&id)) {
            waker.wake();
        }
    }
}

impl Outbox {
    pub(crate) fn new(max_frames: usize, max_bytes: usize) -> Outbox {
        Outbox { max_frames, max_bytes, inner: Mutex::default() }
    }

    /// Queues a frame; false when the queue is full.
    pub(crate) fn push(&self, frame: Vec<u8>) -> bool {
        let mut inner = self.lock();
        if inner.frames.len() >= self.max_frames || inner.bytes + frame.len() > self.max_bytes {
            return false;
        }
        inner.bytes += frame.len();
        inner.frames.push_back(frame);
        inner.wake();
        true
    }

    /// The next frame for `connection`, if it is the one that takes them; otherwise `cx` is woken
    /// when that may have changed.
    pub(crate) fn pop(&self, connection: ConnectionId, cx: &mut Context<'_>) -> Option<Vec<u8>> {
        let mut inner = self.lock();
        if inner.active == Some(connection)
            && let Some(frame) = inner.frames.pop_front()
        {
            inner.bytes -= frame.len();
            return Some(frame);
        }
        inner.wakers.insert(connection, cx.waker().clone());
        None
    }

    /// Whether [`Outbox::pop`] would give `connection` a frame; otherwise `cx` is woken as there.
    pub(crate) fn has_work(&self, connection: ConnectionId, cx: &mut Context<'_>) -> bool {
        let mut inner = self.lock();
        let work = inner.active == Some(connection) && !inner.frames.is_empty();
        if !work {
            inner.wakers.insert(connection, cx.waker().clone());
        }
        work
    }

    /// Puts a frame back that was not sent in full. It may exceed the bound by this one frame.
    pub(crate) fn put_back(&self, frame: Vec<u8>) {
        let mut inner = self.lock();
        inner.bytes += frame.len();
        inner.frames.push_front(frame);
        inner.wake();
    }

    pub(crate) fn add(&self, connection: ConnectionId, path: Path) {
        let mut inner = self.lock();
        inner.paths.insert(connection, path);
        inner.elect();
    }

    pub(crate) fn remove(&self, connection: ConnectionId) {
        let mut inner = self.lock();
        inner.paths.remove(&connection);
        inner.wakers.remove(&connection);
        inner.elect();
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().frames.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while the lock is held; the queue is whole in any case.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker_ref;

    fn pop(outbox: &Outbox, id: usize) -> Option<Vec<u8>> {
        outbox.pop(ConnectionId::new_unchecked(id), &mut Context::from_waker(noop_waker_ref()))
    }

    #[test]
    fn frames_and_bytes_are_bounded() {
        let outbox = Outbox::new(2, 10);
        assert!(outbox.push(vec![0; 6]));
        assert!(!outbox.push(vec![0; 5]), "too many bytes");
        assert!(outbox.push(vec![0; 4]));
        assert!(!outbox.push(vec![]), "too many frames");
        outbox.add(ConnectionId::new_unchecked(1), Path::Direct);
        assert_eq!(pop(&outbox, 1).unwrap().len(), 6);
        assert!(outbox.push(vec![0; 6]), "what was taken made room");
    }

    #[test]
    fn the_direct_connection_takes_the_frames_and_the_relayed_one_inherits_them() {
        let outbox = Outbox::new(8, 100);
        let (relayed, direct) = (ConnectionId::new_unchecked(1), ConnectionId::new_unchecked(2));
        outbox.add(relayed, Path::Relayed);
        outbox.push(vec![1]);
        assert_eq!(pop(&outbox, 1), Some(vec![1]), "the only one there is");
        outbox.add(direct, Path::Direct);
        outbox.push(vec![2]);
        outbox.push(vec![3]);
        assert_eq!((pop(&outbox, 1), pop(&outbox, 2)), (None, Some(vec![2])));
        outbox.remove(direct);
        assert_eq!((pop(&outbox, 2), pop(&outbox, 1)), (None, Some(vec![3])));
    }

    #[test]
    fn a_second_direct_connection_changes_nothing() {
        let outbox = Outbox::new(8, 100);
        outbox.add(ConnectionId::new_unchecked(5), Path::Direct);
        outbox.add(ConnectionId::new_unchecked(1), Path::Direct);
        outbox.push(vec![1]);
        assert_eq!((pop(&outbox, 1), pop(&outbox, 5)), (None, Some(vec![1])));
    }
}
