//! Taking in a change: is it known, well formed, allowed, does it follow; then apply, and
//! queue its rows.

use super::{Outcome, State};
use crate::{
    authority::{self, Standing},
    cache::WORTH_KEEPING,
    document::Document,
    entity::{Entity, Tip},
    error::{Refusal, StateError},
    layout,
    orphans::Want,
    reduce::{self, Source},
    registers::{self, Values},
    store::Table,
    validate::{self, Ancestry},
    wire,
};
use holm_types::{
    ActorId, DocId, DocKind, Incarnation, Wall,
    cert::CertChain,
    change::{MAX_CHANGE_BYTES, SignedChange, keys_of},
};
use smol_str::SmolStr;
use std::time::Duration;

/// A date this far ahead of this node's clock is counted: one of the two clocks is wrong.
const FUTURE: Duration = Duration::from_secs(300);

/// What [`State::admit`] found.
pub(super) enum Verdict {
    Applied,
    Known,
    Waits(Want),
    /// Its author was revoked, and it does not count by itself.
    Cut,
}

/// What is said of changes that do not count.
const CUT: &str = "its author was revoked, and this is not among what counts of it";

/// The values of each key that a change wrote.
type Written = Vec<(SmolStr, Values)>;

impl State {
    /// Takes in a change whose signature has been verified ([`crate::verify_batch`]).
    pub fn apply(&mut self, change: SignedChange, now: Wall) -> Outcome {
        if self.is_late(&change) {
            self.release(now);
            return Outcome::Known;
        }
        if !self.has_room_for_change(&change) {
            self.counters.add("without_room", 1);
            return Outcome::NoRoom;
        }
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
                if !self.orphans.contains(&change) {
                    self.counters.add("orphaned", 1);
                    self.hold(change, want);
                }
                Outcome::Orphan
            }
            Ok(Verdict::Cut) => {
                let outcome = self.refuse_cut(&change, now);
                self.set_apart(change);
                self.release(now);
                outcome
            }
            Err(refusal) => self.refuse(&change, &refusal, now),
        }
    }

    /// Said once of each: a peer that has not heard of the revocation sends it again and again.
    fn refuse_cut(&mut self, change: &SignedChange, now: Wall) -> Outcome {
        if !self.held.contains(change) {
            return self.refuse(change, &Refusal::Authority(CUT.into()), now);
        }
        Outcome::Refused(CUT.to_owned())
    }

    /// Holds a change that does not count, in case that one that does builds upon it.
    fn set_apart(&mut self, change: SignedChange) {
        let (hash, size) = (change.hash, size_of(&change));
        self.held.hold(change, size, Want::Change(hash));
        self.orphans.wake(&Want::Change(hash));
    }

    /// Judges the orphans that are ready again, and those that these release in turn.
    pub(super) fn release(&mut self, now: Wall) -> usize {
        let mut released = 0;
        while let Some(orphan) = self.orphans.pop_ready() {
            if self.is_late(&orphan) {
                continue;
            }
            match self.admit(&orphan) {
                Ok(Verdict::Applied) => {
                    self.notice_own(&orphan);
                    released += 1;
                }
                Ok(Verdict::Known) => {}
                Ok(Verdict::Waits(want)) => self.hold(orphan, want),
                Ok(Verdict::Cut) => self.set_apart(orphan),
                Err(refusal) => {
                    self.refuse(&orphan, &refusal, now);
                }
            }
        }
        released
    }

    fn hold(&mut self, change: SignedChange, want: Want) {
        let size = size_of(&change);
        let dropped = self.orphans.hold(change, size, want);
        self.counters.add("orphans_dropped", dropped);
    }

    fn refuse(&mut self, change: &SignedChange, refusal: &Refusal, now: Wall) -> Outcome {
        let why = refusal.to_string();
        if let Some(name) = refusal.counter() {
            self.counters.add(name, 1);
        }
        // A failing store says nothing about the change: anti-entropy will bring it again.
        match refusal {
            Refusal::Local(error) => self.note_damage(error),
            _ => {
                self.counters.add("refused", 1);
                self.quarantine.add(&mut self.overlay, change, &why, now);
            }
        }
        Outcome::Refused(why)
    }

    /// A change of this node's that it did not know: its store is older than what it has said.
    /// Its present incarnation may have been used before, or a later one that left no word, so it goes on beyond those.
    fn notice_own(&mut self, change: &SignedChange) {
        let Some(theirs) = change.change.actors.first().filter(|_| change.author == self.me) else { return };
        let near = !self.actor.incarnation().is_far_beyond(theirs.incarnation());
        if near && !holm_types::sabotaged!("a restored disk counts on from what it knows") {
            holm_types::sometimes!("a node hears changes of its own that it had lost");
            self.counters.add("own_actor_returned", 1);
            self.begin_incarnation(self.actor.incarnation().well_beyond(theirs.incarnation()));
        }
    }

    pub(super) fn begin_incarnation(&mut self, incarnation: Incarnation) {
        self.actor = ActorId::new(&self.me, incarnation);
        self.ended.spent.clear();
        self.overlay.put(Table::Local, layout::INCARNATION.to_vec(), Some(incarnation.0.to_be_bytes().to_vec()));
        self.overlay.need_sync();
    }

    /// A peer has heard this node as a life that it does not know of. True if that is a later one than this, and can have been: one
    /// that began long after the last that left a word would have left one itself. Then this node goes on beyond all of them. Once: no
    /// life that it has had is later than that, and a peer that lies could use up the count.
    pub fn was_heard_as(&mut self, life: Incarnation) -> bool {
        let own = self.wrote_as(&DocId::node(&self.me)).unwrap_or_default().max(self.incarnation());
        if life <= self.incarnation() || life.is_far_beyond(own) || std::mem::replace(&mut self.reminded, true) {
            return false;
        }
        holm_types::sometimes!("a node hears of a life of its own that it had lost");
        self.begin_incarnation(self.incarnation().well_beyond(life));
        true
    }

    /// Judges a change and applies it if it is valid and everything it needs is here. If it does not count by
    /// itself it must be `vouched` for by one that does.
    pub(super) fn admit_as(&mut self, signed: &SignedChange, vouched: bool) -> Result<Verdict, Refusal> {
        let actor = *signed.actor().map_err(|_| Refusal::Form("no actor"))?;
        if self.is_known(signed, &actor)? {
            return Ok(Verdict::Known);
        }
        let change = wire::rebuild_signed(signed)?;
        let encoded = signed.encode().map_err(|_| Refusal::Form("the change is too long"))?;
        self.admit_formed(signed, change, &encoded, vouched)
    }

    /// The same for a change that is not known and is well formed: `change` is what it says, and `encoded` how it travels.
    pub(super) fn admit_formed(
        &mut self,
        signed: &SignedChange,
        change: automerge::Change,
        encoded: &[u8],
        vouched: bool,
    ) -> Result<Verdict, Refusal> {
        if self.docs.get(&signed.doc).is_some_and(|entity| entity.scope != signed.scope) {
            return Err(Refusal::Scope);
        }
        let chain = match authority::judge(&self.mesh, &self.members, &self.revocations, signed)? {
            Standing::Allowed { counts: false, .. } if !vouched => return Ok(Verdict::Cut),
            Standing::Allowed { brought, .. } => brought,
            Standing::Stranger => return Ok(Verdict::Waits(Want::Member(signed.author))),
        };
        self.welcome_back(chain.as_ref())?;
        let mut document = self.load(&signed.doc)?;
        let history = || self.log(&signed.doc);
        let entity = self.docs.get(&signed.doc);
        match validate::judge(&mut document, entity, &signed.change, &history) {
            Ok(Ancestry::Follows) => {}
            Ok(Ancestry::Misses(hash)) => {
                self.unload(signed.doc, document);
                return Ok(Verdict::Waits(Want::Change(hash)));
            }
            Err(refusal) => {
                if !matches!(refusal, Refusal::Panic) {
                    self.unload(signed.doc, document);
                }
                return Err(refusal);
            }
        }
        let written: Written = registers::after(entity.map(|entity| &entity.registers), &signed.change)?;
        // On an error the document is in doubt: it is dropped here, and read from the log at its next use.
        document.apply(signed.hash, &signed.change, change)?;
        self.commit(signed, encoded, &document, written, chain)?;
        self.unload(signed.doc, document);
        Ok(Verdict::Applied)
    }

    /// A member that fell with its issuer brings the certificate of another. It counts before the change does,
    /// which may build upon some that wait for just this.
    fn welcome_back(&mut self, brought: Option<&CertChain>) -> Result<(), Refusal> {
        let Some(chain) = brought.filter(|chain| !self.revocations.voids(chain)) else { return Ok(()) };
        let subject = chain.claims().map_err(StateError::from)?.subject;
        if self.members.get(&subject).is_some_and(|member| member.revoked) {
            self.learn(chain.clone())?;
        }
        Ok(())
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

    /// Takes a document from the cache, or reads it from the log.
    pub(super) fn load(&mut self, doc: &DocId) -> Result<Document, Refusal> {
        if let Some(document) = self.cache.take(doc) {
            return Ok(document);
        }
        let Some(entity) = self.docs.get(doc) else { return Ok(Document::default()) };
        let log = self.log(doc)?;
        let broken = |why: &str| Refusal::Local(layout::corrupt("changes", doc, why));
        let document = Document::of(&log).map_err(|refusal| broken(&refusal.to_string()))?;
        match document.heads() == entity.heads {
            true => Ok(document),
            false => Err(broken("the log does not lead to the heads")),
        }
    }

    /// All changes of a document, in causal order.
    pub(super) fn log(&self, doc: &DocId) -> Result<Vec<SignedChange>, StateError> {
        let mut log: Vec<SignedChange> = Vec::new();
        self.overlay.each(Table::Changes, &doc.0, |_, row| {
            log.push(layout::decode_change(doc, row)?);
            Ok::<(), StateError>(())
        })?;
        log.sort_by_key(|signed| signed.change.start_op);
        Ok(log)
    }

    /// Replays a document in automerge, and compares what that says with what is held of it. For tests and the simulator: it
    /// takes as long as the document has changes.
    ///
    /// # Errors
    /// The store failed, or the two differ.
    pub fn audit(&self, doc: &DocId) -> Result<(), StateError> {
        let Some(entity) = self.docs.get(doc) else { return Ok(()) };
        let differ = |why: &str| Err(layout::corrupt("views", doc, why));
        let replayed = Document::replay(&self.log(doc)?).and_then(|replayed| Ok((replayed.registers()?, replayed)));
        match replayed {
            Ok((_, replayed)) if replayed.heads() != entity.heads => differ("the log leads to other heads"),
            Ok((registers, _)) if registers != entity.registers => differ("automerge says something else"),
            Ok(_) => Ok(()),
            Err(refusal) => differ(&refusal.to_string()),
        }
    }

    /// Puts a document back, if it is worth its memory.
    pub(super) fn unload(&mut self, doc: DocId, document: Document) {
        if document.len() >= WORTH_KEEPING {
            self.cache.put(doc, document);
        }
    }

    /// Makes an applied change part of everything that is derived from documents.
    fn commit(
        &mut self,
        signed: &SignedChange,
        encoded: &[u8],
        document: &Document,
        written: Written,
        chain: Option<CertChain>,
    ) -> Result<(), Refusal> {
        let doc = signed.doc;
        let actor = *signed.actor().map_err(StateError::from)?;
        let tip = Tip { seq: signed.change.seq, hash: signed.hash };
        let rows = written
            .iter()
            .map(|(_, values)| if values.is_empty() { Ok(None) } else { registers::encode(values).map(Some) })
            .collect::<Result<Vec<_>, StateError>>()?;
        let actor_row = layout::actor_row(&signed.author, &tip)?;
        let keys: Vec<SmolStr> = written.iter().map(|(key, _)| key.clone()).collect();

        let entity = self.docs.entry(doc).or_insert_with(|| {
            self.ledger.add_document(&signed.scope, 0);
            Entity::new(signed.scope.clone(), Vec::new())
        });
        entity.bytes += encoded.len() as u64;
        self.ledger.add_bytes(&signed.scope, encoded.len() as u64);
        entity.heads = document.heads().to_vec();
        entity.tips.insert(actor, tip);
        for (key, mut values) in written {
            if let (Some(old), Values::More(values)) = (entity.registers.get(&*key), &mut values)
                && holm_types::sabotaged!("a reduction depends on the order of arrival")
            {
                values.sort_by_key(|value| !old.contains(value));
            }
            registers::set(&mut entity.registers, key, values);
        }
        let head_row = layout::head_row(entity)?;
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
        self.note_digest(&doc);
        self.counters.add("applied", 1);
        self.orphans.wake(&Want::Change(signed.hash));
        match doc.kind() {
            DocKind::Revocation => self.hear_revocations(&doc, &keys),
            _ => Ok(()),
        }
    }

    fn reduce(&mut self, signed: &SignedChange, keys: &[SmolStr]) {
        let doc = signed.doc;
        let source = Source { docs: &self.docs, authors: &self.authors };
        let mut bad = 0;
        match doc.kind() {
            DocKind::Node if keys.iter().any(|key| key == keys_of::INFO) => {
                let info = self.docs.get(&doc).and_then(|entity| reduce::node_info(&entity.registers, &mut bad));
                self.members.describe(&signed.author, info);
                self.changed_members.insert(signed.author);
            }
            DocKind::App => self.views.update_app(source, &doc),
            DocKind::Tasks => {
                let app = self.views.update_tasks(source, &doc, keys.iter().map(SmolStr::as_str));
                self.changed.extend(app);
            }
            DocKind::Node | DocKind::Revocation | DocKind::Other(_) => {}
        }
        self.changed.insert(doc);
        self.counters.add("bad_views", bad + self.views.take_bad());
    }
}

fn size_of(change: &SignedChange) -> usize {
    change.encode().map_or(MAX_CHANGE_BYTES, |bytes| bytes.len())
}
