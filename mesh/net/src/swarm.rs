//! The task that owns the swarm: commands in, events out, nothing that blocks in between.

mod commands;
mod events;
mod reach;
mod setup;
#[cfg(test)]
mod tests;
mod watchdog;

use crate::{
    IncomingStream,
    api::Ask,
    behaviour::{Behaviour, BehaviourEvent},
    counters::{Count, Counters},
    gate::GateShared,
    hints::Hints,
    limits::Limits,
    outlet::Outlet,
    peers::Peers,
};
use futures::StreamExt;
use holm_types::{Mono, keys::KeyPair};
use libp2p::{
    Multiaddr, PeerId, Swarm,
    swarm::{ConnectionId, SwarmEvent},
};
use reach::Reaching;
pub(crate) use setup::open;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval, timeout},
};
use watchdog::Watchdog;

/// How often surplus connections and expired certificates are looked for, and what is due to be reached.
const TICK: Duration = Duration::from_millis(250);
/// Time to say good-bye.
const FAREWELL: Duration = Duration::from_millis(500);

/// The task's state.
pub(crate) struct Task {
    /// Signs what this node says to all.
    key: KeyPair,
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Ask>,
    incoming: mpsc::Sender<IncomingStream>,
    outlet: Outlet,
    gate: Arc<GateShared>,
    /// Peers that came back in a new incarnation: their old connections must go.
    stale: mpsc::Receiver<PeerId>,
    peers: Peers,
    hints: Hints,
    /// Dials for the owner that have not ended.
    dials: BTreeMap<PeerId, ConnectionId>,
    reaching: Reaching,
    watchdog: Watchdog,
    again: Option<watchdog::Again>,
    /// Where to listen, and what of it is still to be done after the network was built anew.
    listen: Vec<Multiaddr>,
    unlistened: Vec<Multiaddr>,
    topics: BTreeSet<String>,
    counters: Arc<Counters>,
    limits: Limits,
    started: Instant,
}

/// What woke the task. It lives from the select to the match: boxing the large one would cost an
/// allocation an event and save nothing.
#[expect(clippy::large_enum_variant)]
enum Branch {
    /// The owner is gone.
    End,
    Ask(Ask),
    Stale(PeerId),
    Room,
    Tick,
    Swarm(SwarmEvent<BehaviourEvent>),
}

impl Task {
    /// Runs until the owner drops its handle or its events.
    pub(crate) async fn run(mut self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            match self.next(&mut tick).await {
                Branch::End => break,
                Branch::Ask(ask) => self.handle_ask(ask),
                Branch::Stale(peer) => {
                    // Gone meanwhile is as good.
                    let _ = self.swarm.disconnect_peer_id(peer);
                }
                Branch::Room => self.outlet.flush(),
                Branch::Tick => self.handle_tick(),
                Branch::Swarm(event) => self.handle_event(event),
            }
        }
        self.farewell().await;
    }

    async fn next(&mut self, tick: &mut Interval) -> Branch {
        // A full outlet stops the swarm: the owner stands still, and facts must not be lost. Tokio's
        // own budget keeps a stream of commands from starving what stands below.
        tokio::select! {
            biased;
            command = self.commands.recv() => command.map_or(Branch::End, Branch::Ask),
            Some(peer) = self.stale.recv() => Branch::Stale(peer),
            () = self.outlet.room(), if self.outlet.is_waiting() => Branch::Room,
            _ = tick.tick() => if self.outlet.is_closed() { Branch::End } else { Branch::Tick },
            event = self.swarm.select_next_some(), if !self.outlet.is_full() => Branch::Swarm(event),
        }
    }

    fn handle_tick(&mut self) {
        for id in self.peers.surplus(self.now(), self.limits.surplus_grace) {
            if self.swarm.close_connection(id) {
                self.counters.bump(Count::SurplusClosed);
            }
        }
        self.watch();
        self.leave_relays();
        self.reach_tick();
        for peer in self.peers.expired((self.gate.clock)()) {
            if self.swarm.disconnect_peer_id(peer).is_ok() {
                self.counters.bump(Count::ExpiredClosed);
            }
        }
    }

    fn now(&self) -> Mono {
        Mono(self.started.elapsed())
    }

    /// Closes every connection in an orderly way, so that peers learn of it now.
    async fn farewell(mut self) {
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // Already gone is as good.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closing = async {
            while self.swarm.network_info().num_peers() > 0 {
                self.swarm.select_next_some().await;
            }
        };
        // Whoever is not closed by then finds out by himself.
        let _ = timeout(FAREWELL, closing).await;
    }
}
