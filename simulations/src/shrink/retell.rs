//! From a plan back to a scenario that a person can read and change.
//!
//! A scenario names hosts by group, so they get other names and numbers than in the plan, and what is
//! random about them is drawn anew: the retold scenario is another run. Whoever retells has to see
//! whether it fails as well ([`Scenario::expand`](crate::Scenario::expand) it, run it), if need be with other seeds.

use crate::{
    scenario::{
        AppKind, Backend, Check, Disk, HostNo, Link, Ms, Nat, Plan, PlannedFault, PlannedHost, Request, Submission,
        Trouble,
    },
    tell::split,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// Why a plan cannot be told as a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTold {
    /// It is about a majority that was drawn.
    #[error("only some of the hosts have to come to rest, and a scenario cannot name them")]
    Core,
    /// It has too many hosts that differ.
    #[error("its hosts differ so much that no person would read it")]
    Groups,
}

/// Groups of a scenario that a person reads, at most.
const GROUPS: usize = 40;

/// The text of a scenario that says what a plan does, with a comment to open it.
///
/// # Errors
/// No scenario can say it.
pub fn retell(plan: &Plan, seed: u64, about: &str) -> Result<String, NotTold> {
    // Of revoked hosts no scenario asks to come to rest.
    let revoked = |no: &HostNo| {
        plan.faults.iter().any(|fault| matches!(&fault.trouble, Trouble::Revoke { hosts, .. } if hosts.contains(no)))
    };
    if plan.hosts.iter().any(|host| !plan.core.contains(&host.no) && !revoked(&host.no)) {
        return Err(NotTold::Core);
    }
    let names = Names::of(plan)?;
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut out, plan, &names, seed, about);
    Ok(out)
}

/// Hosts of one make that follow each other.
struct NewGroup<'a> {
    name: String,
    like: &'a PlannedHost,
    members: Vec<HostNo>,
}

/// What hosts are called in the scenario.
struct Names<'a> {
    groups: Vec<NewGroup<'a>>,
    of: BTreeMap<HostNo, (usize, usize)>,
}

impl<'a> Names<'a> {
    fn of(plan: &'a Plan) -> Result<Names<'a>, NotTold> {
        let mut groups: Vec<NewGroup<'a>> = Vec::new();
        for host in &plan.hosts {
            let same = |group: &&mut NewGroup<'a>| alike(group.like, host);
            match groups.iter_mut().find(same) {
                Some(group) => group.members.push(host.no),
                None => {
                    let name = split(&host.name).map_or(host.name.as_str(), |(group, _)| group).to_owned();
                    groups.push(NewGroup { name, like: host, members: vec![host.no] });
                }
            }
        }
        if groups.len() > GROUPS {
            return Err(NotTold::Groups);
        }
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        groups.iter().for_each(|group| *seen.entry(group.name.clone()).or_default() += 1);
        let mut turn: BTreeMap<String, usize> = BTreeMap::new();
        for group in groups.iter_mut().filter(|group| seen[&group.name] > 1) {
            let n = turn.entry(group.name.clone()).or_default();
            // `edge` at three sites becomes `edge-a`, `edge-b` and `edge-c`: letters, because numbers are hosts.
            group.name = format!("{}-{}", group.name, letters(*n));
            *n += 1;
        }
        let mut of = BTreeMap::new();
        for (g, group) in groups.iter().enumerate() {
            of.extend(group.members.iter().enumerate().map(|(i, no)| (*no, (g, i))));
        }
        Ok(Names { groups, of })
    }

    fn host(&self, no: HostNo) -> String {
        self.of.get(&no).map_or_else(String::new, |(g, i)| format!("{}/{i}", self.groups[*g].name))
    }

    /// Hosts as a list of selections.
    fn hosts(&self, hosts: &BTreeSet<HostNo>) -> String {
        if hosts.len() == self.of.len() {
            return "[\"all\"]".to_owned();
        }
        let mut parts = Vec::new();
        for (g, group) in self.groups.iter().enumerate() {
            let chosen: Vec<usize> =
                hosts.iter().filter_map(|no| self.of.get(no)).filter(|at| at.0 == g).map(|at| at.1).collect();
            if chosen.len() == group.members.len() {
                parts.push(group.name.clone());
                continue;
            }
            let mut rest = &chosen[..];
            while let Some(first) = rest.first() {
                let row = 1 + rest.windows(2).take_while(|pair| pair[0] + 1 == pair[1]).count();
                let range = if row == 1 { first.to_string() } else { format!("{first}-{}", rest[row - 1]) };
                parts.push(format!("{}/{range}", group.name));
                rest = &rest[row..];
            }
        }
        format!("[{}]", parts.iter().map(|part| format!("\"{part}\"")).collect::<Vec<_>>().join(", "))
    }
}

fn alike(a: &PlannedHost, b: &PlannedHost) -> bool {
    let group = |host: &PlannedHost| split(&host.name).map_or(host.name.clone(), |(group, _)| group.to_owned());
    group(a) == group(b) && (&a.site, a.nat, a.relay, a.skew_ms, a.kbps) == (&b.site, b.nat, b.relay, b.skew_ms, b.kbps)
}

fn letters(n: usize) -> String {
    let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
    if n < 26 { letter(n).to_string() } else { format!("{}{}", letter(n / 26), letter(n % 26)) }
}

fn period(ms: Ms) -> String {
    if ms.0.is_multiple_of(1_000) { format!("\"{}s\"", ms.0 / 1_000) } else { format!("\"{}ms\"", ms.0) }
}

fn seconds(ms: Ms) -> String {
    format!("{:?}", ms.0 as f64 / 1_000.0)
}

fn write_all(out: &mut String, plan: &Plan, names: &Names<'_>, seed: u64, about: &str) -> std::fmt::Result {
    about.lines().try_for_each(|line| writeln!(out, "{}", format!("# {line}").trim_end()))?;
    writeln!(out, "seed = {seed}\nduration = {}", period(plan.duration))?;
    if plan.backend == Backend::Swarm {
        writeln!(out, "backend = \"swarm\"")?;
    }
    for group in &names.groups {
        let host = group.like;
        writeln!(
            out,
            "\n[[group]]\nname = \"{}\"\ncount = {}\nsite = \"{}\"",
            group.name,
            group.members.len(),
            host.site
        )?;
        match host.nat {
            Nat::None => {}
            Nat::Full => out.push_str("nat = \"full\"\n"),
            Nat::Cone => out.push_str("nat = \"cone\"\n"),
            Nat::Sym => out.push_str("nat = \"sym\"\n"),
        }
        if host.relay {
            out.push_str("relay = true\n");
        }
        if host.skew_ms != 0 {
            writeln!(out, "skew_ms = [{}, {}]", host.skew_ms, host.skew_ms)?;
        }
        if host.kbps != plan.wan.kbps {
            writeln!(out, "kbps = {}", host.kbps)?;
        }
    }
    write_link(out, "link", &plan.wan, &Link::default())?;
    write_link(out, "lan", &plan.lan, &Link::lan())?;
    plan.submissions.iter().try_for_each(|submission| write_submission(out, names, submission))?;
    plan.faults.iter().try_for_each(|fault| write_fault(out, names, fault))?;
    write_check(out, plan)
}

fn write_link(out: &mut String, name: &str, link: &Link, usual: &Link) -> std::fmt::Result {
    if link == usual {
        return Ok(());
    }
    // All of it: what is left out of `[lan]` would be that of a link between sites.
    let [low, high] = link.latency_ms;
    writeln!(out, "\n[{name}]\nlatency_ms = [{low}, {high}]\njitter_ms = {}\nloss = {:?}", link.jitter_ms, link.loss)?;
    writeln!(out, "gossip_miss = {:?}\ngossip_twice = {:?}\nkbps = {}", link.gossip_miss, link.gossip_twice, link.kbps)
}

fn write_submission(out: &mut String, names: &Names<'_>, submission: &Submission) -> std::fmt::Result {
    let (at, on) = (period(submission.at), names.host(submission.on));
    writeln!(out, "\n[[submit]]\nat = {at}\non = \"{on}\"\napp = \"{}\"", submission.app)?;
    match &submission.request {
        Request::Remove => writeln!(out, "kind = \"remove\""),
        Request::Scale { count } => writeln!(out, "kind = \"scale\"\ncount = {count}"),
        Request::Apply { app_kind, count, parallel, runs, exit_code, stops, site, fenced } => {
            match app_kind {
                AppKind::Service => {}
                AppKind::Daemon => out.push_str("type = \"daemon\"\n"),
                AppKind::Job => out.push_str("type = \"job\"\n"),
            }
            if *app_kind != AppKind::Daemon {
                writeln!(out, "count = {count}")?;
            }
            if let Some(parallel) = parallel {
                writeln!(out, "parallel = {parallel}")?;
            }
            if let Some(runs) = runs {
                let key = if *app_kind == AppKind::Job { "task_s" } else { "crash_after_s" };
                writeln!(out, "{key} = {}", seconds(*runs))?;
            }
            if *exit_code != 0 {
                writeln!(out, "exit_code = {exit_code}")?;
            }
            if stops.0 > 0 {
                writeln!(out, "stop_s = {}", seconds(*stops))?;
            }
            if let Some(site) = site {
                writeln!(out, "site = \"{site}\"")?;
            }
            if *fenced {
                out.push_str("fenced = true\n");
            }
            Ok(())
        }
    }
}

fn write_fault(out: &mut String, names: &Names<'_>, fault: &PlannedFault) -> std::fmt::Result {
    let kind = crate::report::kind_name(fault.trouble.kind());
    writeln!(out, "\n[[fault]]\nat = {}\nfor = {}\nkind = \"{kind}\"", period(fault.at), period(fault.lasts))?;
    match &fault.trouble {
        Trouble::Partition { sides } => {
            let sides: Vec<String> = sides.iter().map(|side| names.hosts(side)).collect();
            return writeln!(out, "sides = [{}]", sides.join(", "));
        }
        Trouble::Oneway { from, to } => {
            return writeln!(out, "sides = [{}, {}]", names.hosts(from), names.hosts(to));
        }
        Trouble::Crash { power_loss, disk, age, .. } => {
            if *power_loss {
                out.push_str("power_loss = true\n");
            }
            match disk {
                Disk::Keep => {}
                Disk::Torn => out.push_str("disk = \"torn\"\n"),
                Disk::Wipe => out.push_str("disk = \"wipe\"\n"),
                Disk::Stale => writeln!(out, "disk = \"stale\"\nage = {}", period(*age))?,
            }
        }
        Trouble::ClockJump { by_ms, stays, .. } => writeln!(out, "clock = {{ by_ms = {by_ms}, stays = {stays} }}")?,
        Trouble::LossBurst { loss, .. } => writeln!(out, "loss = {loss:?}")?,
        Trouble::SlowDisk { slow_ms, .. } => writeln!(out, "slow_ms = {slow_ms}")?,
        Trouble::GossipStorm { per_s, .. } | Trouble::Liar { per_s, .. } => writeln!(out, "per_s = {per_s}")?,
        Trouble::Pause { .. }
        | Trouble::RelayDown { .. }
        | Trouble::NatRebind { .. }
        | Trouble::Upgrade { .. }
        | Trouble::Reconnect { .. }
        | Trouble::Revoke { .. } => {}
    }
    writeln!(out, "hosts = {}", names.hosts(&fault.trouble.hosts()))
}

fn write_check(out: &mut String, plan: &Plan) -> std::fmt::Result {
    let usual = Check::default();
    let mut lines = String::new();
    if u128::from(plan.converge_within.0) != usual.converge_within.0.as_millis() {
        writeln!(lines, "converge_within = {}", period(plan.converge_within))?;
    }
    if plan.messages_per_s != usual.messages_per_s {
        writeln!(lines, "messages_per_s = {}", plan.messages_per_s)?;
    }
    if plan.document_bytes != usual.document_bytes {
        writeln!(lines, "document_bytes = {}", plan.document_bytes)?;
    }
    if u128::from(plan.fenced_overlap_max.0) != usual.fenced_overlap_max.0.as_millis() {
        writeln!(lines, "fenced_overlap_max = {}", period(plan.fenced_overlap_max))?;
    }
    if lines.is_empty() { Ok(()) } else { write!(out, "\n[check]\n{lines}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Scenario,
        scenario::{Mode, library},
    };

    /// What a plan says about a host, without its name and number.
    fn traits(plan: &Plan) -> Vec<String> {
        let of = |h: &PlannedHost| format!("{} {:?} {} {} {}", h.site, h.nat, h.relay, h.skew_ms, h.kbps);
        let mut all: Vec<String> = plan.hosts.iter().map(of).collect();
        all.sort();
        all
    }

    #[test]
    fn a_retold_plan_says_the_same() {
        for scenario in library().unwrap() {
            let plan = scenario.expand(5).unwrap();
            if scenario.mode == Mode::Liveness {
                assert_eq!(retell(&plan, 5, "x"), Err(NotTold::Core));
                continue;
            }
            let sites: BTreeSet<_> = plan.hosts.iter().map(|host| &host.site).collect();
            if sites.len() > GROUPS {
                assert_eq!(retell(&plan, 5, "x"), Err(NotTold::Groups), "{}", scenario.name);
                continue;
            }
            let text = retell(&plan, 9, "Told again.\nTwo lines.").unwrap_or_else(|e| panic!("{}: {e}", scenario.name));
            let again = Scenario::parse("again", &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert_eq!((again.seed, again.about.as_str()), (9, "Told again. Two lines."));
            let again = again.expand(5).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert_eq!(traits(&again), traits(&plan), "{text}");
            assert_eq!(again.duration, plan.duration);
            assert_eq!((again.wan, again.lan, again.converge_within), (plan.wan, plan.lan, plan.converge_within));
            let faults = |plan: &Plan| {
                let told = |f: &PlannedFault| (f.at, f.lasts, f.trouble.kind(), f.trouble.hosts().len());
                let mut told: Vec<_> = plan.faults.iter().map(told).collect();
                told.sort();
                told
            };
            assert_eq!(faults(&again), faults(&plan), "{text}");
            let requests = |plan: &Plan| {
                let mut told: Vec<_> =
                    plan.submissions.iter().map(|s| format!("{:?} {} {:?}", s.at, s.app, s.request)).collect();
                told.sort();
                told
            };
            assert_eq!(requests(&again), requests(&plan), "{text}");
        }
    }

    #[test]
    fn groups_of_one_name_are_told_apart_by_letters() {
        assert_eq!([0, 25, 26, 27].map(letters), ["a", "z", "ba", "bb"]);
    }
}
