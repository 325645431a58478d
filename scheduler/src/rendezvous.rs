//! Rendezvous hashing (highest random weight; Thaler and Ravishankar, 1998): who decides for an
//! app, without an election. Nodes that see the same members name the same coordinator, and when
//! one node goes, only the apps that it coordinated change hands.

use holm_types::{
    Digest, DocId, NodeId, Slot,
    view::{Liveness, View},
};
use std::cmp::Reverse;

/// The weight of a node for an app: random to look at, the same everywhere.
pub fn weight(app: &DocId, node: &NodeId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = Digest::of("holm rendezvous v1", &[&app.0, &node.0]).0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The node that decides for an app, as `view` has it: of those that have described themselves, the
/// live one (alive or suspect) of the highest weight, of equal ones the lowest id. `None` when nobody is live.
pub fn coordinator(view: &View, app: &DocId) -> Option<NodeId> {
    view.nodes
        .values()
        .filter(|node| node.described && is_live(node.liveness))
        .map(|node| node.id)
        .max_by_key(|id| (weight(app, id), Reverse(*id)))
}

/// Whether the work of a node in this state is still its own.
pub(crate) fn is_live(liveness: Liveness) -> bool {
    matches!(liveness, Liveness::Alive | Liveness::Suspect)
}

/// Whether `view` has `node` as live.
pub(crate) fn live_in(view: &View, node: &NodeId) -> bool {
    view.nodes.get(node).is_some_and(|node| is_live(node.liveness))
}

/// The weight of a node for one slot, from its weight for the app. Mixed (the finaliser of
/// splitmix64) rather than hashed anew, since placement asks for every slot and node.
pub(crate) fn slot_weight(app_weight: u64, slot: Slot) -> u64 {
    let mut x = app_weight ^ u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
