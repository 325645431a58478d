//! What the judges found.

use crate::{
    outcome::{Invariant, VIOLATIONS_KEPT, Violation},
    scenario::{HostNo, Ms},
};
use std::collections::BTreeMap;

/// Violations of one invariant that are kept of one run.
const OF_ONE_KIND: usize = 5;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    found: Vec<Violation>,
    count: BTreeMap<Invariant, usize>,
}

impl Verdicts {
    /// Something did not hold.
    pub(crate) fn violate(&mut self, invariant: Invariant, at: u64, hosts: Vec<HostNo>, detail: String) {
        let count = self.count.entry(invariant).or_default();
        *count += 1;
        if *count <= OF_ONE_KIND && self.found.len() < VIOLATIONS_KEPT {
            self.found.push(Violation { invariant, at: Ms(at / 1_000), hosts, detail });
        }
    }

    pub(crate) fn take(&mut self) -> Vec<Violation> {
        std::mem::take(&mut self.found)
    }

    pub(crate) fn found(&self) -> &[Violation] {
        &self.found
    }
}
