//! The reducer: from the concurrent values of all writers to what every node believes.
//!
//! It is a function of the registers alone, so two nodes that hold the same documents believe
//! the same, in whatever order these arrived. It is incremental: a change of one slot reduces
//! that slot again and nothing else.

mod app;
mod slot;

pub use app::life_of;
pub use slot::floor_of;

use crate::{
    authority::{TASKS_APP, TasksOf},
    entity::Entity,
    registers::Registers,
};
use holm_types::{
    ActorId, DocId, NodeId, Slot,
    change::{Value, keys_of},
    manifest::AppType,
    view::{AppView, NodeInfo},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

/// What the reducer reads.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) docs: &'a BTreeMap<DocId, Entity>,
    pub(crate) authors: &'a BTreeMap<ActorId, NodeId>,
}

impl<'a> Source<'a> {
    fn registers(self, doc: &DocId) -> Option<&'a Registers> {
        self.docs.get(doc).map(|entity| &entity.registers)
    }
}

/// App, generation and group of each tasks document.
#[derive(Debug, Default)]
struct Groups(BTreeSet<(DocId, u64, u32, DocId)>);

impl Groups {
    fn of(&self, app: &DocId, generation: u64, group: u32) -> impl Iterator<Item = &DocId> {
        let of = |doc| (*app, generation, group, doc);
        self.0.range(of(DocId::FIRST)..=of(DocId::LAST)).map(|(.., doc)| doc)
    }

    fn of_lives(&self, app: &DocId, generations: RangeInclusive<u64>) -> impl Iterator<Item = &DocId> {
        let from = (*app, *generations.start(), 0, DocId::FIRST);
        let to = (*app, *generations.end(), u32::MAX, DocId::LAST);
        self.0.range(from..=to).map(|(.., doc)| doc)
    }
}

/// The reduced views, and what is needed to keep them so.
#[derive(Debug, Default)]
pub(crate) struct Views {
    apps: BTreeMap<DocId, AppView>,
    /// Tasks documents that said whose they are.
    tasks: BTreeMap<DocId, TasksOf>,
    /// The tasks documents of a generation of an app by their groups, whether the app is known or not.
    groups: Groups,
    /// The last volume of each that has taken everything over that counts of the earlier ones.
    cuts: BTreeMap<TasksOf, u32>,
    /// Values met that make no sense.
    bad: usize,
}

impl Views {
    pub(crate) fn apps(&self) -> &BTreeMap<DocId, AppView> {
        &self.apps
    }

    pub(crate) fn lend_apps(&mut self) -> BTreeMap<DocId, AppView> {
        std::mem::take(&mut self.apps)
    }

    pub(crate) fn return_apps(&mut self, apps: BTreeMap<DocId, AppView>) {
        self.apps = apps;
    }

    /// How many senseless values were met since the last call.
    pub(crate) fn take_bad(&mut self) -> usize {
        std::mem::take(&mut self.bad)
    }

    /// Whose tasks a document holds, if it has said so.
    pub(crate) fn tasks_of(&self, doc: &DocId) -> Option<&TasksOf> {
        self.tasks.get(doc)
    }

    /// The tasks documents of all lives of an app.
    pub(crate) fn all_tasks_of(&self, app: &DocId) -> impl Iterator<Item = &DocId> {
        self.groups.of_lives(app, 0..=u64::MAX)
    }

    /// The volumes that are held of the same tasks, the latest first.
    pub(crate) fn volumes(&self, of: &TasksOf) -> Vec<&TasksOf> {
        let docs = self.groups.of(&of.app, of.generation, of.group);
        let mut volumes: Vec<&TasksOf> = docs.filter_map(|doc| self.tasks.get(doc)).collect();
        volumes.retain(|other| other.scope == of.scope);
        volumes.sort_by_key(|other| std::cmp::Reverse(other.volume));
        volumes
    }

    /// Whose tasks the documents hold, all of them.
    pub(crate) fn all_tasks(&self) -> impl Iterator<Item = &TasksOf> {
        self.tasks.values()
    }

    /// The volume that takes the place of all before it, 0 if there is none.
    pub(crate) fn cut(&self, of: &TasksOf) -> u32 {
        self.cuts.get(&of.at(0)).copied().unwrap_or(0)
    }

    /// Whether the life of the app has ended that these tasks belong to, or a later volume has taken their place.
    pub(crate) fn has_ended(&self, of: &TasksOf) -> bool {
        let app = self.apps.get(&of.app);
        of.volume < self.cut(of)
            || app.is_some_and(|app| of.generation < app.generation || (of.generation == app.generation && !app.live))
    }

    /// An app's document changed.
    pub(crate) fn update_app(&mut self, source: Source<'_>, doc: &DocId) {
        let old = self.apps.remove(doc);
        let Some(registers) = source.registers(doc) else { return };
        let Some(scope) = source.docs.get(doc).map(|entity| &entity.scope) else { return };
        let Some(mut view) = app::reduce(scope, doc, registers, source.authors, &mut self.bad) else { return };
        match old {
            Some(old) if old.generation == view.generation => view.slots = old.slots,
            _ => self.reduce_all_slots(source, &mut view),
        }
        self.apps.insert(*doc, view);
    }

    /// Keys of a tasks document changed; gives the app that it belongs to.
    pub(crate) fn update_tasks<'k>(
        &mut self,
        source: Source<'_>,
        doc: &DocId,
        keys: impl Iterator<Item = &'k str>,
    ) -> Option<DocId> {
        let of = match (self.tasks.get(doc), source.registers(doc)) {
            (Some(of), Some(_)) => of.clone(),
            (Some(of), None) => {
                let of = of.clone();
                self.forget_tasks(doc, &of);
                of
            }
            (None, registers) => {
                let of = registers?.get(TASKS_APP)?.iter().find_map(|register| TasksOf::read(&register.value))?;
                self.groups.0.insert((of.app, of.generation, of.group, *doc));
                self.tasks.insert(*doc, of.clone());
                of
            }
        };
        let app = of.app;
        let keys: Vec<&str> = keys.collect();
        if of.volume > 0 && (source.registers(doc).is_none() || keys.contains(&keys_of::CUT)) {
            self.find_cut(source, &of);
        }
        let view = self.apps.get_mut(&app).filter(|view| view.generation == of.generation);
        if let Some(view) = view {
            let slots: BTreeSet<Slot> = keys.into_iter().filter_map(slot_of).collect();
            for slot in slots {
                reduce_slot(source, (&self.groups, &self.tasks), view, slot, &mut self.bad);
            }
        }
        Some(app)
    }

    fn find_cut(&mut self, source: Source<'_>, of: &TasksOf) {
        let says = |volume: &TasksOf| {
            let values = source.registers(&volume.doc())?.get(keys_of::CUT)?;
            values.iter().any(|register| register.value == Value::Uint(volume.volume.into())).then_some(volume.volume)
        };
        match self.volumes(of).into_iter().find_map(says) {
            Some(volume) => self.cuts.insert(of.at(0), volume),
            None => self.cuts.remove(&of.at(0)),
        };
    }

    /// All documents have been read, in their order, which leaves trees half empty: builds them anew.
    pub(crate) fn settle(&mut self) {
        self.apps = std::mem::take(&mut self.apps).into_iter().collect();
        self.tasks = std::mem::take(&mut self.tasks).into_iter().collect();
        self.groups.0 = std::mem::take(&mut self.groups.0).into_iter().collect();
    }

    /// Nothing is left of a tasks document.
    fn forget_tasks(&mut self, doc: &DocId, of: &TasksOf) {
        self.tasks.remove(doc);
        self.groups.0.remove(&(of.app, of.generation, of.group, *doc));
    }

    fn reduce_all_slots(&mut self, source: Source<'_>, view: &mut AppView) {
        let (app, generation) = (view.doc, view.generation);
        let docs = self.groups.of_lives(&app, generation..=generation);
        let keys = docs.filter_map(|doc| source.registers(doc)).flat_map(|registers| registers.keys());
        let slots: BTreeSet<Slot> = keys.filter_map(|key| slot_of(key)).collect();
        for slot in slots {
            reduce_slot(source, (&self.groups, &self.tasks), view, slot, &mut self.bad);
        }
    }
}

/// The slot that a key says something about.
fn slot_of(key: &str) -> Option<Slot> {
    keys_of::parse_slot(key).map(|key| key.slot).or_else(|| keys_of::parse_floor(key))
}

/// A slot stands in the documents that its app's type groups it into. As the type can be edited
/// while tasks run, the groups of all types are looked at, whatever the type is now.
fn reduce_slot(
    source: Source<'_>,
    (known, tasks): (&Groups, &BTreeMap<DocId, TasksOf>),
    view: &mut AppView,
    slot: Slot,
    bad: &mut usize,
) {
    let groups: BTreeSet<u32> = [AppType::Service, AppType::Daemon, AppType::Job, AppType::Cron]
        .into_iter()
        .map(|kind| AppView::group_of(kind, slot))
        .collect();
    let docs = groups.into_iter().flat_map(|group| known.of(&view.doc, view.generation, group));
    let mut docs: Vec<&DocId> = docs.collect();
    // What a later volume says of a key is the last word.
    docs.sort_by_key(|doc| std::cmp::Reverse(tasks.get(*doc).map_or(0, |of| of.volume)));
    let docs: Vec<&Registers> = docs.into_iter().filter_map(|doc| source.registers(doc)).collect();
    match slot::reduce(slot, &docs, source.authors, bad) {
        Some(reduced) => view.slots.insert(slot, reduced),
        None => view.slots.remove(&slot),
    };
}

/// What a node says of itself, if its document says it well.
pub(crate) fn node_info(registers: &Registers, bad: &mut usize) -> Option<NodeInfo> {
    for register in registers.get(keys_of::INFO)? {
        let info = match &register.value {
            Value::Text(json) => serde_json::from_str(json).ok(),
            Value::Bytes(json) => serde_json::from_slice(json).ok(),
            Value::Uint(_) => None,
        };
        match info {
            Some(info) => return Some(info),
            None => *bad += 1,
        }
    }
    None
}
