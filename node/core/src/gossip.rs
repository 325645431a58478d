//! Gossip: presence and pushed changes. A hint that makes things fast; nothing depends on it.

use crate::{
    Effect, Node,
    node::{Incoming, NodeError},
};
use holm_mesh_core::{healer::is_relayed, topics::Carries};
use holm_state::Outcome;
use holm_types::{
    DocId, Label, Mono, NodeId, Now, Scope,
    cert::CertChain,
    change::{Value, keys_of},
    event::EventKind,
    parcel,
    presence::{MAX_ADDRESSES, Presence},
    sometimes,
    view::Liveness,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Changes that wait for verification, at most.
const MAX_UNVERIFIED: usize = 8192;
/// Changes verified in one batch, at most.
const VERIFY_BATCH: usize = 256;
/// Repair brought documents: more of them, about the same apps, may be on their way.
const MERGE_GOES_ON: Duration = Duration::from_millis(750);
/// How soon a gap is repaired.
const GAP_REPAIR: Duration = Duration::from_millis(250);

impl Node {
    /// Writes a change of this node's own: applied at once, published when it is durable.
    pub(crate) fn write(
        &mut self,
        scope: &Scope,
        doc: DocId,
        ops: Vec<(String, Option<Value>)>,
        now: Now,
    ) -> Result<(), holm_state::StateError> {
        let change = self.state.write(scope, doc, ops, now.wall)?;
        if let Ok(bytes) = change.encode() {
            self.tell_of_the_ended(scope, &doc, &bytes);
            self.journal.publish(self.topics.of(scope), bytes);
        }
        Ok(())
    }

    /// Keeps this node's own document in step with what it is, and with the life that it is in.
    pub(crate) fn describe_self(&mut self, now: Now) -> Result<(), NodeError> {
        let doc = DocId::node(&self.me);
        let cert = Value::Bytes(self.config.chain.encode()?);
        let info = Value::Text(serde_json::to_string(&self.config.info).unwrap_or_default().into());
        let current = |key: &str| {
            let registers = self.state.registers(&doc)?;
            Some(registers.get(key)?.first()?.value.clone())
        };
        let unknown = self.state.wrote_as(&doc).is_some_and(|last| self.state.incarnation().is_far_beyond(last));
        if unknown {
            sometimes!("a life that began long after the last leaves a word");
        }
        let wanted = [(keys_of::CERT, cert), (keys_of::INFO, info)];
        let ops: Vec<_> = wanted
            .into_iter()
            .filter(|(key, value)| current(key).as_ref() != Some(value) || (unknown && *key == keys_of::INFO))
            .map(|(key, value)| (key.to_owned(), Some(value)))
            .collect();
        match self.state.add_member(self.config.chain.clone(), now.wall) {
            // It runs on, to tell its owner.
            Ok(_) | Err(holm_state::StateError::Revoked) => {}
            Err(error) => return Err(error.into()),
        }
        if !ops.is_empty() && self.may_write(now).is_ok() {
            self.write(&self.claims.home(), doc, ops, now)?;
        }
        Ok(())
    }

    /// Where this node listens is part of its presence, so it speaks at once.
    pub(crate) fn on_listening(&mut self, now: Now, address: String) {
        if !self.listeners.contains(&address) && self.listeners.len() < MAX_ADDRESSES {
            self.listeners.push(address);
            self.voices.hurry(now.mono);
            self.list_addresses();
        }
    }

    fn list_addresses(&mut self) {
        let found = self.announced.iter().flatten().filter(|address| !is_relayed(address));
        let mut list: Vec<String> = found.cloned().collect();
        list.extend(self.listeners.iter().filter(|address| !list.contains(address)).cloned().collect::<Vec<_>>());
        list.truncate(MAX_ADDRESSES);
        self.listening = list;
    }

    /// What its network found out about where it can be reached takes the place of where it listens.
    pub(crate) fn on_announce(&mut self, now: Now, mut addresses: Vec<String>) {
        addresses.truncate(MAX_ADDRESSES);
        if self.announced.as_ref() != Some(&addresses) {
            self.announced = Some(addresses);
            self.voices.hurry(now.mono);
            self.list_addresses();
        }
    }

    /// Where others are told to look for this node.
    pub(crate) fn announced(&self) -> &[String] {
        self.announced.as_ref().unwrap_or(&self.listening)
    }

    pub(crate) fn on_gossip(&mut self, now: Now, source: NodeId, topic: &str, bytes: &[u8], out: &mut Vec<Effect>) {
        match self.topics.carries(topic) {
            Some(Carries::Presence(site)) => self.on_presence(now, source, Some(site), bytes, out),
            Some(Carries::PresenceToAll) => self.on_presence(now, source, None, bytes, out),
            Some(Carries::Changes(scope)) => self.on_parcel(&scope, bytes),
            None => self.count("gossip_unknown_topic"),
        }
    }

    fn on_parcel(&mut self, scope: &Scope, bytes: &[u8]) {
        let Ok(changes) = parcel::unpack(bytes) else { return self.count("gossip_malformed") };
        if changes.len() > 1 {
            sometimes!("changes come together");
        }
        for change in changes {
            match change.scope == *scope {
                true => self.enqueue(Incoming { change, repair_from: None }),
                false => self.count("gossip_of_another_scope"),
            }
        }
    }

    /// What a node says of itself to the nodes of a site, or to all.
    fn on_presence(&mut self, now: Now, source: NodeId, site: Option<Label>, bytes: &[u8], out: &mut Vec<Effect>) {
        let Ok(presence) = Presence::decode(bytes) else { return self.count("presence_malformed") };
        if presence.node != source || source == self.me {
            return self.count("presence_of_another");
        }
        if let Some(chain) = presence.chain.clone()
            && self.introduce(now, source, chain).is_none()
        {
            return self.count("presence_of_another");
        }
        let Some(member) = self.state.members().get(&source).filter(|member| !member.revoked) else {
            // Until its certificate is known, by an introduction or by repair, it is a stranger.
            return self.count("presence_of_unknown");
        };
        if site.is_none() && !member.claims.is_keeper() && self.concerns(&member.claims) {
            // It says so here more seldom than at its site, where this node hears it.
            return;
        }
        // Only keepers call all.
        let calls = presence.calls && (site.is_some() || member.claims.is_keeper());
        let addresses = presence.addresses.clone();
        // One of another site that speaks here speaks to all.
        let near = self.is_near(&member.claims) || !self.concerns(&member.claims);
        let keeper = member.claims.is_keeper();
        let before = self.members.liveness(&source);
        self.members.expect(source, near, now.mono);
        if before.is_none() {
            self.view_node(&source);
        }
        let life = presence.incarnation;
        self.remind(now.mono, source, life, out);
        let is_new = self.members.presence(&source).is_none_or(|last| last.incarnation != life);
        if self.members.heard(presence, now.mono) {
            if is_new {
                self.brief.news();
                self.welcome(&source, now.mono);
            }
            if calls {
                self.on_call(site, now.mono);
            }
            if let Some(view) = self.nodes.get_mut(&source) {
                view.life = Some(life);
            }
            let learnt = addresses.is_some_and(|told| self.healer.announced(source, &told, now.mono));
            if learnt && keeper {
                self.healer.anchor(source);
            }
            self.save_peers_if(learnt, now.mono);
            // One that is heard all the time and cannot be dialled, behind a NAT say, is no news.
            if before != Some(Liveness::Alive) {
                self.healer.sighted(&source, now.mono);
            }
        }
    }

    /// Two members that only know a third one in common learn of each other here.
    fn introduce(&mut self, now: Now, source: NodeId, chain: CertChain) -> Option<()> {
        if self.state.members().get(&source).is_some_and(|member| member.chain == chain) {
            return Some(());
        }
        let subject = chain.verify(&self.config.mesh).ok()?.subject;
        sometimes!("a member introduces itself by heartbeat");
        (subject == source && self.state.add_member(chain, now.wall).is_ok()).then(|| self.note_members(now.mono))
    }

    pub(crate) fn enqueue(&mut self, incoming: Incoming) {
        if self.unverified.len() >= MAX_UNVERIFIED {
            return self.count("changes_dropped");
        }
        self.unverified.push_back(incoming);
    }

    /// Hands the next batch to be verified, one at a time.
    pub(crate) fn verify_next(&mut self, out: &mut Vec<Effect>) {
        if !self.verifying.is_empty() || self.unverified.is_empty() {
            return;
        }
        let take = self.unverified.len().min(VERIFY_BATCH);
        let batch: Vec<Incoming> = self.unverified.drain(..take).collect();
        out.push(Effect::Verify(batch.iter().map(|incoming| incoming.change.clone()).collect()));
        self.verifying.push_back(batch);
    }

    pub(crate) fn on_verified(&mut self, now: Now, verdicts: &[bool], out: &mut Vec<Effect>) {
        let Some(batch) = self.verifying.pop_front() else { return };
        let mut merged: BTreeMap<NodeId, usize> = BTreeMap::new();
        let life = self.state.incarnation();
        for (incoming, good) in batch.into_iter().zip(verdicts) {
            let from = incoming.repair_from;
            if !good {
                self.count("bad_signatures");
                continue;
            }
            let doc = incoming.change.doc;
            match self.state.apply(incoming.change, now.wall) {
                Outcome::Applied { released } => {
                    // The next change may settle it, and what was lost is told all the same.
                    if self.state.apps().get(&doc).is_some_and(|app| !app.conflicts.is_empty()) {
                        self.tell_conflicts(now.wall, &BTreeSet::from([doc]), out);
                    }
                    if let Some(peer) = from {
                        *merged.entry(peer).or_default() += 1 + released;
                    }
                }
                Outcome::Known | Outcome::NoRoom => {}
                Outcome::Orphan => {
                    sometimes!("a change waits for what it follows");
                    self.hurry_repair(now.mono);
                }
                Outcome::Refused(why) => {
                    let event = self.event(now.wall, EventKind::Rejected, None, None, why);
                    out.push(event);
                }
            }
        }
        if self.state.incarnation() != life && self.describe_self(now).is_err() {
            self.count("writes_failed");
        }
        if !merged.is_empty() {
            self.merging.hold(now.mono, MERGE_GOES_ON);
        }
        for (peer, count) in merged {
            let detail = format!("{count} changes from {}", self.name_of(&peer));
            out.push(self.event(now.wall, EventKind::Merged, None, None, detail));
        }
    }

    /// Something is missing: the next round comes soon.
    pub(crate) fn hurry_repair(&mut self, now: Mono) {
        self.repair_at = self.repair_at.min(now.after(GAP_REPAIR));
    }
}
