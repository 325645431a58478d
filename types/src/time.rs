//! Two clocks, two types: durations are measured on [`Mono`], dates are shown from [`Wall`].

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A point on the monotonic clock of one process: time since an arbitrary start.
/// Never compared between nodes, never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mono(pub Duration);

impl Mono {
    /// This point plus `d`.
    pub fn after(self, d: Duration) -> Mono {
        Mono(self.0.saturating_add(d))
    }

    /// Time from `earlier` to this point, zero when `earlier` is later.
    pub fn since(self, earlier: Mono) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A date: milliseconds since 1970-01-01 UTC by the host's clock. For people and for validity
/// periods; the order of events never depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Wall(pub u64);

impl Wall {
    /// Whole seconds since 1970.
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// This date plus `d`.
    pub fn after(self, d: Duration) -> Wall {
        Wall(self.0.saturating_add(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Both clocks, read once by the shell when it hands an input to a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For deadlines and durations.
    pub mono: Mono,
    /// For dates.
    pub wall: Wall,
}
