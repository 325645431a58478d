//! The journal holds what may only happen after a batch is on disk: replies, publications,
//! enrolments.

use crate::Effect;
use holm_state::State;
use holm_types::parcel;
use std::collections::{BTreeMap, VecDeque};

/// Effects that wait for the disk.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    gathering: Vec<Effect>,
    /// Changes to be published, by topic: those of a batch travel together.
    changes: BTreeMap<String, Vec<Vec<u8>>>,
    in_flight: VecDeque<Vec<Effect>>,
}

impl Journal {
    /// `effect` happens when everything written so far is durable.
    pub(crate) fn after_persist(&mut self, effect: Effect) {
        self.gathering.push(effect);
    }

    /// An encoded change is published when everything written so far is durable.
    pub(crate) fn publish(&mut self, topic: String, change: Vec<u8>) {
        self.changes.entry(topic).or_default().push(change);
    }

    /// Sends the gathered writes to the disk, unless a batch is in flight: then they wait for
    /// it and share the next one.
    pub(crate) fn seal(&mut self, state: &mut State, out: &mut Vec<Effect>) {
        if !self.in_flight.is_empty() {
            return;
        }
        let mut waiting = Vec::new();
        for (topic, changes) in std::mem::take(&mut self.changes) {
            let parcels = parcel::pack(changes).into_iter();
            waiting.extend(parcels.map(|bytes| Effect::Publish { topic: topic.clone(), bytes }));
        }
        waiting.append(&mut self.gathering);
        match state.take_batch() {
            Some(batch) => {
                self.in_flight.push_back(waiting);
                out.push(Effect::Persist(batch));
            }
            None => out.extend(waiting),
        }
    }

    /// The batch in flight is on disk.
    pub(crate) fn persisted(&mut self, state: &mut State, out: &mut Vec<Effect>) {
        if let Some(effects) = self.in_flight.pop_front() {
            state.persisted();
            out.extend(effects);
        }
    }
}
