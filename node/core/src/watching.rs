//! Who watches whom while nothing happens, and what is done when somebody is missed.
//!
//! Nodes of a site have two partners there, keepers two among the keepers; and each keeper has two at every site of which it is
//! connected with somebody. Nobody believes what others say of a third: who is missed has the roll called, and each node
//! judges for itself who has answered.

use crate::{Effect, Node, voices::Audience};
use holm_mesh_core::beat::{self, Beat, PARTNERS};
use holm_types::{
    Label, Mono, NodeId, Now, sometimes,
    view::{Liveness, NodeView},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Who is to be a partner is looked at again after this time, whatever has changed.
const CHOOSE_AGAIN: Duration = Duration::from_secs(10);

/// What this node knows of being watched.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// Other nodes came or went since partners were chosen.
    pub(crate) stale: bool,
    chosen_at: Option<Mono>,
    /// Too few would miss this node: it speaks to everybody.
    alone: bool,
    /// Keepers are there, as far as this node of a site can tell.
    keepers: bool,
    /// Sites of which this keeper, the only one, has no partner.
    unwatched: Vec<Label>,
}

impl Watched {
    /// Whether a node of a site sees a keeper.
    pub(crate) fn sees_keeper(&self) -> bool {
        self.keepers
    }
}

/// Others that are there, as far as partners are concerned.
#[derive(Debug, Default)]
struct Company {
    /// Of this node's kind: nodes of its site, or keepers.
    peers: BTreeSet<NodeId>,
    /// Keepers, for a node of a site.
    keepers: BTreeSet<NodeId>,
    /// Nodes of sites, for a keeper.
    sites: BTreeMap<Label, BTreeSet<NodeId>>,
}

impl Node {
    /// Sends its partners their beats, and chooses others when it must.
    pub(crate) fn keep_partners(&mut self, now: Mono, out: &mut Vec<Effect>) {
        let again = self.watched.chosen_at.is_none_or(|at| now.since(at) >= CHOOSE_AGAIN);
        let company = (again || self.watched.stale).then(|| self.company());
        if let Some(company) = &company {
            (self.watched.stale, self.watched.chosen_at) = (false, Some(now));
            let wanted = self.wanted(company);
            self.partners.choose(&wanted);
        }
        for (peer, beat) in self.partners.beats(self.state.incarnation(), self.config.liveness.heartbeat, now) {
            if let Ok(bytes) = beat.encode() {
                out.push(Effect::Send { peer, bytes });
            }
        }
        if let Some(company) = &company {
            self.watched.keepers = !company.keepers.is_empty();
            self.watched.alone = self.is_alone(company);
            self.watched.unwatched = self.unwatched(company);
        }
        if self.watched.alone {
            self.voices.loud(&self.voices.base(), now);
        }
        for site in std::mem::take(&mut self.watched.unwatched) {
            self.call_roll(&Audience::Site(site.clone()), now);
            self.watched.unwatched.push(site);
        }
    }

    fn company(&self) -> Company {
        let mut company = Company::default();
        let keeper = self.claims.is_keeper();
        let there = |node: &&NodeView| {
            node.described && node.id != self.me && matches!(node.liveness, Liveness::Alive | Liveness::Suspect)
        };
        for node in self.nodes.values().filter(there) {
            match (keeper, node.is_keeper()) {
                (true, true) => company.peers.insert(node.id),
                (true, false) => company.sites.entry(node.site.clone()).or_default().insert(node.id),
                (false, true) => company.keepers.insert(node.id),
                (false, false) => node.site == self.claims.site && company.peers.insert(node.id),
            };
        }
        company
    }

    fn wanted(&self, company: &Company) -> BTreeSet<NodeId> {
        let connected = |nodes: &BTreeSet<NodeId>| -> BTreeSet<NodeId> {
            nodes.iter().filter(|node| self.peers.contains_key(*node)).copied().collect()
        };
        let groups = [&company.peers].into_iter().chain(company.sites.values());
        groups.flat_map(|nodes| beat::beside(&self.me, &connected(nodes))).collect()
    }

    /// Whether too few would miss this node.
    fn is_alone(&self, company: &Company) -> bool {
        let told = |nodes: &BTreeSet<NodeId>| nodes.iter().filter(|node| self.partners.tells(node)).count();
        if !company.peers.is_empty() {
            return told(&company.peers) < company.peers.len().min(PARTNERS);
        }
        if self.claims.is_keeper() {
            return self.partners.told().next().is_none();
        }
        told(&company.keepers) == 0
    }

    /// Sites whose nodes would be missed by no keeper, nor miss one.
    fn unwatched(&self, company: &Company) -> Vec<Label> {
        if !company.peers.is_empty() {
            return Vec::new();
        }
        let sites = company.sites.iter();
        sites
            .filter(|(_, nodes)| !nodes.iter().any(|node| self.partners.tells(node)))
            .map(|(site, _)| site.clone())
            .collect()
    }

    /// Who hears what concerns a member; nobody, if it is of another site.
    pub(crate) fn audience_of(&self, node: &NodeId) -> Option<Audience> {
        let claims = &self.state.members().get(node)?.claims;
        if !self.concerns(claims) {
            return None;
        }
        let of_site = self.claims.is_keeper() && !claims.is_keeper();
        Some(if of_site { Audience::Site(claims.site.clone()) } else { self.voices.base() })
    }

    /// Somebody is missed, or is back: everybody is to speak.
    pub(crate) fn call_about(&mut self, node: &NodeId, now: Mono) {
        if let Some(audience) = self.audience_of(node) {
            self.call_roll(&audience, now);
        }
    }

    /// Somebody new has come, or one that knows nothing of the others: this node speaks for a while.
    pub(crate) fn welcome(&mut self, node: &NodeId, now: Mono) {
        self.watched.stale = true;
        if let Some(audience) = self.audience_of(node) {
            self.voices.loud(&audience, now);
        }
    }

    /// Everybody there is to speak.
    pub(crate) fn call_roll(&mut self, audience: &Audience, now: Mono) {
        self.voices.call(audience, now);
        self.roll(audience, now);
    }

    /// A member has called the roll, to all or to a site.
    pub(crate) fn on_call(&mut self, site: Option<Label>, now: Mono) {
        sometimes!("a roll call is answered");
        let audience = match site {
            Some(site) if self.claims.is_keeper() => Audience::Site(site),
            _ => self.voices.base(),
        };
        self.voices.loud(&audience, now);
        self.roll(&audience, now);
    }

    fn roll(&mut self, audience: &Audience, now: Mono) {
        if !self.voices.is_new_roll(audience, now) {
            return;
        }
        let (nodes, site) = (&self.nodes, &self.claims.site);
        let hears = |node: &NodeView| match audience {
            Audience::All => true,
            Audience::Site(of) => node.site == *of || (node.is_keeper() && of == site),
        };
        self.members.roll_call(now, |id| nodes.get(id).is_some_and(|node| node.described && hears(node)));
    }

    /// A peer's beat.
    pub(crate) fn on_beat(&mut self, now: Now, from: NodeId, bytes: &[u8], out: &mut Vec<Effect>) {
        let Ok(beat) = Beat::decode(bytes) else { return self.count("frame_malformed") };
        self.remind(now.mono, from, beat.0, out);
        self.partners.heard(from, beat, now.mono);
        self.members.beat(&from, beat.0, beat.1, now.mono);
    }
}
