//! What an app needs, before it is asked which nodes could give it: one pass over its slots.

use crate::{
    decide::Context,
    standing::{Standing, Wait, Wanted, standing, wanted},
};
use holm_types::{
    Digest, Label, NodeId, Slot,
    manifest::AppType,
    view::{AppView, Assignment, SlotView, TaskState, View},
};
use std::collections::BTreeMap;

/// Where a slot may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seat {
    /// To any node.
    Any,
    /// To the node that has it, in the place of the task there; else to any.
    Again(NodeId),
    /// To this node: a daemon's slot.
    Only(NodeId),
    /// To this node, in the place of the task there: a daemon's slot.
    OnlyAgain(NodeId),
}

impl Seat {
    /// Whether the slot takes the place of its own task on `node`.
    pub(crate) fn is_kept_on(&self, node: &NodeId) -> bool {
        matches!(self, Seat::Again(home) | Seat::OnlyAgain(home) if home == node)
    }
}

/// A slot that needs a decision.
#[derive(Debug)]
pub(crate) struct Todo<'a> {
    /// The slot.
    pub slot: Slot,
    /// What was ever assigned.
    pub seen: Option<&'a SlotView>,
    /// Where it may go.
    pub seat: Seat,
    /// The site of the node that it belongs to: a daemon's slot.
    pub site: Option<&'a Label>,
    /// It makes one more active slot.
    pub joins: bool,
    /// It is among [`Survey::down`].
    pub counted_down: bool,
}

impl Todo<'_> {
    /// Whether any node refused the slot, so that its failing to find a node says nothing about
    /// other slots.
    pub(crate) fn was_refused(&self) -> bool {
        self.seen.is_some_and(|seen| seen.assignments.iter().any(Assignment::refused))
    }
}

/// What an app needs.
#[derive(Debug, Default)]
pub(crate) struct Survey<'a> {
    /// Slots without a task that runs or will: to place at once, in order.
    pub todo: Vec<Todo<'a>>,
    /// Slots that run with an older template: to replace by and by, in order.
    pub stale: Vec<Todo<'a>>,
    /// Slots held on live nodes.
    pub active: u32,
    /// Slots that had a task and do not run, and so count against `max_unavailable`. A slot that
    /// never found a node is not among them: no update takes anything from it.
    pub down: u32,
    /// Slots that each live node holds.
    pub held: BTreeMap<NodeId, u32>,
}

impl<'a> Survey<'a> {
    pub(crate) fn new(view: &'a View, app: &'a AppView, cx: &Context<'_>) -> Survey<'a> {
        let mut survey = Survey::default();
        for wanted in wanted(view, app) {
            survey.add(app, &wanted, standing(view, app, wanted.seen, cx));
        }
        survey
    }

    /// A daemon's slots at other sites are for those to decide.
    pub(crate) fn keep_own_site(&mut self, view: &View) {
        let own = |todo: &Todo<'_>| todo.site.is_none_or(|site| view.site.as_ref().is_none_or(|own| own == site));
        self.todo.retain(own);
        self.stale.retain(own);
    }

    fn add(&mut self, app: &AppView, wanted: &Wanted<'a>, standing: Standing<'a>) {
        match standing {
            Standing::Vacant => self.todo(wanted, true, false),
            Standing::Held { holder, suspect } => self.add_held(app, wanted, holder, suspect),
            Standing::Away { wait: Wait::Over, .. } => self.todo(wanted, true, true),
            Standing::Away { wait: Wait::For(_), .. } => self.down += 1,
            // A gateway that is out of sight must not hold up the update of all the others.
            Standing::Away { wait: Wait::ForItsNode, .. } => {}
            Standing::Done(last) => {
                if app.manifest.kind != AppType::Job && is_stale(last, &app.template) {
                    self.todo(wanted, true, false);
                }
            }
            Standing::Failed { again: true, .. } => self.todo(wanted, true, true),
            Standing::Failed { again: false, .. } => self.down += 1,
        }
    }

    fn add_held(&mut self, app: &AppView, wanted: &Wanted<'a>, holder: &Assignment, suspect: bool) {
        let node = holder.placement.node;
        self.active += 1;
        *self.held.entry(node).or_default() += 1;
        let daemon = app.manifest.kind == AppType::Daemon;
        if suspect {
            self.down += u32::from(!daemon);
            return;
        }
        let running = holder.state() == TaskState::Running;
        self.down += u32::from(!running);
        if !is_stale(holder, &app.template) {
            return;
        }
        let seat = if daemon { Seat::OnlyAgain(node) } else { Seat::Again(node) };
        let site = wanted.node.map(|node| &node.site);
        let todo = Todo { slot: wanted.slot, seen: wanted.seen, seat, site, joins: false, counted_down: true };
        // Tasks of a job owe nobody that they run; and what does not run yet loses nothing.
        if running && app.manifest.kind != AppType::Job {
            self.stale.push(Todo { counted_down: false, ..todo });
        } else {
            self.todo.push(todo);
        }
    }

    fn todo(&mut self, wanted: &Wanted<'a>, joins: bool, counted_down: bool) {
        self.down += u32::from(counted_down);
        let seat = wanted.node.map_or(Seat::Any, |node| Seat::Only(node.id));
        let site = wanted.node.map(|node| &node.site);
        self.todo.push(Todo { slot: wanted.slot, seen: wanted.seen, seat, site, joins, counted_down });
    }
}

fn is_stale(assignment: &Assignment, template: &Digest) -> bool {
    assignment.placement.template != *template
}
