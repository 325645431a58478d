//! A world to tell stories about: nodes, apps, and what was assigned.

use holm_scheduler::{Context, Decision, decide, holder};
use holm_types::{
    DocId, Epoch, Incarnation, Label, NodeId, Scope, Slot,
    cert::Role,
    manifest::{Amounts, ContainerRun, Format, Manifest, Run},
    view::{AppView, Assignment, Liveness, NodeInfo, NodeView, Placement, SlotView, TaskState, TaskStatus, View},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Node number `n`, called `n<n>`.
pub fn id(n: u8) -> NodeId {
    NodeId([n; 32])
}

pub fn label(text: &str) -> Label {
    text.parse().unwrap()
}

/// Processor and memory in MiB.
pub fn amounts(cpu: u64, memory: u64) -> Amounts {
    Amounts { cpu, memory: memory << 20, ..Amounts::default() }
}

#[derive(Debug)]
pub struct World {
    pub view: View,
    pub free: BTreeMap<NodeId, Amounts>,
    pub dead_for: BTreeMap<NodeId, Duration>,
    pub flaps: BTreeMap<NodeId, u32>,
    pub budget: usize,
    pub held: BTreeSet<DocId>,
}

impl World {
    /// `count` nodes at site "home", with 4 cores and 1 GiB each.
    pub fn of(count: u8) -> World {
        let mut world = World {
            view: View::default(),
            free: BTreeMap::new(),
            dead_for: BTreeMap::new(),
            flaps: BTreeMap::new(),
            budget: 100_000,
            held: BTreeSet::new(),
        };
        (1..=count).for_each(|n| world.add_node(n));
        world
    }

    pub fn add_node(&mut self, n: u8) {
        let info = NodeInfo {
            labels: BTreeMap::new(),
            capacity: amounts(4000, 1024),
            arch: "x86_64".into(),
            version: "0.1.0".into(),
            schema: 0,
        };
        let node = NodeView {
            id: id(n),
            name: label(&format!("n{n}")),
            site: label("home"),
            roles: Vec::new(),
            info: info.into(),
            described: true,
            liveness: Liveness::Alive,
            life: None,
        };
        self.view.nodes.insert(id(n), node);
    }

    pub fn node(&mut self, n: u8) -> &mut NodeView {
        self.view.nodes.get_mut(&id(n)).unwrap()
    }

    pub fn info(&mut self, n: u8) -> &mut NodeInfo {
        Arc::make_mut(&mut self.node(n).info)
    }

    pub fn at(mut self, n: u8, site: &str) -> World {
        self.node(n).site = label(site);
        self
    }

    pub fn keeper(mut self, n: u8) -> World {
        self.node(n).roles = vec![Role::Keeper];
        self
    }

    pub fn labelled(mut self, n: u8, key: &str, value: &str) -> World {
        self.info(n).labels.insert(key.into(), value.into());
        self
    }

    pub fn with_capacity(mut self, n: u8, capacity: Amounts) -> World {
        self.info(n).capacity = capacity;
        self
    }

    pub fn becomes(&mut self, n: u8, liveness: Liveness) {
        self.node(n).liveness = liveness;
    }

    /// Submits an app, as TOML without name and command.
    pub fn with(mut self, app: &str, manifest: &str) -> World {
        self.apply(app, manifest);
        self
    }

    pub fn apply(&mut self, app: &str, manifest: &str) {
        self.apply_run(app, manifest, "[run.process]\ncommand = [\"/bin/true\"]");
    }

    /// The same with a command that makes another template.
    pub fn apply_revision(&mut self, app: &str, manifest: &str, revision: u32) {
        self.apply_run(app, manifest, &format!("[run.process]\ncommand = [\"/bin/true\", \"{revision}\"]"));
    }

    fn apply_run(&mut self, app: &str, manifest: &str, run: &str) {
        let text = format!("name = \"{app}\"\n{manifest}\n{run}");
        self.put(app, Manifest::parse(&text, Format::Toml).unwrap());
    }

    /// An app that a later version admitted: this one's parser would not.
    pub fn apply_unknown(&mut self, app: &str, manifest: &str, change: impl FnOnce(&mut Manifest)) {
        self.apply(app, manifest);
        let mut manifest = (*self.app(app).manifest).clone();
        change(&mut manifest);
        self.put(app, manifest);
    }

    fn put(&mut self, app: &str, manifest: Manifest) {
        let doc = self.doc(app);
        let template = manifest.template();
        let entry = self.view.apps.entry(doc).or_insert_with(|| AppView {
            doc,
            scope: Scope::of_app(manifest.place.site.as_ref()),
            generation: 1,
            live: true,
            revision: 0,
            manifest: Arc::new(manifest.clone()),
            guards: Vec::new(),
            template,
            conflicts: Vec::new(),
            slots: Default::default(),
        });
        entry.revision += 1;
        entry.template = template;
        entry.manifest = Arc::new(manifest);
    }

    pub fn doc(&self, app: &str) -> DocId {
        DocId::app(&Scope::Mesh, &label("default"), &label(app))
    }

    pub fn app(&self, app: &str) -> &AppView {
        &self.view.apps[&self.doc(app)]
    }

    pub fn app_mut(&mut self, app: &str) -> &mut AppView {
        let doc = self.doc(app);
        self.view.apps.get_mut(&doc).unwrap()
    }

    pub fn slot(&mut self, app: &str, slot: Slot) -> &mut SlotView {
        self.app_mut(app).slots.get_or_insert_with(slot, Default::default)
    }

    /// Puts an assignment into the documents, for the app's template of now.
    pub fn assigned(&mut self, app: &str, slot: Slot, epoch: Epoch, n: u8) -> &mut Assignment {
        let template = self.app(app).template;
        let placement = Placement { node: id(n), attempt: 1, template, stands_in: None };
        let slot = self.slot(app, slot);
        slot.assignments.push(Assignment {
            epoch,
            writer: id(1),
            placement,
            status: None,
            told_in: Incarnation::default(),
        });
        slot.assignments.last_mut().unwrap()
    }

    pub fn in_state(&mut self, app: &str, slot: Slot, epoch: Epoch, n: u8, state: TaskState) {
        self.assigned(app, slot, epoch, n).status = Some(TaskStatus::new(state));
    }

    pub fn refused(&mut self, app: &str, slot: Slot, epoch: Epoch, n: u8, reason: &str) {
        let status = TaskStatus { refused: true, reason: reason.into(), ..TaskStatus::new(TaskState::Failed) };
        self.assigned(app, slot, epoch, n).status = Some(status);
    }

    /// What all live nodes decide together.
    pub fn decide(&self) -> Vec<Decision> {
        self.view.nodes.keys().flat_map(|node| self.decide_as(*node)).collect()
    }

    pub fn decide_as(&self, me: NodeId) -> Vec<Decision> {
        decide(&self.view, &self.context(me))
    }

    pub fn context(&self, me: NodeId) -> Context<'_> {
        let (free, dead_for, flaps) = (&self.free, &self.dead_for, &self.flaps);
        Context { me, free, dead_for, flaps, budget: self.budget, held: &self.held, only: None }
    }

    /// The decisions, as (slot, epoch, number of the node), in their order.
    pub fn decided(&self) -> Vec<(Slot, Epoch, u8)> {
        let tell = |Decision::Assign { slot, epoch, placement, .. }: Decision| (slot, epoch, placement.node.0[0]);
        self.decide().into_iter().map(tell).collect()
    }

    /// The numbers of the nodes that are decided on.
    pub fn placed_on(&self) -> BTreeSet<u8> {
        self.decided().into_iter().map(|(.., node)| node).collect()
    }

    /// Decides, and writes it down.
    pub fn settle(&mut self) -> usize {
        let decisions = self.decide();
        decisions.iter().for_each(|decision| self.write(decision));
        decisions.len()
    }

    pub fn write(&mut self, decision: &Decision) {
        let Decision::Assign { app, slot, epoch, placement, .. } = decision;
        let slots = &mut self.view.apps.get_mut(app).unwrap().slots;
        let assignment = Assignment {
            epoch: *epoch,
            writer: id(1),
            placement: placement.clone(),
            status: None,
            told_in: Incarnation::default(),
        };
        slots.get_or_insert_with(*slot, Default::default).assignments.push(assignment);
    }

    /// Every holder that has not ended says `state`.
    pub fn all_say(&mut self, app: &str, state: TaskState) {
        let slots: Vec<Slot> = self.app(app).slots.keys().copied().collect();
        slots.into_iter().for_each(|slot| self.says(app, slot, state));
    }

    /// The holder of a slot, unless it has ended, says `state`.
    pub fn says(&mut self, app: &str, slot: Slot, state: TaskState) {
        let view = self.app(app);
        let held = holder(view, &view.slots[&slot]).filter(|held| !held.state().is_terminal());
        let Some((epoch, writer)) = held.map(|held| (held.epoch, held.writer)) else { return };
        let assignments = &mut self.slot(app, slot).assignments;
        let held = assignments.iter_mut().find(|a| (a.epoch, a.writer) == (epoch, writer)).unwrap();
        held.status = Some(TaskStatus::new(state));
    }

    /// Decides and runs until nothing is left to decide.
    pub fn running(mut self) -> World {
        for _ in 0..10 {
            let decided = self.settle();
            let apps: Vec<String> = self.view.apps.values().map(|app| app.manifest.name.to_string()).collect();
            apps.iter().for_each(|app| self.all_say(app, TaskState::Running));
            if decided == 0 {
                return self;
            }
        }
        panic!("decisions do not come to an end");
    }

    /// The number of the node that holds a slot.
    pub fn holder(&self, app: &str, slot: Slot) -> Option<u8> {
        let app = self.app(app);
        app.slots.get(&slot).and_then(|slot| holder(app, slot)).map(|held| held.placement.node.0[0])
    }

    /// How many slots of an app each node holds, by number.
    pub fn spread(&self, app: &str) -> BTreeMap<u8, u32> {
        let mut counts = BTreeMap::new();
        for slot in self.app(app).slots.keys() {
            if let Some(node) = self.holder(app, *slot) {
                *counts.entry(node).or_default() += 1;
            }
        }
        counts
    }
}

/// A change for [`World::apply_unknown`].
pub fn in_a_container(manifest: &mut Manifest) {
    manifest.run = Run::Container(ContainerRun { image: "a".into(), command: Vec::new() });
}
