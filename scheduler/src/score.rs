//! Which of the nodes that fit is best: policies in the order in which they count, each a
//! function of its own. The lowest rank wins.

use crate::{
    reduce::tried_on,
    rendezvous::{slot_weight, weight},
    usage::Room,
};
use holm_types::{
    Label, Slot,
    manifest::{Amounts, Place, Spread},
    view::{AppView, NodeView, SlotView},
};
use std::{cmp::Reverse, collections::BTreeMap};

/// Preferences that count, at most.
const MAX_PREFERENCES: usize = 64;

/// A node that takes tasks of the app, with what does not change from slot to slot.
#[derive(Debug)]
pub(crate) struct Candidate<'a> {
    /// The node.
    pub node: &'a NodeView,
    /// Tasks of the app that it holds.
    pub held: u32,
    /// It comes and goes: how often.
    unsteady: u32,
    preference: Reverse<u64>,
    weight: u64,
}

impl<'a> Candidate<'a> {
    pub(crate) fn new(app: &AppView, node: &'a NodeView, held: u32, unsteady: u32) -> Candidate<'a> {
        let preference = preference(&app.manifest.place, node);
        Candidate { node, held, unsteady, preference, weight: weight(&app.doc, &node.id) }
    }
}

/// A candidate's place in the order for one slot.
pub(crate) type Rank = (usize, u32, (u32, u32), Reverse<u64>, u64, Reverse<u64>);

/// The rank of a candidate for a slot of `app`; `sites` counts the app's tasks at each site.
pub(crate) fn rank(
    app: &AppView,
    request: &Amounts,
    candidate: &Candidate<'_>,
    sites: &BTreeMap<&Label, u32>,
    room: Option<&Room>,
    (slot, seen): (Slot, Option<&SlotView>),
) -> Rank {
    (
        tried_on(seen, &app.template, &candidate.node.id),
        candidate.unsteady,
        spread(app.manifest.place.spread, candidate, sites),
        candidate.preference,
        load(room, request),
        Reverse(slot_weight(candidate.weight, slot)),
    )
}

/// Where the app has the fewest tasks: on a node, or first at a site.
fn spread(spread: Spread, candidate: &Candidate<'_>, sites: &BTreeMap<&Label, u32>) -> (u32, u32) {
    match spread {
        Spread::Node => (candidate.held, 0),
        Spread::Site => (sites.get(&candidate.node.site).copied().unwrap_or(0), candidate.held),
    }
}

/// The preferred labels that a node has, the first as the highest bit.
fn preference(place: &Place, node: &NodeView) -> Reverse<u64> {
    let has = |preferred: &String| {
        preferred.split_once('=').is_some_and(|(key, value)| node.info.labels.get(key).is_some_and(|v| v == value))
    };
    let preferred = place.prefer.iter().take(MAX_PREFERENCES).enumerate();
    Reverse(preferred.filter(|(_, label)| has(label)).fold(0, |bits, (i, _)| bits | 1 << (MAX_PREFERENCES - 1 - i)))
}

/// The share of the processors or of the memory that is taken, whichever is larger; the number of
/// tasks for an app that asks for neither.
fn load(room: Option<&Room>, request: &Amounts) -> u64 {
    match room {
        None => u64::MAX,
        Some(room) if request.cpu == 0 && request.memory == 0 => u64::from(room.tasks),
        Some(room) => room.share,
    }
}
