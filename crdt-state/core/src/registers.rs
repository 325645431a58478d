//! Registers: what a document says, key by key.

use crate::error::{Refusal, StateError};
use holm_types::{
    ActorId, cbor,
    change::{Value, WireChange},
};
use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

/// One of the concurrent values of a key, and the operation that put it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// Lamport number of the operation.
    #[serde(rename = "c")]
    pub counter: u64,
    /// Who put it.
    #[serde(rename = "a")]
    pub actor: ActorId,
    /// The value.
    #[serde(rename = "v")]
    pub value: Value,
}

/// A document's keys. Each has its concurrent values, sorted by (counter, actor), the highest
/// first; more than one only while nobody has written the key since they met.
///
/// Most documents have a handful of keys, and a node holds tens of thousands of documents: a sorted list costs a fraction of a tree.
pub type Registers = LiteMap<String, Vec<Register>>;

/// The keys that begin with `prefix`, in order.
pub fn beginning<'a>(registers: &'a Registers, prefix: &'a str) -> impl Iterator<Item = &'a (String, Vec<Register>)> {
    let from = registers.find_index(prefix).unwrap_or_else(|place| place);
    registers.as_slice().iter().skip(from).take_while(move |(key, _)| key.starts_with(prefix))
}

/// Brings values in the order of [`Registers`].
pub(crate) fn sort(values: &mut [Register]) {
    values.sort_by_key(|register| Reverse((register.counter, register.actor)));
}

/// What the keys that a valid change writes say after it: it takes the place of the values that it names, as in automerge.
pub(crate) fn after(before: Option<&Registers>, wire: &WireChange) -> Result<Vec<(String, Vec<Register>)>, Refusal> {
    let author = *wire.actors.first().ok_or(Refusal::Form("no actor"))?;
    let written = wire.ops.iter().zip(wire.start_op..).map(|(op, counter)| {
        let replaced = |register: &Register| {
            op.preds.iter().any(|(counter, index)| {
                *counter == register.counter && wire.actors.get(usize::from(*index)) == Some(&register.actor)
            })
        };
        let before = before.and_then(|registers| registers.get(&op.key)).into_iter().flatten();
        let mut values: Vec<Register> = before.filter(|register| !replaced(register)).cloned().collect();
        values.extend(op.value.clone().map(|value| Register { counter, actor: author, value }));
        sort(&mut values);
        values.shrink_to_fit();
        (op.key.clone(), values)
    });
    Ok(written.collect())
}

pub(crate) fn encode(values: &[Register]) -> Result<Vec<u8>, StateError> {
    Ok(cbor::to_vec("registers", &values)?)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Register>, StateError> {
    Ok(cbor::from_canonical("registers", bytes, usize::MAX)?)
}
