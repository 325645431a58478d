//! Fenced apps, as far as deciding goes: who guards an app, and whether enough of its guards are in
//! sight for a decision to be of use. That no two tasks of a slot run is not decided here: the guards
//! see to it.

use crate::rendezvous::{live_in, weight};
use holm_types::{
    DocId, NodeId,
    manifest::Place,
    view::{AppView, Liveness, NodeView, View},
};
use std::cmp::Reverse;

/// Who may guard an app, the best first: members that may run or coordinate it and hold its documents,
/// whether they are in sight or not. Where members are the same the answer is, on both sides of a cut.
///
/// An app that is bound to a site is guarded there: the site keeps it when the rest of the mesh is gone.
pub fn rank_guards(view: &View, app: &DocId, place: &Place) -> Vec<NodeId> {
    let admits = |node: &&NodeView| {
        let here = place.site.as_ref().is_none_or(|site| *site == node.site);
        node.described && node.liveness != Liveness::Left && here
    };
    let mut guards: Vec<NodeId> = view.nodes.values().filter(admits).map(|node| node.id).collect();
    guards.sort_by_cached_key(|id| (Reverse(weight(app, id)), *id));
    guards
}

/// Why nothing can be decided for a fenced app here: too few of its guards are in sight, so no task
/// that was placed now would get its lease.
pub(crate) fn out_of_sight(view: &View, app: &AppView) -> Option<String> {
    if !app.manifest.is_fenced() {
        return None;
    }
    app.guards.iter().find_map(|set| {
        let seen = set.members.iter().filter(|guard| live_in(view, guard)).count();
        let (all, needed) = (set.members.len(), set.majority());
        (seen < needed).then(|| format!("fence: {seen} of {all} guards in sight, {needed} needed"))
    })
}
