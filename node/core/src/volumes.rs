//! The documents of tasks do not grow for ever: one that has become long goes on in another volume
//! ([`holm_state::State::latest_volume`]).
//!
//! The app's coordinator opens the next volume and, once everything that counts stands in it, marks it. Between the two, and
//! whenever a node comes back and finds a later volume, each node says again of its own what counts: which slots it holds
//! ([`Node::move_on`]). That a volume is marked too early, by a coordinator that cannot see all of the mesh, loses
//! nothing: who holds a slot says so again.

use crate::{Node, tasks::group_of};
use holm_scheduler::{coordinator, holder};
use holm_state::{Registers, TasksOf};
use holm_types::{
    DocId, Epoch, Mono, NodeId, Now, Slot, cbor,
    change::{MAX_VALUE_BYTES, Value, keys_of},
    manifest::AppType,
    sometimes,
    view::{AppView, Assignment, Placement, SlotView},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How often a look is taken at what has become long.
const LOOK: Duration = Duration::from_secs(10);

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Volumes {
    /// Apps of which a later volume has changed.
    fresh: BTreeSet<DocId>,
    next: Mono,
}

impl Volumes {
    pub(crate) fn deadline(&self) -> Option<Mono> {
        Some(self.next)
    }
}

impl Node {
    /// What stood in no later volume when the node went down is looked for at its start.
    pub(crate) fn recall_volumes(&mut self) {
        self.volumes.fresh = self.state.apps().keys().copied().collect();
    }

    pub(crate) fn note_volumes(&mut self, changed: &BTreeSet<DocId>) {
        let later = changed.iter().filter_map(|doc| self.state.tasks_of(doc)).filter(|of| of.volume > 0);
        let apps: Vec<DocId> = later.map(|of| of.app).collect();
        self.volumes.fresh.extend(apps);
    }

    /// Says again, in the latest volume, what counts of this node's own tasks and does not stand there.
    pub(crate) fn move_on(&mut self, now: Now) {
        if self.reads_only || self.volumes.fresh.is_empty() {
            return;
        }
        for app in std::mem::take(&mut self.volumes.fresh) {
            for (group, lacks) in self.lacking(&app) {
                sometimes!("a node says again in the next volume what counts of its tasks");
                self.write_group(&group, lacks, now);
            }
        }
    }

    /// What counts of this node's own tasks of an app and does not stand in their latest volumes.
    pub(crate) fn lacking(&self, app: &DocId) -> BTreeMap<TasksOf, Vec<(String, Option<Value>)>> {
        let mut lacking: BTreeMap<TasksOf, Vec<(String, Option<Value>)>> = BTreeMap::new();
        let Some(view) = self.state.apps().get(app).filter(|view| view.live) else { return lacking };
        for (slot, seen) in &view.slots {
            let Some(held) = holder(view, seen).filter(|held| held.placement.node == self.me) else { continue };
            let group = group_of(view, *slot, &self.claims.site);
            let latest = self.state.latest_volume(&group);
            if latest.volume == 0 {
                continue;
            }
            let Some(registers) = self.state.registers(&latest.doc()) else { continue };
            let mut ops = Vec::new();
            if !stands_in(registers, *slot, held.epoch, &self.me)
                && let Ok(bytes) = cbor::to_vec("placement", &held.placement)
            {
                ops.push((keys_of::assignment(*slot, held.epoch, &self.me), Some(Value::Bytes(bytes))));
            }
            let key = keys_of::status(*slot, held.epoch, &self.me);
            if !registers.contains_key(&key)
                && let Some(bytes) = self.own_word(view, *slot, held)
            {
                ops.push((key, Some(Value::Bytes(bytes))));
            }
            let floor = highest(seen);
            if floor > held.epoch && floor > floor_of(registers, *slot) {
                ops.push((keys_of::floor(*slot), Some(Value::Uint(floor))));
            }
            if !ops.is_empty() {
                lacking.entry(group).or_default().extend(ops);
            }
        }
        lacking
    }

    /// What this node has to say of a slot that it holds. Of a task that goes on only what it knows in this life: others take its
    /// word for a sign that it does.
    fn own_word(&self, view: &AppView, slot: Slot, held: &Assignment) -> Option<Vec<u8>> {
        let status = match self.tasks.locals.get(&view.task_id(slot, held)) {
            Some(local) => &local.status,
            None => held.status.as_ref().filter(|status| status.state.is_terminal())?,
        };
        status.encode().ok().filter(|bytes| bytes.len() <= MAX_VALUE_BYTES)
    }

    /// Opens the next volume of what has become long, and marks those in which everything stands, for the apps that this
    /// node coordinates.
    pub(crate) fn keep_volumes(&mut self, now: Now) {
        if self.volumes.next > now.mono {
            return;
        }
        self.volumes.next = now.mono.after(LOOK);
        if self.reads_only || self.is_settling() || self.merging.holds(now.mono).is_some() {
            return;
        }
        for of in self.state.long_volumes(self.config.volume) {
            if !self.keeps(&of) {
                continue;
            }
            if self.state.is_cut(&of) {
                sometimes!("the history of tasks goes on in another volume");
                self.open_volume(&of, now);
            } else if self.has_moved_on(&of) {
                sometimes!("a volume takes the place of those before it");
                let mark = (keys_of::CUT.to_owned(), Some(Value::Uint(of.volume.into())));
                self.write_volume(&of, vec![mark], now);
            }
        }
    }

    /// Jobs have an end, and the results of nodes that are gone for good stay where they are.
    fn keeps(&mut self, of: &TasksOf) -> bool {
        self.with_view(|node, view| {
            let app = view.apps.get(&of.app).filter(|app| app.live && app.generation == of.generation);
            app.is_some_and(|app| app.manifest.kind != AppType::Job && coordinator(view, app) == Some(node.me))
        })
    }

    fn open_volume(&mut self, of: &TasksOf, now: Now) {
        let Some(volume) = of.volume.checked_add(1) else { return };
        let floors = self.slots_of(of).map(|(slot, seen)| (keys_of::floor(slot), Some(Value::Uint(highest(seen)))));
        let floors: Vec<_> = floors.collect();
        self.write_volume(&of.at(volume), floors, now);
    }

    /// The slots that stand in a tasks document.
    fn slots_of(&self, of: &TasksOf) -> impl Iterator<Item = (Slot, &SlotView)> {
        let view = self.state.apps().get(&of.app);
        let slots = view.into_iter().flat_map(|view| view.slots.iter().map(move |(slot, seen)| (view, *slot, seen)));
        // A daemon's slots belong to their nodes, each at its own site.
        let here = |app: &AppView, seen: &SlotView| {
            let site = seen.assignments.iter().find_map(|a| Some(&self.nodes.get(&a.placement.node)?.site));
            app.manifest.kind != AppType::Daemon || of.scope.site() == site
        };
        slots
            .filter(move |(app, slot, seen)| AppView::group_of(app.manifest.kind, *slot) == of.group && here(app, seen))
            .map(|(_, slot, seen)| (slot, seen))
    }

    /// Whether everything that counts of the earlier volumes stands in this one, as far as this node knows.
    fn has_moved_on(&self, of: &TasksOf) -> bool {
        let Some(view) = self.state.apps().get(&of.app) else { return false };
        let Some(registers) = self.state.registers(&of.doc()) else { return false };
        self.slots_of(of).all(|(slot, seen)| {
            let Some(held) = holder(view, seen) else { return true };
            let node = &held.placement.node;
            let told = held.status.is_none() || registers.contains_key(&keys_of::status(slot, held.epoch, node));
            told && stands_in(registers, slot, held.epoch, node)
        })
    }
}

/// Whether a document gives a slot's epoch to a node, whoever wrote it there.
fn stands_in(registers: &Registers, slot: Slot, epoch: Epoch, node: &NodeId) -> bool {
    let prefix = format!("as/{slot}/{epoch}/");
    let values = registers.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
    values.flat_map(|(_, values)| values).any(|register| match &register.value {
        Value::Bytes(bytes) => {
            let placement = cbor::from_canonical::<Placement>("placement", bytes, MAX_VALUE_BYTES);
            placement.is_ok_and(|placement| placement.node == *node)
        }
        Value::Uint(_) | Value::Text(_) => false,
    })
}

fn floor_of(registers: &Registers, slot: Slot) -> Epoch {
    let values = registers.get(&keys_of::floor(slot)).into_iter().flatten();
    values
        .filter_map(|register| if let Value::Uint(epoch) = register.value { Some(epoch) } else { None })
        .max()
        .unwrap_or(0)
}

/// The highest epoch that a slot was ever given.
fn highest(seen: &SlotView) -> Epoch {
    seen.assignments.iter().map(|a| a.epoch).max().unwrap_or(0).max(seen.floor)
}
