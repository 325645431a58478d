//! Fenced apps, as far as deciding goes: who guards an app, and whether enough of its guards are in
//! sight for a decision to be of use. That no two tasks of a slot run is not decided here: the guards
//! see to it.

use crate::rendezvous::{live_in, weight};
use holm_types::{
    DocId, Label, NodeId, Scope,
    fence::GuardSet,
    view::{AppView, Liveness, NodeView, View},
};
use std::{cmp::Reverse, collections::BTreeSet, time::Duration};

/// Keepers that guard an app of no site by themselves.
const ENOUGH_KEEPERS: usize = 3;

/// The guards of an app, whether they are in sight or not: where the known members are the same the answer
/// is, on both sides of a cut. `None` when nobody is known.
///
/// All of them hold the app's scope, and nodes that may run the app can know them:
///
/// - An app of a site is guarded by the nodes of the site, which keeps it when the rest of the mesh is gone.
/// - An app of no site is guarded by the keepers, whom all sites know; where they are few, by the other nodes of
///   their sites, too.
///
/// Where that is an even number, somebody from elsewhere makes it odd, a keeper if there is one: of two nodes and a
/// third who breaks the tie any one may be lost.
pub fn guards_for(view: &View, app: &DocId, scope: &Scope, lease: Duration) -> Option<GuardSet> {
    let holds = |node: &&NodeView| *scope == Scope::Mesh || node.is_keeper() || scope.site() == Some(&node.site);
    let admits = |node: &&NodeView| node.described && node.liveness != Liveness::Left && holds(node);
    let mut members: Vec<&NodeView> = view.nodes.values().filter(admits).collect();
    members.sort_by_cached_key(|node| (Reverse(weight(app, &node.id)), node.id));
    let keepers: Vec<&NodeView> = members.iter().copied().filter(|node| node.is_keeper()).collect();
    let sites: BTreeSet<&Label> = keepers.iter().map(|keeper| &keeper.site).collect();
    let at_home = |node: &NodeView| match scope.site() {
        Some(site) => node.site == *site,
        None if keepers.len() >= ENOUGH_KEEPERS => node.is_keeper(),
        None => sites.contains(&node.site),
    };
    // Keepers first, where there is a choice: among those of no site, and of those from elsewhere.
    members.sort_by_key(|node| !node.is_keeper());
    let (mut home, elsewhere): (Vec<&NodeView>, Vec<&NodeView>) = members.into_iter().partition(|node| at_home(node));
    if scope.site().is_some() {
        home.sort_by_cached_key(|node| (Reverse(weight(app, &node.id)), node.id));
    }
    let more = match home.len() {
        0 => elsewhere.len(),
        count => usize::from(count % 2 == 0),
    };
    let ranked: Vec<NodeId> = home.into_iter().chain(elsewhere.into_iter().take(more)).map(|node| node.id).collect();
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
