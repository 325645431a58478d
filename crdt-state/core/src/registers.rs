//! Registers: what a document says, key by key.

use crate::error::StateError;
use holm_types::{
    ActorId, cbor,
    change::{Value, WireChange, WireOp},
};
use serde::{Deserialize, Serialize};
use std::{cmp::Reverse, collections::BTreeMap};

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
pub type Registers = BTreeMap<String, Vec<Register>>;

/// Brings values in the order of [`Registers`].
pub(crate) fn sort(values: &mut [Register]) {
    values.sort_by_key(|register| Reverse((register.counter, register.actor)));
}

/// The values of the keys that a valid change writes, when it is added to what a document says.
///
/// An operation takes the place of those that it names and of no other: that is all that automerge
/// does for a scalar at the root.
pub(crate) fn after(registers: Option<&Registers>, change: &WireChange) -> Vec<(String, Vec<Register>)> {
    let Some(actor) = change.actors.first() else { return Vec::new() };
    let key_after = |(op, counter): (&WireOp, u64)| {
        let replaced = |register: &&Register| {
            let named = |(counter, index): &(u64, u16)| {
                *counter == register.counter && change.actors.get(usize::from(*index)) == Some(&register.actor)
            };
            op.preds.iter().any(named)
        };
        let now = registers.and_then(|registers| registers.get(&op.key)).into_iter().flatten();
        let mut values: Vec<Register> = now.filter(|register| !replaced(register)).cloned().collect();
        if let Some(value) = &op.value {
            values.push(Register { counter, actor: *actor, value: value.clone() });
            sort(&mut values);
        }
        (op.key.clone(), values)
    };
    change.ops.iter().zip(change.start_op..).map(key_after).collect()
}

pub(crate) fn encode(values: &[Register]) -> Result<Vec<u8>, StateError> {
    Ok(cbor::to_vec("registers", &values)?)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Register>, StateError> {
    Ok(cbor::from_canonical("registers", bytes, usize::MAX)?)
}
