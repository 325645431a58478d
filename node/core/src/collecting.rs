//! Tasks of apps that were removed are forgotten some time later, a few documents at a time.

use crate::Node;
use holm_types::{DocId, Mono, Now};
use std::{collections::BTreeMap, time::Duration};

/// How often a look is taken at what has ended.
const LOOK: Duration = Duration::from_secs(30);
/// Documents that are deleted in one turn of the node.
const MOST: usize = 16;
/// How soon the rest follows.
const SOON: Duration = Duration::from_millis(50);

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Collecting {
    /// Since when this node knows that a document has ended.
    since: BTreeMap<DocId, Mono>,
    next: Option<Mono>,
}

impl Collecting {
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.next
    }
}

impl Node {
    /// Deletes what has ended long enough ago.
    pub(crate) fn collect_ended(&mut self, now: Now) {
        let ended = self.state.ended();
        if ended.is_empty() {
            self.collecting = Collecting::default();
            return;
        }
        if self.collecting.next.is_some_and(|next| next > now.mono) {
            return;
        }
        self.collecting.since.retain(|doc, _| ended.contains(doc));
        let mut due = Vec::new();
        for doc in ended.clone() {
            let since = *self.collecting.since.entry(doc).or_insert(now.mono);
            if now.mono.since(since) >= self.config.keep_removed && !self.has_use_for(&doc) {
                due.push(doc);
            }
        }
        let rest = due.len() > MOST;
        for doc in due.iter().take(MOST) {
            // The next look tries again.
            if self.state.collect(doc).is_err() {
                self.count("collect_failed");
                break;
            }
        }
        let again = if rest { SOON } else { LOOK.min(self.config.keep_removed.max(SOON)) };
        self.collecting.next = Some(now.mono.after(again));
    }

    /// A task of it is still here, or its end was not written yet.
    fn has_use_for(&mut self, doc: &DocId) -> bool {
        let Some(of) = self.state.tasks_of(doc).cloned() else { return false };
        // Of a life that goes on: what counts stands in a later volume, or has to be said there yet.
        if self.state.apps().get(&of.app).is_some_and(|app| app.live && app.generation == of.generation) {
            let lacks = !self.lacking(&of).is_empty();
            if lacks {
                // What it could not say when it looked last, it may know by now.
                self.volumes.fresh.insert(of.at(0));
            }
            return lacks;
        }
        let same = |app: &DocId, generation: u64| *app == of.app && generation == of.generation;
        self.tasks.locals.values().any(|local| same(&local.group.app, local.group.generation))
            || self.tasks.queue.keys().any(|queued| same(&queued.app, queued.generation))
    }
}
