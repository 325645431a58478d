//! A loaded document: the graph of its changes, and automerge's replica of it while that is needed.

use crate::{
    error::{Refusal, StateError},
    graph::{Graph, Node},
    registers::{self, Register, Registers},
    wire,
};
use automerge::{Automerge, Change, ChangeHash, ObjId, ROOT, ReadDoc, ScalarValue};
use holm_types::{
    ActorId, Digest,
    change::{SignedChange, Value, WireChange},
    sometimes,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls automerge with input that a peer had a hand in. After a panic nothing that `call`
/// could write to may be used again.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, Refusal> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| Refusal::Panic)
}

/// A document in memory: the graph of its changes, and automerge's replica while that is needed.
///
/// Most changes are judged, and what they leave in the registers is known, by what is held of a document anyway
/// ([`crate::validate`], [`registers::after`]); that is five times as fast as to have automerge apply each. Where one key is
/// written by several who have not seen each other, automerge says what each had seen, from the log.
#[derive(Default)]
pub(crate) struct Document {
    graph: Graph,
    /// Sorted.
    heads: Vec<Digest>,
    engine: Option<Engine>,
}

/// Automerge's replica, and what it has not heard of.
struct Engine {
    replica: Box<Automerge>,
    unseen: Vec<Change>,
}

/// Changes that a replica may lag behind; if nobody asked it for so long, it is made again when somebody does.
const MAX_UNSEEN: usize = 64;

/// Reads all changes of a document from the log, in causal order.
pub(crate) type History<'a> = &'a dyn Fn() -> Result<Vec<SignedChange>, StateError>;

impl Document {
    /// The document of logged changes, which were all valid once, in causal order.
    pub(crate) fn of(log: &[SignedChange]) -> Result<Document, Refusal> {
        let mut document = Document::default();
        for signed in log {
            document.follow(signed.hash, &signed.change)?;
        }
        Ok(document)
    }

    /// The same, with all of it replayed in automerge.
    pub(crate) fn replay(log: &[SignedChange]) -> Result<Document, Refusal> {
        let mut document = Document::of(log)?;
        document.wake(log)?;
        Ok(document)
    }

    fn wake(&mut self, log: &[SignedChange]) -> Result<(), Refusal> {
        let unseen = log.iter().map(wire::rebuild_signed).collect::<Result<Vec<_>, _>>()?;
        let mut engine = Engine { replica: Box::default(), unseen };
        engine.catch_up(&self.heads)?;
        self.engine = Some(engine);
        Ok(())
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Changes that it holds.
    pub(crate) fn len(&self) -> usize {
        self.graph.len()
    }

    /// Sorted.
    pub(crate) fn heads(&self) -> &[Digest] {
        &self.heads
    }

    /// Takes in a validated change. After an error the document must be dropped and read from the log again.
    pub(crate) fn apply(&mut self, hash: Digest, wire: &WireChange, change: Change) -> Result<(), Refusal> {
        self.follow(hash, wire)?;
        if let Some(engine) = &mut self.engine {
            engine.unseen.push(change);
        }
        if self.engine.as_ref().is_some_and(|engine| engine.unseen.len() > MAX_UNSEEN) {
            self.engine = None;
        }
        Ok(())
    }

    fn follow(&mut self, hash: Digest, wire: &WireChange) -> Result<(), Refusal> {
        self.heads.retain(|head| !wire.deps.contains(head));
        let place = self.heads.partition_point(|head| *head < hash);
        self.heads.insert(place, hash);
        self.graph.insert(hash, Node::of(wire)?);
        Ok(())
    }

    /// The operations whose values a key had at `deps`, sorted.
    pub(crate) fn visible_at(
        &mut self,
        key: &str,
        deps: &[Digest],
        history: History<'_>,
    ) -> Result<Vec<(u64, ActorId)>, Refusal> {
        if deps.is_empty() {
            return Ok(Vec::new());
        }
        sometimes!("automerge is asked what a writer had seen");
        match &mut self.engine {
            Some(engine) => engine.catch_up(&self.heads)?,
            None => self.wake(&history()?)?,
        }
        self.engine.as_ref().map_or(Ok(Vec::new()), |engine| engine.visible_at(key, deps))
    }

    /// What all keys say in automerge's replica. The document must have been replayed.
    pub(crate) fn registers(&self) -> Result<Registers, Refusal> {
        let Some(engine) = &self.engine else { return Ok(Registers::new()) };
        let keys = guarded(|| engine.replica.keys(ROOT).collect::<Vec<String>>())?;
        keys.into_iter().map(|key| engine.values(&key).map(|values| (key.into(), values.into()))).collect()
    }
}

impl Engine {
    /// Takes in what it has not heard of; `heads` is what it must have come to then.
    fn catch_up(&mut self, heads: &[Digest]) -> Result<(), Refusal> {
        let unseen = std::mem::take(&mut self.unseen);
        if unseen.is_empty() {
            return Ok(());
        }
        let replica = &mut self.replica;
        guarded(|| replica.apply_changes(unseen))?.map_err(|e| Refusal::Engine(e.to_string()))?;
        match replica.get_heads().iter().map(|hash| &hash.0).eq(heads.iter().map(|head| &head.0)) {
            true => Ok(()),
            false => Err(Refusal::Engine("a change was queued instead of applied".into())),
        }
    }

    fn visible_at(&self, key: &str, deps: &[Digest]) -> Result<Vec<(u64, ActorId)>, Refusal> {
        let heads: Vec<ChangeHash> = deps.iter().map(|hash| ChangeHash(hash.0)).collect();
        let ids = guarded(|| {
            let values = self.replica.get_all_at(ROOT, key, &heads)?;
            Ok(values.into_iter().map(|(_, id)| id).collect())
        })?;
        let ids: Vec<ObjId> = ids.map_err(|e: automerge::AutomergeError| Refusal::Engine(e.to_string()))?;
        let mut visible = ids.iter().map(operation_id).collect::<Result<Vec<_>, _>>()?;
        visible.sort_unstable();
        Ok(visible)
    }

    /// The concurrent values of a key, in the order of [`crate::Registers`].
    fn values(&self, key: &str) -> Result<Vec<Register>, Refusal> {
        let found = guarded(|| {
            let values = self.replica.get_all(ROOT, key)?;
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
        Some(ScalarValue::Str(text)) => Ok(Value::Text(text.clone())),
        Some(ScalarValue::Bytes(bytes)) => Ok(Value::Bytes(bytes.clone())),
        _ => Err(Refusal::Engine("a value is not one of ours".into())),
    }
}
