//! Peers, the peer store, dials and anti-entropy.

use crate::{
    Effect, Node,
    node::{Incoming, Peer},
};
use holm_mesh_core::{
    beat::Beat,
    lease,
    reminder::Reminder,
    repair::{self, DocDigest, Message, Replica},
};
use holm_state::State;
use holm_types::{
    ActorId, Digest, DocId, Mono, NodeId, Now, Scope, Sorted,
    branch::{Branch, FAN_OUT},
    cert::{CertChain, Claims},
    change::SignedChange,
    event::EventKind,
    sometimes,
    view::Liveness,
};
use rand::{RngExt, seq::IteratorRandom};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Heartbeats for newcomers are so far apart at least.
const NEWCOMERS: Duration = Duration::from_millis(250);
/// An answer to the opening of a round takes no longer, or there is none.
const CROSSING: Duration = Duration::from_secs(2);
/// A repair that goes on waits no longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Key of the peer store among the store's local rows.
const PEERS_KEY: &str = "peers";

struct Documents<'a>(&'a State);

impl Replica for Documents<'_> {
    fn scopes(&self) -> Vec<Scope> {
        self.0.scopes()
    }
    fn root(&self, scope: &Scope) -> Digest {
        self.0.digest(scope)
    }
    fn branches(&self, scope: &Scope, branch: &Branch) -> Option<[DocDigest; FAN_OUT]> {
        self.0.branches(scope, branch)
    }
    fn wants(&self, scope: &Scope, doc: &DocId) -> bool {
        !self.0.is_over(doc) && self.0.has_room_for(scope, doc)
    }
    fn documents(&self, scope: &Scope, branch: &Branch, limit: usize) -> Vec<(DocId, DocDigest)> {
        self.0.documents(scope, branch, limit)
    }
    fn vector(&self, doc: &DocId) -> Vec<(ActorId, u64)> {
        self.0.vector(doc)
    }
    fn changes_since(
        &self,
        scope: &Scope,
        doc: &DocId,
        vector: &[(ActorId, u64)],
        max_bytes: usize,
    ) -> (Vec<Vec<u8>>, bool) {
        // A peer is only given what it may hold, whatever document it names.
        if self.0.scope_of(doc) != Some(scope) {
            return (Vec::new(), false);
        }
        self.0.changes_since(doc, vector, max_bytes).unwrap_or_default()
    }
}

impl Node {
    pub(crate) fn on_peer_up(
        &mut self,
        now: Now,
        node: NodeId,
        chain: CertChain,
        address: &str,
        relayed: bool,
        out: &mut Vec<Effect>,
    ) {
        let claims = chain.claims().ok().filter(|claims| claims.subject == node).cloned();
        if self.state.is_void(&chain) {
            return self.count("peer_revoked");
        }
        // A chain that is known is not verified again: a keeper that restarts meets hundreds.
        let Some(claims) = claims.filter(|_| self.state.add_member(chain, now.wall).is_ok()) else {
            return self.count("peer_without_certificate");
        };
        self.note_members(now.mono);
        let learnt = self.healer.learn(node, &[], now.mono);
        self.save_peers_if(learnt, now.mono);
        self.healer.connected(&node);
        if claims.is_keeper() {
            self.healer.anchor(node);
        }
        let name = claims.name.clone();
        self.peers.insert(node, Peer { relayed, claims, opened: Sorted::new(), asked: Sorted::new(), reminded: None });
        // It may show an older certificate than is known.
        self.note_renewal(&node);
        self.open_rounds(now.mono, node, out);
        self.tell_what_has_ended(node, out);
        self.holder.hurry(crate::lease::clock(now), &node);
        // The newcomer should hear soon who is here. Not for each newcomer anew: when hundreds come at
        // once, as many heartbeats from everyone to everyone would drown the mesh.
        self.welcome(&node, now.mono);
        let soon = self.voices.last().map_or(now.mono, |last| last.after(NEWCOMERS).max(now.mono));
        self.voices.hurry(soon);
        self.brief.news();
        let detail = format!("{name} at {address}");
        out.push(self.event(now.wall, EventKind::PeerUp, None, None, detail));
    }

    /// A relayed peer became a direct one, or the other way round, or the connection in use was lost and there was another. What
    /// was under way on it may be lost, and a round that waits for it would never end.
    pub(crate) fn on_path_changed(
        &mut self,
        now: Now,
        node: NodeId,
        address: &str,
        relayed: bool,
        out: &mut Vec<Effect>,
    ) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.relayed = relayed;
        let name = self.name_of(&node);
        let detail = format!("{name} at {address}{}", if relayed { ", over a relay" } else { ", directly" });
        out.push(self.event(now.wall, EventKind::PeerUp, None, None, detail));
        self.open_rounds(now.mono, node, out);
    }

    pub(crate) fn on_peer_down(&mut self, now: Now, node: NodeId, out: &mut Vec<Effect>) {
        self.peers.remove(&node);
        self.partners.lost(&node);
        self.watched.stale = true;
        self.healer.disconnected(&node, now.mono);
        self.members.disconnected(&node, now.mono);
        if !matches!(self.members.liveness(&node), None | Some(Liveness::Dead | Liveness::Left)) {
            self.call_about(&node, now.mono);
        }
        let name = self.name_of(&node);
        out.push(self.event(now.wall, EventKind::PeerDown, None, None, name));
    }

    /// Only members are dialled: a stranger on the LAN learns nothing from being discovered.
    pub(crate) fn on_discovered(&mut self, now: Now, node: NodeId, addresses: Vec<String>, out: &mut Vec<Effect>) {
        // One that was only just enrolled has no documents yet, and was told of some members.
        let known = self.state.members().contains_key(&node) || !self.healer.addresses(&node).is_empty();
        if node == self.me {
            return;
        }
        if known {
            let learnt = self.healer.learn(node, &addresses, now.mono);
            self.save_peers_if(learnt, now.mono);
        } else if self.peers.is_empty() {
            // Anybody can say that he is there, so a stranger is not remembered. But who is alone tries: the gate knows.
            out.push(Effect::Dial { peer: node, addresses });
        }
    }

    /// The peer store of the last run, and the members named at the enrolment.
    pub(crate) fn recall_peers(&mut self, now: Mono) {
        let stored =
            self.state.local_get(PEERS_KEY).ok().flatten().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let stored: Vec<(NodeId, Vec<String>)> = stored.unwrap_or_default();
        for (node, addresses) in self.config.peers.clone().into_iter().chain(stored) {
            if node != self.me {
                self.healer.learn(node, &addresses, now);
            }
        }
    }

    /// The peer store is to be written, soon, if something was learnt.
    pub(crate) fn save_peers_if(&mut self, learnt: bool, now: Mono) {
        if learnt {
            self.saving_peers.request(now);
        }
    }

    /// Dials who is missing, and keeps the peer store.
    pub(crate) fn heal(&mut self, now: Now, out: &mut Vec<Effect>) {
        for dial in self.healer.tick(now.mono) {
            out.push(Effect::Dial { peer: dial.peer, addresses: dial.addresses });
        }
        if self.saving_peers.take(now.mono)
            && let Ok(bytes) = serde_json::to_vec(&self.healer.known())
        {
            self.state.local_put(PEERS_KEY, Some(bytes), false);
        }
    }

    /// A round of anti-entropy with one connected peer, when it is time; for a keeper, one with another keeper too: among the
    /// nodes of many sites it would seldom be chosen, and of most sites nobody else knows.
    pub(crate) fn repair_round(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.repair_at > now.mono {
            return;
        }
        let jitter = self.rng.random_range(0.75..1.25);
        self.repair_at = now.mono.after(self.config.repair_every.mul_f64(jitter));
        let Some(peer) = self.peers.keys().copied().choose(&mut self.rng) else { return };
        self.open_rounds(now.mono, peer, out);
        if self.claims.is_keeper() {
            let others = self.peers.iter().filter(|(node, other)| **node != peer && other.claims.is_keeper());
            if let Some(keeper) = others.map(|(node, _)| *node).choose(&mut self.rng) {
                self.open_rounds(now.mono, keeper, out);
            }
        }
    }

    /// Rounds about everything that a connected peer holds, too.
    fn open_rounds(&mut self, now: Mono, peer: NodeId, out: &mut Vec<Effect>) {
        let Some(claims) = self.peers.get(&peer).map(|peer| &peer.claims) else { return };
        if self.shares_all_with(claims) {
            let opening = repair::open_all(&Documents(&self.state));
            return self.open_with(now, peer, &opening, out);
        }
        for scope in self.shared_with(claims) {
            self.open_round(now, peer, &scope, out);
        }
    }

    fn shares_all_with(&self, peer: &Claims) -> bool {
        self.claims.is_keeper() && peer.is_keeper()
    }

    /// The scopes that a peer holds, too, where they are few.
    fn shared_with(&self, peer: &Claims) -> BTreeSet<Scope> {
        let own = [Scope::Mesh, Scope::Site(self.claims.site.clone()), Scope::Site(peer.site.clone())];
        own.into_iter().filter(|scope| self.shares(peer, scope)).collect()
    }

    pub(crate) fn shares(&self, peer: &Claims, scope: &Scope) -> bool {
        peer.holds(scope) && self.claims.holds(scope)
    }

    fn open_round(&mut self, now: Mono, peer: NodeId, scope: &Scope, out: &mut Vec<Effect>) {
        let opening = repair::open(&Documents(&self.state), scope);
        self.open_with(now, peer, &opening, out);
    }

    fn open_with(&mut self, now: Mono, peer: NodeId, opening: &Message, out: &mut Vec<Effect>) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.opened.insert(opening.scope().cloned(), now);
        }
        self.send(peer, opening, out);
    }

    /// Two that meet both open a round, and one is enough: it brings to each what it lacks. Of two that cross on their way
    /// that of the node with the smaller id goes on.
    fn crosses_ours(&mut self, now: Mono, from: NodeId, message: &Message) -> bool {
        let me = self.me;
        let Some(peer) = self.peers.get_mut(&from) else { return false };
        let about = message.scope().cloned();
        if !matches!(message, Message::Root { .. } | Message::All { .. }) {
            peer.opened.remove(&about);
            return false;
        }
        let waits = peer.opened.get(&about).is_some_and(|at| now.since(*at) < CROSSING);
        if waits && me < from {
            sometimes!("two rounds cross");
        }
        waits && me < from
    }

    pub(crate) fn on_frame(&mut self, now: Now, from: NodeId, bytes: &[u8], out: &mut Vec<Effect>) {
        let Some(peer) = self.peers.get(&from) else { return self.count("frame_of_unknown_peer") };
        if Beat::is_marked(bytes) {
            return self.on_beat(now, from, bytes, out);
        }
        if Reminder::is_marked(bytes) {
            return self.on_reminder(now, bytes);
        }
        if lease::Message::is_marked(bytes) {
            return self.on_lease_frame(now, from, bytes, out);
        }
        let shared = |message: &Message| match message.scope() {
            Some(scope) => self.shares(&peer.claims, scope),
            None => self.shares_all_with(&peer.claims),
        };
        let message = match Message::decode(bytes) {
            Ok(message) if shared(&message) => message,
            Ok(_) => return self.count("frame_of_another_scope"),
            Err(_) if self.on_renewal(now, from, bytes, out) => return,
            Err(_) => return self.count("frame_malformed"),
        };
        if let Message::Changes { scope, changes, more } = message {
            return self.on_changes(now.mono, from, scope, &changes, more);
        }
        if self.crosses_ours(now.mono, from, &message) {
            return;
        }
        let answers = repair::answer(&Documents(&self.state), &message);
        for answer in &answers {
            self.note_asked(now.mono, from, answer);
            self.send(from, answer, out);
        }
    }

    fn note_asked(&mut self, now: Mono, of: NodeId, message: &Message) {
        if let (Message::Want { scope, .. }, Some(peer)) = (message, self.peers.get_mut(&of)) {
            peer.asked.insert(scope.clone(), now);
        }
    }

    /// What has more to come goes on after a pause as long as this took to come: however slow the link, half of the time it is
    /// free for all else.
    fn on_changes<B: AsRef<[u8]>>(&mut self, now: Mono, from: NodeId, scope: Scope, changes: &[B], more: bool) {
        let asked = self.peers.get_mut(&from).and_then(|peer| peer.asked.remove(&scope));
        let took = asked.map_or(Duration::ZERO, |asked| now.since(asked)).min(LONGEST_PAUSE);
        for bytes in changes {
            match SignedChange::decode(bytes.as_ref()) {
                Ok(change) if change.scope == scope => {
                    self.enqueue(Incoming { change, repair_from: Some(from) });
                }
                _ => self.count("changes_malformed"),
            }
        }
        if more && !changes.is_empty() {
            let due = self.resume.entry((from, scope)).or_insert(now);
            *due = (*due).max(now.after(took));
        }
    }

    /// Goes on with the rounds that had more to send, now that what they sent is applied.
    pub(crate) fn resume_rounds(&mut self, now: Mono, out: &mut Vec<Effect>) {
        if self.resume_deadline().is_none_or(|due| due > now) {
            return;
        }
        let (due, later) = std::mem::take(&mut self.resume).into_iter().partition(|(_, due)| *due <= now);
        self.resume = later;
        let due: BTreeMap<(NodeId, Scope), Mono> = due;
        for (peer, scope) in due.into_keys() {
            if self.peers.contains_key(&peer) {
                sometimes!("a repair goes on in another round");
                self.open_round(now, peer, &scope, out);
            }
        }
    }

    /// When the next round goes on; not before what was sent is applied.
    pub(crate) fn resume_deadline(&self) -> Option<Mono> {
        let applied = self.unverified.is_empty() && self.verifying.is_empty();
        self.resume.values().min().copied().filter(|_| applied)
    }

    fn send(&mut self, peer: NodeId, message: &Message, out: &mut Vec<Effect>) {
        match message.encode() {
            Ok(bytes) => out.push(Effect::Send { peer, bytes }),
            Err(_) => self.count("repair_unencodable"),
        }
    }
}
