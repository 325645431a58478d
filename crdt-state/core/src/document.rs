//! A loaded document: automerge's replica of it, and the graph of its changes.

use crate::{
    error::Refusal,
    graph::{Graph, Node},
    registers::{self, Register},
    wire,
};
use automerge::{Automerge, Change, ChangeHash, ObjId, ROOT, ReadDoc, ScalarValue};
use holm_types::{
    ActorId, Digest,
    change::{SignedChange, Value, WireChange},
};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls automerge with input that a peer had a hand in. After a panic nothing that `call`
/// could write to may be used again.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, Refusal> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| Refusal::Panic)
}

/// A document in memory.
pub(crate) struct Document {
    /// In a box, as it takes 3 KB by itself, and documents are taken out of the cache and put back all the time.
    engine: Box<Automerge>,
    graph: Graph,
}

impl Document {
    pub(crate) fn new() -> Document {
        Document { engine: Box::default(), graph: Graph::default() }
    }

    /// The document of logged changes, which were all valid once, in causal order.
    pub(crate) fn replay(log: &[SignedChange]) -> Result<Document, Refusal> {
        let mut document = Document::new();
        let changes = log.iter().map(wire::rebuild_signed).collect::<Result<Vec<_>, _>>()?;
        for signed in log {
            document.graph.insert(signed.hash, node(&signed.change)?);
        }
        let engine = &mut document.engine;
        guarded(|| engine.apply_changes(changes))?.map_err(|e| Refusal::Engine(e.to_string()))?;
        Ok(document)
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Changes that it holds.
    pub(crate) fn len(&self) -> usize {
        self.graph.len()
    }

    /// Sorted.
    pub(crate) fn heads(&self) -> Vec<Digest> {
        self.engine.get_heads().into_iter().map(|hash| Digest(hash.0)).collect()
    }

    /// Applies a validated change. After an error the document must be dropped and replayed.
    pub(crate) fn apply(&mut self, hash: Digest, wire: &WireChange, change: Change) -> Result<(), Refusal> {
        let before = self.heads();
        let engine = &mut self.engine;
        guarded(|| engine.apply_changes([change]))?.map_err(|e| Refusal::Engine(e.to_string()))?;
        let mut expected: Vec<Digest> = before.into_iter().filter(|head| !wire.deps.contains(head)).collect();
        expected.push(hash);
        expected.sort_unstable();
        if self.heads() != expected {
            return Err(Refusal::Engine("it was queued instead of applied".into()));
        }
        self.graph.insert(hash, node(wire)?);
        Ok(())
    }

    /// The concurrent values of a key, in the order of [`crate::Registers`].
    pub(crate) fn values(&self, key: &str) -> Result<Vec<Register>, Refusal> {
        let found = guarded(|| {
            let values = self.engine.get_all(ROOT, key)?;
            Ok(values.into_iter().map(|(value, id)| (value.to_owned(), id)).collect())
        })?;
        let found: Vec<(automerge::Value<'static>, ObjId)> =
            found.map_err(|e: automerge::AutomergeError| Refusal::Engine(e.to_string()))?;
        let mut values = Vec::with_capacity(found.len());
        for (value, id) in found {
            let (counter, actor) = operation_id(&id)?;
            values.push(Register { counter, actor, value: plain(&value)? });
        }
        registers::sort(&mut values);
        Ok(values)
    }

    /// The operations whose values a key had at `deps`, sorted.
    pub(crate) fn visible_at(&self, key: &str, deps: &[Digest]) -> Result<Vec<(u64, ActorId)>, Refusal> {
        if deps.is_empty() {
            return Ok(Vec::new());
        }
        let heads: Vec<ChangeHash> = deps.iter().map(|hash| ChangeHash(hash.0)).collect();
        let ids = guarded(|| {
            let values = self.engine.get_all_at(ROOT, key, &heads)?;
            Ok(values.into_iter().map(|(_, id)| id).collect())
        })?;
        let ids: Vec<ObjId> = ids.map_err(|e: automerge::AutomergeError| Refusal::Engine(e.to_string()))?;
        let mut visible = ids.iter().map(operation_id).collect::<Result<Vec<_>, _>>()?;
        visible.sort_unstable();
        Ok(visible)
    }
}

fn node(wire: &WireChange) -> Result<Node, Refusal> {
    let actor = *wire.actors.first().ok_or(Refusal::Form("no actor"))?;
    let max_op = wire.start_op + wire.ops.len() as u64 - 1;
    Ok(Node { actor, seq: wire.seq, max_op, deps: wire.deps.clone() })
}

fn operation_id(id: &ObjId) -> Result<(u64, ActorId), Refusal> {
    match id {
        ObjId::Id(counter, actor, _) => match ActorId::from_slice(actor.to_bytes()) {
            Ok(actor) => Ok((*counter, actor)),
            Err(_) => Err(Refusal::Engine("an actor is not ours".into())),
        },
        ObjId::Root => Err(Refusal::Engine("a value is the root".into())),
    }
}

fn plain(value: &automerge::Value<'_>) -> Result<Value, Refusal> {
    match value.as_scalar() {
        Some(ScalarValue::Uint(n)) => Ok(Value::Uint(*n)),
        Some(ScalarValue::Str(text)) => Ok(Value::Text(text.to_string())),
        Some(ScalarValue::Bytes(bytes)) => Ok(Value::Bytes(bytes.clone())),
        _ => Err(Refusal::Engine("a value is not one of ours".into())),
    }
}
