//! What was refused, dropped or odd, by name.

use std::collections::BTreeMap;

const NAMES: [&str; 12] = [
    "applied",
    "bad_views",
    "forked",
    "future_dated",
    "known",
    "orphaned",
    "orphans_dropped",
    "own_actor_returned",
    "panics_caught",
    "refused",
    "scope_conflicts",
    "store_errors",
];

/// Counters since the state was opened. All names are there from the beginning.
#[derive(Debug, Clone)]
pub(crate) struct Counters(BTreeMap<&'static str, u64>);

impl Default for Counters {
    fn default() -> Counters {
        Counters(NAMES.into_iter().map(|name| (name, 0)).collect())
    }
}

impl Counters {
    pub(crate) fn add(&mut self, name: &'static str, n: usize) {
        *self.0.entry(name).or_default() += n as u64;
    }

    pub(crate) fn all(&self) -> &BTreeMap<&'static str, u64> {
        &self.0
    }
}
