//! Fenced apps, as far as deciding goes: who guards an app, and whether enough of its guards are in
//! sight for a decision to be of use. That no two tasks of a slot run is not decided here: the guards
//! see to it.

use crate::rendezvous::{live_in, weight};
use holm_types::{
    DocId, NodeId, Scope,
    fence::{GuardSet, MAX_GUARDS},
    view::{AppView, Liveness, NodeView, View},
};
use std::{cmp::Reverse, time::Duration};

/// The guards of an app, whether they are in sight or not. `None` when nobody is known who could be one.
///
/// Wherever the app may be submitted the same members have to come out, or two sides of a cut make two sets that
/// know nothing of each other, and each side runs it. So they are chosen among those that all nodes of the scope know:
///
/// - An app of a site is guarded by the nodes of the site, which keeps it when the rest of the mesh is gone. Where they
///   are an even number a keeper from elsewhere makes it odd: of two nodes and a third who breaks the tie any one may
///   be lost. Keepers alone guard it while the site has no nodes.
/// - An app of no site is guarded by keepers: the other nodes of a site are strangers to those of another.
pub fn guards_for(view: &View, app: &DocId, scope: &Scope, lease: Duration) -> Option<GuardSet> {
    let admits = |node: &&NodeView| node.described && node.liveness != Liveness::Left;
    let mut members: Vec<&NodeView> = view.nodes.values().filter(admits).collect();
    members.sort_by_cached_key(|node| (Reverse(weight(app, &node.id)), node.id));
    let (home, elsewhere): (Vec<&NodeView>, Vec<&NodeView>) =
        members.into_iter().partition(|node| scope.site() == Some(&node.site));
    let keepers = elsewhere.into_iter().filter(|node| node.is_keeper());
    let more = match home.len() {
        0 => MAX_GUARDS,
        count => usize::from(count % 2 == 0),
    };
    let ranked: Vec<NodeId> = home.iter().copied().chain(keepers.take(more)).map(|node| node.id).collect();
    GuardSet::choose(&ranked, lease)
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
