//! Registers: what a document says, key by key.

use crate::error::StateError;
use holm_types::{ActorId, cbor, change::Value};
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

pub(crate) fn encode(values: &[Register]) -> Result<Vec<u8>, StateError> {
    Ok(cbor::to_vec("registers", &values)?)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Register>, StateError> {
    Ok(cbor::from_canonical("registers", bytes, usize::MAX)?)
}
