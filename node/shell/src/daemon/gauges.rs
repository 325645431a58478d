//! The node's numbers for `/metrics`. The loop leaves them here now and then, so that whoever asks, and however often, costs it nothing.

use holm_node_core::Node;
use holm_types::Mono;
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// They are as old as this at most, while anything happens; a node has a heartbeat every second.
const EVERY: Duration = Duration::from_secs(5);

/// See the [module](self).
#[derive(Default)]
pub struct Gauges(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    text: String,
    taken: Option<Mono>,
}

impl Gauges {
    /// Takes the numbers anew, when it is time.
    pub fn update(&self, node: &Node, now: Mono) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.taken.is_none_or(|taken| now.since(taken) >= EVERY) {
            *inner = Inner { text: node.gauges(), taken: Some(now) };
        }
    }

    /// The numbers, as Prometheus text.
    pub fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).text.clone()
    }
}
