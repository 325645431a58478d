//! What a node says of tasks whose app has ended. No repair brings it to those who missed the gossip
//! ([`holm_state::State::ended`]), and a node that was away speaks just when gossip has not found it yet; others would show its
//! tasks as running for as long as they keep them. So the document is sent to those that are connected, and to those that connect
//! while it is kept.

use crate::{Effect, Node};
use holm_mesh_core::repair::Message;
use holm_types::{DocId, NodeId, Scope, sometimes};

/// A document is sent whole up to so many bytes: what is said now builds upon words that did not get through either.
const WHOLE: usize = 16 << 10;
/// Bytes that a peer that connects is sent, at most.
const MOST: usize = 64 << 10;

impl Node {
    /// An encoded change of this node's own was written.
    pub(crate) fn tell_of_the_ended(&mut self, scope: &Scope, doc: &DocId, change: &[u8]) {
        if !self.state.ended().contains(doc) {
            return;
        }
        sometimes!("the end of a task of an app that was removed is told");
        let changes = self.whole(doc).unwrap_or_else(|| vec![change.to_vec()]);
        let Some(bytes) = encoded(scope, changes) else { return };
        let peers: Vec<NodeId> = self.peers.keys().copied().filter(|peer| self.is_shared(peer, scope)).collect();
        for peer in peers {
            self.journal.after_persist(Effect::Send { peer, bytes: bytes.clone() });
        }
    }

    /// A peer is connected that may have missed what this node said meanwhile.
    pub(crate) fn tell_what_has_ended(&self, peer: NodeId, out: &mut Vec<Effect>) {
        let mut left = MOST;
        for doc in self.state.ended().iter().filter(|doc| self.state.wrote_as(doc).is_some()) {
            let Some(scope) = self.state.scope_of(doc).filter(|scope| self.is_shared(&peer, scope)) else { continue };
            let Some(bytes) = self.whole(doc).and_then(|changes| encoded(scope, changes)) else { continue };
            if bytes.len() > left {
                return;
            }
            left -= bytes.len();
            out.push(Effect::Send { peer, bytes });
        }
    }

    fn whole(&self, doc: &DocId) -> Option<Vec<Vec<u8>>> {
        let (changes, more) = self.state.changes_since(doc, &[], WHOLE).ok()?;
        (!more).then_some(changes)
    }

    fn is_shared(&self, peer: &NodeId, scope: &Scope) -> bool {
        self.peers.get(peer).is_some_and(|peer| self.shares(&peer.claims, scope))
    }
}

fn encoded(scope: &Scope, changes: Vec<Vec<u8>>) -> Option<Vec<u8>> {
    let changes = changes.into_iter().map(Into::into).collect();
    Message::Changes { scope: scope.clone(), changes, more: false }.encode().ok()
}
