//! Authoring: this node's own changes go through the same gate as everyone else's.

use super::{State, admit::Verdict};
use crate::{
    document::Document,
    entity::Entity,
    error::{Refusal, StateError},
    layout,
    orphans::Want,
    store::Table,
    wire,
};
use holm_types::{
    ActorId, Digest, DocId, Scope, Wall,
    change::{MAX_DEPS, MAX_KEY_BYTES, MAX_OPS, MAX_PREDS, MAX_VALUE_BYTES, SignedChange, Value, WireChange, WireOp},
};
use std::collections::BTreeSet;

/// What a new change builds on.
struct Basis {
    deps: Vec<Digest>,
    /// For each key the operations that it replaces, sorted.
    preds: Vec<Vec<(u64, ActorId)>>,
    /// Lamport number of the change's first operation.
    start_op: u64,
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
        check_ops(&doc, &ops)?;
        self.avoid_reuse(&doc)?;
        let wire = self.compose(&doc, ops, now)?;
        let change = wire::rebuild(&wire).map_err(|refusal| invalid(&doc, refusal))?;
        let hash = Digest(change.hash().0);
        let signed = SignedChange::sign(&self.mesh, scope.clone(), doc, hash, wire, &self.key);
        signed.encode()?;
        match self.admit(&signed) {
            Ok(Verdict::Applied) => {
                self.overlay.need_sync();
                self.release(now);
                Ok(signed)
            }
            Ok(Verdict::Waits(Want::Member(_))) => Err(StateError::NotMember),
            Ok(Verdict::Waits(Want::Change(_)) | Verdict::Known) => {
                Err(StateError::Invalid { doc, why: "its own change does not follow from what it holds".into() })
            }
            Err(refusal) => Err(invalid(&doc, refusal)),
        }
    }

    /// Never writes under a sequence number that the log knows: a writer that comes back with
    /// old heads goes on as a new incarnation.
    fn avoid_reuse(&mut self, doc: &DocId) -> Result<(), StateError> {
        loop {
            let tip = self.docs.get(doc).and_then(|entity| entity.tips.get(&self.actor));
            let next = layout::change_key(doc, &self.actor, tip.map_or(0, |tip| tip.seq) + 1);
            if self.overlay.get(Table::Changes, &next)?.is_none() {
                return Ok(());
            }
            self.begin_incarnation(self.actor.incarnation().beyond(self.actor.incarnation()));
        }
    }

    fn compose(
        &mut self,
        doc: &DocId,
        mut ops: Vec<(String, Option<Value>)>,
        now: Wall,
    ) -> Result<WireChange, StateError> {
        let entity = self.docs.get(doc);
        ops.retain(|(key, value)| value.is_some() || entity.is_some_and(|entity| entity.registers.contains_key(key)));
        let basis = self.basis(doc, &ops).map_err(|refusal| invalid(doc, refusal))?;
        let mut ops: Vec<_> = ops.into_iter().zip(basis.preds).collect();
        ops.retain(|((_, value), preds)| value.is_some() || !preds.is_empty());
        if ops.is_empty() {
            return Err(StateError::Invalid { doc: *doc, why: "none of the keys to delete has a value".into() });
        }
        let (actors, ops) = number_actors(self.actor, doc, ops)?;
        let tip = self.docs.get(doc).and_then(|entity| entity.tips.get(&self.actor));
        let seq = tip.map_or(0, |tip| tip.seq) + 1;
        let time = now.0.min(i64::MAX as u64);
        Ok(WireChange { actors, seq, start_op: basis.start_op, time, deps: basis.deps, ops })
    }

    /// What to build on: all heads, unless there are so many concurrent writers that a change
    /// cannot name them all.
    fn basis(&mut self, doc: &DocId, ops: &[(String, Option<Value>)]) -> Result<Basis, Refusal> {
        let Some(entity) = self.docs.get(doc) else {
            return Ok(Basis { deps: Vec::new(), preds: vec![Vec::new(); ops.len()], start_op: 1 });
        };
        let visible = |key: &String| {
            let values = entity.registers.get(key).into_iter().flatten();
            values.rev().map(|register| (register.counter, register.actor)).collect::<Vec<_>>()
        };
        let preds: Vec<Vec<_>> = ops.iter().map(|(key, _)| visible(key)).collect();
        if entity.heads.len() > MAX_DEPS || !fits(&preds) {
            return self.basis_in_part(doc, ops);
        }
        let deps = entity.heads.clone();
        let start_op = match entity.last_op {
            Some(last) => last + 1,
            None => {
                let document = self.load(doc)?;
                let start_op = document.graph().max_op(&deps) + 1;
                self.cache.put(*doc, document);
                start_op
            }
        };
        Ok(Basis { deps, preds, start_op })
    }

    /// As much of a document as a change can name, so that more and more is merged step by step.
    fn basis_in_part(&mut self, doc: &DocId, ops: &[(String, Option<Value>)]) -> Result<Basis, Refusal> {
        let mut document = self.load(doc)?;
        let basis = self.docs.get(doc).map(|entity| {
            let log = || self.read_log(doc).map_err(Refusal::Local);
            merge_in_part(&mut document, entity, self.actor, ops, &log)
        });
        self.cache.put(*doc, document);
        basis.unwrap_or(Err(Refusal::Form("no such document")))
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

/// The actors that a change names, its own first, and its operations by these numbers.
fn number_actors(
    actor: ActorId,
    doc: &DocId,
    ops: Vec<((String, Option<Value>), Vec<(u64, ActorId)>)>,
) -> Result<(Vec<ActorId>, Vec<WireOp>), StateError> {
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
    Ok((std::iter::once(actor).chain(others).collect(), ops))
}

fn fits(preds: &[Vec<(u64, ActorId)>]) -> bool {
    preds.iter().all(|preds| preds.len() <= MAX_PREDS)
}

fn merge_in_part(
    document: &mut Document,
    entity: &Entity,
    actor: ActorId,
    ops: &[(String, Option<Value>)],
    log: &dyn Fn() -> Result<Vec<SignedChange>, Refusal>,
) -> Result<Basis, Refusal> {
    let mut at = |deps: &[Digest]| -> Result<Vec<Vec<_>>, Refusal> {
        let unseen = document.graph().unseen(&entity.heads, deps);
        let now = |key: &String| entity.registers.get(key).map_or(&[][..], Vec::as_slice);
        ops.iter().map(|(key, _)| document.visible_at(key, now(key), deps, &unseen, log)).collect()
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
    let start_op = document.graph().max_op(&deps) + 1;
    Ok(Basis { deps, preds, start_op })
}
