//! A loaded document: the graph of its changes and, when it was asked for, automerge's replica of
//! them, which knows what a key's values were at any point of the past.
//!
//! What a document says *now* needs neither ([`crate::Registers`]). The graph is needed to judge a
//! change whose author did not know all that is here, and the replica for the few of these that touch
//! a key which others have written meanwhile.

use crate::{
    error::Refusal,
    graph::{Graph, Node, Unseen},
    registers::Register,
    wire,
};
use automerge::{Automerge, Change, ChangeHash, ObjId, ROOT, ReadDoc};
use holm_types::{
    ActorId, Digest,
    change::{SignedChange, WireChange},
};
use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Calls automerge with input that a peer had a hand in. After a panic nothing that `call`
/// could write to may be used again.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, Refusal> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| Refusal::Panic)
}

/// Automerge's replica. Changes are handed to it when it is asked something, many in one call:
/// that costs it much less than one by one.
struct Replica {
    engine: Automerge,
    waiting: Vec<Change>,
}

/// A document in memory.
#[derive(Default)]
pub(crate) struct Document {
    graph: Graph,
    /// Keys that were ever deleted.
    deleted: BTreeSet<String>,
    replica: Option<Replica>,
}

impl Document {
    /// The document of logged changes, which were all valid once.
    pub(crate) fn of_log(log: &[SignedChange]) -> Result<Document, Refusal> {
        let mut document = Document::default();
        for signed in log {
            document.note(signed.hash, &signed.change)?;
        }
        Ok(document)
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Changes that it holds.
    pub(crate) fn len(&self) -> usize {
        self.graph.len()
    }

    /// Adds a change that was found valid.
    pub(crate) fn add(&mut self, hash: Digest, wire: &WireChange, change: Change) -> Result<(), Refusal> {
        self.note(hash, wire)?;
        if let Some(replica) = &mut self.replica {
            replica.waiting.push(change);
        }
        Ok(())
    }

    fn note(&mut self, hash: Digest, wire: &WireChange) -> Result<(), Refusal> {
        let actor = *wire.actors.first().ok_or(Refusal::Form("no actor"))?;
        let max_op = wire.start_op + wire.ops.len() as u64 - 1;
        self.graph.insert(hash, Node { actor, start_op: wire.start_op, max_op, deps: wire.deps.clone() });
        self.deleted.extend(wire.ops.iter().filter(|op| op.value.is_none()).map(|op| op.key.clone()));
        Ok(())
    }

    /// The operations whose values a key had at `deps`, sorted. `now` are its values now, `unseen` is
    /// what is not known at `deps`, and `log` reads the document's changes if they are needed.
    pub(crate) fn visible_at(
        &mut self,
        key: &str,
        now: &[Register],
        deps: &[Digest],
        unseen: &Unseen,
        log: &dyn Fn() -> Result<Vec<SignedChange>, Refusal>,
    ) -> Result<Vec<(u64, ActorId)>, Refusal> {
        if deps.is_empty() {
            return Ok(Vec::new());
        }
        // Values that are there now and were seen then were there then. What else was there then would
        // have been replaced since, by a value or by a deletion; a value would be one that is there now.
        if !self.deleted.contains(key) && now.iter().all(|value| unseen.has_seen(&value.actor, value.counter)) {
            // Registers are sorted the other way round.
            return Ok(now.iter().rev().map(|value| (value.counter, value.actor)).collect());
        }
        holm_types::sometimes!("the past of a key is asked for");
        let visible = self.ask_replica(key, deps, log);
        if visible.is_err() {
            // It may be in any state: it is made anew when it is needed again.
            self.replica = None;
        }
        visible
    }

    fn ask_replica(
        &mut self,
        key: &str,
        deps: &[Digest],
        log: &dyn Fn() -> Result<Vec<SignedChange>, Refusal>,
    ) -> Result<Vec<(u64, ActorId)>, Refusal> {
        let replica = match &mut self.replica {
            Some(replica) => replica,
            unknown => {
                let waiting = log()?.iter().map(wire::rebuild_signed).collect::<Result<_, _>>()?;
                unknown.insert(Replica { engine: Automerge::new(), waiting })
            }
        };
        let waiting = std::mem::take(&mut replica.waiting);
        let heads: Vec<ChangeHash> = deps.iter().map(|hash| ChangeHash(hash.0)).collect();
        let ids = guarded(|| {
            replica.engine.apply_changes(waiting)?;
            let values = replica.engine.get_all_at(ROOT, key, &heads)?;
            Ok(values.into_iter().map(|(_, id)| id).collect())
        })?;
        let ids: Vec<ObjId> = ids.map_err(|e: automerge::AutomergeError| Refusal::Engine(e.to_string()))?;
        if replica.engine.get_heads().into_iter().map(|hash| Digest(hash.0)).ne(self.graph.heads()) {
            return Err(Refusal::Engine("it does not hold what the log holds".into()));
        }
        let mut visible = ids.iter().map(operation_id).collect::<Result<Vec<_>, _>>()?;
        visible.sort_unstable();
        Ok(visible)
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
