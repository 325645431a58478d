//! Registers: what a document says, key by key.

use crate::error::{Refusal, StateError};
use holm_types::{
    ActorId, Sorted, cbor,
    change::{Value, WireChange},
};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use std::{
    cmp::Reverse,
    ops::{Bound, Deref},
    slice,
};

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

/// The concurrent values of a key, sorted by (counter, actor), the highest first. They read as a slice.
///
/// There is one nearly always, and a node holds a hundred thousand keys: one takes no list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values {
    /// Nobody has written it at the same time.
    One(Register),
    /// Any other number.
    More(Vec<Register>),
}

impl From<Vec<Register>> for Values {
    fn from(mut values: Vec<Register>) -> Values {
        match (values.len(), values.pop()) {
            (1, Some(only)) => Values::One(only),
            (_, last) => {
                values.extend(last);
                values.shrink_to_fit();
                Values::More(values)
            }
        }
    }
}

impl Deref for Values {
    type Target = [Register];

    fn deref(&self) -> &[Register] {
        match self {
            Values::One(only) => slice::from_ref(only),
            Values::More(values) => values,
        }
    }
}

impl<'a> IntoIterator for &'a Values {
    type Item = &'a Register;
    type IntoIter = slice::Iter<'a, Register>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A document's keys. Each has its concurrent values; more than one only while nobody has written the key since they met.
pub type Registers = Sorted<SmolStr, Values>;

/// The keys that begin with `prefix`, in order.
pub fn beginning<'a>(registers: &'a Registers, prefix: &'a str) -> impl Iterator<Item = (&'a SmolStr, &'a Values)> {
    registers
        .range::<str>((Bound::Included(prefix), Bound::Unbounded))
        .take_while(move |(key, _)| key.starts_with(prefix))
}

/// A key says something else now, or nothing any more.
pub(crate) fn set(registers: &mut Registers, key: SmolStr, values: Values) {
    if values.is_empty() {
        registers.remove(&*key);
    } else {
        registers.insert(key, values);
    }
}

/// Brings values in the order of [`Registers`].
pub(crate) fn sort(values: &mut [Register]) {
    values.sort_by_key(|register| Reverse((register.counter, register.actor)));
}

/// What the keys that a valid change writes say after it: it takes the place of the values that it names, as in automerge.
pub(crate) fn after(before: Option<&Registers>, wire: &WireChange) -> Result<Vec<(SmolStr, Values)>, Refusal> {
    let author = *wire.actors.first().ok_or(Refusal::Form("no actor"))?;
    let written = wire.ops.iter().zip(wire.start_op..).map(|(op, counter)| {
        let replaced = |register: &Register| {
            op.preds.iter().any(|(counter, index)| {
                *counter == register.counter && wire.actors.get(usize::from(*index)) == Some(&register.actor)
            })
        };
        let before = before.and_then(|registers| registers.get(&*op.key)).into_iter().flatten();
        let mut values: Vec<Register> = before.filter(|register| !replaced(register)).cloned().collect();
        let new = op.value.clone().map(|value| Register { counter, actor: author, value });
        let values = match new {
            Some(new) if values.is_empty() => Values::One(new),
            new => {
                values.extend(new);
                sort(&mut values);
                Values::from(values)
            }
        };
        (SmolStr::from(&op.key), values)
    });
    Ok(written.collect())
}

pub(crate) fn encode(values: &[Register]) -> Result<Vec<u8>, StateError> {
    Ok(cbor::to_vec("registers", &values)?)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Values, StateError> {
    Ok(cbor::from_canonical::<Vec<Register>>("registers", bytes, usize::MAX)?.into())
}
