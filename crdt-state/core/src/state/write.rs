//! Authoring: this node's own changes go through the same gate as everyone else's.

use super::{State, admit::Verdict};
use crate::{
    authority::must_introduce_itself,
    document::{Document, History},
    entity::Entity,
    error::{Refusal, StateError},
    layout,
    orphans::Want,
    store::Table,
    wire,
};
use holm_types::{
    ActorId, Digest, DocId, Scope, Wall,
    cert::CertChain,
    change::{
        MAX_DEPS, MAX_KEY_BYTES, MAX_OPS, MAX_PREDS, MAX_VALUE_BYTES, SignedChange, Value, WireChange, WireOp, keys_of,
    },
};
use std::collections::BTreeSet;

/// What a new change builds on.
struct Basis {
    deps: Vec<Digest>,
    /// For each key the operations that it replaces, sorted.
    preds: Vec<Vec<(u64, ActorId)>>,
}

impl State {
    /// Writes keys of a document; `None` deletes. The change is applied here at once and must
    /// be durable ([`State::take_batch`]) before anyone else hears of it.
    ///
    /// A value is written even if the key has it already: that is how an edit wins over another
    /// that has not seen it. Deleting a key that has no value does nothing.
    ///
    /// # Errors
    /// A bound is broken, this node may not write that, or the store failed.
    pub fn write(
        &mut self,
        scope: &Scope,
        doc: DocId,
        ops: Vec<(String, Option<Value>)>,
        now: Wall,
    ) -> Result<SignedChange, StateError> {
        let written = self.author(scope, doc, ops, now);
        written.inspect_err(|error| self.note_damage(error))
    }

    fn author(
        &mut self,
        scope: &Scope,
        doc: DocId,
        mut ops: Vec<(String, Option<Value>)>,
        now: Wall,
    ) -> Result<SignedChange, StateError> {
        self.introduce_self(scope, &doc, &mut ops)?;
        check_ops(&doc, &ops)?;
        self.avoid_reuse(&doc)?;
        let mut document = self.load(&doc).map_err(|refusal| invalid(&doc, refusal))?;
        let history = || self.log(&doc);
        let wire = compose(&mut document, self.docs.get(&doc), self.actor, &doc, ops, now, &history);
        self.unload(doc, document);
        let wire = wire?;
        wire::check_form(&wire).map_err(|refusal| invalid(&doc, refusal))?;
        let change = wire::rebuild(&wire).map_err(|refusal| invalid(&doc, refusal))?;
        let hash = Digest(change.hash().0);
        let signed = SignedChange::sign(&self.mesh, scope.clone(), doc, hash, wire, &self.key);
        let encoded = signed.encode()?;
        match self.admit_formed(&signed, change, &encoded, false) {
            Ok(Verdict::Applied) => {
                self.overlay.need_sync();
                self.release(now);
                Ok(signed)
            }
            Ok(Verdict::Waits(Want::Member(_))) => Err(StateError::NotMember),
            Ok(Verdict::Cut) => Err(StateError::Revoked),
            Ok(Verdict::Waits(Want::Change(_)) | Verdict::Known) => {
                Err(StateError::Invalid { doc, why: "its own change does not follow from what it holds".into() })
            }
            Err(refusal) => Err(invalid(&doc, refusal)),
        }
    }

    /// Sites hold documents of writers that only their own sites know: these bring their certificates along.
    fn introduce_self(
        &self,
        scope: &Scope,
        doc: &DocId,
        ops: &mut Vec<(String, Option<Value>)>,
    ) -> Result<(), StateError> {
        let Some(member) = self.members.get(&self.me).filter(|m| must_introduce_itself(&m.claims, scope, doc)) else {
            return Ok(());
        };
        let key = keys_of::introduction(&self.me);
        let said = self.docs.get(doc).and_then(|entity| entity.registers.get(&*key)?.first());
        let signer = |chain: &CertChain| chain.issuer().map(|issuer| issuer.subject);
        let stands = said.is_some_and(|register| match &register.value {
            // Should the issuer of the one that was shown fall, that of the present one may not.
            Value::Bytes(bytes) => CertChain::decode(bytes).is_ok_and(|shown| signer(&shown) == signer(&member.chain)),
            _ => false,
        });
        if !stands {
            ops.push((key, Some(Value::Bytes(member.chain.encode()?))));
        }
        Ok(())
    }

    /// Never writes under a sequence number that the log knows: a writer that comes back with
    /// old heads goes on as a new incarnation.
    fn avoid_reuse(&mut self, doc: &DocId) -> Result<(), StateError> {
        if self.ended.spent.contains(doc) {
            self.begin_incarnation(self.actor.incarnation().beyond(self.actor.incarnation()));
        }
        loop {
            let tip = self.docs.get(doc).and_then(|entity| entity.tips.get(&self.actor));
            let next = layout::change_key(doc, &self.actor, tip.map_or(0, |tip| tip.seq) + 1);
            if self.overlay.get(Table::Changes, &next)?.is_none() {
                return Ok(());
            }
            self.begin_incarnation(self.actor.incarnation().beyond(self.actor.incarnation()));
        }
    }
}

fn invalid(doc: &DocId, refusal: Refusal) -> StateError {
    match refusal {
        Refusal::Local(error) => error,
        other => StateError::Invalid { doc: *doc, why: other.to_string() },
    }
}

fn check_ops(doc: &DocId, ops: &[(String, Option<Value>)]) -> Result<(), StateError> {
    let refuse = |why: String| Err(StateError::Invalid { doc: *doc, why });
    if ops.is_empty() || ops.len() > MAX_OPS {
        return refuse(format!("{} keys in one change, 1 to {MAX_OPS} are allowed", ops.len()));
    }
    let mut keys = BTreeSet::new();
    for (key, value) in ops {
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return refuse(format!("key {key:?} is {} bytes, 1 to {MAX_KEY_BYTES} are allowed", key.len()));
        }
        let size = value.as_ref().map_or(0, Value::size);
        if size > MAX_VALUE_BYTES {
            return refuse(format!("the value of {key:?} is {size} bytes, at most {MAX_VALUE_BYTES} are allowed"));
        }
        if !keys.insert(key) {
            return refuse(format!("key {key:?} is written twice"));
        }
    }
    Ok(())
}

fn compose(
    document: &mut Document,
    entity: Option<&Entity>,
    actor: ActorId,
    doc: &DocId,
    mut ops: Vec<(String, Option<Value>)>,
    now: Wall,
    history: History<'_>,
) -> Result<WireChange, StateError> {
    let has_value = |key: &String| entity.is_some_and(|entity| entity.registers.contains_key(&**key));
    ops.retain(|(key, value)| value.is_some() || has_value(key));
    let basis = basis(document, entity, actor, &ops, history).map_err(|refusal| invalid(doc, refusal))?;
    let mut ops: Vec<_> = ops.into_iter().zip(basis.preds).collect();
    ops.retain(|((_, value), preds)| value.is_some() || !preds.is_empty());
    if ops.is_empty() {
        return Err(StateError::Invalid { doc: *doc, why: "none of the keys to delete has a value".into() });
    }
    let mut others: Vec<ActorId> = ops.iter().flat_map(|(_, preds)| preds).map(|(_, actor)| *actor).collect();
    others.sort_unstable();
    others.dedup();
    others.retain(|other| *other != actor);
    if others.len() > MAX_PREDS {
        let why = format!(
            "it replaces values of {} writers, at most {MAX_PREDS} are allowed: write fewer keys",
            others.len()
        );
        return Err(StateError::Invalid { doc: *doc, why });
    }
    let index = |of: &ActorId| others.binary_search(of).map_or(0, |index| index as u16 + 1);
    let ops = ops
        .into_iter()
        .map(|((key, value), preds)| {
            let preds = preds.iter().map(|(counter, actor)| (*counter, index(actor))).collect();
            WireOp { key, value, preds }
        })
        .collect();
    let start_op = document.graph().max_op(&basis.deps) + 1;
    let seq = entity.and_then(|entity| entity.tips.get(&actor)).map_or(0, |tip| tip.seq) + 1;
    let time = now.0.min(i64::MAX as u64);
    let actors = std::iter::once(actor).chain(others).collect();
    Ok(WireChange { actors, seq, start_op, time, deps: basis.deps, ops })
}

/// What to build on: all heads, unless there are so many concurrent writers that a change
/// cannot name them all. Then as much as fits, so that more and more is merged step by step.
fn basis(
    document: &mut Document,
    entity: Option<&Entity>,
    actor: ActorId,
    ops: &[(String, Option<Value>)],
    history: History<'_>,
) -> Result<Basis, Refusal> {
    let Some(entity) = entity else { return Ok(Basis { deps: Vec::new(), preds: vec![Vec::new(); ops.len()] }) };
    let visible = |key: &String| {
        let values = entity.registers.get(&**key).into_iter().flatten();
        values.rev().map(|register| (register.counter, register.actor)).collect::<Vec<_>>()
    };
    let preds: Vec<Vec<_>> = ops.iter().map(|(key, _)| visible(key)).collect();
    let fits = |preds: &[Vec<(u64, ActorId)>]| preds.iter().all(|preds| preds.len() <= MAX_PREDS);
    if entity.heads.len() <= MAX_DEPS && fits(&preds) {
        return Ok(Basis { deps: entity.heads.clone(), preds });
    }
    let mut at = |deps: &[Digest]| -> Result<Vec<Vec<_>>, Refusal> {
        ops.iter().map(|(key, _)| document.visible_at(key, deps, history)).collect()
    };
    let mut deps: Vec<Digest> = entity.tips.get(&actor).map(|tip| tip.hash).into_iter().collect();
    let mut preds = at(&deps)?;
    for head in &entity.heads {
        if deps.len() == MAX_DEPS || deps.contains(head) {
            continue;
        }
        let mut more = deps.clone();
        more.push(*head);
        more.sort_unstable();
        let replaced = at(&more)?;
        if fits(&replaced) {
            (deps, preds) = (more, replaced);
        }
    }
    Ok(Basis { deps, preds })
}
