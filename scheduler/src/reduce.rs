//! Which assignment of a slot holds.
//!
//! Two coordinators that do not see each other may both assign a slot. Nothing is undone for
//! that: both assignments stay in the document, and every node computes from them which one
//! holds. [`holder`] depends on the documents alone, so nodes with equal documents agree on it,
//! in whatever order the assignments came. [`acting`] bends it for the time that the holder is
//! out of sight.

use crate::rendezvous::{live_in, weight};
use holm_types::{
    Digest, DocId, Epoch, NodeId,
    manifest::AppType,
    view::{AppView, Assignment, SlotView, StandsIn, TaskState, View},
};
use std::{cmp::Ordering, collections::BTreeSet};

/// The assignment that holds a slot. The rule, in full:
///
/// 1. An assignment that its node refused never holds, nor does one that is `superseded` or
///    `cancelled`.
/// 2. A job's slot that has succeeded is held for good by the assignment of the **lowest** epoch
///    that succeeded: a later repetition of the same work changes no result that was ever read.
/// 3. Otherwise the one of the **highest** epoch holds among those that have not ended, but one that
///    stands in for a run that goes on gives way to it: who was only out of sight, and has run all
///    the time, keeps its slot. (Of a fenced app a stand-in that has run gives way to nothing: its lease proves that
///    the other run has ended.)
/// 4. When all have ended, the one of the highest epoch among those that `succeeded` or `failed`.
///
/// Within an epoch the node of the higher [`weight`] goes first, then the node of the lower id.
/// Two coordinators that chose one node in one epoch made one task; then the assignment of the
/// lower writer is the one that counts. (A writer has at most one assignment in an epoch.)
pub fn holder<'a>(app: &AppView, slot: &'a SlotView) -> Option<&'a Assignment> {
    succeeded_job(app, slot).or_else(|| best_ongoing(app, slot, |_| true, |_| true)).or_else(|| best_ended(app, slot))
}

/// The assignment that a node acts on: the [`holder`], unless it is on a node that `view` does
/// not have as live while another one that has not ended is. That other one stands in, so that
/// news of a holder behind a broken link costs no healthy task its place; when the link is back,
/// the holder holds again and the stand-in stops. A stand-in gives way only to a run of which its node
/// has spoken in the life that is heard.
pub fn acting<'a>(view: &View, app: &AppView, slot: &'a SlotView) -> Option<&'a Assignment> {
    acting_among(view, app, slot, |node| live_in(view, node))
}

/// [`acting`], where `live` says which nodes are.
pub(crate) fn acting_among<'a>(
    view: &View,
    app: &AppView,
    slot: &'a SlotView,
    live: impl Fn(&NodeId) -> bool,
) -> Option<&'a Assignment> {
    let told = |a: &Assignment| told_in_this_life(view, a);
    succeeded_job(app, slot).or_else(|| best_ongoing(app, slot, live, told)).or_else(|| holder(app, slot))
}

/// The best assignment decided after `epoch` that succeeded or failed.
pub(crate) fn ended_after<'a>(app: &AppView, slot: &'a SlotView, epoch: Epoch) -> Option<&'a Assignment> {
    best_ended(app, slot).filter(|ended| ended.epoch > epoch)
}

/// The epoch of the next decision; `None` when there is none left.
pub(crate) fn next_epoch(slot: Option<&SlotView>) -> Option<Epoch> {
    assignments(slot).map(|a| a.epoch).chain(slot.map(|slot| slot.floor)).max().unwrap_or(0).checked_add(1)
}

/// The number of the next attempt: refused assignments were none, and two coordinators that
/// chose one node in one epoch made one.
pub(crate) fn next_attempt(slot: Option<&SlotView>) -> u32 {
    let tries = || assignments(slot).filter(|a| !a.refused());
    // Earlier ones may not be kept any more.
    let last = tries().map(|a| a.placement.attempt).max().unwrap_or(0);
    count_tasks(tries()).max(last).saturating_add(1)
}

/// How often the slot's task failed with this template.
pub(crate) fn failures(slot: &SlotView, template: &Digest) -> u32 {
    count_tasks(failed(slot, template))
}

/// How often the slot's task failed on `node`, or was refused by it, with this template.
pub(crate) fn tried_on(slot: Option<&SlotView>, template: &Digest, node: &NodeId) -> usize {
    let failures = slot.map_or(0, |slot| count_tasks(failed(slot, template).filter(|a| a.placement.node == *node)));
    failures as usize + refusals(slot, template, node).count()
}

/// The assignments of the slot that `node` refused for this template.
pub(crate) fn refusals<'a>(
    slot: Option<&'a SlotView>,
    template: &Digest,
    node: &NodeId,
) -> impl Iterator<Item = &'a Assignment> {
    assignments(slot).filter(|a| a.placement.node == *node && a.placement.template == *template && a.refused())
}

fn assignments(slot: Option<&SlotView>) -> impl Iterator<Item = &Assignment> {
    slot.into_iter().flat_map(|slot| &slot.assignments)
}

fn failed<'a>(slot: &'a SlotView, template: &Digest) -> impl Iterator<Item = &'a Assignment> {
    slot.assignments
        .iter()
        .filter(|a| a.state() == TaskState::Failed && !a.refused() && a.placement.template == *template)
}

fn count_tasks<'a>(assignments: impl Iterator<Item = &'a Assignment>) -> u32 {
    let tasks: BTreeSet<(Epoch, NodeId)> = assignments.map(|a| (a.epoch, a.placement.node)).collect();
    u32::try_from(tasks.len()).unwrap_or(u32::MAX)
}

fn succeeded_job<'a>(app: &AppView, slot: &'a SlotView) -> Option<&'a Assignment> {
    if app.manifest.kind != AppType::Job {
        return None;
    }
    let succeeded = slot.assignments.iter().filter(|a| a.state() == TaskState::Succeeded && !a.refused());
    succeeded.max_by(|a, b| b.epoch.cmp(&a.epoch).then_with(|| within_epoch(&app.doc, a, b)))
}

/// Whether a node said what is known of its task after it was started last. Its words of before are no sign that the task goes on: a
/// node that comes back is often heard before what became of its tasks is.
fn told_in_this_life(view: &View, a: &Assignment) -> bool {
    let life = view.nodes.get(&a.placement.node).and_then(|node| node.life);
    life.is_none_or(|life| a.told_in >= life)
}

fn best_ongoing<'a>(
    app: &AppView,
    slot: &'a SlotView,
    live: impl Fn(&NodeId) -> bool,
    told: impl Fn(&Assignment) -> bool,
) -> Option<&'a Assignment> {
    let ongoing = |a: &&Assignment| !a.state().is_terminal() && !a.refused() && live(&a.placement.node);
    let goes_on = |other: &&Assignment| ongoing(other) && told(other);
    let gives_way = |a: &&Assignment| {
        !outlived(app, a) && slot.assignments.iter().filter(goes_on).any(|other| stands_in_for(a, other))
    };
    slot.assignments.iter().filter(ongoing).filter(|a| !gives_way(a)).max_by(|a, b| by_epoch(&app.doc, a, b))
}

/// Whether a task of a fenced app proves that what it stands in for has ended: it has run, so the lease of that run was over.
/// What its node said before is old news then, which may be heard long before the newest is.
fn outlived(app: &AppView, a: &Assignment) -> bool {
    app.manifest.is_fenced() && a.status.as_ref().is_some_and(|status| status.started_at.is_some())
}

/// Whether `run` is what `a` was put in the place of, and still the same.
fn stands_in_for(a: &Assignment, run: &Assignment) -> bool {
    let Some(lost) = &a.placement.stands_in else { return false };
    let started_at = run.status.as_ref().and_then(|status| status.started_at);
    (run.epoch, run.placement.node, started_at) == (lost.epoch, lost.node, Some(lost.started_at))
        && run.epoch < a.epoch
        && run.state() == TaskState::Running
        && run.placement.template == a.placement.template
}

/// What a new assignment of the slot would stand in for: its holder, where that was last seen running.
pub(crate) fn stood_in_for(app: &AppView, slot: Option<&SlotView>) -> Option<StandsIn> {
    let held = holder(app, slot?)?;
    let started_at = held.status.as_ref().filter(|status| status.state == TaskState::Running)?.started_at?;
    Some(StandsIn { epoch: held.epoch, node: held.placement.node, started_at })
}

fn best_ended<'a>(app: &AppView, slot: &'a SlotView) -> Option<&'a Assignment> {
    let ended = |a: &&Assignment| matches!(a.state(), TaskState::Succeeded | TaskState::Failed) && !a.refused();
    slot.assignments.iter().filter(ended).max_by(|a, b| by_epoch(&app.doc, a, b))
}

fn by_epoch(app: &DocId, a: &Assignment, b: &Assignment) -> Ordering {
    a.epoch.cmp(&b.epoch).then_with(|| within_epoch(app, a, b))
}

/// Greater is better. Weights are computed only here, where two coordinators did collide.
fn within_epoch(app: &DocId, a: &Assignment, b: &Assignment) -> Ordering {
    let (left, right) = (&a.placement.node, &b.placement.node);
    if left == right {
        return b.writer.cmp(&a.writer);
    }
    weight(app, left).cmp(&weight(app, right)).then_with(|| right.cmp(left))
}
