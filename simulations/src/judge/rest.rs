//! What must be true of a fleet that has come to rest.

use super::{bounds::largest_document, log::Log, tasks::app_view};
use crate::{
    des::{
        host::Host,
        runner::{Phase, Process},
    },
    outcome::Invariant,
    scenario::{HostNo, PlannedHost},
};
use holm_scheduler::acting;
use holm_types::{
    DocId, NodeId, Scope, Slot,
    manifest::AppType,
    view::{AppView, Liveness, TaskState, View},
};
use std::collections::{BTreeMap, BTreeSet};

/// Hosts whose documents are compared with automerge.
const AUDITED: usize = 3;

/// Something that is not as it must be, yet.
pub(crate) type Unrest = (Invariant, Vec<HostNo>, String);

/// Whatever is not at rest in the core of a fleet; empty when all is.
pub(crate) fn unrest(hosts: &[Host], core: &[usize]) -> Vec<Unrest> {
    let mut found = Vec::new();
    let down: Vec<&Host> = core.iter().map(|h| &hosts[*h]).filter(|host| !host.answers()).collect();
    if let Some(host) = down.first() {
        return vec![(Invariant::NodeStarts, vec![host.plan.no], format!("{} does not run", host.plan.name))];
    }
    liveness(hosts, core, &mut found);
    heads(hosts, core, &mut found);
    if found.is_empty() {
        views(hosts, core, &mut found);
    }
    if found.is_empty() {
        slots(hosts, core, &mut found);
        orphans(hosts, core, &mut found);
    }
    found
}

/// What is looked at once, at the very end.
pub(crate) fn last_look(hosts: &[Host], log: &Log, most: u64, core: &[usize]) -> Vec<Unrest> {
    let (missing, _) = log.missing(hosts, core);
    let missing = missing.into_iter().map(|(no, detail)| (Invariant::AcknowledgedIsKept, vec![no], detail));
    let documents = core.iter().filter_map(|h| {
        let host = &hosts[*h];
        let (size, doc) = largest_document(host);
        let detail = format!("{}: document {doc} takes {size} bytes, at most {most} are allowed", host.plan.name);
        (size > most).then(|| (Invariant::Bounded, vec![host.plan.no], detail))
    });
    missing.chain(documents).chain(other_than_automerge(hosts, core)).collect()
}

/// What a node holds of its documents is what automerge makes of their changes. A few hosts are looked at: what they hold is
/// the same by now.
fn other_than_automerge(hosts: &[Host], core: &[usize]) -> impl Iterator<Item = Unrest> {
    let few = core.iter().step_by(core.len().div_ceil(AUDITED).max(1)).map(|h| &hosts[*h]);
    few.filter_map(|host| {
        let why = host.node.as_ref()?.audit().err()?;
        Some((Invariant::EqualViews, vec![host.plan.no], format!("{}: {why}", host.plan.name)))
    })
}

/// The hosts of a core, by what they have to know of each other: with ten thousand of them nobody looks at all pairs.
struct Company<'a> {
    by_site: BTreeMap<&'a str, Vec<usize>>,
    keepers: Vec<usize>,
}

impl Company<'_> {
    fn of<'a>(hosts: &'a [Host], core: &[usize]) -> Company<'a> {
        let mut company = Company { by_site: BTreeMap::new(), keepers: Vec::new() };
        for host in core {
            company.by_site.entry(hosts[*host].plan.site.as_str()).or_default().push(*host);
            if hosts[*host].plan.keeper {
                company.keepers.push(*host);
            }
        }
        company
    }

    /// Those that hold what belongs to a site.
    fn holders(&self, site: &str) -> BTreeSet<usize> {
        self.by_site.get(site).into_iter().flatten().chain(&self.keepers).copied().collect()
    }
}

fn liveness(hosts: &[Host], core: &[usize], found: &mut Vec<Unrest>) {
    let company = Company::of(hosts, core);
    for a in core {
        let observer = &hosts[*a];
        let Some(node) = &observer.node else { continue };
        let known = match observer.plan.keeper {
            true => core.iter().copied().collect(),
            false => company.holders(&observer.plan.site),
        };
        for b in &known {
            let seen = node.nodes().get(&hosts[*b].id).map(|view| view.liveness);
            if matches!(seen, Some(Liveness::Alive | Liveness::Suspect)) {
                continue;
            }
            let (who, whom) = (&observer.plan.name, &hosts[*b].plan.name);
            let what = seen.map_or_else(|| "is unknown".to_owned(), |state| format!("is {state:?}").to_lowercase());
            let hosts = vec![observer.plan.no, hosts[*b].plan.no];
            found.push((Invariant::LiveIsAlive, hosts, format!("to {who}, {whom} {what}, though it is there")));
        }
    }
}

/// Whether a host should know how another one fares.
fn concerns(observer: &PlannedHost, other: &PlannedHost) -> bool {
    observer.keeper || other.keeper || observer.site == other.site
}

/// The scopes of a fleet, and the hosts of its core that hold each.
fn scopes(hosts: &[Host], core: &[usize]) -> BTreeMap<Scope, Vec<usize>> {
    let company = Company::of(hosts, core);
    let sites: BTreeSet<&str> = hosts.iter().map(|host| host.plan.site.as_str()).collect();
    let of_site = |site: &str| Some((Scope::Site(site.parse().ok()?), company.holders(site).into_iter().collect()));
    sites.into_iter().filter_map(of_site).chain([(Scope::Mesh, core.to_vec())]).collect()
}

/// Whether all hosts that answer have the same replica of every scope that they share.
pub(crate) fn replicas_are_equal(hosts: &[Host]) -> bool {
    let up: Vec<usize> = (0..hosts.len()).filter(|host| hosts[*host].answers()).collect();
    scopes(hosts, &up).into_iter().all(|(scope, holders)| {
        let mut digests = holders.iter().filter_map(|host| hosts[*host].node.as_ref()).map(|node| node.digest(&scope));
        let first = digests.next();
        digests.all(|digest| Some(digest) == first)
    })
}

fn heads(hosts: &[Host], core: &[usize], found: &mut Vec<Unrest>) {
    for (scope, holders) in scopes(hosts, core) {
        heads_of(hosts, &scope, &holders, found);
    }
}

fn heads_of(hosts: &[Host], scope: &Scope, holders: &[usize], found: &mut Vec<Unrest>) {
    let mut by_digest: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for host in holders {
        if let Some(node) = &hosts[*host].node {
            by_digest.entry(node.digest(scope)).or_default().push(*host);
        }
    }
    if by_digest.len() > 1 {
        let names = |holders: &Vec<usize>| {
            let names: Vec<&str> = holders.iter().map(|h| hosts[*h].plan.name.as_str()).collect();
            names.join(", ")
        };
        let parts: Vec<String> = by_digest.values().map(names).collect();
        let few = by_digest.values().min_by_key(|holders| holders.len()).into_iter().flatten();
        let hosts = few.map(|h| hosts[*h].plan.no).collect();
        found.push((Invariant::EqualHeads, hosts, format!("replicas of {scope} differ: {}", parts.join(" | "))));
    }
}

fn views(hosts: &[Host], core: &[usize], found: &mut Vec<Unrest>) {
    let sorted = |host: usize| -> BTreeMap<DocId, AppView> {
        let mut apps = hosts[host].node.as_ref().map(|node| node.apps().clone()).unwrap_or_default();
        for slot in apps.values_mut().flat_map(|app| app.slots.values_mut()) {
            slot.assignments.sort_by_key(|a| (a.epoch, a.writer, a.placement.node));
        }
        apps
    };
    let Some((first, rest)) = observers_first(hosts, core) else { return };
    let expected = sorted(first);
    for host in rest {
        let there = &hosts[host].plan;
        // Of a daemon that belongs to no site, a host knows the slots of the sites that it holds.
        let whole = |app: &AppView| app.manifest.kind != AppType::Daemon || there.keeper && hosts[first].plan.keeper;
        let held = |app: &AppView| there.keeper || app.scope.site().is_none_or(|site| site.as_str() == there.site);
        let view = sorted(host);
        // What has ended is read beside the rest until it is deleted, which each host does when it likes.
        let ended = |doc: &DocId| {
            let mut both = [first, host].into_iter().filter_map(|host| hosts[host].node.as_ref());
            both.any(|node| node.holds_ended(doc))
        };
        let same =
            |doc: &DocId, app: &AppView| view.get(doc).is_some_and(|seen| seen == app || !whole(app) || ended(doc));
        let lacks = expected.iter().find(|(doc, app)| held(app) && !same(doc, app)).map(|(doc, _)| doc);
        let differs = lacks.or_else(|| view.keys().find(|doc| !expected.contains_key(*doc)));
        if let Some(doc) = differs {
            let (a, b) = (&hosts[first].plan.name, &hosts[host].plan.name);
            let detail = format!("equal documents, but {a} and {b} make different apps of {doc}");
            found.push((Invariant::EqualViews, vec![hosts[first].plan.no, hosts[host].plan.no], detail));
        }
    }
}

/// The host of the core that sees most, and the others of which it sees all.
fn observers_first(hosts: &[Host], core: &[usize]) -> Option<(usize, Vec<usize>)> {
    let keeper = core.iter().find(|h| hosts[**h].plan.keeper);
    let first = *keeper.or_else(|| core.first())?;
    let sees = |h: &&usize| **h != first && concerns(&hosts[first].plan, &hosts[**h].plan);
    Some((first, core.iter().filter(sees).copied().collect()))
}

/// The processes of each slot of an app on hosts that the fleet can see; those that wait to be
/// restarted in place count.
fn runners<'a>(hosts: &'a [Host], visible: &BTreeSet<usize>, app: &str) -> BTreeMap<u32, Vec<(usize, &'a Process)>> {
    let mut slots: BTreeMap<u32, Vec<(usize, &Process)>> = BTreeMap::new();
    for host in visible {
        let processes = hosts[*host].processes.0.values();
        let there = processes.filter(|p| p.is_up() || p.phase == Phase::Waits).filter(|p| p.app() == app);
        there.for_each(|process| slots.entry(process.slot()).or_default().push((*host, process)));
    }
    slots
}

fn slots(hosts: &[Host], core: &[usize], found: &mut Vec<Unrest>) {
    let Some((first, _)) = observers_first(hosts, core) else { return };
    let Some(node) = hosts[first].node.as_ref() else { return };
    let alive = |h: &usize| {
        let seen = node.nodes().get(&hosts[*h].id);
        hosts[*h].is_up() && seen.is_some_and(|view| view.liveness == Liveness::Alive)
    };
    let visible: BTreeSet<usize> = (0..hosts.len()).filter(alive).collect();
    let view = View { nodes: node.nodes().clone(), ..View::default() };
    for app in node.apps().values().filter(|app| app.live) {
        let name = app.manifest.name.as_str();
        let runners = runners(hosts, &visible, name);
        let wanted = wanted(hosts, app, &visible);
        for (slot, expected) in &wanted {
            let there = counted(runners.get(slot), *expected, core, &view, app);
            let settled = is_settled(app, &view, *slot, there, runners.len());
            if there != *expected && !settled && !(there == 0 && is_out_of_reach(hosts, app, &visible)) {
                let on: Vec<&Host> = runners.get(slot).into_iter().flatten().map(|(host, _)| &hosts[*host]).collect();
                let detail = format!("slot {slot} of {name} has {there} runners{}", last_words(&view, app, *slot, &on));
                found.push((Invariant::EachSlotOnce, on.iter().map(|host| host.plan.no).collect(), detail));
            }
        }
        for (slot, there) in runners.iter().filter(|(slot, _)| !wanted.contains_key(slot)) {
            let hosts = there.iter().map(|(host, _)| hosts[*host].plan.no).collect();
            found.push((Invariant::NoOrphans, hosts, format!("slot {slot} of {name} is not wanted, and runs")));
        }
    }
}

/// How many runners of a slot the core answers for. What a host in lasting trouble runs beside the holder that the core knows
/// is not the core's doing: it may not have heard a word for a minute.
fn counted(
    there: Option<&Vec<(usize, &Process)>>,
    expected: usize,
    core: &[usize],
    view: &View,
    app: &AppView,
) -> usize {
    let there = there.map_or(&[][..], Vec::as_slice);
    if there.len() <= expected {
        return there.len();
    }
    let holds = |process: &Process| {
        let holder = app.slots.get(&process.slot()).and_then(|slot| acting(view, app, slot));
        holder.is_some_and(|holder| app.task_id(process.slot(), holder) == process.task.id)
    };
    there.iter().filter(|(host, process)| core.contains(host) || holds(process)).count()
}

/// What is known of the last task that a slot was given to, and what those that run it miss of each other.
fn last_words(view: &View, app: &AppView, slot: Slot, on: &[&Host]) -> String {
    let last = app.slots.get(&slot).and_then(|slot| slot.assignments.iter().max_by_key(|assignment| assignment.epoch));
    let Some(last) = last else { return ", and was given to nobody".to_owned() };
    let node =
        view.nodes.get(&last.placement.node).map_or_else(|| "nobody known".to_owned(), |node| node.name.to_string());
    let reason = last.status.as_ref().map_or("", |status| status.reason.as_str());
    let mut words = format!("; {node} has it, which is {:?}", last.state()).to_lowercase();
    if !reason.is_empty() {
        words += &format!(": {reason}");
    }
    for (host, other) in on.iter().flat_map(|host| on.iter().map(move |other| (host, other))) {
        let seen = host.node.as_ref().and_then(|here| here.nodes().get(&other.id)).map(|seen| seen.liveness);
        if host.id != other.id && seen != Some(Liveness::Alive) {
            let seen = seen.map_or_else(|| "does not see it".to_owned(), |seen| format!("takes it for {seen:?}"));
            words += &format!(", {} also runs it and {} {}", other.plan.name, host.plan.name, seen.to_lowercase());
        }
    }
    words
}

/// How many runners each slot of an app should have.
fn wanted(hosts: &[Host], app: &AppView, visible: &BTreeSet<usize>) -> BTreeMap<u32, usize> {
    let site = app.manifest.place.site.as_ref();
    let fits = |host: &&usize| site.is_none_or(|site| hosts[**host].plan.site == site.as_str());
    let fitting: Vec<usize> = visible.iter().filter(fits).copied().collect();
    let each = usize::from(!fitting.is_empty());
    match app.manifest.desired_slots() {
        Some(count) => (0..count).map(|slot| (slot, each)).collect(),
        None => fitting.iter().map(|host| (AppView::daemon_slot(&hosts[*host].id), 1)).collect(),
    }
}

/// Whether too few guards of a fenced app are there for any of its tasks to get a lease.
fn is_out_of_reach(hosts: &[Host], app: &AppView, visible: &BTreeSet<usize>) -> bool {
    let seen = |guard: &&NodeId| visible.iter().any(|host| hosts[*host].id == **guard);
    app.manifest.is_fenced() && app.guards.iter().any(|set| set.members.iter().filter(seen).count() < set.majority())
}

/// Whether a slot that does not have one runner is right all the same: its work is done, or it has
/// failed as often as it may, or it waits for others of its job.
fn is_settled(app: &AppView, view: &View, slot: u32, there: usize, running: usize) -> bool {
    let held = app.slots.get(&slot).and_then(|seen| acting(view, app, seen));
    let ended = held.map(|a| a.state()).filter(|state| state.is_terminal());
    match (app.manifest.kind, ended) {
        (AppType::Job, Some(TaskState::Succeeded)) => there == 0,
        // A job's task that ends badly is tried again, and then no more.
        (AppType::Job, Some(TaskState::Failed)) => {
            there <= 1 && app.manifest.env.get("SIM_EXIT").is_some_and(|c| c != "0")
        }
        (AppType::Job, _) => there == 0 && running as u32 >= app.manifest.parallel_limit(),
        _ => false,
    }
}

/// Processes that nobody wants: their own node does not hold their slot.
fn orphans(hosts: &[Host], core: &[usize], found: &mut Vec<Unrest>) {
    for host in core {
        let there = &hosts[*host];
        let Some(node) = &there.node else { continue };
        let view = View { nodes: node.nodes().clone(), ..View::default() };
        for process in there.processes.up() {
            let app = app_view(there, process.app());
            let held = app.filter(|app| app.live).and_then(|app| {
                let holder = acting(&view, app, app.slots.get(&process.slot())?)?;
                Some(app.task_id(process.slot(), holder))
            });
            if held.as_ref() != Some(&process.task.id) {
                let detail = format!("{} runs {}, and nobody wants it", there.plan.name, process.task.id);
                found.push((Invariant::NoOrphans, vec![there.plan.no], detail));
            }
        }
    }
}
