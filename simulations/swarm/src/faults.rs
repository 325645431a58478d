//! What befalls the fleet, and which of it this layer does.

use crate::{SwarmError, net::Counts, world::World};
use holm_simulations::scenario::{AppKind, Disk, FaultKind, HostNo, Plan, PlannedFault, Request, Trouble};
use std::{collections::BTreeSet, time::Duration};

/// The version that an upgrade brings.
const UPGRADED: &str = "sim-2";

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
            Trouble::Crash { disk: Disk::Torn | Disk::Wipe | Disk::Stale, .. } => {
                "crash with a torn, wiped or stale disk: the disk of this layer keeps what was synced and loses the rest"
            }
            _ => continue,
        };
        return Err(SwarmError::Refused(format!("{why} (the fault at {} ms)", fault.at.0)));
    }
    for submission in &plan.submissions {
        if let Request::Apply { app_kind, runs: Some(_), exit_code, .. } = &submission.request
            && (*app_kind != AppKind::Job || *exit_code != 0)
        {
            let why = "has tasks that fall over: nothing restarts them in place here";
            return Err(SwarmError::Refused(format!("{} {why}", submission.app)));
        }
    }
    Ok(())
}

impl World {
    /// A fault begins.
    pub(crate) fn begin(&mut self, fault: &PlannedFault) -> Ongoing {
        let before = self.net.counts();
        self.note(None, "fault", format!("{:?}", fault.trouble));
        let struck = match &fault.trouble {
            Trouble::Partition { sides } => {
                self.each_pair(sides, |world, a, b| world.net.cut(a, b));
                false
            }
            Trouble::Oneway { from, to } => {
                self.net.cut(&self.in_net(from), &self.in_net(to));
                false
            }
            Trouble::Crash { hosts, power_loss, .. } => {
                self.strike(hosts, |world, no| world.take_down(no, *power_loss))
            }
            Trouble::Upgrade { hosts } => {
                self.strike(hosts, |world, no| world.take_down(no, false));
                false
            }
            Trouble::Pause { hosts } => self.strike(hosts, |world, no| world.freeze(no, true)),
            Trouble::ClockJump { hosts, by_ms, .. } => self.strike(hosts, |world, no| {
                world.jump(no, *by_ms);
                world.agent(no).is_some()
            }),
            Trouble::LossBurst { hosts, loss } => {
                self.net.set_extra_loss(&self.in_net(hosts), *loss);
                false
            }
            Trouble::NatRebind { hosts } => {
                self.in_net(hosts).into_iter().for_each(|host| self.net.rebind(host));
                false
            }
            Trouble::Reconnect { hosts } => {
                self.in_net(hosts).into_iter().for_each(|host| self.net.reset_all(host));
                false
            }
            Trouble::SlowDisk { hosts, slow_ms } => {
                self.strike(hosts, |world, no| world.slow_disk(no, *slow_ms));
                false
            }
            Trouble::RelayDown { .. } | Trouble::GossipStorm { .. } | Trouble::Liar { .. } | Trouble::Revoke { .. } => {
                false
            }
        };
        Ongoing { before, struck }
    }

    /// A fault ends. It counts as fired if it did something: crashed an agent that ran, held or
    /// lost a packet, reset a connection.
    pub(crate) fn finish(&mut self, fault: &PlannedFault, ongoing: &Ongoing) {
        let (before, now) = (ongoing.before, self.net.counts());
        self.note(None, "heal", format!("{:?}", fault.trouble));
        let fired = match &fault.trouble {
            Trouble::Partition { sides } => {
                self.each_pair(sides, |world, a, b| world.net.mend(a, b));
                now.held + now.unheard > before.held + before.unheard
            }
            Trouble::Oneway { from, to } => {
                self.net.mend(&self.in_net(from), &self.in_net(to));
                now.held + now.unheard > before.held + before.unheard
            }
            Trouble::Crash { hosts, .. } => {
                self.strike(hosts, World::bring_up);
                ongoing.struck
            }
            Trouble::Upgrade { hosts } => self.strike(hosts, |world, no| {
                if let Some(place) = world.places.get_mut(&no) {
                    place.version = UPGRADED;
                }
                world.bring_up(no)
            }),
            Trouble::Pause { hosts } => {
                self.strike(hosts, |world, no| world.freeze(no, false));
                ongoing.struck
            }
            Trouble::ClockJump { hosts, by_ms, stays } => {
                for no in hosts.iter().filter(|_| !stays) {
                    self.jump(*no, by_ms.saturating_neg());
                }
                ongoing.struck
            }
            Trouble::LossBurst { hosts, .. } => {
                self.net.set_extra_loss(&self.in_net(hosts), 0.0);
                now.lost > before.lost
            }
            Trouble::SlowDisk { hosts, .. } => self.strike(hosts, |world, no| world.slow_disk(no, 0)),
            Trouble::NatRebind { .. } => now.forgotten > before.forgotten,
            Trouble::Reconnect { .. } => now.resets > before.resets,
            Trouble::RelayDown { .. } | Trouble::GossipStorm { .. } | Trouble::Liar { .. } | Trouble::Revoke { .. } => {
                false
            }
        };
        if fired {
            self.record.lock().fired(fault.trouble.kind());
        }
    }

    /// Does something to each host; whether any of it took effect.
    fn strike<'a>(
        &mut self,
        hosts: impl IntoIterator<Item = &'a HostNo>,
        mut blow: impl FnMut(&mut World, HostNo) -> bool,
    ) -> bool {
        // Each is struck, whatever became of those before: `any` would stop at the first.
        hosts.into_iter().filter(|no| blow(self, **no)).count() > 0
    }

    fn each_pair(&self, sides: &[BTreeSet<HostNo>], action: impl Fn(&World, &[usize], &[usize])) {
        let sides: Vec<Vec<usize>> = sides.iter().map(|side| self.in_net(side)).collect();
        for (i, a) in sides.iter().enumerate() {
            for (j, b) in sides.iter().enumerate() {
                if i != j {
                    action(self, a, b);
                }
            }
        }
    }

    /// Another fault keeps the host down.
    fn take_down(&mut self, no: HostNo, power_loss: bool) -> bool {
        if let Some(place) = self.places.get_mut(&no) {
            place.downs += 1;
        }
        self.kill(no, power_loss)
    }

    /// One fault less keeps the host down; the last one lets it start. Whether it did.
    fn bring_up(&mut self, no: HostNo) -> bool {
        let Some(place) = self.places.get_mut(&no) else { return false };
        place.downs = place.downs.saturating_sub(1);
        let starts = place.downs == 0;
        if starts {
            self.boot(no);
        }
        starts
    }

    /// Sets what each write takes longer; whether any was slow so far.
    fn slow_disk(&mut self, no: HostNo, ms: u64) -> bool {
        let Some(place) = self.places.get(&no) else { return false };
        let mut host = place.host.lock();
        host.slow = Duration::from_millis(ms);
        std::mem::take(&mut host.slow_writes) > 0
    }
}

/// The kinds of fault that a plan asks for.
pub(crate) fn asked_for(plan: &Plan) -> impl Iterator<Item = FaultKind> {
    plan.faults.iter().map(|fault| fault.trouble.kind())
}
