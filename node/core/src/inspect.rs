//! What a node lets its surroundings look at, beside its effects: for judges and reports. Nothing
//! here changes anything.

use crate::{Config, Node};
use holm_state::TasksOf;
use holm_types::{
    ActorId, DocId, NodeId,
    view::{AppView, NodeView},
};
use std::collections::BTreeMap;

/// How much waits inside a node. Each is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Changes that wait to be verified.
    pub unverified: usize,
    /// Changes that are being verified.
    pub verifying: usize,
    /// Changes that wait for others.
    pub orphans: usize,
    /// Statuses that wait to be written.
    pub statuses: usize,
}

impl Node {
    /// The apps, as this node believes them to be; removed ones too.
    pub fn apps(&self) -> &BTreeMap<DocId, AppView> {
        self.state.apps()
    }

    /// The members, as this node believes them to be.
    pub fn nodes(&self) -> &BTreeMap<NodeId, NodeView> {
        &self.nodes
    }

    /// What is held of a document: the last sequence of each actor.
    pub fn vector(&self, doc: &DocId) -> Vec<(ActorId, u64)> {
        self.state.vector(doc)
    }

    /// What it was opened with; the incarnation is the one that it was given, not one that it went on to.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What was found damaged in its store: it must not go on.
    pub fn damage(&self) -> Option<&str> {
        self.state.damage()
    }

    /// Whose tasks a document held that this node has deleted.
    pub fn collected(&self, doc: &DocId) -> Option<&TasksOf> {
        self.state.collected(doc)
    }

    /// Whether it still holds tasks of an app that have ended, and reads them beside the others.
    pub fn holds_ended(&self, app: &DocId) -> bool {
        self.state.ended().iter().any(|doc| self.state.tasks_of(doc).is_some_and(|of| of.app == *app))
    }

    /// Whether these tasks are over for this node: a life that has ended, or an earlier volume.
    pub fn has_ended(&self, of: &TasksOf) -> bool {
        self.state.has_ended(of)
    }

    /// How much waits in it.
    pub fn waiting(&self) -> Waiting {
        Waiting {
            unverified: self.unverified.len(),
            verifying: self.verifying.iter().map(Vec::len).sum(),
            orphans: self.state.orphan_count(),
            statuses: self.tasks.queue.values().map(BTreeMap::len).sum(),
        }
    }

    /// What was refused, dropped or odd since it was opened, by name; the documents' counters too.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counters.iter().chain(self.state.counters()).map(|(name, n)| (*name, *n))
    }
}
