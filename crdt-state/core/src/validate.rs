//! The validator: does a change follow from its ancestry? It decides from the change and what
//! it depends on alone, so that every honest node comes to the same verdict in whatever order
//! changes arrive. Only what passes here reaches automerge; the rules are those that no crafted
//! change has been found to get past (`tests/hostile.rs` goes on trying).

use crate::{
    document::{Document, History},
    entity::Entity,
    error::Refusal,
};
use holm_types::{
    ActorId, Digest,
    change::{WireChange, WireOp},
};

/// A well-formed change against the document that it was written for.
pub(crate) enum Ancestry {
    /// It follows.
    Follows,
    /// A change that it depends on has not arrived.
    Misses(Digest),
}

pub(crate) fn judge(
    document: &mut Document,
    entity: Option<&Entity>,
    wire: &WireChange,
    history: History<'_>,
) -> Result<Ancestry, Refusal> {
    let graph = document.graph();
    if let Some(missing) = wire.deps.iter().find(|hash| graph.get(hash).is_none()) {
        return Ok(Ancestry::Misses(*missing));
    }
    let actor = wire.actors.first().ok_or(Refusal::Form("no actor"))?;
    let current = entity.is_some_and(|entity| entity.heads == wire.deps) || (entity.is_none() && wire.deps.is_empty());
    check_chain(document, entity, actor, wire, current)?;
    if wire.start_op != graph.max_op(&wire.deps) + 1 {
        return Err(Refusal::Ancestry("its operations do not follow those that it depends on"));
    }
    // What its author had not seen; most often other keys, so that what is held now is what the author saw.
    let unseen = match entity {
        Some(entity) if !current => graph.beyond(&entity.heads, &wire.deps),
        _ => Vec::new(),
    };
    let disputed: Vec<bool> =
        wire.ops.iter().map(|op| unseen.iter().any(|node| node.may_have_written(&op.key))).collect();
    for (op, disputed) in wire.ops.iter().zip(disputed) {
        check_preds(document, entity, op, wire, disputed, history)?;
    }
    Ok(Ancestry::Follows)
}

/// The author's own changes are one unforked chain.
fn check_chain(
    document: &Document,
    entity: Option<&Entity>,
    actor: &ActorId,
    wire: &WireChange,
    current: bool,
) -> Result<(), Refusal> {
    let Some(tip) = entity.and_then(|entity| entity.tips.get(actor)) else {
        return if wire.seq == 1 {
            Ok(())
        } else {
            Err(Refusal::Ancestry("the author's previous change is not among its ancestors"))
        };
    };
    if wire.seq <= tip.seq {
        return Err(Refusal::Fork);
    }
    if wire.seq != tip.seq + 1 || !(current || document.graph().reaches(&wire.deps, &tip.hash)) {
        return Err(Refusal::Ancestry("the author's previous change is not among its ancestors"));
    }
    Ok(())
}

/// An operation replaces exactly what its author saw.
fn check_preds(
    document: &mut Document,
    entity: Option<&Entity>,
    op: &WireOp,
    wire: &WireChange,
    disputed: bool,
    history: History<'_>,
) -> Result<(), Refusal> {
    let named =
        op.preds.iter().map(|(counter, index)| wire.actors.get(usize::from(*index)).map(|actor| (*counter, *actor)));
    let right = if disputed {
        named.eq(document.visible_at(&op.key, &wire.deps, history)?.into_iter().map(Some))
    } else {
        // Registers are sorted the other way round.
        let visible = entity.and_then(|entity| entity.registers.get(&*op.key)).map_or(&[][..], |values| values);
        named.eq(visible.iter().rev().map(|register| Some((register.counter, register.actor))))
    };
    if right { Ok(()) } else { Err(Refusal::Ancestry("it does not replace exactly what its author saw")) }
}
