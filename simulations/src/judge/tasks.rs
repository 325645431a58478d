//! Heals disturb nothing, and what was removed stays removed. Read from what nodes tell their
//! runners and what they believe.

use super::{At, Verdicts};
use crate::{
    des::{host::Host, runner::Phase},
    outcome::Invariant,
    scenario::HostNo,
};
use holm_node_core::StartTask;
use holm_types::{
    TaskId,
    event::{Event, EventKind},
    view::{AppView, TaskState},
};
use std::collections::BTreeMap;

/// How long after the last fault what ran well is watched.
const WATCH: At = 60_000_000;
/// How long a task of a removed app may take to be gone once its node knows of the removal: its
/// grace, and the runner's own time.
const REMOVED_FOR: At = 15_000_000;

/// How long a lease of a fenced app lasts.
const LEASE: At = 10_000_000;

/// A task that ran well when the last fault was over.
#[derive(Debug)]
struct Healthy {
    host: usize,
    pid: u32,
    app: String,
    slot: u32,
}

/// A runner of a slot: the host, the task, the process.
type RunnerOn<'a> = (usize, &'a TaskId, u32);

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    healthy: BTreeMap<TaskId, Healthy>,
    /// The tasks by their slot.
    seated: BTreeMap<(String, u32), TaskId>,
    until: At,
    healed_at: At,
    /// When a host first heard of another since the last heal.
    heard: BTreeMap<(usize, usize), At>,
    /// Who decided on a task since the last heal, and when.
    decided: BTreeMap<TaskId, (usize, At)>,
    /// Since when a task runs though its node knows that it should not.
    unwanted: BTreeMap<(usize, TaskId), At>,
}

impl Tasks {
    /// Whatever happens to an app that is being changed, is the change's doing.
    pub(crate) fn submitted(&mut self, app: &str) {
        self.forget(|healthy| healthy.app == app);
    }

    pub(crate) fn went_down(&mut self, host: usize) {
        self.forget(|healthy| healthy.host == host);
        self.unwanted.retain(|(there, _), _| *there != host);
    }

    pub(crate) fn fault_began(&mut self) {
        self.forget(|_| true);
    }

    fn forget(&mut self, which: impl Fn(&Healthy) -> bool) {
        self.healthy.retain(|_, healthy| !which(healthy));
        let healthy = &self.healthy;
        self.seated.retain(|_, task| healthy.contains_key(task));
    }

    /// Something that `author` said comes to a host.
    pub(crate) fn heard(&mut self, at: At, host: usize, author: usize) {
        if !self.healthy.is_empty() {
            self.heard.entry((host, author)).or_insert(at);
        }
    }

    pub(crate) fn emitted(&mut self, at: At, host: usize, event: &Event) {
        if let (EventKind::Assigned, Some(task), false) = (event.kind, &event.task, self.healthy.is_empty()) {
            self.decided.entry(task.clone()).or_insert((host, at));
        }
        // A lease that ends soon after the heal could not be renewed before it: that is the cut's doing.
        if let (EventKind::LeaseLost | EventKind::Fenced, Some(task)) = (event.kind, &event.task)
            && at <= self.healed_at + LEASE
        {
            let lost = task.clone();
            self.healthy.remove(&lost);
            self.seated.retain(|_, task| *task != lost);
        }
    }

    /// Whether a task was decided on by a node that could know that the link to `holder` is mended. A
    /// decision from before the heal, or from before the first word of the holder came through, is
    /// the cut's doing.
    fn is_the_heals_doing(&self, task: &TaskId, holder: usize) -> bool {
        let Some((decider, at)) = self.decided.get(task) else { return false };
        *decider == holder || self.heard.get(&(*decider, holder)).is_some_and(|first| first < at)
    }

    /// Notes the tasks that run well: alone in their slot, wanted by all who know their app, and
    /// with nothing decided that would replace them.
    pub(crate) fn healed(&mut self, at: At, hosts: &[Host]) {
        self.until = at + WATCH;
        self.healed_at = at;
        self.heard.clear();
        self.decided.clear();
        let mut runners: BTreeMap<(&str, u32), Vec<RunnerOn<'_>>> = BTreeMap::new();
        for (host, there) in hosts.iter().enumerate() {
            for process in there.processes.up() {
                let seat = runners.entry((process.app(), process.slot())).or_default();
                seat.push((host, &process.task.id, process.pid));
            }
        }
        for ((app, slot), runners) in runners {
            let [(host, task, pid)] = runners[..] else { continue };
            let running = hosts[host].processes.0.get(task).is_some_and(|p| p.phase == Phase::Runs);
            if running && hosts[host].is_up() && is_undisputed(hosts, app, slot, task, host) {
                self.seated.insert((app.to_owned(), slot), task.clone());
                self.healthy.insert(task.clone(), Healthy { host, pid, app: app.to_owned(), slot });
            }
        }
    }

    pub(crate) fn asked_to_start(
        &mut self,
        verdicts: &mut Verdicts,
        at: At,
        host: usize,
        hosts: &[Host],
        task: &StartTask,
    ) {
        let there = &hosts[host];
        let env = |key: &str| task.env.get(key).cloned().unwrap_or_default();
        let (app, slot) = (env("HOLM_APP"), env("HOLM_SLOT").parse().unwrap_or(u32::MAX));
        if app_view(there, &app).is_some_and(|view| !view.live || view.generation.to_string() != env("HOLM_GENERATION"))
        {
            let detail = format!("{} starts {} though it knows that {app} was removed", there.plan.name, task.id);
            verdicts.violate(Invariant::RemovedStaysRemoved, at, vec![there.plan.no], detail);
        }
        let seated = self.seated.get(&(app, slot)).filter(|healthy| at <= self.until && **healthy != task.id);
        let Some(healthy) = seated.cloned() else { return };
        let holder = self.healthy.get(&healthy).map_or(host, |healthy| healthy.host);
        if self.is_the_heals_doing(&task.id, holder) {
            let detail = format!("{} starts {} though {healthy} runs well", there.plan.name, task.id);
            verdicts.violate(Invariant::HealDisturbsNothing, at, vec![there.plan.no], detail);
        }
        // Two run now; that one of them stops is as it must be.
        self.forget(|one| one.app == env("HOLM_APP") && one.slot == slot);
    }

    pub(crate) fn asked_to_stop(&mut self, verdicts: &mut Verdicts, at: At, host: usize, no: HostNo, task: &TaskId) {
        let hit = self.healthy.get(task).filter(|healthy| healthy.host == host && at <= self.until);
        if let Some(healthy) = hit {
            let detail = format!("{task} (slot {} of {}) ran well and is stopped", healthy.slot, healthy.app);
            verdicts.violate(Invariant::HealDisturbsNothing, at, vec![no], detail);
        }
    }

    /// A process that is there again ended by itself before: it is not watched any more.
    pub(crate) fn process_began(&mut self, host: usize, task: &TaskId, pid: u32) {
        if self.healthy.get(task).is_some_and(|healthy| healthy.host == host && healthy.pid != pid) {
            let gone = task.clone();
            self.healthy.remove(&gone);
            self.seated.retain(|_, task| *task != gone);
        }
    }

    /// Tasks that their node knows to be unwanted are gone soon.
    pub(crate) fn sampled(&mut self, verdicts: &mut Verdicts, at: At, hosts: &[Host]) {
        if at > self.until {
            self.forget(|_| true);
        }
        let ended = |healthy: &Healthy| {
            !hosts[healthy.host].processes.0.values().any(|p| p.pid == healthy.pid && p.phase == Phase::Runs)
        };
        self.forget(ended);
        let mut still = BTreeMap::new();
        for (host, there) in hosts.iter().enumerate().filter(|(_, there)| there.answers()) {
            for process in there.processes.up() {
                let generation = process.task.env.get("HOLM_GENERATION").map_or("", String::as_str);
                let removed = |view: &&AppView| !view.live || view.generation.to_string() != generation;
                if app_view(there, process.app()).filter(removed).is_none() {
                    continue;
                }
                let key = (host, process.task.id.clone());
                let since = self.unwanted.get(&key).copied().unwrap_or(at);
                if at - since > REMOVED_FOR {
                    let detail = format!(
                        "{} still runs {} {} s after it learnt that {} was removed",
                        there.plan.name,
                        process.task.id,
                        (at - since) / 1_000_000,
                        process.app()
                    );
                    verdicts.violate(Invariant::RemovedStaysRemoved, at, vec![there.plan.no], detail);
                }
                still.insert(key, since);
            }
        }
        self.unwanted = still;
    }
}

/// What a node believes of an app.
pub(super) fn app_view<'a>(there: &'a Host, app: &str) -> Option<&'a AppView> {
    // Names are unique in a scenario, wherever an app belongs.
    let mut apps = there.node.as_ref()?.apps().values();
    apps.find(|view| view.manifest.name.as_str() == app)
}

/// An ended task leaves its slot to others, unless it has done the slot's work.
fn is_no_rival(state: TaskState) -> bool {
    state.is_terminal() && state != TaskState::Succeeded
}

/// Whether all nodes that know the app want this task and no other in its slot.
fn is_undisputed(hosts: &[Host], app: &str, slot: u32, task: &TaskId, host: usize) -> bool {
    let Some(own) = app_view(&hosts[host], app) else { return false };
    let wanted = own.live && own.manifest.desired_slots().is_none_or(|count| slot < count);
    let same = |view: &AppView| {
        let as_ours = (view.live, view.generation, view.template, view.manifest.desired_slots())
            == (own.live, own.generation, own.template, own.manifest.desired_slots());
        let mut others = view.slots.get(&slot).into_iter().flat_map(|seen| &seen.assignments);
        as_ours && others.all(|a| is_no_rival(a.state()) || view.task_id(slot, a) == *task)
    };
    // Its own node has to know it as assigned, with the template it was started from.
    let mine = own.slots.get(&slot).into_iter().flat_map(|seen| &seen.assignments);
    let mut mine = mine.filter(|a| own.task_id(slot, a) == *task);
    let assigned = mine.any(|a| !a.state().is_terminal() && a.placement.template == own.template);
    wanted && assigned && hosts.iter().filter(|there| there.is_up()).filter_map(|t| app_view(t, app)).all(same)
}
