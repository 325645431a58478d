//! Two ends of a bond do not lose it at the same time. A node that was killed and started again, or whose router gave it another
//! address, dials while its old connections still look open to its peers: QUIC notices only by silence that nobody is there any more.
//! Whatever was sent over them would be lost, and gossipsub, which greets a peer once, on its first connection, would never tell the
//! other end what it wants to hear. So each side tells how often it began anew ([`Bond`]), and a connection of a newer bond waits at the gate until those of
//! the older one are closed: then it is the first one for both.

use crate::hello::Bond;
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
/// Lost peers that are remembered, at most. One that is forgotten is taken at its word of long ago.
const MAX_LOST: usize = 4096;

#[derive(Default)]
struct Bonds {
    /// The bond of each connected peer, as it told it.
    connected: BTreeMap<PeerId, Bond>,
    /// What we tell peers: the count of all losses, when theirs was the last one.
    lost: BTreeMap<PeerId, u64>,
    losses: u64,
}

/// The bonds with peers.
pub(crate) struct Lives {
    bonds: Mutex<Bonds>,
    stale: mpsc::Sender<PeerId>,
    gone: Notify,
}

impl Lives {
    /// Peers whose connections are to be closed are sent to `stale`.
    pub(crate) fn new(stale: mpsc::Sender<PeerId>) -> Lives {
        Lives { bonds: Mutex::default(), stale, gone: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Bonds> {
        // Nothing panics while the lock is held; the maps are whole in any case.
        self.bonds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peer's first connection is the swarm's.
    pub(crate) fn up(&self, peer: PeerId, bond: Bond) {
        self.lock().connected.insert(peer, bond);
    }

    /// The peer's last connection is gone.
    pub(crate) fn down(&self, peer: &PeerId) {
        let mut bonds = self.lock();
        bonds.connected.remove(peer);
        bonds.losses += 1;
        let losses = bonds.losses;
        bonds.lost.insert(*peer, losses);
        if bonds.lost.len() > MAX_LOST
            && let Some(oldest) = bonds.lost.iter().min_by_key(|(_, at)| **at).map(|(peer, _)| *peer)
        {
            bonds.lost.remove(&oldest);
        }
        drop(bonds);
        self.gone.notify_waiters();
    }

    /// What a peer is told of our losses ([`Bond::losses`]).
    pub(crate) fn losses(&self, peer: &PeerId) -> u64 {
        self.lock().lost.get(peer).copied().unwrap_or(0)
    }

    fn older_is_connected(&self, peer: &PeerId, bond: Bond) -> bool {
        self.lock().connected.get(peer).is_some_and(|connected| *connected < bond)
    }

    /// Whether a later life of this peer is connected: then one of the two runs on a copied or
    /// restored data folder, and must not be heard.
    pub(crate) fn later_is_connected(&self, peer: &PeerId, incarnation: Incarnation) -> bool {
        self.lock().connected.get(peer).is_some_and(|connected| connected.incarnation > incarnation)
    }

    /// Waits until no connection of an older bond is left.
    pub(crate) async fn make_way(&self, peer: PeerId, bond: Bond) {
        if !self.older_is_connected(&peer, bond) {
            return;
        }
        // A full queue means that many are being closed: the wait below ends by itself.
        let _ = self.stale.try_send(peer);
        let cleared = async {
            loop {
                let gone = self.gone.notified();
                let mut gone = std::pin::pin!(gone);
                gone.as_mut().enable();
                if !self.older_is_connected(&peer, bond) {
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

    fn bond(incarnation: u64, losses: u64) -> Bond {
        Bond { incarnation: Incarnation(incarnation), losses }
    }

    #[tokio::test]
    async fn a_newer_bond_waits_for_the_older_one_to_go() {
        for (old, new) in [(bond(1, 5), bond(2, 0)), (bond(1, 0), bond(1, 1))] {
            let (stale, mut closing) = mpsc::channel(4);
            let lives = Lives::new(stale);
            let peer = PeerId::random();
            lives.make_way(peer, old).await;
            lives.up(peer, old);
            lives.make_way(peer, old).await;
            assert!(closing.try_recv().is_err(), "a second connection of the same bond passes");
            let close = async {
                assert_eq!(closing.recv().await, Some(peer));
                lives.down(&peer);
            };
            tokio::join!(lives.make_way(peer, new), close);
            assert!(!lives.older_is_connected(&peer, new));
            lives.up(peer, new);
            lives.make_way(peer, old).await;
            assert!(closing.try_recv().is_err(), "an older bond closes nothing");
        }
    }

    #[test]
    fn a_later_life_is_one_of_a_higher_incarnation() {
        let lives = Lives::new(mpsc::channel(4).0);
        let peer = PeerId::random();
        lives.up(peer, bond(2, 0));
        assert!(lives.later_is_connected(&peer, Incarnation(1)));
        assert!(!lives.later_is_connected(&peer, Incarnation(2)));
    }

    #[test]
    fn losses_of_a_peer_only_grow_and_are_bounded() {
        let lives = Lives::new(mpsc::channel(4).0);
        let peer = PeerId::random();
        assert_eq!(lives.losses(&peer), 0);
        lives.down(&peer);
        let first = lives.losses(&peer);
        for _ in 0..MAX_LOST {
            lives.down(&PeerId::random());
        }
        assert_eq!((first, lives.losses(&peer)), (1, 0), "forgotten");
        lives.down(&peer);
        assert!(lives.losses(&peer) > first);
        assert_eq!(lives.lock().lost.len(), MAX_LOST);
    }
}
