//! Meeting half-way: `/holm/meet/1`.
//!
//! Two conversations of two members, each on a stream of its own:
//!
//! * **A call**, on a relayed connection. Both tell where they can be reached, the caller measures the
//!   round trip, says "go" and waits for half of it: then both dial at the same moment, and each one's
//!   packets open its own NAT for the other's. That is DCUtR; here the two also change roles
//!   with each attempt, tell apart what anybody can dial from what only works half-way, and tell
//!   private addresses once it is known that both are behind the same NAT. And it can be repeated when a
//!   network changes, which libp2p's cannot: its candidates are fixed when the relayed connection begins.
//! * **A test**, on a direct connection: "try to reach me there". That is AutoNAT v2, except that the dial
//!   goes through the gate, which proves the key at the address: so no nonce, no connection that must
//!   not be used, and any verdict can be renewed.
//!
//! libp2p's `dcutr` and `autonat` assert on their bookkeeping, never forget an address or a connection, and
//! cannot be reset; a node that lives for years on a moving network needs all of that.

mod handler;
mod message;

use handler::{Ask, MeetHandler, Told};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
};
pub(crate) use message::Card;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use tokio::sync::oneshot;

/// The name under which peers agree on it.
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/holm/meet/1");

/// The card that this node shows, as it is now. Shared with the handlers, which show it at the last moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct OwnCard(Arc<Mutex<Card>>);

impl OwnCard {
    /// Shows another one from now on.
    pub(crate) fn set(&self, card: Card) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = card;
    }

    pub(crate) fn get(&self) -> Card {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the swarm's task has to do.
#[derive(Debug)]
pub(crate) enum Met {
    /// Dial now, as the peer does. `listens`: this side plays the one that is dialled.
    Go { peer: PeerId, card: Card, listens: bool },
    /// A peer asks to be dialled at an address; say whether it was reached there.
    TestAsked { peer: PeerId, connection: ConnectionId, address: Multiaddr, reached: oneshot::Sender<bool> },
    /// A peer answers a test.
    Tested { address: Multiaddr, reached: bool },
    /// A call or a test came to nothing.
    Failed { peer: PeerId, why: String },
}

/// The behaviour.
pub(crate) struct Meet {
    card: OwnCard,
    /// Relayed connections of each peer.
    relayed: BTreeMap<PeerId, Vec<ConnectionId>>,
    events: VecDeque<ToSwarm<Met, THandlerInEvent<Meet>>>,
}

impl Meet {
    pub(crate) fn new(card: OwnCard) -> Meet {
        Meet { card, relayed: BTreeMap::new(), events: VecDeque::new() }
    }

    /// Calls a peer over a relayed connection; false when there is none. `swapped`: this side shall dial.
    pub(crate) fn call(&mut self, peer: PeerId, swapped: bool) -> bool {
        let Some(connection) = self.relayed.get(&peer).and_then(|connections| connections.last()) else {
            return false;
        };
        let handler = NotifyHandler::One(*connection);
        self.events.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event: Ask::Call { swapped } });
        true
    }

    /// Asks a peer, over a direct connection, to dial this node at `address`.
    pub(crate) fn test(&mut self, peer: PeerId, connection: ConnectionId, address: Multiaddr) {
        let handler = NotifyHandler::One(connection);
        self.events.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event: Ask::Test { address } });
    }
}

impl NetworkBehaviour for Meet {
    type ConnectionHandler = MeetHandler;
    type ToSwarm = Met;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        local: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(MeetHandler::new(crate::address::relayed(local), self.card.clone()))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        remote: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(MeetHandler::new(crate::address::relayed(remote), self.card.clone()))
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(up) if up.endpoint.is_relayed() => {
                self.relayed.entry(up.peer_id).or_default().push(up.connection_id);
            }
            FromSwarm::ConnectionClosed(down) => {
                if let Some(connections) = self.relayed.get_mut(&down.peer_id) {
                    connections.retain(|id| *id != down.connection_id);
                    if connections.is_empty() {
                        self.relayed.remove(&down.peer_id);
                    }
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, told: THandlerOutEvent<Self>) {
        self.events.push_back(ToSwarm::GenerateEvent(match told {
            Told::Go { card, listens } => Met::Go { peer, card, listens },
            Told::TestAsked { address, reached } => Met::TestAsked { peer, connection, address, reached },
            Told::Tested { address, reached } => Met::Tested { address, reached },
            Told::Failed { why } => Met::Failed { peer, why },
        }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.events.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
