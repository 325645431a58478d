//! Who listens to events: a bounded ring of the last ones, and live subscribers.

use holm_types::event::Event;
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};
use tokio::sync::broadcast;

const REMEMBERED: usize = 512;

/// See the [module](self).
pub struct Watchers {
    recent: Mutex<VecDeque<Event>>,
    live: broadcast::Sender<Event>,
}

impl Default for Watchers {
    fn default() -> Watchers {
        Watchers { recent: Mutex::default(), live: broadcast::Sender::new(1024) }
    }
}

impl Watchers {
    /// Tells an event.
    pub fn emit(&self, event: Event) {
        tracing::debug!(kind = ?event.kind, app = event.app, task = event.task.as_ref().map(ToString::to_string), detail = event.detail, "event");
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(event.clone());
        // Nobody listens: that is no error.
        let _ = self.live.send(event);
    }

    /// The last events, oldest first.
    pub fn recent(&self) -> Vec<Event> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Events from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.live.subscribe()
    }
}
