//! What must be true of a fleet that has come to rest.

use crate::{
    workload::{Promise, Promises},
    world::World,
};
use holm_simulations::{
    outcome::{Invariant, Violation},
    scenario::{HostNo, Ms, Plan, PlannedHost},
};
use holm_types::{
    Digest,
    api::{AppRef, AppRow, AppStatus, ListParams, MeshStatus, NodeRow, Page, Request, TaskRow},
    view::Liveness,
};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// What one node believes.
struct Belief {
    host: HostNo,
    heads: BTreeMap<String, Digest>,
    nodes: Vec<NodeRow>,
    apps: Vec<AppRow>,
    tasks: Vec<TaskRow>,
}

/// What runs: app, slot, host.
type Runs = BTreeSet<(String, u32, HostNo)>;

impl World {
    async fn belief(&self, host: HostNo) -> Option<Belief> {
        let all = ListParams::default;
        Some(Belief {
            host,
            heads: self.answer::<MeshStatus>(host, Request::MeshStatus).await?.heads,
            nodes: self.answer::<Page<NodeRow>>(host, Request::NodeList(all())).await?.items,
            apps: self.answer::<Page<AppRow>>(host, Request::AppList(all())).await?.items,
            tasks: self.answer::<Page<TaskRow>>(host, Request::TaskList(all())).await?.items,
        })
    }

    async fn answer<T: DeserializeOwned>(&self, host: HostNo, request: Request) -> Option<T> {
        serde_json::from_value(self.ask(host, request).await?.ok()?).ok()
    }

    /// All processes that run now.
    fn running(&self) -> (Runs, Vec<(String, u32, HostNo)>) {
        let now = self.now();
        let (mut once, mut again) = (Runs::new(), Vec::new());
        for (no, place) in &self.places {
            for process in place.host.lock().processes.values().filter(|process| process.runs_at(now)) {
                let run = (process.app.clone(), process.slot, *no);
                if !once.insert(run.clone()) {
                    again.push(run);
                }
            }
        }
        (once, again)
    }

    /// How many tasks run now.
    pub(crate) fn running_count(&self) -> u32 {
        let (once, again) = self.running();
        u32::try_from(once.len() + again.len()).unwrap_or(u32::MAX)
    }

    /// What is not as it should be at rest, among the hosts that have to come to rest. None of it
    /// is wrong before the fleet had its time.
    pub(crate) async fn unrest(&self, plan: &Plan, promises: &Promises) -> Vec<Violation> {
        let mut found = Unrest { at: self.now(), found: Vec::new() };
        let mut beliefs = Vec::new();
        for no in &plan.core {
            match self.belief(*no).await {
                Some(belief) => beliefs.push(belief),
                None => found.add(Invariant::NodeStarts, [*no], "it does not answer".into()),
            }
        }
        found.equal(&beliefs);
        found.alive(plan, &beliefs);
        found.promised(&promises.lock(), &beliefs);
        let (once, again) = self.running();
        let held = self.held(plan, beliefs.first()).await;
        found.slots(beliefs.first(), &held, &once, &again);
        found.found
    }

    /// The tasks that hold a slot, as one node believes: not all of its tasks, since one that lost
    /// its slot before its node knew of it is listed as assigned for ever.
    async fn held(&self, plan: &Plan, belief: Option<&Belief>) -> Runs {
        let mut held = Runs::new();
        let Some(belief) = belief else { return held };
        for app in &belief.apps {
            let name = AppRef { name: app.name.clone(), namespace: Some(app.namespace.clone()), site: None };
            let status = self.answer::<AppStatus>(belief.host, Request::AppGet(name)).await;
            let slots = status.into_iter().flat_map(|status| status.slots).filter(|slot| !slot.state.is_terminal());
            for slot in slots {
                let on = slot.node.and_then(|name| plan.hosts.iter().find(|host| host.name == name.as_str()));
                held.extend(on.map(|host| (app.name.to_string(), slot.slot, host.no)));
            }
        }
        held
    }
}

struct Unrest {
    at: Ms,
    found: Vec<Violation>,
}

impl Unrest {
    fn add(&mut self, invariant: Invariant, hosts: impl IntoIterator<Item = HostNo>, detail: String) {
        self.found.push(Violation { invariant, at: self.at, hosts: hosts.into_iter().collect(), detail });
    }

    /// Equal replicas, and equal conclusions from them.
    fn equal(&mut self, beliefs: &[Belief]) {
        let Some(first) = beliefs.first() else { return };
        for other in &beliefs[1..] {
            let pair = [first.host, other.host];
            let differs = |(scope, head): &(&String, &Digest)| other.heads.get(*scope).is_some_and(|its| its != *head);
            if !other.heads.contains_key("mesh") {
                self.add(Invariant::EqualHeads, pair, "one has no replica of the mesh scope".into());
            } else if let Some((scope, _)) = first.heads.iter().find(differs) {
                self.add(Invariant::EqualHeads, pair, format!("their replicas of {scope} differ"));
            } else if other.apps != first.apps || other.tasks != first.tasks {
                let differs =
                    first.apps.iter().zip(&other.apps).find(|(a, b)| a != b).map(|(a, b)| format!("{a:?} and {b:?}"));
                let differs = differs.unwrap_or_else(|| "the same apps, other tasks".into());
                self.add(Invariant::EqualViews, pair, format!("equal replicas, but {differs}"));
            }
        }
    }

    /// Nobody who lives is held for dead by those whom it concerns: its site, and the keepers; a keeper concerns all.
    fn alive(&mut self, plan: &Plan, beliefs: &[Belief]) {
        for belief in beliefs {
            let Some(observer) = plan.hosts.iter().find(|host| host.no == belief.host) else { continue };
            let concerns = |host: &&PlannedHost| observer.keeper || host.keeper || observer.site == host.site;
            for host in plan.hosts.iter().filter(|host| plan.core.contains(&host.no)).filter(concerns) {
                let row = belief.nodes.iter().find(|row| row.name.as_str() == host.name);
                let state = row.map(|row| row.state);
                if state != Some(Liveness::Alive) {
                    let what =
                        state.map_or_else(|| "does not know it".into(), |state| format!("holds it for {state:?}"));
                    self.add(
                        Invariant::LiveIsAlive,
                        [belief.host, host.no],
                        format!("{} lives; the other {what}", host.name),
                    );
                }
            }
        }
    }

    /// What was acknowledged, and nobody asked to remove, is there.
    fn promised(&mut self, promises: &BTreeMap<String, Promise>, beliefs: &[Belief]) {
        for (app, promise) in promises.iter().filter(|(_, promise)| !promise.removal_asked) {
            let Some((by, at)) = promise.applied else { continue };
            for belief in beliefs.iter().filter(|belief| !belief.apps.iter().any(|row| row.name.as_str() == app)) {
                let detail = format!("{app} was acknowledged at {} ms and is not there", at.0);
                self.add(Invariant::AcknowledgedIsKept, [by, belief.host], detail);
            }
        }
    }

    /// Every wanted slot is held by one task, which runs where it is believed to; nothing else runs.
    fn slots(&mut self, belief: Option<&Belief>, held: &Runs, once: &Runs, again: &[(String, u32, HostNo)]) {
        let Some(belief) = belief else { return };
        for (app, slot, host) in again {
            self.add(Invariant::EachSlotOnce, [*host], format!("{app}/{slot} runs twice on one host"));
        }
        for (app, slot, host) in held.difference(once) {
            self.add(Invariant::EachSlotOnce, [*host], format!("{app}/{slot} should run there"));
        }
        for (app, slot, host) in once.difference(held) {
            self.add(Invariant::NoOrphans, [*host], format!("{app}/{slot} runs there, and nobody wants it"));
        }
        for app in belief.apps.iter().filter(|app| app.running < app.desired) {
            let detail = format!("{}: {} of {} slots run or are done", app.name, app.running, app.desired);
            self.add(Invariant::EachSlotOnce, [belief.host], detail);
        }
    }
}
