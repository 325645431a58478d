//! Who the others are: the members that this node is to hear, and the scheduler's view of them.

use crate::Node;
use holm_types::{
    Mono, NodeId, Scope,
    cert::Claims,
    view::{Liveness, NodeInfo, NodeView},
};
use std::{collections::BTreeMap, sync::Arc};

impl Node {
    /// Takes note of members that are new, or that say something new of themselves.
    pub(crate) fn note_members(&mut self, now: Mono) {
        for id in self.state.drain_changed_members() {
            let new = self.members.liveness(&id).is_none();
            self.note_member(&id, now);
            self.note_renewal(&id);
            if new && self.members.liveness(&id).is_some() {
                // It may have been there for long.
                self.call_about(&id, now);
            }
        }
    }

    /// All members are new to a node that has just started.
    pub(crate) fn note_all_members(&mut self, now: Mono) {
        self.state.drain_changed_members();
        let all: Vec<NodeId> = self.state.members().keys().copied().collect();
        all.iter().for_each(|id| self.note_member(id, now));
    }

    /// A member that this node should hear is expected to speak; one that was revoked is not.
    fn note_member(&mut self, id: &NodeId, now: Mono) {
        let Some(member) = self.state.members().get(id) else { return };
        let claims = &member.claims;
        if member.revoked {
            self.forget_peer(id, now);
        } else if *id != self.me && self.concerns(claims) {
            if claims.is_keeper() {
                self.healer.anchor(*id);
            }
            let (near, site) = (self.is_near(claims), claims.site.clone());
            self.members.expect(*id, near, now);
            if self.claims.is_keeper() {
                self.new_topics.extend(self.topics.join(&site));
            }
        }
        self.view_node(id);
    }

    /// A connected peer's certificate may have been renewed: the network closes connections by their ends.
    pub(crate) fn note_renewal(&mut self, id: &NodeId) {
        let (Some(member), Some(peer)) = (self.state.members().get(id), self.peers.get_mut(id)) else { return };
        if member.claims.not_after > peer.claims.not_after {
            peer.claims = member.claims.clone();
            self.renewed_peers.push(member.chain.clone());
        }
    }

    /// Whether this node should know how a member fares: one of the sites that it holds, or a keeper.
    pub(crate) fn concerns(&self, claims: &Claims) -> bool {
        claims.is_keeper() || self.claims.holds(&Scope::Site(claims.site.clone()))
    }

    /// Whether a member hears what this node hears, so that both have to share the time to speak.
    pub(crate) fn is_near(&self, claims: &Claims) -> bool {
        claims.is_keeper() || claims.site == self.claims.site
    }

    /// Makes one of the view's nodes anew, from its certificate, what it says of itself, and how it fares. A member that is of no
    /// concern, and was never heard, is not in the view.
    pub(crate) fn view_node(&mut self, id: &NodeId) {
        let Some(member) = self.state.members().get(id) else { return };
        let heard = self.members.liveness(id);
        if heard.is_none() && !self.concerns(&member.claims) {
            return;
        }
        let unknown = || {
            Arc::new(NodeInfo {
                labels: BTreeMap::new(),
                capacity: Default::default(),
                arch: String::new(),
                version: String::new(),
                schema: 0,
            })
        };
        let liveness = match *id == self.me {
            true => Liveness::Alive,
            // Nothing of it is waited for: its tasks are placed elsewhere at once.
            false if member.revoked => Liveness::Left,
            false => heard.unwrap_or(Liveness::Suspect),
        };
        let node = NodeView {
            id: *id,
            name: member.claims.name.clone(),
            site: member.claims.site.clone(),
            roles: member.claims.roles.clone(),
            described: member.info.is_some(),
            info: member.info.clone().unwrap_or_else(unknown),
            liveness,
            life: self.members.presence(id).map(|presence| presence.incarnation),
        };
        self.nodes.insert(*id, node);
    }
}
