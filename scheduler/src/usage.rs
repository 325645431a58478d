//! What is left on each node: computed once a call, and kept up to date with what the call
//! itself assigns.

use crate::reduce::acting;
use holm_types::{
    NodeId,
    manifest::Amounts,
    view::{NodeView, View},
};
use std::collections::BTreeMap;

/// What is left on each node.
///
/// A node's presence lags behind the decisions about it, and the documents do not know of a task
/// that was superseded and still runs. So the smaller amount counts: its capacity without what
/// was assigned to it, or what it last said it had free.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    nodes: BTreeMap<NodeId, Room>,
}

/// What is left on one node.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    /// What one more task may take.
    pub left: Amounts,
    /// Tasks that were assigned.
    pub tasks: u32,
    /// What was assigned beyond the capacity, if anything: a new revision can want more.
    pub overcommitted: Option<String>,
    /// Assigned share of the processors and of the memory, in millionths: the larger one.
    pub share: u64,
    assigned: Amounts,
    capacity: Amounts,
}

impl Usage {
    /// Counts every task of every live app in `view`, where `free` is what nodes said last.
    pub fn new(view: &View, free: &BTreeMap<NodeId, Amounts>) -> Usage {
        let mut nodes: BTreeMap<NodeId, Room> = view.nodes.values().map(|node| (node.id, Room::empty(node))).collect();
        for app in view.apps.values().filter(|app| app.live) {
            let request = app.manifest.resources.amounts();
            let holders = app.slots.values().filter_map(|slot| acting(view, app, slot));
            for holder in holders.filter(|holder| !holder.state().is_terminal()) {
                if let Some(room) = nodes.get_mut(&holder.placement.node) {
                    room.add(&request);
                }
            }
        }
        for (id, room) in &mut nodes {
            room.settle(free.get(id));
        }
        Usage { nodes }
    }

    pub(crate) fn of(&self, node: &NodeId) -> Option<&Room> {
        self.nodes.get(node)
    }

    /// One more task is assigned to `node`.
    pub(crate) fn take(&mut self, node: &NodeId, request: &Amounts) {
        if let Some(room) = self.nodes.get_mut(node) {
            room.add(request);
            room.left.subtract(request);
            room.share = share(&room.assigned, &room.capacity);
        }
    }
}

impl Room {
    fn empty(node: &NodeView) -> Room {
        Room {
            left: Amounts::default(),
            tasks: 0,
            overcommitted: None,
            share: 0,
            assigned: Amounts::default(),
            capacity: node.info.capacity.clone(),
        }
    }

    fn add(&mut self, request: &Amounts) {
        self.assigned.add(request);
        self.tasks = self.tasks.saturating_add(1);
    }

    /// Computes what follows from all that was added.
    fn settle(&mut self, free: Option<&Amounts>) {
        self.overcommitted = self.capacity.lacks(&self.assigned);
        self.left = self.capacity.clone();
        self.left.subtract(&self.assigned);
        if let Some(free) = free {
            self.left = smaller(&self.left, free);
        }
        self.share = share(&self.assigned, &self.capacity);
    }
}

fn smaller(a: &Amounts, b: &Amounts) -> Amounts {
    let extended = a.extended.iter().filter_map(|(name, x)| Some((name.clone(), *x.min(b.extended.get(name)?))));
    Amounts {
        cpu: a.cpu.min(b.cpu),
        memory: a.memory.min(b.memory),
        disk: a.disk.min(b.disk),
        extended: extended.collect(),
    }
}

fn share(assigned: &Amounts, capacity: &Amounts) -> u64 {
    let millionths = |part: u64, whole: u64| u128::from(part) * 1_000_000 / u128::from(whole.max(1));
    let larger = millionths(assigned.cpu, capacity.cpu).max(millionths(assigned.memory, capacity.memory));
    u64::try_from(larger).unwrap_or(u64::MAX)
}
