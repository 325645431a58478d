//! The reduction of one slot: all assignments with what their nodes say. Which one holds is
//! the scheduler's to say.

use crate::registers::{self, Register, Registers};
use holm_types::{
    ActorId, Epoch, NodeId, Slot, cbor,
    change::{MAX_VALUE_BYTES, Value, keys_of},
    view::{Assignment, Placement, SlotView, TaskStatus},
};
use std::collections::BTreeMap;

/// The slot as the documents say it, nothing if it was never assigned. The first of them that says something of a key is
/// believed.
pub(super) fn reduce(
    slot: Slot,
    docs: &[&Registers],
    authors: &BTreeMap<ActorId, NodeId>,
    bad: &mut usize,
) -> Option<SlotView> {
    let mut found = BTreeMap::new();
    let prefix = format!("as/{slot}/");
    for registers in docs {
        for (key, values) in registers::beginning(registers, &prefix) {
            let Some(key) = keys_of::parse_slot(key) else { continue };
            let Some((register, placement)) =
                first(values, bad, |bytes| cbor::from_canonical::<Placement>("placement", bytes, MAX_VALUE_BYTES).ok())
            else {
                continue;
            };
            let Some(writer) = authors.get(&register.actor).copied() else { continue };
            // The key bears the mark of this node: no other node's word counts.
            let said_at = keys_of::status(slot, key.epoch, &placement.node);
            let status = docs.iter().find_map(|registers| {
                let values = registers.get(&*said_at)?;
                first(values, bad, |bytes| TaskStatus::decode(bytes).ok())
            });
            let told_in = status.as_ref().map(|(register, _)| register.actor.incarnation()).unwrap_or_default();
            let status = status.map(|(_, status)| status);
            let assignment = Assignment { epoch: key.epoch, writer, placement, status, told_in };
            found.entry((key.epoch, writer)).or_insert(assignment);
        }
    }
    let assignments: Vec<Assignment> = found.into_values().collect();
    let floor = docs.iter().map(|registers| floor_of(registers, slot)).max().unwrap_or(0);
    (floor > 0 || !assignments.is_empty()).then_some(SlotView { assignments, floor })
}

/// The highest epoch that a document says was given before it began.
pub fn floor_of(registers: &Registers, slot: Slot) -> Epoch {
    let values = registers.get(&*keys_of::floor(slot)).into_iter().flatten();
    let floors = values.filter_map(|register| if let Value::Uint(epoch) = register.value { Some(epoch) } else { None });
    floors.max().unwrap_or(0)
}

/// The first value that makes sense; a single-writer key has more than one value only when its
/// writer came back in another incarnation.
fn first<'a, T>(
    values: &'a [Register],
    bad: &mut usize,
    decode: impl Fn(&[u8]) -> Option<T>,
) -> Option<(&'a Register, T)> {
    for register in values {
        let decoded = if let Value::Bytes(bytes) = &register.value { decode(bytes) } else { None };
        match decoded {
            Some(value) => return Some((register, value)),
            None => *bad += 1,
        }
    }
    None
}
