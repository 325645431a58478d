//! Rendezvous hashing (highest random weight; Thaler and Ravishankar, 1998): who decides for an
//! app, without an election. Nodes that see the same members name the same coordinator, and when
//! one node goes, only the apps that it coordinated change hands.

use holm_types::{
    DocId, Label, NodeId, Scope, Slot,
    manifest::AppType,
    view::{AppView, Liveness, NodeView, View},
};
use std::cmp::Reverse;

/// The weight of a node for an app: random to look at, the same everywhere. Both ids are the ends of hashes or keys already, so they are
/// mixed and not hashed once more: a keeper asks for every app and node at every turn.
pub fn weight(app: &DocId, node: &NodeId) -> u64 {
    let last = |bytes: &[u8]| bytes.last_chunk::<8>().map_or(0, |chunk| u64::from_be_bytes(*chunk));
    mixed(mixed(last(&app.0)) ^ last(&node.0))
}

/// The node that decides for an app, as `view` has it: of those that may and have described themselves,
/// the live one (alive or suspect) of the highest weight, of equal ones the lowest id. `None` when nobody
/// is live.
///
/// An app of a site is decided for by the nodes of that site, so that a site needs nobody else. An app of no
/// site is decided for by the keepers, who see all sites; while none is in sight, each site does what it can
/// with its own nodes. The slots of a daemon belong to their nodes, and each site decides for its own.
pub fn coordinator(view: &View, app: &AppView) -> Option<NodeId> {
    match (&app.scope, app.manifest.kind) {
        (Scope::Site(site), _) => site_coordinator(view, &app.doc, site),
        (Scope::Mesh, AppType::Daemon) => own_site(view, &app.doc),
        (Scope::Mesh, _) => heaviest(view, &app.doc, |node| node.is_keeper()).or_else(|| own_site(view, &app.doc)),
    }
}

/// The node of a site that decides for the site.
pub(crate) fn site_coordinator(view: &View, app: &DocId, site: &Label) -> Option<NodeId> {
    heaviest(view, app, |node| node.site == *site)
}

fn own_site(view: &View, app: &DocId) -> Option<NodeId> {
    heaviest(view, app, |node| view.site.as_ref().is_none_or(|own| node.site == *own))
}

fn heaviest(view: &View, app: &DocId, may: impl Fn(&NodeView) -> bool) -> Option<NodeId> {
    let nodes = view.nodes.values().filter(|node| node.described && is_live(node.liveness) && may(node));
    nodes.map(|node| node.id).max_by_key(|id| (weight(app, id), Reverse(*id)))
}

/// Whether the work of a node in this state is still its own.
pub(crate) fn is_live(liveness: Liveness) -> bool {
    matches!(liveness, Liveness::Alive | Liveness::Suspect)
}

/// Whether `view` has `node` as live.
pub(crate) fn live_in(view: &View, node: &NodeId) -> bool {
    view.nodes.get(node).is_some_and(|node| is_live(node.liveness))
}

/// The weight of a node for one slot, from its weight for the app.
pub(crate) fn slot_weight(app_weight: u64, slot: Slot) -> u64 {
    mixed(app_weight ^ u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The finaliser of splitmix64 (Steele, Lea and Flood, 2014).
fn mixed(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
