//! What others and people are told about where this node is.

use super::{Carrier, Reaching, Task, carrier};
use crate::{NetEvent, address, ids, meet::Card};
use holm_types::{
    Mono,
    api::{OwnAddress, Path, PeerPath, Reach, RelayRow},
};
use libp2p::{Multiaddr, relay};
use std::{sync::PoisonError, time::Duration};

/// Between two looks for people.
const LOOK: Duration = Duration::from_secs(1);

impl Task {
    /// What follows from what is known: announced when it has changed.
    pub(super) fn refresh_reach(&mut self) {
        if !self.reaching.enabled {
            return;
        }
        let now = self.now();
        let Reaching { book, card, .. } = &self.reaching;
        let open = book.open(now);
        let half_way = book.half_way(now);
        let by = |wanted: Carrier| half_way.iter().any(|address| carrier(address) == Some(wanted));
        let strength = [!open.is_empty(), by(Carrier::Quic), by(Carrier::Tcp)];
        card.set(Card { open: open.clone(), half_way, near: book.near() });
        let announced = address::texts(&book.announced(now));
        self.offer(open);
        let stronger = strength.iter().zip(self.reaching.strength).any(|(now, before)| *now && !before);
        self.reaching.strength = strength;
        if stronger {
            // What came to nothing for want of it may work now.
            self.reaching.schedule.nudge(now);
        }
        if self.reaching.announced.as_ref() != Some(&announced) {
            tracing::debug!(?announced, "where others should look for this node");
            self.reaching.announced = Some(announced.clone());
            self.outlet.fact(NetEvent::Announce { addresses: announced }, None);
        }
    }

    /// Tells the swarm where anybody can dial; a node that has such an address can relay.
    fn offer(&mut self, open: Vec<Multiaddr>) {
        for address in open.iter().filter(|address| !self.reaching.external.contains(address)) {
            self.swarm.add_external_address(address.clone());
        }
        for address in self.reaching.external.iter().filter(|address| !open.contains(address)) {
            self.swarm.remove_external_address(address);
        }
        let relaying = self.reaching.may_relay && !open.is_empty();
        self.reaching.external = open;
        if relaying != self.reaching.relaying {
            let server = &mut self.swarm.behaviour_mut().paths.relay;
            server.set_status(Some(if relaying { relay::Status::Enable } else { relay::Status::Disable }));
            self.reaching.relaying = relaying;
        }
    }

    /// Shows people how things are.
    pub(super) fn show_reach(&mut self) {
        let now = self.now();
        if self.reaching.looked_at.after(LOOK) > now && self.reaching.looked_at != Mono::default() {
            return;
        }
        self.reaching.looked_at = now;
        let looked = self.look(now);
        *self.reaching.shared.lock().unwrap_or_else(PoisonError::into_inner) = looked;
    }

    fn look(&self, now: Mono) -> Reach {
        let Reaching { book, relays, .. } = &self.reaching;
        let own =
            |(address, state): (Multiaddr, &str)| OwnAddress { address: address.to_string(), state: state.to_owned() };
        let held = relays.holding().filter_map(|(peer, address)| {
            ids::node_of(peer).map(|node| RelayRow { node, address: address.to_string() })
        });
        let paths = self.peers.ways().into_iter().map(|way| PeerPath {
            node: way.node,
            path: if way.relayed { Path::Relayed } else { Path::Direct },
            address: way.address,
            rtt_ms: way.rtt.map(|rtt| (rtt.as_secs_f64() * 1e4).round() / 10.0),
        });
        Reach {
            nat: book.nat(),
            udp: if book.carries(Carrier::Quic) { Some(true) } else { self.reaching.udp_failed.then_some(false) },
            addresses: book.describe(now).into_iter().map(own).collect(),
            announced: self.reaching.announced.clone().unwrap_or_default(),
            relays: held.collect(),
            relays_known: u32::try_from(relays.offering()).unwrap_or(u32::MAX),
            relaying: self.reaching.relaying,
            circuits: self.reaching.circuits,
            upnp: self.reaching.upnp.to_owned(),
            peers: paths.collect(),
        }
    }
}
