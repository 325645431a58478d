//! What can be taken away from a plan, and what the rest has to be to mean something.

use crate::scenario::{HostNo, Link, Ms, Nat, Plan, Trouble};
use std::collections::BTreeSet;

/// Takes out what a plan no longer speaks of: hosts that are gone, from faults and sides, and what is left with
/// nothing to do then. It means the same as before.
pub(super) fn tidy(mut plan: Plan) -> Plan {
    let there: BTreeSet<HostNo> = plan.hosts.iter().map(|host| host.no).collect();
    plan.core.retain(|no| there.contains(no));
    for fault in &mut plan.faults {
        only(&mut fault.trouble, &there);
    }
    plan.faults.retain(|fault| befalls_somebody(&fault.trouble));
    plan.submissions.retain(|submission| there.contains(&submission.on));
    plan
}

fn only(trouble: &mut Trouble, there: &BTreeSet<HostNo>) {
    let keep = |hosts: &mut BTreeSet<HostNo>| hosts.retain(|no| there.contains(no));
    match trouble {
        Trouble::Partition { sides } => {
            sides.iter_mut().for_each(keep);
            sides.retain(|side| !side.is_empty());
        }
        Trouble::Oneway { from, to } => {
            keep(from);
            keep(to);
        }
        Trouble::Crash { hosts, .. }
        | Trouble::Pause { hosts }
        | Trouble::ClockJump { hosts, .. }
        | Trouble::LossBurst { hosts, .. }
        | Trouble::RelayDown { hosts }
        | Trouble::NatRebind { hosts }
        | Trouble::SlowDisk { hosts, .. }
        | Trouble::GossipStorm { hosts, .. }
        | Trouble::Upgrade { hosts }
        | Trouble::Reconnect { hosts }
        | Trouble::Liar { hosts, .. }
        | Trouble::Revoke { hosts, .. } => keep(hosts),
    }
}

fn befalls_somebody(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Partition { sides } => sides.len() > 1,
        Trouble::Oneway { from, to } => !from.is_empty() && !to.is_empty(),
        _ => !trouble.hosts().is_empty(),
    }
}

/// The plan up to a moment: what comes later is left out, what is going on ends with it.
pub(super) fn shorter(mut plan: Plan, duration: Ms) -> Plan {
    plan.duration = duration;
    plan.faults.retain(|fault| fault.at < duration);
    plan.submissions.retain(|submission| submission.at < duration);
    plan
}

/// Whether a run of it can tell anything. A fleet in which nobody can find or reach anybody comes to no
/// agreement, whatever the product does: that is not the failure that is looked for.
pub(super) fn makes_sense(plan: &Plan) -> bool {
    if plan.hosts.is_empty() || plan.core.is_empty() || !plan.hosts.iter().any(|host| host.anchor) {
        return false;
    }
    let hidden = |nat: Nat| matches!(nat, Nat::Cone | Nat::Sym);
    let sites: BTreeSet<&str> = plan.hosts.iter().filter(|h| hidden(h.nat)).map(|host| host.site.as_str()).collect();
    let relayed = plan.hosts.iter().any(|host| host.relay);
    // Two that are hidden from each other meet through a relay or not at all.
    sites.len() < 2 || relayed
}

/// A change that makes a plan plainer to read.
pub(super) type Plainer = fn(Plan) -> Plan;

/// Changes that are worth a try.
pub(super) const PLAINER: [Plainer; 4] = [
    |mut plan| {
        plan.hosts.iter_mut().for_each(|host| host.skew_ms = 0);
        plan
    },
    |mut plan| {
        plan.hosts.iter_mut().for_each(|host| (host.nat, host.relay) = (Nat::None, false));
        plan
    },
    |mut plan| {
        let kbps = plan.wan.kbps;
        plan.hosts.iter_mut().for_each(|host| host.kbps = kbps);
        plan
    },
    |mut plan| {
        (plan.wan, plan.lan) = (Link::default(), Link::lan());
        plan
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Scenario, report::sample};

    #[test]
    fn what_speaks_of_hosts_that_are_gone_goes_with_them() {
        let (mut plan, _) = sample::passed();
        plan.hosts.retain(|host| host.name != "cloud-0");
        let plan = tidy(plan);
        let kinds: Vec<_> = plan.faults.iter().map(|fault| fault.trouble.kind()).collect();
        assert_eq!(kinds, [crate::scenario::FaultKind::Crash], "a cut with one side and a pause of nobody are nothing");
        assert!(plan.submissions.is_empty() && plan.core.len() == 2);
        assert_eq!(tidy(plan.clone()), plan);
    }

    #[test]
    fn a_fleet_that_cannot_meet_is_not_tried() {
        let text = "duration = \"9s\"\n[[group]]\nname = \"r\"\ncount = 1\nsite = \"c\"\nrelay = true\n[[group]]\nname = \"e\"\ncount = 2\nsite = \"s-{i}\"\nnat = \"cone\"";
        let plan = Scenario::parse("meet", text).unwrap().expand(1).unwrap();
        assert!(makes_sense(&plan));
        let mut alone = plan.clone();
        alone.hosts.remove(0);
        assert!(!makes_sense(&tidy(alone)), "no anchor and no relay");
        let mut none = plan;
        none.hosts.clear();
        assert!(!makes_sense(&tidy(none)));
    }
}
