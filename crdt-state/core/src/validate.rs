//! The validator: does a change follow from its ancestry? It decides from the change and what
//! it depends on alone, so that every honest node comes to the same verdict in whatever order
//! changes arrive. Only what passes here reaches automerge; the rules are those that no crafted
//! change has been found to get past (`tests/hostile.rs` goes on trying).

use crate::{document::Document, entity::Entity, error::Refusal, graph::Unseen};
use holm_types::{
    ActorId, Digest,
    change::{SignedChange, WireChange, WireOp},
};

/// A well-formed change against the document that it was written for.
pub(crate) enum Ancestry {
    /// It follows.
    Follows,
    /// A change that it depends on has not arrived.
    Misses(Digest),
}

/// Whether the author of a change knew all that is here: then what the document says now is all
/// that is needed to judge it.
pub(crate) fn is_current(entity: Option<&Entity>, wire: &WireChange) -> bool {
    match entity {
        Some(entity) => entity.last_op.is_some() && entity.heads == wire.deps,
        None => wire.deps.is_empty(),
    }
}

/// Judges a change whose author knew all that is here.
pub(crate) fn judge_current(entity: Option<&Entity>, wire: &WireChange) -> Result<(), Refusal> {
    check_sequence(entity, actor_of(wire)?, wire)?;
    check_number(entity.and_then(|entity| entity.last_op).unwrap_or(0), wire)?;
    for op in &wire.ops {
        // Registers are sorted the other way round.
        let visible = entity.and_then(|entity| entity.registers.get(&op.key)).map_or(&[][..], Vec::as_slice);
        check_preds(op, wire, visible.iter().rev().map(|register| (register.counter, register.actor)))?;
    }
    Ok(())
}

/// Judges a change whose author knew a part of what is here.
pub(crate) fn judge_past(
    document: &mut Document,
    entity: &Entity,
    wire: &WireChange,
    log: &dyn Fn() -> Result<Vec<SignedChange>, Refusal>,
) -> Result<Ancestry, Refusal> {
    if let Some(missing) = wire.deps.iter().find(|hash| document.graph().get(hash).is_none()) {
        return Ok(Ancestry::Misses(*missing));
    }
    let actor = actor_of(wire)?;
    let unseen = document.graph().unseen(&entity.heads, &wire.deps);
    check_sequence(Some(entity), actor, wire)?;
    check_chain(&unseen, actor)?;
    check_number(document.graph().max_op(&wire.deps), wire)?;
    for op in &wire.ops {
        let now = entity.registers.get(&op.key).map_or(&[][..], Vec::as_slice);
        check_preds(op, wire, document.visible_at(&op.key, now, &wire.deps, &unseen, log)?.into_iter())?;
    }
    Ok(Ancestry::Follows)
}

fn actor_of(wire: &WireChange) -> Result<&ActorId, Refusal> {
    wire.actors.first().ok_or(Refusal::Form("no actor"))
}

const BROKEN_CHAIN: Refusal = Refusal::Ancestry("the author's previous change is not among its ancestors");

/// It is the next change of its author.
fn check_sequence(entity: Option<&Entity>, actor: &ActorId, wire: &WireChange) -> Result<(), Refusal> {
    let last = entity.and_then(|entity| entity.tips.get(actor)).map_or(0, |tip| tip.seq);
    match wire.seq {
        seq if seq == last + 1 => Ok(()),
        seq if seq <= last => Err(Refusal::Fork),
        _ => Err(BROKEN_CHAIN),
    }
}

/// The author's own changes are one unforked chain.
fn check_chain(unseen: &Unseen, actor: &ActorId) -> Result<(), Refusal> {
    if unseen.has_seen_all_of(actor) { Ok(()) } else { Err(BROKEN_CHAIN) }
}

/// Its operations are counted on from those that it follows.
fn check_number(last: u64, wire: &WireChange) -> Result<(), Refusal> {
    match wire.start_op == last + 1 {
        true => Ok(()),
        false => Err(Refusal::Ancestry("its operations do not follow those that it depends on")),
    }
}

/// An operation replaces exactly what its author saw.
fn check_preds(op: &WireOp, wire: &WireChange, visible: impl Iterator<Item = (u64, ActorId)>) -> Result<(), Refusal> {
    let named =
        op.preds.iter().map(|(counter, index)| wire.actors.get(usize::from(*index)).map(|actor| (*counter, *actor)));
    match named.eq(visible.map(Some)) {
        true => Ok(()),
        false => Err(Refusal::Ancestry("it does not replace exactly what its author saw")),
    }
}
