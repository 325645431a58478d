//! Faults that a scenario leaves to chance.

use super::{
    Disk, FaultKind, HostNo, Ms, PlannedFault, PlannedHost, Scenario, Trouble,
    expand::{STALE_AGE, ms, seconds, shown},
    plan::DRAWN,
    random::Chance,
};
use crate::SimError;
use std::collections::BTreeSet;

impl Scenario {
    /// The faults that are left to chance.
    ///
    /// # Errors
    /// No kind is named, or there is no time for them.
    pub(super) fn random_faults(&self, hosts: &[PlannedHost], seed: u64) -> Result<Vec<PlannedFault>, SimError> {
        let Some(random) = &self.random_faults else { return Ok(Vec::new()) };
        if random.kinds.is_empty() {
            return Err(self.invalid("random_faults".into(), "name at least one kind".into()));
        }
        let (first, last) = (ms(random.after).0, ms(self.duration).0);
        if first >= last {
            let why = format!("`after` is {}, and the scenario ends at {}", shown(Ms(first)), shown(Ms(last)));
            return Err(self.invalid("random_faults".into(), why));
        }
        let mut faults = Vec::new();
        for n in 0..u64::from(random.count) {
            let chance = Chance::new(seed, "random fault").of(n);
            // Every kind has its turn, so that none that was asked for is left out by chance.
            let kind = random.kinds[n as usize % random.kinds.len()];
            let [shortest, longest] = random.lasts_s.map(|s| seconds(s).0);
            let lasts = Ms(chance.of(1).between(shortest, longest));
            let at = Ms(chance.of(2).between(first, last.saturating_sub(lasts.0).max(first)));
            let trouble = draw_trouble(hosts, kind, chance.of(3));
            faults.push(PlannedFault { id: DRAWN + n, at, lasts, trouble });
        }
        Ok(faults)
    }
}

fn draw_trouble(hosts: &[PlannedHost], kind: FaultKind, chance: Chance) -> Trouble {
    let all: Vec<HostNo> = hosts.iter().map(|host| host.no).collect();
    let few = || -> BTreeSet<HostNo> {
        let most = (all.len() / 3).max(1) as u64;
        chance.of(1).choose(&all, chance.of(2).between(1, most) as usize).into_iter().collect()
    };
    let one = || -> BTreeSet<HostNo> { chance.of(1).choose(&all, 1).into_iter().collect() };
    match kind {
        FaultKind::Partition | FaultKind::Oneway => {
            let (from, to) = draw_sides(hosts, chance.of(4));
            if kind == FaultKind::Oneway {
                Trouble::Oneway { from, to }
            } else {
                Trouble::Partition { sides: vec![from, to] }
            }
        }
        FaultKind::Crash => {
            let power_loss = chance.of(5).happens(0.5);
            let disk = match chance.of(6).between(0, 9) {
                0 if power_loss => Disk::Wipe,
                1 if power_loss => Disk::Stale,
                2 | 3 if power_loss => Disk::Torn,
                _ => Disk::Keep,
            };
            Trouble::Crash { hosts: few(), power_loss, disk, age: STALE_AGE }
        }
        FaultKind::Pause => Trouble::Pause { hosts: few() },
        FaultKind::ClockJump => {
            let far = i64::try_from(chance.of(7).between(1_000, 86_400_000)).unwrap_or(1_000);
            let by_ms = if chance.of(8).happens(0.5) { far } else { -far };
            Trouble::ClockJump { hosts: few(), by_ms, stays: chance.of(9).happens(0.5) }
        }
        FaultKind::LossBurst => Trouble::LossBurst { hosts: few(), loss: chance.of(10).unit() * 0.5 },
        FaultKind::RelayDown => {
            let relays: BTreeSet<HostNo> = hosts.iter().filter(|host| host.relay).map(|host| host.no).collect();
            Trouble::RelayDown { hosts: if relays.is_empty() { one() } else { relays } }
        }
        FaultKind::NatRebind => Trouble::NatRebind { hosts: few() },
        FaultKind::SlowDisk => Trouble::SlowDisk { hosts: few(), slow_ms: chance.of(11).between(50, 2_000) },
        FaultKind::GossipStorm => Trouble::GossipStorm { hosts: one(), per_s: 50 },
        FaultKind::Upgrade => Trouble::Upgrade { hosts: one() },
        FaultKind::Reconnect => Trouble::Reconnect { hosts: few() },
        FaultKind::Liar => Trouble::Liar { hosts: one(), per_s: 20 },
        FaultKind::Revoke => {
            let by = all.first().copied().unwrap_or(HostNo(0));
            Trouble::Revoke { hosts: one().into_iter().filter(|host| *host != by).collect(), by }
        }
    }
}

/// Half of the cuts go between sites, as uplinks do; the others go anywhere.
fn draw_sides(hosts: &[PlannedHost], chance: Chance) -> (BTreeSet<HostNo>, BTreeSet<HostNo>) {
    let sites: BTreeSet<&str> = hosts.iter().map(|host| host.site.as_str()).collect();
    let sites: Vec<&str> = sites.into_iter().collect();
    if sites.len() > 1 && chance.of(1).happens(0.5) {
        let site = chance.of(2).choose(&sites, 1);
        return hosts
            .iter()
            .map(|host| host.no)
            .partition(|no| hosts.iter().any(|host| host.no == *no && site.contains(&host.site.as_str())));
    }
    let all: Vec<HostNo> = hosts.iter().map(|host| host.no).collect();
    let n = chance.of(3).between(1, (all.len() as u64 / 2).max(1)) as usize;
    let from: BTreeSet<HostNo> = chance.of(4).choose(&all, n).into_iter().collect();
    (from.clone(), all.into_iter().filter(|no| !from.contains(no)).collect())
}
