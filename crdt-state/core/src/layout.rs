//! How rows are spelled. Each has one place where it is built and one where it is read.

use crate::{
    entity::{Entity, Tip},
    error::StateError,
};
use holm_types::{ActorId, Digest, DocId, NodeId, Scope, cbor, change::SignedChange};

pub(crate) fn change_key(doc: &DocId, actor: &ActorId, seq: u64) -> Vec<u8> {
    [&doc.0[..], &actor.0, &seq.to_be_bytes()].concat()
}

/// The number of the first operation, which orders changes causally without decoding them,
/// then the signed change as it travels.
pub(crate) fn change_row(start_op: u64, encoded: &[u8]) -> Vec<u8> {
    let mut row = (start_op as u32).to_be_bytes().to_vec();
    row.extend(encoded);
    row
}

pub(crate) fn read_change<'a>(doc: &DocId, row: &'a [u8]) -> Result<(u32, &'a [u8]), StateError> {
    match row.split_first_chunk::<4>() {
        Some((start_op, encoded)) => Ok((u32::from_be_bytes(*start_op), encoded)),
        None => Err(corrupt("changes", doc, "a row is too short")),
    }
}

pub(crate) fn decode_change(doc: &DocId, row: &[u8]) -> Result<SignedChange, StateError> {
    let (_, encoded) = read_change(doc, row)?;
    SignedChange::decode(encoded).map_err(|e| corrupt("changes", doc, &e.to_string()))
}

pub(crate) fn head_row(entity: &Entity) -> Result<Vec<u8>, StateError> {
    Ok(cbor::to_vec("heads", &(&entity.scope, &entity.heads, entity.bytes))?)
}

pub(crate) fn read_head(doc: &DocId, row: &[u8]) -> Result<Entity, StateError> {
    let (scope, heads, bytes): (Scope, Vec<Digest>, u64) =
        cbor::from_canonical("heads", row, usize::MAX).map_err(|e| corrupt("heads", doc, &e.to_string()))?;
    Ok(Entity { bytes, ..Entity::new(scope, heads) })
}

pub(crate) fn actor_key(doc: &DocId, actor: &ActorId) -> Vec<u8> {
    [&doc.0[..], &actor.0].concat()
}

pub(crate) fn actor_row(node: &NodeId, tip: &Tip) -> Result<Vec<u8>, StateError> {
    Ok(cbor::to_vec("actor", &(node, tip.seq, &tip.hash))?)
}

pub(crate) fn read_actor(key: &[u8], row: &[u8]) -> Result<(DocId, ActorId, NodeId, Tip), StateError> {
    let (doc, rest) = split_doc("actors", key)?;
    let actor = ActorId::from_slice(rest).map_err(|e| corrupt("actors", &doc, &e.to_string()))?;
    let (node, seq, hash): (NodeId, u64, Digest) =
        cbor::from_canonical("actor", row, 128).map_err(|e| corrupt("actors", &doc, &e.to_string()))?;
    Ok((doc, actor, node, Tip { seq, hash }))
}

pub(crate) fn view_key(doc: &DocId, key: &str) -> Vec<u8> {
    [&doc.0[..], key.as_bytes()].concat()
}

pub(crate) fn read_view_key(key: &[u8]) -> Result<(DocId, &str), StateError> {
    let (doc, rest) = split_doc("views", key)?;
    let name = std::str::from_utf8(rest).map_err(|e| corrupt("views", &doc, &e.to_string()))?;
    Ok((doc, name))
}

/// A small thing of this node's own, by the name that the caller gave it.
pub(crate) fn local_key(name: &str) -> Vec<u8> {
    [b"u/", name.as_bytes()].concat()
}

/// Prefix of the members' certificate chains.
pub(crate) const MEMBERS: &[u8] = b"m/";
/// The incarnation that this state went on to by itself.
pub(crate) const INCARNATION: &[u8] = b"incarnation";

/// A member has a row for each signer of a certificate of it; the authority's has nothing behind the member.
pub(crate) fn member_key(node: &NodeId, signer: Option<&NodeId>) -> Vec<u8> {
    [MEMBERS, &node.0, signer.map_or(&[][..], |signer| &signer.0)].concat()
}

/// Splits a key into its document and the rest.
pub(crate) fn split_doc<'a>(table: &'static str, key: &'a [u8]) -> Result<(DocId, &'a [u8]), StateError> {
    match key.split_first_chunk::<16>() {
        Some((doc, rest)) => Ok((DocId(*doc), rest)),
        None => Err(corrupt(table, &DocId([0; 16]), "a key is too short")),
    }
}

pub(crate) fn corrupt(table: &'static str, doc: &DocId, why: &str) -> StateError {
    StateError::Corrupt { table, doc: *doc, why: why.into() }
}
