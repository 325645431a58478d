//! Lists of tasks. There may be a hundred thousand, and the loop does nothing else meanwhile: so a
//! page costs what it shows, not what there is.

use crate::{
    Node,
    apply::to_json,
    queries::{label_of, limit_of, selected},
};
use holm_scheduler::acting;
use holm_types::{
    DocId, Epoch, NodeId, Slot, TaskId,
    api::{ApiError, ListParams, Page, TaskRow},
    view::{AppView, Assignment, Liveness, SlotView, TaskState, View},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// The place of a row in the list: a later page begins behind it.
type Place = (Slot, Epoch, NodeId);

impl Node {
    /// `task.list`: by app, then by slot.
    pub(crate) fn task_page(&mut self, params: &ListParams) -> Result<Value, ApiError> {
        let limit = limit_of(params)?;
        let after = params.cursor.as_deref().map(read_cursor).transpose()?;
        let (items, next) = self.with_view(|_, view| rows_after(view, params, after, limit));
        to_json(&Page { items, next: next.map(|(doc, place)| write_cursor(&doc, place)) })
    }

    /// `task.get`
    pub(crate) fn task(&mut self, id: &TaskId) -> Result<Value, ApiError> {
        let row = self.with_view(|_, view| find(view, id));
        to_json(&row.ok_or_else(|| ApiError::NotFound(format!("there is no task {id}")))?)
    }
}

fn rows_after(
    view: &View,
    params: &ListParams,
    after: Option<(DocId, Place)>,
    limit: usize,
) -> (Vec<TaskRow>, Option<(DocId, Place)>) {
    let mut apps: Vec<&AppView> = view.apps.values().filter(|app| selected(app, params)).collect();
    apps.sort_by_key(|app| (&app.manifest.namespace, &app.manifest.name, app.doc));
    let begin = after.map_or(0, |(doc, _)| apps.iter().position(|app| app.doc == doc).unwrap_or(apps.len()));
    let (mut rows, mut last) = (Vec::new(), None);
    for app in &apps[begin..] {
        let behind = after.filter(|(doc, _)| *doc == app.doc).map(|(_, place)| place);
        for (slot, slot_view) in app.slots.range(behind.map_or(0, |(slot, ..)| slot)..) {
            for (place, row) in rows_of(view, app, *slot, slot_view, params.all) {
                if behind.is_some_and(|behind| place <= behind) {
                    continue;
                }
                if rows.len() == limit {
                    return (rows, last);
                }
                rows.push(row);
                last = Some((app.doc, place));
            }
        }
    }
    (rows, None)
}

/// The tasks of a slot: the one that holds it, however it fares, as long as it is wanted; what else still runs; and with
/// `all` what has been.
fn rows_of(view: &View, app: &AppView, slot: Slot, slot_view: &SlotView, all: bool) -> BTreeMap<Place, TaskRow> {
    let wanted = app.live && app.manifest.desired_slots().is_none_or(|count| slot < count);
    let held = acting(view, app, slot_view).filter(|_| wanted).map(|held| (held.epoch, held.placement.node));
    let mut rows = BTreeMap::new();
    for assignment in &slot_view.assignments {
        let task = (assignment.epoch, assignment.placement.node);
        let state = seen_state(view, assignment);
        // Nothing will come of an assignment that lost its slot before its node took it up. What was lost with its
        // node may still run there, but nobody here can know; who has its slot now is what matters.
        let gone = assignment.status.is_none() || state == TaskState::Lost;
        let over = state.is_terminal() || assignment.refused() || gone;
        if held == Some(task) || all || !over {
            // Two coordinators that made the same decision made one task.
            rows.entry((slot, task.0, task.1)).or_insert_with(|| row(view, app, slot, assignment, state));
        }
    }
    rows
}

/// Names of the nodes out of sight on which tasks of an app were last seen to run, each with their number.
pub(crate) fn out_of_sight(view: &View, app: &AppView) -> BTreeMap<String, usize> {
    let mut nodes: BTreeMap<String, usize> = BTreeMap::new();
    let started = app.slots.values().flat_map(|slot| &slot.assignments).filter(|a| a.status.is_some());
    for assignment in started.filter(|a| seen_state(view, a) == TaskState::Lost) {
        let node = &assignment.placement.node;
        let name = view.nodes.get(node).map_or_else(|| node.mark(), |node| node.name.to_string());
        *nodes.entry(name).or_default() += 1;
    }
    nodes
}

fn find(view: &View, id: &TaskId) -> Option<TaskRow> {
    view.apps.values().find_map(|app| {
        let rest = id.as_str().strip_prefix(app.manifest.name.as_str())?.strip_prefix('-')?;
        let slot = rest.split('-').next()?.parse().ok()?;
        let rows = rows_of(view, app, slot, app.slots.get(&slot)?, true);
        rows.into_values().find(|row| row.id == *id)
    })
}

/// A task whose node is not there is lost, whatever its last status said.
fn seen_state(view: &View, assignment: &Assignment) -> TaskState {
    let state = assignment.state();
    let node = view.nodes.get(&assignment.placement.node);
    let gone = node.is_none_or(|n| matches!(n.liveness, Liveness::Dead | Liveness::Left));
    if gone && !state.is_terminal() { TaskState::Lost } else { state }
}

fn row(view: &View, app: &AppView, slot: Slot, assignment: &Assignment, state: TaskState) -> TaskRow {
    let id: TaskId = app.task_id(slot, assignment);
    let node = view.nodes.get(&assignment.placement.node);
    let status = assignment.status.as_ref();
    let short = assignment.placement.node.mark();
    TaskRow {
        id,
        app: app.manifest.name.clone(),
        namespace: app.manifest.namespace.clone(),
        slot,
        attempt: assignment.placement.attempt,
        epoch: assignment.epoch,
        node: node.map_or_else(|| label_of(short), |n| n.name.clone()),
        node_id: assignment.placement.node,
        site: node.map_or_else(|| label_of("unknown".into()), |n| n.site.clone()),
        state,
        pid: status.and_then(|s| s.pid).filter(|_| !state.is_terminal()),
        restarts: status.map_or(0, |s| s.restarts),
        started_at: status.and_then(|s| s.started_at),
        reason: status.map(|s| s.reason.clone()).unwrap_or_default(),
    }
}

fn write_cursor(doc: &DocId, (slot, epoch, node): Place) -> String {
    format!("{doc}/{slot}/{epoch}/{node}")
}

fn read_cursor(text: &str) -> Result<(DocId, Place), ApiError> {
    let read = || {
        let mut parts = text.split('/');
        let doc = parts.next()?.parse().ok()?;
        let place = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        parts.next().is_none().then_some((doc, place))
    };
    read().ok_or_else(|| ApiError::Invalid("the cursor is not one that `task.list` has given".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is() {
        let place = (DocId([7; 16]), (3, 9, NodeId([5; 32])));
        assert_eq!(read_cursor(&write_cursor(&place.0, place.1)).unwrap(), place);
        for wrong in ["", "x", "07/1/2/3", "a/b/c/d", &format!("{}/x", write_cursor(&place.0, place.1))] {
            assert!(read_cursor(wrong).is_err(), "{wrong:?}");
        }
    }
}
