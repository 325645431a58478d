//! Who the others are: the members that this node is to hear, and the scheduler's view of them.

use crate::Node;
use holm_types::{
    Mono, NodeId, Scope,
    cert::Claims,
    view::{Liveness, NodeInfo, NodeView},
};
use std::collections::{BTreeMap, BTreeSet};

impl Node {
    /// Every certified member that this node should hear is expected to speak.
    pub(crate) fn refresh_members(&mut self, now: Mono) {
        let mut sites = BTreeSet::new();
        for (id, member) in self.state.members() {
            if *id != self.me && !member.revoked && self.concerns(&member.claims) {
                self.members.expect(*id, self.is_near(&member.claims), now);
                sites.insert(&member.claims.site);
            }
        }
        if self.claims.is_keeper() {
            self.new_topics.extend(sites.into_iter().flat_map(|site| self.topics.join(site)));
        }
        self.refresh_nodes();
    }

    /// Connected peers whose certificates were renewed: the network closes connections by their ends.
    pub(crate) fn note_renewed_peers(&mut self) {
        for (id, peer) in &mut self.peers {
            let Some(member) = self.state.members().get(id).filter(|m| m.claims.not_after > peer.claims.not_after)
            else {
                continue;
            };
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

    /// Recomputes the view's nodes from certificates, node documents and liveness.
    pub(crate) fn refresh_nodes(&mut self) {
        let unknown = NodeInfo {
            labels: BTreeMap::new(),
            capacity: Default::default(),
            arch: String::new(),
            version: String::new(),
        };
        let view = |(id, member): (&NodeId, &holm_state::Member)| {
            let liveness = match *id == self.me {
                true => Liveness::Alive,
                // Nothing of it is waited for: its tasks are placed elsewhere at once.
                false if member.revoked => Liveness::Left,
                false => self.members.liveness(id).unwrap_or(Liveness::Suspect),
            };
            let node = NodeView {
                id: *id,
                name: member.claims.name.clone(),
                site: member.claims.site.clone(),
                roles: member.claims.roles.clone(),
                described: member.info.is_some(),
                info: member.info.clone().unwrap_or_else(|| unknown.clone()),
                liveness,
            };
            (*id, node)
        };
        let known = |(id, member): &(&NodeId, &holm_state::Member)| {
            self.concerns(&member.claims) || self.members.liveness(id).is_some()
        };
        self.nodes = self.state.members().iter().filter(known).map(view).collect();
    }
}
