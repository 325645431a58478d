//! What a coordinator decides: which slots get a new assignment, and on which node.
//!
//! A decision is never taken back, only followed by one of a higher epoch; and where a live node
//! holds a slot with the right template, nothing is decided, whoever put the task there. That is
//! why a heal starts nothing.

use crate::{
    fence::out_of_sight,
    filter,
    flaps::unsteadiness,
    reduce::{next_attempt, next_epoch, stood_in_for},
    rendezvous::coordinator,
    score::{Candidate, rank},
    standing::unsupported,
    survey::{Seat, Survey, Todo},
    usage::Usage,
};
use holm_types::{
    DocId, Epoch, Label, NodeId, Slot,
    manifest::{Amounts, AppType},
    view::{AppView, Placement, View},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A decision, for the core to write into the app's documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Give a slot to a node.
    Assign {
        /// The app.
        app: DocId,
        /// Its generation.
        generation: u64,
        /// The slot.
        slot: Slot,
        /// Higher than any epoch seen in the slot.
        epoch: Epoch,
        /// The node, the attempt and the template.
        placement: Placement,
    },
}

/// What a decision depends on beside the view.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// This node.
    pub me: NodeId,
    /// What nodes said last that they have free.
    pub free: &'a BTreeMap<NodeId, Amounts>,
    /// How long a node has been dead in this view.
    pub dead_for: &'a BTreeMap<NodeId, Duration>,
    /// How often a node was held for dead and came back lately; absent: never.
    pub flaps: &'a BTreeMap<NodeId, u32>,
    /// Decisions of one call, at most. The next call goes on where this one ended.
    pub budget: usize,
    /// Apps that nothing is decided for in this call.
    pub held: &'a BTreeSet<DocId>,
    /// The apps that are decided for; none for all. For those that alone have changed since the last call, while nothing else has.
    pub only: Option<&'a BTreeSet<DocId>>,
}

/// The apps of a view, or those of them that are asked for.
pub fn among<'a>(view: &'a View, only: Option<&'a BTreeSet<DocId>>) -> impl Iterator<Item = &'a AppView> {
    let all = only.is_none().then(|| view.apps.values());
    let some = only.into_iter().flatten().filter_map(|app| view.apps.get(app));
    all.into_iter().flatten().chain(some)
}

/// Decides for every app that this node coordinates: those of the higher priority class first.
pub fn decide(view: &View, cx: &Context<'_>) -> Vec<Decision> {
    let mut apps: Vec<&AppView> = among(view, cx.only).filter(|app| app.live).collect();
    apps.sort_by_key(|app| app.manifest.priority.class);
    let mut usage = Usage::new(view, cx.free);
    let mut decisions = Vec::new();
    for app in apps {
        decide_app(view, app, cx, &mut usage, &mut decisions);
    }
    decisions
}

/// Decides for one app, if it lives and this node coordinates it. `usage` is what is left on the
/// nodes and is kept up to date; `decisions` grows to the budget of `cx`, no further.
pub fn decide_app(view: &View, app: &AppView, cx: &Context<'_>, usage: &mut Usage, decisions: &mut Vec<Decision>) {
    let ready = app.live && unsupported(app).is_none() && out_of_sight(view, app).is_none();
    let ready = ready && !cx.held.contains(&app.doc);
    if !ready || decisions.len() >= cx.budget || coordinator(view, app) != Some(cx.me) {
        return;
    }
    let mut survey = Survey::new(view, app, cx);
    survey.keep_own_site(view);
    if survey.todo.is_empty() && survey.stale.is_empty() {
        return;
    }
    let mut round = Round::new(view, app, cx, &survey, usage, decisions);
    let (mut active, mut down) = (survey.active, survey.down);
    round.place(&survey.todo, &mut active, &mut down);
    round.update(&survey.stale, down);
}

/// One app's turn in one call.
struct Round<'a, 'b> {
    app: &'a AppView,
    cx: &'b Context<'b>,
    request: Amounts,
    candidates: Vec<Candidate<'a>>,
    sites: BTreeMap<&'a Label, u32>,
    usage: &'b mut Usage,
    decisions: &'b mut Vec<Decision>,
    /// A slot found no node. Room only shrinks during a call, so no later one will.
    exhausted: bool,
}

impl<'a, 'b> Round<'a, 'b> {
    fn new(
        view: &'a View,
        app: &'a AppView,
        cx: &'b Context<'b>,
        survey: &Survey<'_>,
        usage: &'b mut Usage,
        decisions: &'b mut Vec<Decision>,
    ) -> Round<'a, 'b> {
        let held = |node: &NodeId| survey.held.get(node).copied().unwrap_or(0);
        let mut sites: BTreeMap<&Label, u32> = BTreeMap::new();
        for node in view.nodes.values() {
            *sites.entry(&node.site).or_default() += held(&node.id);
        }
        let schedulable = view.nodes.values().filter(|node| filter::unschedulable(node, app).is_none());
        let candidates =
            schedulable.map(|node| Candidate::new(app, node, held(&node.id), unsteadiness(cx, &node.id))).collect();
        let request = app.manifest.resources.amounts();
        Round { app, cx, request, candidates, sites, usage, decisions, exhausted: false }
    }

    /// Places what does not run, the lowest slots first.
    fn place(&mut self, todo: &[Todo<'_>], active: &mut u32, down: &mut u32) {
        let limit = match self.app.manifest.kind {
            AppType::Job => self.app.manifest.parallel_limit(),
            _ => u32::MAX,
        };
        for todo in todo {
            if self.spent() {
                return;
            }
            if todo.joins && *active >= limit {
                continue;
            }
            if let Some(chosen) = self.choose(todo)
                && self.assign(todo, chosen)
            {
                *active += u32::from(todo.joins);
                *down += u32::from(!todo.counted_down);
            }
        }
    }

    /// Replaces tasks that run with an older template, as many as may be missing at the same
    /// time. With surge alone, a slot moves to a node that has no task of the app yet, where
    /// there is one: the old task runs until the new one does. Elsewhere it is replaced in place.
    fn update(&mut self, stale: &[Todo<'_>], mut down: u32) {
        let update = &self.app.manifest.update;
        let surge = update.max_unavailable == 0 && update.max_surge > 0;
        let limit = if surge { update.max_surge } else { update.max_unavailable.max(1) };
        for todo in stale {
            if down >= limit || self.spent() {
                return;
            }
            let spare = if surge { self.best(todo, |candidate| candidate.held == 0) } else { None };
            if let Some(chosen) = spare.or_else(|| self.choose(todo))
                && self.assign(todo, chosen)
            {
                down += 1;
            }
        }
    }

    fn spent(&self) -> bool {
        self.decisions.len() >= self.cx.budget
    }

    /// The candidate for a slot, as an index.
    fn choose(&mut self, todo: &Todo<'_>) -> Option<usize> {
        match todo.seat {
            Seat::Any => {}
            Seat::Only(node) => return self.seat(todo, &node, false),
            Seat::OnlyAgain(node) => return self.seat(todo, &node, true),
            Seat::Again(node) => {
                if let Some(chosen) = self.seat(todo, &node, true) {
                    return Some(chosen);
                }
            }
        }
        if self.exhausted {
            return None;
        }
        let chosen = self.best(todo, |_| true);
        self.exhausted = chosen.is_none() && !todo.was_refused();
        chosen
    }

    /// `node` itself, if it fits.
    fn seat(&self, todo: &Todo<'_>, node: &NodeId, seated: bool) -> Option<usize> {
        // Candidates are in the order of the view's nodes.
        let index = self.candidates.binary_search_by_key(node, |candidate| candidate.node.id).ok()?;
        self.fits(todo, &self.candidates[index], seated).then_some(index)
    }

    /// The best of the candidates that fit and that `admit` lets through.
    fn best(&self, todo: &Todo<'_>, admit: impl Fn(&Candidate<'_>) -> bool) -> Option<usize> {
        let fitting = self
            .candidates
            .iter()
            .enumerate()
            .filter(|(_, candidate)| admit(candidate) && self.fits(todo, candidate, false));
        let ranked = fitting.map(|(index, candidate)| {
            let room = self.usage.of(&candidate.node.id);
            (
                rank(self.app, &self.request, candidate, &self.sites, room, (todo.slot, todo.seen)),
                candidate.node.id,
                index,
            )
        });
        ranked.min().map(|(_, _, index)| index)
    }

    fn fits(&self, todo: &Todo<'_>, candidate: &Candidate<'_>, seated: bool) -> bool {
        filter::no_room(self.usage, candidate.node, &self.request, seated).is_none()
            && filter::refused(self.cx, self.app, todo.seen, candidate.node, &self.request).is_none()
    }

    /// Decides. False when the slot's epochs are used up, which no honest writer brings about.
    fn assign(&mut self, todo: &Todo<'_>, chosen: usize) -> bool {
        let Some(epoch) = next_epoch(todo.seen) else { return false };
        let candidate = &mut self.candidates[chosen];
        let node = candidate.node;
        if !todo.seat.is_kept_on(&node.id) {
            candidate.held += 1;
            *self.sites.entry(&node.site).or_default() += 1;
            self.usage.take(&node.id, &self.request);
        }
        let placement = Placement {
            node: node.id,
            attempt: next_attempt(todo.seen),
            template: self.app.template,
            stands_in: stood_in_for(self.app, todo.seen),
        };
        self.decisions.push(Decision::Assign {
            app: self.app.doc,
            generation: self.app.generation,
            slot: todo.slot,
            epoch,
            placement,
        });
        true
    }
}
