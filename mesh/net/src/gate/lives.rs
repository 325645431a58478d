//! A node that was killed and started again dials while its old connections still look open to
//! its peers: QUIC notices the death of the other end only by silence. Whatever was sent over them
//! would be lost, and gossipsub, which greets a peer once, on its first connection, would never
//! tell the new process what it wants to hear. So a connection of a newer incarnation waits at
//! the gate until those of the older one are closed.

use holm_types::Incarnation;
use libp2p::PeerId;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};

/// How long a connection waits for the old ones to close; then it goes on beside them.
const MAKE_WAY: Duration = Duration::from_secs(2);

/// The incarnation of each connected peer.
pub(crate) struct Lives {
    connected: Mutex<BTreeMap<PeerId, Incarnation>>,
    stale: mpsc::Sender<PeerId>,
    gone: Notify,
}

impl Lives {
    /// Peers whose connections are to be closed are sent to `stale`.
    pub(crate) fn new(stale: mpsc::Sender<PeerId>) -> Lives {
        Lives { connected: Mutex::default(), stale, gone: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerId, Incarnation>> {
        // Nothing panics while the lock is held; the map is whole in any case.
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peer's first connection is the swarm's.
    pub(crate) fn up(&self, peer: PeerId, incarnation: Incarnation) {
        self.lock().insert(peer, incarnation);
    }

    /// The peer's last connection is gone.
    pub(crate) fn down(&self, peer: &PeerId) {
        self.lock().remove(peer);
        self.gone.notify_waiters();
    }

    fn older_is_connected(&self, peer: &PeerId, incarnation: Incarnation) -> bool {
        self.lock().get(peer).is_some_and(|connected| *connected < incarnation)
    }

    /// Whether a later life of this peer is connected: then one of the two runs on a copied or
    /// restored data folder, and must not be heard.
    pub(crate) fn later_is_connected(&self, peer: &PeerId, incarnation: Incarnation) -> bool {
        self.lock().get(peer).is_some_and(|connected| *connected > incarnation)
    }

    /// Waits until no connection of an older incarnation is left.
    pub(crate) async fn make_way(&self, peer: PeerId, incarnation: Incarnation) {
        if !self.older_is_connected(&peer, incarnation) {
            return;
        }
        // A full queue means that many are being closed: the wait below ends by itself.
        let _ = self.stale.try_send(peer);
        let cleared = async {
            loop {
                let gone = self.gone.notified();
                let mut gone = std::pin::pin!(gone);
                gone.as_mut().enable();
                if !self.older_is_connected(&peer, incarnation) {
                    return;
                }
                gone.await;
            }
        };
        let _ = timeout(MAKE_WAY, cleared).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_newer_incarnation_waits_for_the_older_one_to_go() {
        let (stale, mut closing) = mpsc::channel(4);
        let lives = Lives::new(stale);
        let peer = PeerId::random();
        lives.make_way(peer, Incarnation(1)).await;
        lives.up(peer, Incarnation(1));
        lives.make_way(peer, Incarnation(1)).await;
        assert!(closing.try_recv().is_err(), "a second connection of the same incarnation passes");
        let close = async {
            assert_eq!(closing.recv().await, Some(peer));
            lives.down(&peer);
        };
        tokio::join!(lives.make_way(peer, Incarnation(2)), close);
        assert!(!lives.older_is_connected(&peer, Incarnation(2)));
        lives.up(peer, Incarnation(2));
        assert!(lives.later_is_connected(&peer, Incarnation(1)));
        assert!(!lives.later_is_connected(&peer, Incarnation(2)));
    }
}
