//! Links: latency with jitter, and partitions.

use crate::HostId;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{collections::BTreeMap, time::Duration};

/// All links of the world.
#[derive(Debug)]
pub(crate) struct Links {
    /// Hosts of different groups do not reach each other.
    groups: BTreeMap<HostId, u32>,
    rng: ChaCha8Rng,
}

impl Links {
    pub(crate) fn new(seed: u64) -> Links {
        Links { groups: BTreeMap::new(), rng: ChaCha8Rng::seed_from_u64(seed ^ 0x6c69_6e6b) }
    }

    pub(crate) fn set_group(&mut self, host: HostId, group: u32) {
        self.groups.insert(host, group);
    }

    pub(crate) fn heal(&mut self) {
        self.groups.clear();
    }

    pub(crate) fn open(&self, a: HostId, b: HostId) -> bool {
        let group = |host| self.groups.get(&host).copied().unwrap_or(0);
        group(a) == group(b)
    }

    pub(crate) fn latency(&mut self) -> Duration {
        Duration::from_micros(self.rng.random_range(2_000..30_000))
    }
}
