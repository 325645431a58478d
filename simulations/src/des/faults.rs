//! Faults: what each does to hosts and links when it begins, while it lasts, and when it ends.

use super::{
    engine::Engine,
    event::{Event, HostIndex},
    queue::{At, SECOND, at_ms},
};
use crate::{
    judge::rest,
    scenario::{Disk, HostNo, Nat, PlannedFault, Step, Trouble, random::Chance},
};
use holm_types::api::{Request, RevokeParams};
use std::collections::BTreeSet;

/// Storms and liars act so often.
const ACT_EVERY: At = 100_000;
/// How often it is looked at whether the replicas are equal after a fault.
const HEAL_CHECK: At = 250_000;
/// For so long.
const HEAL_PATIENCE: At = 300 * SECOND;

impl Engine {
    /// Puts the faults and requests of the plan into the queue.
    pub(crate) fn schedule_plan(&mut self) {
        let plan = self.plan.clone();
        for (at, step) in plan.schedule() {
            let (at, event) = match step {
                Step::Begin(n) => (at_ms(at), Event::FaultBegins(n)),
                Step::End(n) => (at_ms(at), Event::FaultEnds(n)),
                Step::Backup(n) => (at_ms(at).max(1), Event::Backup(n)),
                Step::Submit(n) => (at_ms(at), Event::Submit(n)),
            };
            self.push(at, event);
        }
        self.push(SECOND, Event::Sample);
    }

    fn indexes(&self, hosts: &BTreeSet<HostNo>) -> Vec<HostIndex> {
        hosts.iter().filter_map(|no| self.index_of_no(*no)).collect()
    }

    fn active(&self) -> usize {
        let plan = &self.plan;
        let begun = |f: &PlannedFault| at_ms(f.at) <= self.now;
        (0..plan.faults.len()).filter(|n| begun(&plan.faults[*n]) && !self.ended[*n]).count()
    }

    pub(super) fn back_up(&mut self, n: usize) {
        let plan = self.plan.clone();
        for host in self.indexes(&plan.faults[n].trouble.hosts()) {
            self.hosts[host].backup = Some(self.hosts[host].disk.backup());
        }
    }

    pub(super) fn fault_begins(&mut self, n: usize) {
        let plan = self.plan.clone();
        let fault = &plan.faults[n];
        self.note(None, "fault", &format!("{:?} begins", fault.trouble));
        self.judges.fault_began();
        let hosts = self.indexes(&fault.trouble.hosts());
        let did = match &fault.trouble {
            Trouble::Partition { sides } => {
                let sides: Vec<Vec<HostIndex>> = sides.iter().map(|side| self.indexes(side)).collect();
                self.cut(fault.id, &sides, false)
            }
            Trouble::Oneway { from, to } => {
                let sides = [self.indexes(from), self.indexes(to)];
                self.cut(fault.id, &sides, true)
            }
            Trouble::Crash { power_loss, disk, .. } => {
                let chance = Chance::new(plan.seed, "torn").of(fault.id);
                let of = |engine: &Engine, h: HostIndex| chance.of(u64::from(engine.no(h).0));
                hosts.iter().filter(|h| self.crash(**h, *power_loss, *disk, of(self, **h))).count()
            }
            Trouble::Pause { .. } => hosts.iter().filter(|h| self.freeze(**h)).count(),
            Trouble::ClockJump { by_ms, .. } => hosts.iter().filter(|h| self.hosts[**h].jump(*by_ms)).count(),
            Trouble::LossBurst { loss, .. } => {
                hosts.iter().for_each(|h| self.links.add_loss(*h, *loss));
                hosts.len()
            }
            Trouble::RelayDown { .. } => {
                let relayed = hosts.iter().filter(|h| self.hosts[**h].relays()).count();
                hosts.iter().for_each(|h| self.hosts[*h].relay_down += 1);
                relayed
            }
            Trouble::NatRebind { .. } => hosts.iter().map(|h| self.rebind(*h)).sum(),
            Trouble::SlowDisk { slow_ms, .. } => {
                hosts.iter().for_each(|h| self.hosts[*h].slow_disk += slow_ms * 1_000);
                hosts.iter().filter(|h| self.hosts[**h].is_up()).count()
            }
            Trouble::GossipStorm { .. } | Trouble::Liar { .. } => {
                self.storms += 1;
                self.push(self.now + ACT_EVERY, Event::FaultActs(n));
                0
            }
            Trouble::Upgrade { .. } => hosts.iter().filter(|h| self.upgrade(**h)).count(),
            Trouble::Reconnect { .. } => hosts.iter().map(|h| self.reset_connections(*h)).sum(),
            Trouble::Revoke { by, .. } => hosts.iter().filter(|h| self.revoke(*by, **h)).count(),
        };
        if did > 0 {
            self.record.fired(fault.trouble.kind());
        }
        self.look_at_connections();
    }

    pub(super) fn fault_ends(&mut self, n: usize) {
        if std::mem::replace(&mut self.ended[n], true) {
            return;
        }
        let plan = self.plan.clone();
        let fault = &plan.faults[n];
        self.note(None, "fault", &format!("{:?} ends", fault.trouble.kind()));
        let hosts = self.indexes(&fault.trouble.hosts());
        match &fault.trouble {
            Trouble::Partition { .. } | Trouble::Oneway { .. } => self.links.mend(fault.id),
            Trouble::Crash { .. } | Trouble::Upgrade { .. } => hosts.iter().for_each(|h| self.come_back(*h)),
            Trouble::Pause { .. } => hosts.iter().for_each(|h| self.unfreeze(*h)),
            Trouble::ClockJump { by_ms, stays: false, .. } => {
                hosts.iter().for_each(|h| {
                    self.hosts[*h].jump(by_ms.saturating_neg());
                });
            }
            Trouble::LossBurst { loss, .. } => hosts.iter().for_each(|h| self.links.add_loss(*h, -loss)),
            Trouble::RelayDown { .. } => {
                hosts.iter().for_each(|h| self.hosts[*h].relay_down = self.hosts[*h].relay_down.saturating_sub(1));
            }
            Trouble::SlowDisk { slow_ms, .. } => hosts.iter().for_each(|h| {
                self.hosts[*h].slow_disk = self.hosts[*h].slow_disk.saturating_sub(slow_ms * 1_000);
            }),
            Trouble::GossipStorm { .. } | Trouble::Liar { .. } => self.storms = self.storms.saturating_sub(1),
            Trouble::ClockJump { .. }
            | Trouble::NatRebind { .. }
            | Trouble::Reconnect { .. }
            | Trouble::Revoke { .. } => {}
        }
        self.look_at_connections();
        let heal = self.record.healed(self.now, fault.trouble.kind());
        self.push(self.now + HEAL_CHECK, Event::HealCheck { heal, since: self.now });
        if self.active() == 0 {
            self.judges.healed(self.now, &self.hosts);
        }
    }

    /// Ends what is still there, when the plan does, but for what befalls others than its core.
    pub(crate) fn end_faults(&mut self) {
        let plan = self.plan.clone();
        for (n, fault) in plan.faults.iter().enumerate() {
            if !plan.lingers(fault) && at_ms(fault.at) <= self.now {
                self.fault_ends(n);
            }
        }
    }

    /// Storms and liars do what they do.
    pub(super) fn fault_acts(&mut self, n: usize) {
        let plan = self.plan.clone();
        let fault = &plan.faults[n];
        if self.ended[n] {
            return;
        }
        let turn = (self.now - at_ms(fault.at)) / ACT_EVERY;
        let each = |per_s: u32| u64::from(per_s).div_ceil(SECOND / ACT_EVERY);
        for host in self.indexes(&fault.trouble.hosts()) {
            if !self.hosts[host].answers() {
                continue;
            }
            let chance = Chance::new(plan.seed, "act").of(fault.id).of(u64::from(self.no(host).0)).of(turn);
            let did = match &fault.trouble {
                Trouble::GossipStorm { per_s, .. } => self.storm(host, each(*per_s), chance),
                Trouble::Liar { per_s, .. } => self.lie(host, each(*per_s), chance),
                _ => 0,
            };
            if did > 0 {
                self.record.fired(fault.trouble.kind());
            }
        }
        self.push(self.now + ACT_EVERY, Event::FaultActs(n));
    }

    fn storm(&mut self, host: HostIndex, count: u64, chance: Chance) -> u64 {
        let heard: Vec<_> = self.hosts[host].overheard.iter().cloned().collect();
        if heard.is_empty() {
            return 0;
        }
        for n in 0..count {
            let (topic, author, bytes) = heard[chance.of(n).between(0, heard.len() as u64 - 1) as usize].clone();
            self.publish(host, author, topic, bytes);
        }
        self.record.count("storm_messages", count);
        count
    }

    /// Begins a cut; answers how many connections it goes through.
    pub(crate) fn cut(&mut self, id: u64, sides: &[Vec<HostIndex>], oneway: bool) -> usize {
        let mut side = vec![0u8; self.hosts.len()];
        for (n, hosts) in sides.iter().enumerate() {
            hosts.iter().for_each(|host| side[*host] = u8::try_from(n + 1).unwrap_or(u8::MAX));
        }
        self.links.cut(id, side.clone(), oneway);
        let apart = |a: HostIndex, b: &HostIndex| side[a] != 0 && side[*b] != 0 && side[a] != side[*b];
        (0..self.hosts.len()).map(|a| self.hosts[a].ends.keys().filter(|b| apart(a, b)).count()).sum()
    }

    fn crash(&mut self, host: HostIndex, power_loss: bool, disk: Disk, chance: Chance) -> bool {
        let was_up = self.hosts[host].is_up();
        self.hosts[host].down += 1;
        if power_loss {
            self.lose_power(host, (disk == Disk::Torn).then_some(chance));
        } else {
            self.kill_agent(host, true);
        }
        if self.hosts[host].replace_disk(disk, power_loss) {
            self.judges.disk_replaced(host);
        }
        was_up
    }

    fn upgrade(&mut self, host: HostIndex) -> bool {
        let was_up = self.hosts[host].is_up();
        self.hosts[host].down += 1;
        self.hosts[host].version += 1;
        self.kill_agent(host, true);
        was_up
    }

    fn come_back(&mut self, host: HostIndex) {
        let there = &mut self.hosts[host];
        there.down = there.down.saturating_sub(1);
        if there.down == 0 {
            self.start_agent(host);
        }
    }

    fn freeze(&mut self, host: HostIndex) -> bool {
        self.hosts[host].frozen += 1;
        self.hosts[host].is_up()
    }

    fn unfreeze(&mut self, host: HostIndex) {
        let there = &mut self.hosts[host];
        there.frozen = there.frozen.saturating_sub(1);
        if there.frozen == 0 {
            self.thaw(host);
        }
    }

    /// The router of a host gives its connections new ports: neither end hears anything any more.
    fn rebind(&mut self, host: HostIndex) -> usize {
        if self.hosts[host].plan.nat == Nat::None {
            return 0;
        }
        let far: Vec<HostIndex> =
            self.hosts[host].ends.keys().copied().filter(|peer| !self.links.same_site(host, *peer)).collect();
        for peer in &far {
            self.next_connection += 1;
            let no = self.next_connection;
            if let Some(end) = self.hosts[host].ends.get_mut(peer) {
                end.no = no;
            }
        }
        far.len()
    }

    /// A host revokes another one; false if it is not there to do so.
    fn revoke(&mut self, by: HostNo, host: HostIndex) -> bool {
        let Some(by) = self.index_of_no(by).filter(|by| self.hosts[*by].answers()) else { return false };
        let node = self.hosts[host].id.to_string();
        self.judges.revoked(host, self.hosts[host].id);
        self.request(by, Request::CertRevoke(RevokeParams { node, reason: None }), None);
        true
    }

    fn reset_connections(&mut self, host: HostIndex) -> usize {
        let peers: Vec<HostIndex> = self.hosts[host].ends.keys().copied().collect();
        peers.iter().for_each(|peer| self.detach(host, *peer, true));
        peers.len()
    }

    /// Whether the replicas are equal again after the end of a fault, as long as no other is there.
    pub(super) fn heal_check(&mut self, heal: usize, since: At) {
        if self.active() > 0 || self.now - since > HEAL_PATIENCE {
            return;
        }
        if rest::replicas_are_equal(&self.hosts) {
            let after = crate::scenario::Ms((self.now - since) / 1_000);
            if let Some(heal) = self.record.timeline.heals.get_mut(heal) {
                heal.converged_after = Some(after);
            }
        } else {
            self.push(self.now + HEAL_CHECK, Event::HealCheck { heal, since });
        }
    }
}
