//! What the server counts, above all what it refuses and drops.

use serde_json::Value;
use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Counters since the start. They carry no labels, so their number is fixed.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    calls: AtomicU64,
    errors: AtomicU64,
    unauthorised: AtomicU64,
    refused: AtomicU64,
    strangers_dropped: AtomicU64,
    held_back: AtomicU64,
    cancelled: AtomicU64,
    too_large: AtomicU64,
    too_slow: AtomicU64,
    malformed: AtomicU64,
    events_lost: AtomicU64,
}

impl Counters {
    pub(crate) fn called(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.errors.fetch_add(1, Relaxed);
    }

    pub(crate) fn unauthorised(&self) {
        self.unauthorised.fetch_add(1, Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(crate) fn stranger_dropped(&self) {
        self.strangers_dropped.fetch_add(1, Relaxed);
    }

    pub(crate) fn held_back(&self) {
        self.held_back.fetch_add(1, Relaxed);
    }

    pub(crate) fn cancelled(&self) {
        self.cancelled.fetch_add(1, Relaxed);
    }

    pub(crate) fn too_large(&self) {
        self.too_large.fetch_add(1, Relaxed);
    }

    pub(crate) fn too_slow(&self) {
        self.too_slow.fetch_add(1, Relaxed);
    }

    pub(crate) fn malformed(&self) {
        self.malformed.fetch_add(1, Relaxed);
    }

    pub(crate) fn lost_events(&self, count: u64) {
        self.events_lost.fetch_add(count, Relaxed);
    }

    fn all(&self) -> [(&'static str, &'static str, &AtomicU64); 11] {
        [
            ("calls", "Requests and notifications that were taken up.", &self.calls),
            ("errors", "Requests that were answered with an error.", &self.errors),
            ("unauthorised", "HTTP requests without the credential.", &self.unauthorised),
            ("connections_refused", "Connections with the credential beyond the limit.", &self.refused),
            ("strangers_dropped", "Connections closed for newer ones before they showed it.", &self.strangers_dropped),
            ("held_back", "Messages that waited until earlier answers were taken.", &self.held_back),
            ("cancelled", "Calls given up because their client left.", &self.cancelled),
            ("too_large", "Messages beyond the limit.", &self.too_large),
            ("too_slow", "Clients that sent or took their bytes too slowly.", &self.too_slow),
            ("malformed", "WebSockets closed for what no WebSocket client sends.", &self.malformed),
            ("events_lost", "Events that slow subscribers did not get.", &self.events_lost),
        ]
    }

    /// Appends the counters as Prometheus text.
    pub(crate) fn render(&self, out: &mut String) {
        for (name, help, counter) in self.all() {
            let value = counter.load(Relaxed);
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "# HELP holm_rpc_{name}_total {help}\n# TYPE holm_rpc_{name}_total counter\nholm_rpc_{name}_total {value}"
            );
        }
    }

    /// Adds what was refused or dropped to the counters in an answer of `mesh.status`.
    pub(crate) fn add_to(&self, status: &mut Value) {
        let Some(Value::Object(counters)) = status.get_mut("counters") else { return };
        let dropped = self.all().into_iter().filter(|(name, ..)| !matches!(*name, "calls" | "errors"));
        let counted = dropped.map(|(name, _, counter)| (name, counter.load(Relaxed))).filter(|(_, n)| *n > 0);
        counters.extend(counted.map(|(name, n)| (format!("rpc_{name}"), n.into())));
    }
}
