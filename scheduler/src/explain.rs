//! How an app fares, in words: each wanted slot with its state, and why it is not placed.

use crate::{
    decide::Context,
    fence::out_of_sight,
    filter::{self, Misfit},
    flaps,
    reduce::acting,
    rendezvous::{coordinator, site_coordinator},
    standing::{Standing, Wait, Wanted, standing, unsupported, wanted},
    usage::Usage,
};
use holm_types::{
    NodeId, Slot,
    api::{AppRow, AppState, SlotRow},
    manifest::{Amounts, AppType, Period},
    view::{AppView, Assignment, Liveness, NodeView, SlotView, TaskState, TaskStatus, View},
};
use std::{cell::OnceCell, collections::BTreeMap};

/// Different obstacles that one reason lists, at most.
const MAX_OBSTACLES: usize = 6;

/// Every wanted slot of an app with its state and the reason for it. Of a removed app: the slots
/// that still have a task.
pub fn explain(view: &View, app: &AppView, cx: &Context<'_>) -> Vec<SlotRow> {
    if !app.live {
        return removed(view, app);
    }
    let slots: Vec<(Wanted<'_>, Standing<'_>)> =
        wanted(view, app).into_iter().map(|w| (w, standing(view, app, w.seen, cx))).collect();
    let active = slots.iter().filter(|(_, standing)| matches!(standing, Standing::Held { .. })).count();
    let mut narrator = Narrator::new(view, app, cx, active);
    slots.iter().map(|(wanted, standing)| narrator.row(wanted, standing)).collect()
}

/// An app in one row. Its state: a job has `succeeded` when every slot has; an app has `failed`
/// when a slot has for good; it is `crashing` when a task ends again and again, and `running` when every slot runs
/// (of a job: any); else `pending`.
pub fn app_row(view: &View, app: &AppView) -> AppRow {
    // Whether a lost slot waits changes nothing here, so how long it has to does not matter.
    let (free, dead_for, flaps, held) = Default::default();
    let me = NodeId([0; 32]);
    let cx = Context { me, free: &free, dead_for: &dead_for, flaps: &flaps, budget: 0, held: &held, only: None };
    let (mut desired, mut running, mut done, mut failed) = (0u32, 0u32, 0u32, false);
    let (mut outdated, mut crashing) = (false, false);
    for slot in wanted(view, app) {
        let standing = standing(view, app, slot.seen, &cx);
        // A daemon does not want what is on nodes that are not there.
        desired += u32::from(!matches!(standing, Standing::Away { wait: Wait::ForItsNode, .. }));
        match standing {
            Standing::Held { holder, .. } => {
                let crashes = holder.status.as_ref().is_some_and(TaskStatus::is_crashing);
                running += u32::from(holder.state() == TaskState::Running && !crashes);
                crashing |= crashes;
                outdated |= holder.placement.template != app.template;
            }
            Standing::Done(_) => done += 1,
            Standing::Failed { again: false, .. } => failed = true,
            Standing::Vacant | Standing::Away { .. } | Standing::Failed { again: true, .. } => {}
        }
    }
    let job = app.manifest.kind == AppType::Job;
    let nowhere = app.manifest.kind == AppType::Daemon && desired == 0;
    let state = match () {
        () if !app.live => AppState::Removing,
        () if failed => AppState::Failed,
        () if nowhere => AppState::Pending,
        () if done > 0 && done == desired => AppState::Succeeded,
        () if crashing => AppState::Crashing,
        () if (running + done == desired && !outdated) || (job && running > 0) => AppState::Running,
        () => AppState::Pending,
    };
    AppRow {
        name: app.manifest.name.clone(),
        namespace: app.manifest.namespace.clone(),
        site: app.scope.site().cloned(),
        kind: app.manifest.kind,
        revision: app.revision,
        desired,
        running: if job { done } else { running },
        state,
    }
}

fn removed(view: &View, app: &AppView) -> Vec<SlotRow> {
    let acting = app.slots.iter().filter_map(|(slot, seen)| Some((*slot, acting(view, app, seen)?)));
    acting
        .filter(|(_, holder)| !holder.state().is_terminal())
        .map(|(slot, holder)| row(view, slot, holder.state(), Some(holder), "the app was removed".into()))
        .collect()
}

fn row(view: &View, slot: Slot, state: TaskState, holder: Option<&Assignment>, reason: String) -> SlotRow {
    let node = holder.and_then(|holder| view.nodes.get(&holder.placement.node)).map(|node| node.name.clone());
    SlotRow { slot, state, node, reason }
}

/// Puts the slots of one app into words.
struct Narrator<'a> {
    view: &'a View,
    app: &'a AppView,
    cx: &'a Context<'a>,
    /// Counted when it is needed: most slots are placed.
    usage: OnceCell<Usage>,
    request: Amounts,
    /// Slots held on live nodes.
    active: usize,
    /// Why a slot that nobody refused is not placed: the same for all of them.
    common: Option<String>,
}

impl<'a> Narrator<'a> {
    fn new(view: &'a View, app: &'a AppView, cx: &'a Context<'a>, active: usize) -> Narrator<'a> {
        let request = app.manifest.resources.amounts();
        Narrator { view, app, cx, usage: OnceCell::new(), request, active, common: None }
    }

    fn row(&mut self, wanted: &Wanted<'_>, standing: &Standing<'_>) -> SlotRow {
        let (state, holder, reason) = match *standing {
            Standing::Vacant => (TaskState::Pending, None, self.why_not_placed(wanted)),
            Standing::Held { holder, suspect } => (holder.state(), Some(holder), self.held(holder, suspect)),
            Standing::Away { holder, wait } => (TaskState::Lost, Some(holder), self.away(wanted, holder, wait)),
            Standing::Done(last) => (TaskState::Succeeded, Some(last), said(last).to_owned()),
            Standing::Failed { last, again } => (TaskState::Failed, Some(last), self.failed(wanted, last, again)),
        };
        row(self.view, wanted.slot, state, holder, reason)
    }

    fn held(&self, holder: &Assignment, suspect: bool) -> String {
        let mut parts = Vec::new();
        match said(holder) {
            "" if holder.status.is_none() => parts.push("its node has not answered yet".to_owned()),
            "" => {}
            said => parts.push(said.to_owned()),
        }
        if suspect {
            parts.push("its node is suspect: not heard from in time".to_owned());
        }
        if holder.placement.template != self.app.template {
            parts.push("it has an older revision and is replaced when its turn comes".to_owned());
        }
        parts.join("; ")
    }

    fn away(&mut self, wanted: &Wanted<'_>, holder: &Assignment, wait: Wait) -> String {
        let node = &holder.placement.node;
        let gone = match self.view.nodes.get(node) {
            Some(seen) if seen.liveness == Liveness::Left => format!("node {} has left", seen.name),
            Some(seen) => format!("node {} is dead", seen.name),
            None => format!("node {} is not known here", node.mark()),
        };
        match wait {
            Wait::ForItsNode => gone,
            Wait::For(after) => {
                let waited = self.cx.dead_for.get(node).map_or(0, |waited| waited.as_secs());
                let why = match self.cx.flaps.get(node) {
                    Some(flaps) if flaps::patience(self.cx, node) == after => {
                        format!(", as {flaps} times lately before it came back")
                    }
                    _ => String::new(),
                };
                format!("{gone} for {waited}s{why}; placed again after {}", Period(after))
            }
            Wait::Over => format!("{gone}; {}", self.why_not_placed(wanted)),
        }
    }

    fn failed(&mut self, wanted: &Wanted<'_>, last: &Assignment, again: bool) -> String {
        let why = match (said(last), last.status.as_ref().and_then(|status| status.exit_code)) {
            ("", Some(code)) => format!("exit code {code}"),
            ("", None) => "failed".to_owned(),
            (said, _) => said.to_owned(),
        };
        let tried = match last.placement.attempt {
            0 | 1 => String::new(),
            n => format!(" (attempt {n})"),
        };
        if again {
            format!("{why}{tried}; tried again: {}", self.why_not_placed(wanted))
        } else {
            format!("{why}{tried}")
        }
    }

    fn why_not_placed(&mut self, wanted: &Wanted<'_>) -> String {
        if let Some(reason) = unsupported(self.app) {
            return reason.to_owned();
        }
        if let Some(reason) = out_of_sight(self.view, self.app) {
            return reason;
        }
        let limit = self.app.manifest.parallel_limit();
        if self.app.manifest.kind == AppType::Job && self.active >= usize::try_from(limit).unwrap_or(usize::MAX) {
            return format!("waits its turn: {} of at most {limit} tasks are active", self.active);
        }
        if let Some(node) = wanted.node {
            return match self.misfit(node, wanted.seen) {
                Some(misfit) => format!("node {} {}", node.name, misfit.phrase(1)),
                None => self.undecided(site_coordinator(self.view, &self.app.doc, &node.site)),
            };
        }
        let refused = wanted.seen.is_some_and(|seen| seen.assignments.iter().any(Assignment::refused));
        if refused {
            return self.obstacles(wanted.seen);
        }
        if self.common.is_none() {
            self.common = Some(self.obstacles(None));
        }
        self.common.clone().unwrap_or_default()
    }

    fn misfit(&self, node: &NodeView, seen: Option<&SlotView>) -> Option<Misfit> {
        let usage = || self.usage.get_or_init(|| Usage::new(self.view, self.cx.free));
        filter::unschedulable(node, self.app)
            .or_else(|| filter::no_room(usage(), node, &self.request, false))
            .or_else(|| filter::refused(self.cx, self.app, seen, node, &self.request))
    }

    fn obstacles(&self, seen: Option<&SlotView>) -> String {
        let mut counts: BTreeMap<Misfit, usize> = BTreeMap::new();
        for node in self.view.nodes.values() {
            match self.misfit(node, seen) {
                Some(misfit) => *counts.entry(misfit).or_default() += 1,
                None => return self.undecided(coordinator(self.view, self.app)),
            }
        }
        no_node_fits(counts)
    }

    fn undecided(&self, by: Option<NodeId>) -> String {
        match by {
            Some(node) => format!("not decided yet by node {}", self.name(&node)),
            None => "no node is live to decide".to_owned(),
        }
    }

    fn name(&self, node: &NodeId) -> String {
        self.view.nodes.get(node).map_or_else(|| node.mark(), |node| node.name.to_string())
    }
}

/// The most common obstacles first.
fn no_node_fits(counts: BTreeMap<Misfit, usize>) -> String {
    let mut obstacles: Vec<(Misfit, usize)> = counts.into_iter().collect();
    obstacles.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let shown = obstacles.iter().take(MAX_OBSTACLES).enumerate();
    let mut parts: Vec<String> = shown
        .map(|(i, (misfit, count))| {
            let noun = match (i, count) {
                (0, 1) => " node",
                (0, _) => " nodes",
                _ => "",
            };
            format!("{count}{noun} {}", misfit.phrase(*count))
        })
        .collect();
    if obstacles.len() > MAX_OBSTACLES {
        let more: usize = obstacles.iter().skip(MAX_OBSTACLES).map(|(_, count)| count).sum();
        parts.push(format!("and {more} more"));
    }
    if parts.is_empty() { "no node is known".to_owned() } else { format!("no node fits: {}", parts.join(", ")) }
}

/// What a task's node says about it.
fn said(assignment: &Assignment) -> &str {
    assignment.status.as_ref().map_or("", |status| status.reason.as_str())
}
