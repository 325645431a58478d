//! How each wanted slot of an app stands: the one reading of the view that deciding and
//! explaining share, so that the words never differ from the deeds.

use crate::{
    decide::Context,
    filter, flaps,
    reduce::{acting, ended_after, failures},
    rendezvous::is_live,
};
use holm_types::{
    NodeId, Slot,
    manifest::{AppType, PartitionPolicy, RestartPolicy, Run},
    view::{AppView, Assignment, Liveness, NodeView, SlotView, TaskState, View},
};
use std::time::Duration;

/// How often a failed task is tried again when its manifest does not say.
pub const DEFAULT_RETRIES: u32 = 2;
/// How long `reschedule` waits when its manifest does not say.
pub const DEFAULT_RESCHEDULE_AFTER: Duration = Duration::from_secs(30);

/// How a slot stands.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Standing<'a> {
    /// Nothing holds it.
    Vacant,
    /// A task on a live node holds it.
    Held {
        /// That task.
        holder: &'a Assignment,
        /// Its node is overdue.
        suspect: bool,
    },
    /// Its task's node is not there.
    Away {
        /// That task.
        holder: &'a Assignment,
        /// When it is placed again.
        wait: Wait,
    },
    /// Its task ended well.
    Done(&'a Assignment),
    /// Its task ended badly.
    Failed {
        /// The last one.
        last: &'a Assignment,
        /// It is tried again.
        again: bool,
    },
}

/// When a slot whose node is not there is placed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Now.
    Over,
    /// When its node has been dead for so long.
    For(Duration),
    /// Never: it belongs to its node.
    ForItsNode,
}

/// A slot that an app wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Its number.
    pub slot: Slot,
    /// A daemon's slot belongs to this node.
    pub node: Option<&'a NodeView>,
    /// What was ever assigned.
    pub seen: Option<&'a SlotView>,
}

/// Why this version does not run an app at all, if so. Such apps are refused on submission;
/// a later version's may come through the documents all the same.
pub(crate) fn unsupported(app: &AppView) -> Option<&'static str> {
    match (&app.manifest.run, app.manifest.kind, app.manifest.partition.policy) {
        (Run::Wasm(_), _, _) => Some("this version does not run WebAssembly components"),
        (Run::Container(_), _, _) => Some("this version does not run containers"),
        (_, AppType::Cron, _) => Some("this version does not run apps of type \"cron\""),
        (_, AppType::Daemon, PartitionPolicy::Fence) => {
            Some("partition.policy = \"fence\" is not for a daemon: each of its slots belongs to one node")
        }
        (_, _, PartitionPolicy::Fence) if app.guards.is_empty() => {
            Some("it is fenced and has no guards: remove it and submit it again")
        }
        (Run::Process(_), AppType::Service | AppType::Daemon | AppType::Job, _) => None,
    }
}

/// The slots that an app wants, in order. A daemon's are those of the live nodes that its
/// `place` admits, and those that it has on nodes that may come back.
pub(crate) fn wanted<'a>(view: &'a View, app: &'a AppView) -> Vec<Wanted<'a>> {
    if let Some(count) = app.manifest.desired_slots() {
        return (0..count).map(|slot| Wanted { slot, node: None, seen: app.slots.get(&slot) }).collect();
    }
    let mut slots: Vec<Wanted<'a>> = view
        .nodes
        .values()
        .map(|node| {
            let slot = AppView::daemon_slot(&node.id);
            Wanted { slot, node: Some(node), seen: app.slots.get(&slot) }
        })
        .filter(|wanted| wanted.node.is_some_and(|node| view.covers(&node.site)))
        .filter(|wanted| wanted.node.is_some_and(|node| wants_daemon(view, app, node, wanted.seen)))
        .collect();
    slots.sort_by_key(|wanted| wanted.slot);
    slots
}

fn wants_daemon(view: &View, app: &AppView, node: &NodeView, seen: Option<&SlotView>) -> bool {
    match seen.and_then(|seen| acting(view, app, seen)) {
        // Two nodes may share a daemon slot (one pair in 2^31): the first to get it keeps it.
        Some(holder) => holder.placement.node == node.id && node.liveness != Liveness::Left,
        None => node.described && is_live(node.liveness) && filter::elsewhere(node, &app.manifest.place).is_none(),
    }
}

/// How a slot of `app` stands. `cx` says how long nodes have been dead, and how often they were.
pub(crate) fn standing<'a>(view: &View, app: &AppView, seen: Option<&'a SlotView>, cx: &Context<'_>) -> Standing<'a> {
    let Some((seen, holder)) = seen.and_then(|seen| Some((seen, acting(view, app, seen)?))) else {
        return Standing::Vacant;
    };
    if holder.state().is_terminal() {
        return ended(app, seen, holder);
    }
    let node = &holder.placement.node;
    let liveness = view.nodes.get(node).map(|node| node.liveness);
    match liveness {
        Some(Liveness::Alive) => return Standing::Held { holder, suspect: false },
        Some(Liveness::Suspect) => return Standing::Held { holder, suspect: true },
        Some(Liveness::Dead | Liveness::Left) | None => {}
    }
    // What was decided after the holder was lost, and has ended since, counts: or else a task
    // that always fails would be tried for ever, once a first attempt of it was lost.
    if let Some(later) = ended_after(app, seen, holder.epoch) {
        holm_types::sometimes!("a slot ended under a later task while its holder is away");
        return ended(app, seen, later);
    }
    let dead = liveness == Some(Liveness::Dead);
    let wait = match (app.manifest.kind, app.manifest.partition.policy) {
        (AppType::Daemon, _) => Wait::ForItsNode,
        (_, policy) if dead => wait_for(node, policy_wait(app, policy), cx),
        _ => Wait::Over,
    };
    Standing::Away { holder, wait }
}

fn ended<'a>(app: &AppView, seen: &'a SlotView, last: &'a Assignment) -> Standing<'a> {
    if last.state() == TaskState::Succeeded {
        return Standing::Done(last);
    }
    Standing::Failed { last, again: failures(seen, &app.template) <= retries(app) }
}

/// How often a failed task is tried again. A service's task fails for good only when its restart
/// policy gave up, or when its node cannot run it at all; only then is another node tried.
fn retries(app: &AppView) -> u32 {
    match app.manifest.kind {
        AppType::Job => app.manifest.retries.unwrap_or(DEFAULT_RETRIES),
        AppType::Service if app.manifest.restart_policy() == RestartPolicy::Always => DEFAULT_RETRIES,
        _ => 0,
    }
}

/// How long the app itself wants to wait for a dead node.
fn policy_wait(app: &AppView, policy: PartitionPolicy) -> Duration {
    match policy {
        PartitionPolicy::Reschedule => app.manifest.partition.after.map_or(DEFAULT_RESCHEDULE_AFTER, |period| period.0),
        PartitionPolicy::KeepRunning | PartitionPolicy::Fence => Duration::ZERO,
    }
}

/// Whether a dead node has been waited for long enough: as long as the app wants, and longer for one that comes
/// and goes.
fn wait_for(node: &NodeId, wanted: Duration, cx: &Context<'_>) -> Wait {
    let after = wanted.max(flaps::patience(cx, node));
    let waited = cx.dead_for.get(node).copied().unwrap_or_default();
    if waited >= after { Wait::Over } else { Wait::For(after) }
}
