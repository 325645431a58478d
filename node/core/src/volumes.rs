//! The documents of tasks do not grow for ever: one that has become long goes on in another volume
//! ([`holm_state::State::latest_volume`]).
//!
//! The app's coordinator opens the next volume and, once everything that counts stands in it, marks it. Between the two, and
//! whenever a node comes back and finds a later volume, each node says again of its own what counts: which slots it holds
//! ([`Node::move_on`]). That a volume is marked too early, by a coordinator that cannot see all of the mesh, loses
//! nothing: who holds a slot says so again.

use crate::{Node, tasks::group_of};
use holm_scheduler::{acting, coordinator, holder};
use holm_state::{Registers, TasksOf, beginning, floor_of};
use holm_types::{
    DocId, Epoch, Mono, NodeId, Now, Slot, cbor,
    change::{MAX_VALUE_BYTES, Value, keys_of},
    manifest::AppType,
    sometimes,
    view::{AppView, Assignment, Placement, SlotView, View},
};
use std::{collections::BTreeSet, time::Duration};

/// How often a look is taken at what has become long.
const LOOK: Duration = Duration::from_secs(10);

/// Keys and values to write.
type Ops = Vec<(String, Option<Value>)>;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Volumes {
    /// Tasks of which a later volume has changed, by their first one.
    pub(crate) fresh: BTreeSet<TasksOf>,
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
        self.volumes.fresh = self.state.later_volumes().map(|of| of.at(0)).collect();
    }

    pub(crate) fn note_volumes(&mut self, changed: &BTreeSet<DocId>) {
        let later = changed.iter().filter_map(|doc| self.state.tasks_of(doc)).filter(|of| of.volume > 0);
        let later: Vec<TasksOf> = later.map(|of| of.at(0)).collect();
        self.volumes.fresh.extend(later);
    }

    /// Says again, in the latest volume, what counts of this node's own tasks and does not stand there.
    pub(crate) fn move_on(&mut self, now: Now) {
        if self.reads_only || self.volumes.fresh.is_empty() {
            return;
        }
        for of in std::mem::take(&mut self.volumes.fresh) {
            let lacking = self.lacking(&of);
            if !lacking.is_empty() {
                sometimes!("a node says again in the next volume what counts of its tasks");
                self.write_group(&of, lacking, now);
            }
        }
    }

    /// What counts of this node's own tasks and does not stand in their latest volume.
    pub(crate) fn lacking(&mut self, of: &TasksOf) -> Ops {
        let latest = self.state.latest_volume(of);
        self.with_view(|node, view| {
            let registers = node.state.registers(&latest.doc()).filter(|_| latest.volume > 0);
            let app = view.apps.get(&of.app).filter(|app| app.live && app.generation == of.generation);
            let (Some(registers), Some(app)) = (registers, app) else { return Ops::new() };
            let slots = app.slots.iter().filter(|(slot, _)| group_of(app, **slot, &node.claims.site) == of.at(0));
            let own = |held: &&Assignment| held.placement.node == node.me;
            let lacks = slots.flat_map(|(slot, seen)| {
                let own = counting(view, app, seen).filter(own);
                own.flat_map(|held| node.lacking_of(app, *slot, seen, held, registers)).collect::<Ops>()
            });
            lacks.collect()
        })
    }

    fn lacking_of(&self, app: &AppView, slot: Slot, seen: &SlotView, held: &Assignment, registers: &Registers) -> Ops {
        let mut ops = Ops::new();
        if !stands_in(registers, slot, held.epoch, &self.me)
            && let Ok(bytes) = cbor::to_vec("placement", &held.placement)
        {
            ops.push((keys_of::assignment(slot, held.epoch, &self.me), Some(Value::Bytes(bytes))));
        }
        let key = keys_of::status(slot, held.epoch, &self.me);
        if !registers.contains_key(&*key)
            && let Some(bytes) = self.own_word(app, slot, held)
        {
            ops.push((key, Some(Value::Bytes(bytes))));
        }
        let floor = highest(seen);
        if floor > held.epoch && floor > floor_of(registers, slot) {
            ops.push((keys_of::floor(slot), Some(Value::Uint(floor))));
        }
        ops
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
        let floors = self.with_view(|_, view| {
            let floor = |(slot, seen)| (keys_of::floor(slot), Some(Value::Uint(highest(seen))));
            slots_of(view, of).map(floor).collect::<Ops>()
        });
        self.write_volume(&of.at(volume), floors, now);
    }

    /// Whether everything that counts of the earlier volumes stands in this one, as far as this node knows.
    ///
    /// Of a slot whose holder is out of sight while another stands in for it, that other one is enough: the holder says
    /// again that it goes on when it comes back, and the stand-in knows for what it stands in.
    fn has_moved_on(&mut self, of: &TasksOf) -> bool {
        self.with_view(|node, view| {
            let Some(app) = view.apps.get(&of.app) else { return false };
            let Some(registers) = node.state.registers(&of.doc()) else { return false };
            slots_of(view, of).all(|(slot, seen)| {
                let Some(held) = acting(view, app, seen) else { return true };
                let holds = &held.placement.node;
                let told = held.status.is_none() || registers.contains_key(&*keys_of::status(slot, held.epoch, holds));
                told && stands_in(registers, slot, held.epoch, holds)
            })
        })
    }
}

/// The slots that stand in a tasks document.
fn slots_of<'a>(view: &'a View, of: &TasksOf) -> impl Iterator<Item = (Slot, &'a SlotView)> {
    let app = view.apps.get(&of.app);
    let (group, site) = (of.group, of.scope.site().cloned());
    let slots = app.into_iter().flat_map(|app| app.slots.iter().map(move |(slot, seen)| (app, *slot, seen)));
    // A daemon's slots belong to their nodes, each at its own site.
    let here = move |app: &AppView, seen: &SlotView| {
        let at = seen.assignments.iter().find_map(|a| Some(&view.nodes.get(&a.placement.node)?.site));
        app.manifest.kind != AppType::Daemon || site.as_ref() == at
    };
    let stand = move |(app, slot, seen): &(&AppView, Slot, &SlotView)| {
        AppView::group_of(app.manifest.kind, *slot) == group && here(app, seen)
    };
    slots.filter(stand).map(|(_, slot, seen)| (slot, seen))
}

/// What counts of a slot: who holds it, and who does while that one is out of sight.
fn counting<'a>(view: &View, app: &AppView, seen: &'a SlotView) -> impl Iterator<Item = &'a Assignment> {
    let (holds, acts) = (holder(app, seen), acting(view, app, seen));
    let acts = acts.filter(|acts| holds.is_none_or(|holds| (holds.epoch, holds.writer) != (acts.epoch, acts.writer)));
    holds.into_iter().chain(acts)
}

/// Whether a document gives a slot's epoch to a node, whoever wrote it there.
fn stands_in(registers: &Registers, slot: Slot, epoch: Epoch, node: &NodeId) -> bool {
    let prefix = format!("as/{slot}/{epoch}/");
    let values = beginning(registers, &prefix);
    values.flat_map(|(_, values)| values).any(|register| match &register.value {
        Value::Bytes(bytes) => {
            let placement = cbor::from_canonical::<Placement>("placement", bytes, MAX_VALUE_BYTES);
            placement.is_ok_and(|placement| placement.node == *node)
        }
        Value::Uint(_) | Value::Text(_) => false,
    })
}

/// The highest epoch that a slot was ever given.
fn highest(seen: &SlotView) -> Epoch {
    seen.assignments.iter().map(|a| a.epoch).max().unwrap_or(0).max(seen.floor)
}
