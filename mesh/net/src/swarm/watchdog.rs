//! When a node has dialled in vain for minutes and nobody has come, the fault may be its own: a socket on an interface
//! that is gone, a library that lost its way. Then everything below is built anew; nobody is there to notice.

use super::Task;
use super::reach::Reaching;
use crate::{NetError, behaviour::Behaviour, counters::Count, peers::Peers};
use holm_types::Mono;
use libp2p::{Multiaddr, Swarm, gossipsub::IdentTopic, multiaddr::Protocol};
use std::time::Duration;

/// Each time it did not help, the next one comes later, up to this many times as late.
const PATIENCE: u32 = 16;

/// Makes the swarm, and what the task knows about reachability, as they were at the start.
pub(super) type Again = Box<dyn Fn() -> Result<(Swarm<Behaviour>, Reaching), NetError> + Send>;

/// Decides. Pure: time comes in.
#[derive(Debug)]
pub(super) struct Watchdog {
    limit: Duration,
    factor: u32,
    since: Mono,
    dialled: bool,
}

impl Watchdog {
    pub(super) fn new(limit: Duration) -> Watchdog {
        Watchdog { limit, factor: 1, since: Mono::default(), dialled: false }
    }

    /// Somebody was dialled.
    pub(super) fn dialled(&mut self) {
        self.dialled = true;
    }

    /// Whether it is time to begin anew.
    pub(super) fn barks(&mut self, connected: bool, now: Mono) -> bool {
        if connected {
            (self.factor, self.since, self.dialled) = (1, now, false);
            return false;
        }
        if !self.dialled || now.since(self.since) < self.limit * self.factor {
            return false;
        }
        (self.factor, self.since, self.dialled) = ((self.factor * 2).min(PATIENCE), now, false);
        true
    }
}

impl Task {
    /// Looks after the swarm.
    pub(super) fn watch(&mut self) {
        let now = self.now();
        let connected = self.swarm.network_info().num_peers() > 0;
        if self.watchdog.barks(connected, now) {
            self.begin_anew();
        }
        self.listen_again();
    }

    fn begin_anew(&mut self) {
        let Some(again) = &self.again else { return };
        match again() {
            Ok((swarm, reaching)) => {
                tracing::warn!("no peer for a long time: the network is built anew");
                self.counters.bump(Count::Rebuilt);
                // The old one goes with its listeners. Their ports may take a moment to be free.
                (self.swarm, self.reaching) = (swarm, reaching);
                self.peers = Peers::new(*self.swarm.local_peer_id());
                self.dials.clear();
                self.unlistened = self.listen.clone();
                for topic in &self.topics {
                    if let Err(error) = self.swarm.behaviour_mut().gossip.subscribe(&IdentTopic::new(topic)) {
                        tracing::error!(%topic, %error, "cannot subscribe again");
                    }
                }
            }
            Err(error) => tracing::error!(%error, "the network cannot be built anew"),
        }
    }

    fn listen_again(&mut self) {
        for address in std::mem::take(&mut self.unlistened) {
            if let Err(error) = self.swarm.listen_on(address.clone()) {
                tracing::debug!(%address, %error, "the port is not free yet");
                self.unlistened.push(address);
            }
        }
    }
}

/// Where to listen after that: as configured, but with the real ports, since others know them.
pub(super) fn fixed(configured: &[Multiaddr], real: &[Multiaddr]) -> Vec<Multiaddr> {
    let chosen = |address: &Multiaddr| address.iter().any(|part| matches!(part, Protocol::Tcp(0) | Protocol::Udp(0)));
    if configured.iter().any(chosen) { real.to_vec() } else { configured.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Mono {
        Mono(Duration::from_secs(s))
    }

    #[test]
    fn it_barks_when_dials_have_failed_for_long_and_then_less_and_less() {
        let mut dog = Watchdog::new(Duration::from_secs(300));
        assert!(!dog.barks(false, at(1000)), "nobody was dialled: a node may be alone");
        dog.dialled();
        assert!(dog.barks(false, at(1001)));
        let mut gaps = Vec::new();
        let mut last = 1001;
        for s in 1002..20_000 {
            dog.dialled();
            if dog.barks(false, at(s)) {
                gaps.push(s - last);
                last = s;
            }
        }
        assert_eq!(gaps, [600, 1200, 2400, 4800, 4800, 4800]);
        assert!(!dog.barks(true, at(20_000)));
        dog.dialled();
        assert!(!dog.barks(false, at(20_299)) && dog.barks(false, at(20_300)));
    }
}
