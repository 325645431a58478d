//! What befalls the fleet, and which of it this layer does.

use crate::{SwarmError, net::Counts, world::World};
use holm_simulations::scenario::{Disk, HostNo, Plan, PlannedFault, Trouble};
use std::collections::BTreeSet;

/// A fault that goes on.
pub(crate) struct Ongoing {
    /// What the network had done when it began.
    before: Counts,
    /// It did something when it began.
    struck: bool,
}

/// Says plainly what of a plan this layer does not do.
///
/// # Errors
/// [`SwarmError::Refused`] names it.
pub fn refuse(plan: &Plan) -> Result<(), SwarmError> {
    for fault in &plan.faults {
        let why = match &fault.trouble {
            Trouble::RelayDown { .. } => "relay_down: all hosts of this layer reach each other, and none relays",
            Trouble::GossipStorm { .. } => "gossip_storm: every node of this layer is the real one",
            Trouble::Liar { .. } => "liar: every node of this layer is the real one",
            Trouble::Revoke { .. } => "revoke: no node of this layer holds the authority's key",
            _ => continue,
        };
        return Err(SwarmError::Refused(format!("{why} (the fault at {} ms)", fault.at.0)));
    }
    Ok(())
}

impl World {
    /// A fault begins.
    pub(crate) fn begin(&mut self, n: usize, fault: &PlannedFault) -> Ongoing {
        let before = self.net.counts();
        let at = self.at();
        self.fleet.lock().fault_began(n, at);
        let hosts = self.places(&fault.trouble.hosts());
        let strike = |blow: &mut dyn FnMut(usize) -> bool| hosts.iter().filter(|host| blow(**host)).count() > 0;
        let struck = match &fault.trouble {
            Trouble::Partition { sides } => {
                self.each_pair(sides, |world, a, b| world.net.cut(a, b));
                false
            }
            Trouble::Oneway { from, to } => {
                self.net.cut(&self.places(from), &self.places(to));
                false
            }
            Trouble::Crash { power_loss, disk, .. } => {
                strike(&mut |host| self.take_down(host, *power_loss, *disk, fault.id))
            }
            Trouble::Upgrade { .. } => strike(&mut |host| {
                self.fleet.lock().upgrade(host);
                self.take_down(host, false, Disk::Keep, fault.id)
            }),
            Trouble::Pause { .. } => strike(&mut |host| self.freeze(host, true)),
            Trouble::ClockJump { by_ms, .. } => strike(&mut |host| self.jump(host, *by_ms)),
            Trouble::LossBurst { loss, .. } => {
                self.net.add_loss(&hosts, *loss);
                false
            }
            Trouble::NatRebind { .. } => {
                hosts.iter().for_each(|host| self.net.rebind(*host));
                false
            }
            Trouble::Reconnect { .. } => {
                hosts.iter().for_each(|host| self.net.reset_all(*host));
                false
            }
            Trouble::SlowDisk { slow_ms, .. } => strike(&mut |host| {
                let mut fleet = self.fleet.lock();
                fleet.slow_disk(host, micros(*slow_ms));
                fleet.is_up(host)
            }),
            Trouble::RelayDown { .. } | Trouble::GossipStorm { .. } | Trouble::Liar { .. } | Trouble::Revoke { .. } => {
                false
            }
        };
        Ongoing { before, struck }
    }

    /// A fault ends. It counts as fired if it did something: crashed an agent that ran, held or
    /// lost a packet, reset a connection.
    pub(crate) fn finish(&mut self, n: usize, fault: &PlannedFault, ongoing: &Ongoing) {
        let (before, now) = (ongoing.before, self.net.counts());
        let hosts = self.places(&fault.trouble.hosts());
        let cut = now.held + now.unheard > before.held + before.unheard;
        let fired = match &fault.trouble {
            Trouble::Partition { sides } => {
                self.each_pair(sides, |world, a, b| world.net.mend(a, b));
                cut
            }
            Trouble::Oneway { from, to } => {
                self.net.mend(&self.places(from), &self.places(to));
                cut
            }
            Trouble::Crash { .. } | Trouble::Upgrade { .. } => {
                hosts.iter().for_each(|host| self.bring_up(*host));
                ongoing.struck
            }
            Trouble::Pause { .. } => {
                for host in &hosts {
                    self.freeze(*host, false);
                }
                ongoing.struck
            }
            Trouble::ClockJump { by_ms, stays, .. } => {
                for host in hosts.iter().filter(|_| !stays) {
                    self.jump(*host, by_ms.saturating_neg());
                }
                ongoing.struck
            }
            Trouble::LossBurst { loss, .. } => {
                self.net.add_loss(&hosts, -loss);
                now.lost > before.lost
            }
            Trouble::SlowDisk { slow_ms, .. } => {
                let mut fleet = self.fleet.lock();
                hosts.iter().for_each(|host| fleet.slow_disk(*host, -micros(*slow_ms)));
                ongoing.struck
            }
            Trouble::NatRebind { .. } => now.forgotten > before.forgotten,
            Trouble::Reconnect { .. } => now.resets > before.resets,
            Trouble::RelayDown { .. } | Trouble::GossipStorm { .. } | Trouble::Liar { .. } | Trouble::Revoke { .. } => {
                false
            }
        };
        let at = self.at();
        let mut fleet = self.fleet.lock();
        if fired {
            fleet.fired(fault.trouble.kind());
        }
        fleet.fault_ended(n, at);
    }

    fn each_pair(&self, sides: &[BTreeSet<HostNo>], action: impl Fn(&World, &[usize], &[usize])) {
        let sides: Vec<Vec<usize>> = sides.iter().map(|side| self.places(side)).collect();
        for (i, a) in sides.iter().enumerate() {
            for (j, b) in sides.iter().enumerate() {
                if i != j {
                    action(self, a, b);
                }
            }
        }
    }
}

fn micros(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX / 2_000).saturating_mul(1_000)
}
