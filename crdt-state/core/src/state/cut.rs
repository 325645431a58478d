//! Revoked members: what of theirs does not count is not in the documents, whatever came first.
//!
//! A change of a revoked member beyond its cut is refused. But nodes that had not heard of the revocation may
//! have built upon it, and what honest nodes wrote must not be lost. So it is accepted after all as the ancestor of
//! a change that counts. What a document holds is then a function of the changes and the revocations, in
//! whatever order they arrive: *the changes that count, and their ancestors*.
//!
//! - A change that does not count is held apart ([`State::held`]), bounded, until one that counts builds upon it.
//! - When a revocation becomes known, the documents that its subject wrote to are rewritten without what does
//!   not count any more ([`State::recut`]).

use super::{State, admit::Verdict};
use crate::{
    document::Document,
    entity::{Entity, Tip},
    error::{Refusal, StateError},
    layout,
    orphans::Want,
    reduce::{self, Source},
    registers,
    store::Table,
};
use holm_types::{
    ActorId, Digest, DocId, DocKind, NodeId,
    change::{SignedChange, Value, keys_of},
    distrust::Distrust,
    revocation::{Cut, Revocation, SignedPart, Signer},
};
use smol_str::SmolStr;
use std::{collections::BTreeSet, sync::Arc};

impl State {
    /// Judges a change, and if it builds upon changes that do not count by themselves, applies these with it.
    pub(super) fn admit(&mut self, signed: &SignedChange) -> Result<Verdict, Refusal> {
        match self.admit_as(signed, false)? {
            Verdict::Waits(Want::Change(missing)) if self.held.len() > 0 => self.admit_with_held(signed, missing),
            verdict => Ok(verdict),
        }
    }

    fn admit_with_held(&mut self, signed: &SignedChange, missing: Digest) -> Result<Verdict, Refusal> {
        let mut ancestors = match self.held_ancestors(signed, missing)? {
            Ok(ancestors) => ancestors,
            Err(missing) => return Ok(Verdict::Waits(Want::Change(missing))),
        };
        ancestors.sort_by_key(|change| change.change.start_op);
        let admitted = self.admit_line(&ancestors, signed);
        if !matches!(admitted, Ok(Verdict::Applied | Verdict::Known)) {
            // It vouched for nothing: what was applied for its sake goes again.
            self.recut(&signed.doc)?;
        }
        admitted
    }

    fn admit_line(&mut self, ancestors: &[SignedChange], signed: &SignedChange) -> Result<Verdict, Refusal> {
        for ancestor in ancestors {
            match self.admit_as(ancestor, true)? {
                Verdict::Applied | Verdict::Known => self.counters.add("cut_but_built_upon", 1),
                Verdict::Waits(_) | Verdict::Cut => return Err(Refusal::Ancestry("it builds upon what is not valid")),
            }
        }
        for ancestor in ancestors {
            self.held.take(ancestor);
        }
        self.admit_as(signed, false)
    }

    /// The held changes among a change's ancestors that are not in the document; or one that is not here at all.
    fn held_ancestors(
        &mut self,
        signed: &SignedChange,
        missing: Digest,
    ) -> Result<Result<Vec<SignedChange>, Digest>, Refusal> {
        let document = self.load(&signed.doc)?;
        let mut open = vec![missing];
        open.extend(&signed.change.deps);
        let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
        let mut absent = None;
        while let Some(hash) = open.pop() {
            if document.graph().get(&hash).is_some() || !seen.insert(hash) {
                continue;
            }
            match self.held.beside(signed, hash) {
                Some(held) => {
                    open.extend(&held.change.deps);
                    found.push(held.clone());
                }
                None => {
                    absent = Some(hash);
                    break;
                }
            }
        }
        self.unload(signed.doc, document);
        Ok(absent.map_or(Ok(found), Err))
    }

    /// Takes in the revocations that a document says, and what follows from them.
    pub(super) fn hear_revocations(&mut self, doc: &DocId, keys: &[SmolStr]) -> Result<(), Refusal> {
        let mut whole = false;
        for part in self.parts_in(doc, keys) {
            whole |= self.revocations.hear(part);
        }
        if whole { self.enforce() } else { Ok(()) }
    }

    fn parts_in(&self, doc: &DocId, keys: &[SmolStr]) -> Vec<SignedPart> {
        let Some(entity) = self.docs.get(doc) else { return Vec::new() };
        let revocations = keys.iter().filter(|key| key.starts_with(keys_of::REVOCATIONS));
        let values = revocations.filter_map(|key| entity.registers.get(&**key)).flatten();
        values
            .filter_map(|register| match &register.value {
                Value::Bytes(bytes) => SignedPart::decode(bytes).ok(),
                _ => None,
            })
            .collect()
    }

    /// At the start: all that is said, without consequences; these are in the store already.
    pub(super) fn recall_revocations(&mut self) {
        let docs: Vec<(DocId, Vec<SmolStr>)> = self
            .docs
            .iter()
            .filter(|(doc, _)| doc.kind() == DocKind::Revocation)
            .map(|(doc, entity)| (*doc, entity.registers.keys().cloned().collect()))
            .collect();
        for (doc, keys) in docs {
            for part in self.parts_in(&doc, &keys) {
                self.revocations.hear(part);
            }
        }
        self.distrust_changed = !self.revocations.distrust().is_empty();
    }

    /// There are new revocations: who is a member, and what counts, is looked at again.
    fn enforce(&mut self) -> Result<(), Refusal> {
        self.distrust_changed = true;
        for id in self.members.review(&self.revocations)? {
            self.changed.insert(DocId::node(&id));
            self.changed_members.insert(id);
        }
        let docs: Vec<DocId> =
            self.docs.iter().filter(|(doc, entity)| self.is_beyond_a_cut(doc, entity)).map(|(doc, _)| *doc).collect();
        for doc in docs {
            self.recut(&doc)?;
        }
        // A revocation that does not hold any more frees what it cut.
        for change in self.held.drain() {
            self.orphans.ready(change);
        }
        Ok(())
    }

    fn is_beyond_a_cut(&self, doc: &DocId, entity: &Entity) -> bool {
        entity.tips.iter().any(|(actor, tip)| {
            let author = self.authors.get(actor).and_then(|author| self.members.get(author));
            author.is_some_and(|member| member.revoked) && !self.counts(doc, actor, tip.seq)
        })
    }

    fn counts(&self, doc: &DocId, actor: &ActorId, seq: u64) -> bool {
        let author = self.authors.get(actor).and_then(|author| self.members.get(author));
        doc.kind() == DocKind::Revocation || self.revocations.counts(author, None, doc, actor, seq)
    }

    /// Rewrites a document without the changes that do not count and that nothing that counts builds upon.
    fn recut(&mut self, doc: &DocId) -> Result<(), Refusal> {
        let log = self.log(doc)?;
        let mut kept = BTreeSet::new();
        let mut needed: BTreeSet<Digest> = BTreeSet::new();
        // Numbers grow along the graph: from the last to the first, whatever builds upon a change came before it.
        for signed in log.iter().rev() {
            let actor = signed.actor().map_err(StateError::from)?;
            if needed.contains(&signed.hash) || self.counts(doc, actor, signed.change.seq) {
                kept.insert(signed.hash);
                needed.extend(&signed.change.deps);
            }
        }
        if kept.len() == log.len() {
            return Ok(());
        }
        self.counters.add("changes_cut", log.len() - kept.len());
        let (kept, cut): (Vec<_>, Vec<_>) = log.into_iter().partition(|signed| kept.contains(&signed.hash));
        for signed in &cut {
            let actor = signed.actor().map_err(StateError::from)?;
            self.overlay.put(Table::Changes, layout::change_key(doc, actor, signed.change.seq), None);
        }
        let keys: BTreeSet<SmolStr> =
            kept.iter().chain(&cut).flat_map(|signed| &signed.change.ops).map(|op| SmolStr::from(&op.key)).collect();
        let app = self.views.tasks_of(doc).map(|of| of.app);
        self.rewrite(doc, &kept, &keys)?;
        self.reduce_again(doc, &keys);
        self.note_digest(doc);
        app.into_iter().for_each(|app| self.note_ends(&app));
        self.overlay.need_sync();
        Ok(())
    }

    /// Makes a document of `kept` alone. `keys` are all that it ever had.
    fn rewrite(&mut self, doc: &DocId, kept: &[SignedChange], keys: &BTreeSet<SmolStr>) -> Result<(), Refusal> {
        self.cache.take(doc);
        let Some(old) = self.docs.remove(doc) else { return Ok(()) };
        self.ledger.remove_document(&old.scope, old.bytes);
        let document = Document::of(kept)?;
        let mut entity = Entity::new(old.scope, document.heads().to_vec());
        for signed in kept {
            let actor = *signed.actor().map_err(StateError::from)?;
            entity.bytes += signed.encode().map_err(StateError::from)?.len() as u64;
            let tip = Tip { seq: signed.change.seq, hash: signed.hash };
            let last = entity.tips.get_or_insert_with(actor, || tip);
            if last.seq < tip.seq {
                *last = tip;
            }
        }
        for actor in old.tips.keys() {
            let row = match (entity.tips.get(actor), self.authors.get(actor)) {
                (Some(tip), Some(author)) => Some(layout::actor_row(author, tip)?),
                _ => None,
            };
            self.overlay.put(Table::Actors, layout::actor_key(doc, actor), row);
        }
        for signed in kept {
            for (key, values) in registers::after(Some(&entity.registers), &signed.change)? {
                registers::set(&mut entity.registers, key, values);
            }
        }
        for key in keys {
            let row = entity.registers.get(&**key).map(|values| registers::encode(values)).transpose()?;
            self.overlay.put(Table::Views, layout::view_key(doc, key), row);
        }
        if kept.is_empty() {
            self.overlay.put(Table::Heads, doc.0.to_vec(), None);
            self.digests.remove(&entity.scope, doc);
            self.ended.forget(doc);
            return Ok(());
        }
        self.overlay.put(Table::Heads, doc.0.to_vec(), Some(layout::head_row(&entity)?));
        self.ledger.add_document(&entity.scope, entity.bytes);
        self.docs.insert(*doc, entity);
        self.cache.put(*doc, document);
        Ok(())
    }

    /// The views of a rewritten document.
    fn reduce_again(&mut self, doc: &DocId, keys: &BTreeSet<SmolStr>) {
        let source = Source { docs: &self.docs, authors: &self.authors };
        match doc.kind() {
            DocKind::App => self.views.update_app(source, doc),
            DocKind::Tasks => {
                let app = self.views.update_tasks(source, doc, keys.iter().map(SmolStr::as_str));
                self.changed.extend(app);
            }
            DocKind::Node => {
                let mut bad = 0;
                let registers = self.docs.get(doc).map(|entity| &entity.registers);
                let info = registers.and_then(|registers| reduce::node_info(registers, &mut bad));
                let node = self.members.all().keys().find(|id| DocId::node(id) == *doc).copied();
                if let Some(node) = node {
                    self.members.describe(&node, info);
                    self.changed_members.insert(node);
                }
                self.counters.add("bad_views", bad);
            }
            DocKind::Revocation | DocKind::Other(_) => {}
        }
        self.changed.insert(*doc);
        self.counters.add("bad_views", self.views.take_bad());
    }

    /// What a revocation of `subject` made here has to say for all that is known here to stay.
    pub fn cut_of(&self, subject: &NodeId) -> Vec<Cut> {
        let mut cut = Vec::new();
        for (doc, entity) in &self.docs {
            for (actor, tip) in &entity.tips {
                if self.authors.get(actor) == Some(subject) {
                    cut.push(Cut { doc: *doc, incarnation: actor.incarnation(), seq: tip.seq });
                }
            }
        }
        // Should it not fit, the latest count most.
        cut.sort_by_key(|cut| std::cmp::Reverse((cut.incarnation, cut.doc, cut.seq)));
        cut
    }

    /// The members that hold a certificate of this issuer.
    pub fn certified_by(&self, issuer: &NodeId) -> Vec<NodeId> {
        let by = |chain: &holm_types::cert::CertChain| chain.issuer().is_some_and(|claims| claims.subject == *issuer);
        let members = self.members.all().iter().filter(|(_, member)| !member.revoked && member.chains().any(by));
        members.map(|(id, _)| *id).collect()
    }

    /// The revocations that an issuer signed and that hold.
    pub fn revocations_by(&self, issuer: &NodeId) -> Vec<u64> {
        self.revocations.signed_by(issuer)
    }

    /// Who revoked a node, and what they said.
    pub fn revocations_of(&self, subject: &NodeId) -> Vec<(Signer, Revocation)> {
        self.revocations.about(subject).map(|(signer, said)| (signer.clone(), said.clone())).collect()
    }

    /// Whether somebody revoked by this state's knowledge would get in with `chain`.
    pub fn is_void(&self, chain: &holm_types::cert::CertChain) -> bool {
        self.revocations.voids(chain)
    }

    /// Who is not trusted any more, if that changed since the last call.
    pub fn take_distrust(&mut self) -> Option<Arc<Distrust>> {
        std::mem::take(&mut self.distrust_changed).then(|| self.revocations.distrust().clone())
    }

    /// Changes of revoked members that are held apart.
    pub fn held_count(&self) -> usize {
        self.held.len()
    }
}

/// The keys and values of a document of revocations that say `parts`.
///
/// # Errors
/// A part is too long.
pub fn revocation_ops(parts: &[SignedPart]) -> Result<Vec<(String, Option<Value>)>, StateError> {
    let op = |part: &SignedPart| {
        let bytes = part.encode()?;
        Ok((keys_of::revocation(&bytes), Some(Value::Bytes(bytes))))
    };
    parts.iter().map(op).collect()
}
