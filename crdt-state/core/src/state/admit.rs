//! Taking in a change: is it known, well formed, allowed, does it follow; then apply, and
//! queue its rows.

use super::{Outcome, State};
use crate::{
    authority::{self, Standing},
    document::Document,
    entity::{Entity, Tip},
    error::{Refusal, StateError},
    layout,
    orphans::Want,
    reduce::{self, Source},
    registers,
    store::Table,
    validate::{self, Ancestry},
    wire,
};
use holm_types::{
    ActorId, Digest, DocId, DocKind, Incarnation, Wall,
    cert::CertChain,
    change::{MAX_CHANGE_BYTES, SignedChange, keys_of},
};
use std::{collections::BTreeSet, time::Duration};

/// A date this far ahead of this node's clock is counted: one of the two clocks is wrong.
const FUTURE: Duration = Duration::from_secs(300);

/// What [`State::admit`] found.
pub(super) enum Verdict {
    Applied,
    Known,
    Waits(Want),
}

/// What [`State::judge_past`] found.
enum Past {
    /// It follows; its document is loaded.
    Follows(Document),
    /// A change that it depends on has not arrived.
    Misses(Digest),
}

impl State {
    /// Takes in a change whose signature has been verified ([`crate::verify_batch`]).
    pub fn apply(&mut self, change: SignedChange, now: Wall) -> Outcome {
        match self.admit(&change) {
            Ok(Verdict::Applied) => {
                if change.change.time > now.after(FUTURE).0 {
                    self.counters.add("future_dated", 1);
                }
                self.notice_own(&change);
                Outcome::Applied { released: self.release(now) }
            }
            Ok(Verdict::Known) => {
                self.counters.add("known", 1);
                Outcome::Known
            }
            Ok(Verdict::Waits(want)) => {
                if !self.orphans.contains(&change.hash) {
                    self.counters.add("orphaned", 1);
                    self.hold(change, want);
                }
                Outcome::Orphan
            }
            Err(refusal) => self.refuse(&change, &refusal, now),
        }
    }

    /// Judges the orphans that are ready again, and those that these release in turn.
    pub(super) fn release(&mut self, now: Wall) -> usize {
        let mut released = 0;
        while let Some(orphan) = self.orphans.pop_ready() {
            match self.admit(&orphan) {
                Ok(Verdict::Applied) => {
                    self.notice_own(&orphan);
                    released += 1;
                }
                Ok(Verdict::Known) => {}
                Ok(Verdict::Waits(want)) => self.hold(orphan, want),
                Err(refusal) => {
                    self.refuse(&orphan, &refusal, now);
                }
            }
        }
        released
    }

    fn hold(&mut self, change: SignedChange, want: Want) {
        let size = change.encode().map_or(MAX_CHANGE_BYTES, |bytes| bytes.len());
        let dropped = self.orphans.hold(change, size, want);
        self.counters.add("orphans_dropped", dropped);
    }

    fn refuse(&mut self, change: &SignedChange, refusal: &Refusal, now: Wall) -> Outcome {
        let why = refusal.to_string();
        if let Some(name) = refusal.counter() {
            self.counters.add(name, 1);
        }
        // A failing store says nothing about the change: anti-entropy will bring it again.
        if !matches!(refusal, Refusal::Local(_)) {
            self.counters.add("refused", 1);
            self.quarantine.add(&mut self.overlay, change, &why, now);
        }
        Outcome::Refused(why)
    }

    /// A change of this node's that it did not know: its store is older than what it has said.
    /// Its present incarnation may have been used before, so it goes on to the next one.
    fn notice_own(&mut self, change: &SignedChange) {
        let Some(theirs) = change.change.actors.first().filter(|_| change.author == self.me) else { return };
        let later = theirs.incarnation() >= self.actor.incarnation();
        if later && !holm_types::sabotaged!("a restored disk counts on from what it knows") {
            holm_types::sometimes!("a node hears changes of its own that it had lost");
            self.counters.add("own_actor_returned", 1);
            self.begin_incarnation(self.actor.incarnation().beyond(theirs.incarnation()));
        }
    }

    pub(super) fn begin_incarnation(&mut self, incarnation: Incarnation) {
        self.actor = ActorId::new(&self.me, incarnation);
        self.overlay.put(Table::Local, layout::INCARNATION.to_vec(), Some(incarnation.0.to_be_bytes().to_vec()));
        self.overlay.need_sync();
    }

    /// Judges a change and applies it if it is valid and everything it needs is here.
    pub(super) fn admit(&mut self, signed: &SignedChange) -> Result<Verdict, Refusal> {
        let actor = *signed.actor().map_err(|_| Refusal::Form("no actor"))?;
        if self.is_known(signed, &actor)? {
            return Ok(Verdict::Known);
        }
        let change = wire::rebuild_signed(signed)?;
        let encoded = signed.encode().map_err(|_| Refusal::Form("the change is too long"))?;
        if self.docs.get(&signed.doc).is_some_and(|entity| entity.scope != signed.scope) {
            return Err(Refusal::Scope);
        }
        let chain = match authority::judge(&self.mesh, &self.members, signed)? {
            Standing::Allowed(chain) => chain,
            Standing::Stranger => return Ok(Verdict::Waits(Want::Member(signed.author))),
        };
        let document = if validate::is_current(self.docs.get(&signed.doc), &signed.change) {
            validate::judge_current(self.docs.get(&signed.doc), &signed.change)?;
            self.cache.take(&signed.doc)
        } else {
            match self.judge_past(signed)? {
                Past::Follows(document) => Some(document),
                Past::Misses(hash) => return Ok(Verdict::Waits(Want::Change(hash))),
            }
        };
        self.commit(signed, &encoded, chain)?;
        if let Some(mut document) = document {
            document.add(signed.hash, &signed.change, change)?;
            self.cache.put(signed.doc, document);
        }
        Ok(Verdict::Applied)
    }

    /// Judges a change against a document of which its author knew a part.
    fn judge_past(&mut self, signed: &SignedChange) -> Result<Past, Refusal> {
        let doc = signed.doc;
        let wire = &signed.change;
        if !self.docs.contains_key(&doc) {
            return Ok(Past::Misses(*wire.deps.first().ok_or(Refusal::Form("it follows nothing"))?));
        }
        let mut document = self.load(&doc)?;
        let Some(entity) = self.docs.get(&doc) else { return Ok(Past::Follows(document)) };
        let log = || self.read_log(&doc).map_err(Refusal::Local);
        let verdict = validate::judge_past(&mut document, entity, wire, &log);
        match verdict {
            Ok(Ancestry::Follows) => return Ok(Past::Follows(document)),
            Ok(Ancestry::Misses(hash)) => {
                self.cache.put(doc, document);
                Ok(Past::Misses(hash))
            }
            Err(refusal) => {
                self.cache.put(doc, document);
                Err(refusal)
            }
        }
    }

    fn is_known(&self, signed: &SignedChange, actor: &ActorId) -> Result<bool, StateError> {
        let Some(tip) = self.docs.get(&signed.doc).and_then(|entity| entity.tips.get(actor)) else {
            return Ok(false);
        };
        if signed.change.seq >= tip.seq {
            return Ok(signed.hash == tip.hash);
        }
        let key = layout::change_key(&signed.doc, actor, signed.change.seq);
        match self.overlay.get(Table::Changes, &key)? {
            Some(row) => Ok(layout::decode_change(&signed.doc, &row)?.hash == signed.hash),
            None => Ok(false),
        }
    }

    /// Takes a document from the cache, or reads it from the log. It must be put back.
    pub(super) fn load(&mut self, doc: &DocId) -> Result<Document, Refusal> {
        let document = match self.cache.take(doc) {
            Some(document) => document,
            None => Document::of_log(&self.read_log(doc)?)?,
        };
        let Some(entity) = self.docs.get_mut(doc) else { return Ok(document) };
        if entity.last_op.is_none() {
            entity.last_op = Some(document.graph().max_op(&entity.heads));
        }
        Ok(document)
    }

    /// The changes of a document, in causal order.
    pub(super) fn read_log(&self, doc: &DocId) -> Result<Vec<SignedChange>, StateError> {
        let mut log: Vec<SignedChange> = Vec::new();
        self.overlay.each(Table::Changes, &doc.0, |_, row| {
            log.push(layout::decode_change(doc, row)?);
            Ok::<(), StateError>(())
        })?;
        log.sort_by_key(|signed| signed.change.start_op);
        let followed: BTreeSet<&Digest> = log.iter().flat_map(|signed| &signed.change.deps).collect();
        let mut heads: Vec<Digest> =
            log.iter().map(|signed| signed.hash).filter(|hash| !followed.contains(hash)).collect();
        heads.sort_unstable();
        match self.docs.get(doc).is_none_or(|entity| entity.heads == heads) {
            true => Ok(log),
            false => Err(layout::corrupt("changes", doc, "the log does not lead to the heads")),
        }
    }

    /// Makes a valid change part of everything that is derived from documents.
    fn commit(&mut self, signed: &SignedChange, encoded: &[u8], chain: Option<CertChain>) -> Result<(), Refusal> {
        let doc = signed.doc;
        let actor = *signed.actor().map_err(StateError::from)?;
        let tip = Tip { seq: signed.change.seq, hash: signed.hash };
        let written = registers::after(self.docs.get(&doc).map(|entity| &entity.registers), &signed.change);
        let rows = written
            .iter()
            .map(|(_, values)| if values.is_empty() { Ok(None) } else { registers::encode(values).map(Some) })
            .collect::<Result<Vec<_>, StateError>>()?;
        let actor_row = layout::actor_row(&signed.author, &tip)?;
        let keys: Vec<String> = written.iter().map(|(key, _)| key.clone()).collect();

        let entity = self.docs.entry(doc).or_insert_with(|| Entity::new(signed.scope.clone(), Vec::new(), Some(0)));
        entity.follow(signed.hash, &signed.change);
        entity.tips.insert(actor, tip);
        for (key, mut values) in written {
            if let Some(old) = entity.registers.get(&key)
                && holm_types::sabotaged!("a reduction depends on the order of arrival")
            {
                values.sort_by_key(|value| !old.contains(value));
            }
            if values.is_empty() {
                entity.registers.remove(&key);
            } else {
                entity.registers.insert(key, values);
            }
        }
        let head_row = layout::head_row(entity)?;
        self.digests.set(&entity.scope, &doc, entity.digest(&doc));
        self.authors.insert(actor, signed.author);

        let log_row = layout::change_row(signed.change.start_op, encoded);
        self.overlay.put(Table::Changes, layout::change_key(&doc, &actor, tip.seq), Some(log_row));
        self.overlay.put(Table::Heads, doc.0.to_vec(), Some(head_row));
        self.overlay.put(Table::Actors, layout::actor_key(&doc, &actor), Some(actor_row));
        for (key, row) in keys.iter().zip(rows) {
            self.overlay.put(Table::Views, layout::view_key(&doc, key), row);
        }
        if let Some(chain) = chain {
            self.learn(chain)?;
        }
        self.reduce(signed, &keys);
        self.counters.add("applied", 1);
        self.orphans.wake(&Want::Change(signed.hash));
        Ok(())
    }

    fn reduce(&mut self, signed: &SignedChange, keys: &[String]) {
        let doc = signed.doc;
        let source = Source { docs: &self.docs, authors: &self.authors };
        let mut bad = 0;
        match doc.kind() {
            DocKind::Node if keys.iter().any(|key| key == keys_of::INFO) => {
                let info = self.docs.get(&doc).and_then(|entity| reduce::node_info(&entity.registers, &mut bad));
                self.members.describe(&signed.author, info);
            }
            DocKind::App => self.views.update_app(source, &doc),
            DocKind::Tasks => {
                let app = self.views.update_tasks(source, &doc, keys.iter().map(String::as_str));
                self.changed.extend(app);
            }
            DocKind::Node | DocKind::Other(_) => {}
        }
        self.changed.insert(doc);
        self.counters.add("bad_views", bad + self.views.take_bad());
    }
}
