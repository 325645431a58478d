//! From our wire schema to an automerge change. No byte of a peer reaches automerge's decoders:
//! the change is built anew from checked fields, and its hash says whether it is the one that
//! was signed.

use crate::{document::guarded, error::Refusal};
use automerge::{
    Change, ChangeHash, ExpandedChange, ScalarValue,
    legacy::{Key, ObjectId, Op, OpId, OpType},
};
use holm_types::{
    ActorId,
    change::{MAX_DEPS, MAX_KEY_BYTES, MAX_OPS, MAX_PREDS, MAX_VALUE_BYTES, SignedChange, Value, WireChange, WireOp},
};
use std::{collections::BTreeSet, num::NonZeroU64};

/// Operation numbers stay below this: automerge keeps them in 32 bits.
pub(crate) const MAX_COUNTER: u64 = 1 << 30;

/// Builds the automerge change and checks that it is the one that was signed.
pub(crate) fn rebuild_signed(signed: &SignedChange) -> Result<Change, Refusal> {
    if signed.change.actors.first().is_none_or(|actor| !actor.belongs_to(&signed.author)) {
        return Err(Refusal::Form("the actor is not the author's"));
    }
    check_form(&signed.change)?;
    let change = rebuild(&signed.change)?;
    if change.hash().0 != signed.hash.0 {
        return Err(Refusal::Form("the content is not what was signed"));
    }
    Ok(change)
}

/// Builds the automerge change of a well-formed wire change.
pub(crate) fn rebuild(wire: &WireChange) -> Result<Change, Refusal> {
    let expanded = ExpandedChange {
        operations: wire.ops.iter().map(|op| operation(op, &wire.actors)).collect::<Result<_, _>>()?,
        actor_id: actor_id(wire.actors.first().ok_or(Refusal::Form("no actor"))?),
        hash: None,
        seq: wire.seq,
        start_op: NonZeroU64::new(wire.start_op).ok_or(Refusal::Form("the first operation has number 0"))?,
        time: i64::try_from(wire.time).map_err(|_| Refusal::Form("the date is out of range"))?,
        message: None,
        deps: wire.deps.iter().map(|hash| ChangeHash(hash.0)).collect(),
        extra_bytes: Vec::new(),
        author: None,
    };
    guarded(|| Change::from(expanded))
}

fn operation(op: &WireOp, actors: &[ActorId]) -> Result<Op, Refusal> {
    let pred = |(counter, index): &(u64, u16)| {
        let actor = actors.get(usize::from(*index)).ok_or(Refusal::Form("an operation names an unknown actor"))?;
        Ok(OpId(*counter, actor_id(actor)))
    };
    Ok(Op {
        action: op.value.as_ref().map_or(OpType::Delete, |value| OpType::Put(scalar(value))),
        obj: ObjectId::Root,
        key: Key::Map(op.key.as_str().into()),
        pred: op.preds.iter().map(pred).collect::<Result<Vec<_>, Refusal>>()?.into(),
        insert: false,
    })
}

pub(crate) fn actor_id(actor: &ActorId) -> automerge::ActorId {
    automerge::ActorId::from(&actor.0[..])
}

fn scalar(value: &Value) -> ScalarValue {
    match value {
        Value::Uint(n) => ScalarValue::Uint(*n),
        Value::Text(text) => ScalarValue::Str(text.clone()),
        Value::Bytes(bytes) => ScalarValue::Bytes(bytes.clone()),
    }
}

/// The rules of form, all of them, whatever the decoder has checked before: one spelling for
/// each change, root keys once, scalars only, every number within its range.
pub(crate) fn check_form(wire: &WireChange) -> Result<(), Refusal> {
    let require = |ok: bool, why: &'static str| if ok { Ok(()) } else { Err(Refusal::Form(why)) };
    require(!wire.actors.is_empty() && wire.actors.len() <= MAX_PREDS + 1, "no actor, or too many")?;
    let others = &wire.actors[1..];
    require(others.is_sorted_by(|a, b| a < b) && !others.contains(&wire.actors[0]), "actors are unsorted or repeated")?;
    require(wire.deps.len() <= MAX_DEPS, "too many dependencies")?;
    require(wire.deps.is_sorted_by(|a, b| a < b), "dependencies are unsorted or repeated")?;
    require(!wire.ops.is_empty() && wire.ops.len() <= MAX_OPS, "no operation, or more than 64")?;
    require(wire.seq >= 1 && wire.seq < MAX_COUNTER, "the sequence number is out of range")?;
    let last = wire.start_op.checked_add(wire.ops.len() as u64);
    require(wire.start_op >= 1 && last.is_some_and(|n| n < MAX_COUNTER), "an operation number is out of range")?;
    let mut keys = BTreeSet::new();
    let mut used = BTreeSet::new();
    for op in &wire.ops {
        check_operation(op, wire)?;
        require(keys.insert(op.key.as_str()), "a key is written twice")?;
        used.extend(op.preds.iter().map(|(_, index)| *index).filter(|index| *index > 0));
    }
    require(used.len() == others.len(), "an actor is named and not used")
}

fn check_operation(op: &WireOp, wire: &WireChange) -> Result<(), Refusal> {
    let require = |ok: bool, why: &'static str| if ok { Ok(()) } else { Err(Refusal::Form(why)) };
    require(!op.key.is_empty() && op.key.len() <= MAX_KEY_BYTES, "a key is empty or too long")?;
    require(op.value.as_ref().map_or(0, Value::size) <= MAX_VALUE_BYTES, "a value is too long")?;
    require(op.preds.len() <= MAX_PREDS, "an operation replaces too many values")?;
    require(op.value.is_some() || !op.preds.is_empty(), "a key without a value is deleted")?;
    let mut last = None;
    for (counter, index) in &op.preds {
        let actor = wire.actors.get(usize::from(*index)).ok_or(Refusal::Form("an operation names an unknown actor"))?;
        let this = Some((*counter, *actor));
        require(this > last, "replaced values are unsorted or repeated")?;
        require(*counter >= 1 && *counter < wire.start_op, "a replaced value is not older")?;
        last = this;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use automerge::{
        Automerge, ROOT, ReadDoc,
        transaction::{CommitOptions, Transactable},
    };
    use holm_types::{Digest, Incarnation, NodeId};

    #[test]
    fn a_change_is_byte_for_byte_what_automerge_itself_would_have_written() {
        let [a, b] = [1, 2].map(|n| ActorId::new(&NodeId([n; 32]), Incarnation(0)));
        let mut doc = Automerge::new().with_actor(actor_id(&a));
        let mut tx = doc.transaction();
        tx.put(ROOT, "life", ScalarValue::Uint(1)).unwrap();
        tx.put(ROOT, "spec/name", "hello").unwrap();
        tx.commit_with(CommitOptions::default().with_time(5));
        let first = doc.get_heads();
        doc.set_actor(actor_id(&b));
        let mut tx = doc.transaction();
        tx.put(ROOT, "life", ScalarValue::Uint(2)).unwrap();
        tx.delete(ROOT, "spec/name").unwrap();
        tx.put(ROOT, "raw", ScalarValue::Bytes(vec![0, 255])).unwrap();
        tx.commit_with(CommitOptions::default().with_time(6));
        assert!(doc.get_all(ROOT, "spec/name").unwrap().is_empty());

        let op = |key: &str, value, preds| WireOp { key: key.into(), value, preds };
        let one = WireChange {
            actors: vec![a],
            seq: 1,
            start_op: 1,
            time: 5,
            deps: vec![],
            ops: vec![
                op("life", Some(Value::Uint(1)), vec![]),
                op("spec/name", Some(Value::Text("hello".into())), vec![]),
            ],
        };
        let two = WireChange {
            actors: vec![b, a],
            seq: 1,
            start_op: 3,
            time: 6,
            deps: vec![Digest(first[0].0)],
            ops: vec![
                op("life", Some(Value::Uint(2)), vec![(1, 1)]),
                op("spec/name", None, vec![(2, 1)]),
                op("raw", Some(Value::Bytes(vec![0, 255])), vec![]),
            ],
        };
        for (wire, theirs) in [one, two].iter().zip(doc.get_changes(&[])) {
            check_form(wire).unwrap();
            assert_eq!(rebuild(wire).unwrap().raw_bytes(), theirs.raw_bytes());
        }
    }
}
