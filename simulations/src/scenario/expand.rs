//! From a scenario to a plan: hosts by name, faults by time, everything that is left to chance
//! drawn from the seed.

use super::{
    AppKind, Fault, FaultKind, Group, HostNo, Mode, Ms, Plan, PlannedFault, PlannedHost, Request, Scenario, Submission,
    Submit, SubmitKind, Trouble, Workload, hosts::select, random::Chance,
};
use crate::SimError;
use holm_types::manifest::Period;
use std::collections::BTreeSet;

/// Hosts of one scenario, at most.
const HOSTS_MAX: usize = 20_000;
/// Letters of what a group says of its sites, at most.
const SITE_MAX: usize = 200;
/// Faults, and submissions, at most.
const EVENTS_MAX: usize = 100_000;
/// Hosts that are members from the start and known by address to all: at most so many, and every public one counts.
const ANCHORS: usize = 3;
/// How old a restored backup is when nothing is said.
pub(super) const STALE_AGE: Ms = Ms(20_000);
/// From one host of an upgrade to the next when nothing is said.
const UPGRADE_EVERY: Ms = Ms(3_000);

pub(super) fn ms(period: Period) -> Ms {
    Ms(u64::try_from(period.0.as_millis()).unwrap_or(u64::MAX))
}

pub(super) fn shown(at: Ms) -> Period {
    Period(std::time::Duration::from_millis(at.0))
}

pub(super) fn seconds(s: f64) -> Ms {
    Ms((s.max(0.0) * 1000.0) as u64)
}

impl Scenario {
    /// Draws what is left to chance.
    ///
    /// # Errors
    /// It asks for what makes no sense: hosts that do not exist, a partition with one side, a host
    /// too many.
    pub fn expand(&self, seed: u64) -> Result<Plan, SimError> {
        self.check_numbers()?;
        let hosts = self.hosts(seed)?;
        let mut faults = Vec::new();
        for (n, fault) in self.fault.iter().enumerate() {
            let planned = expand_fault(&hosts, fault, n as u64, seed);
            let planned = planned.and_then(|planned| self.in_time(planned, |fault| fault.at, "begins"));
            faults.extend(planned.map_err(|why| self.invalid(format!("fault {}", n + 1), why))?);
        }
        faults.extend(self.random_faults(&hosts, seed)?);
        faults.sort_by_key(|fault| (fault.at, fault.id));
        let mut submissions = Vec::new();
        for (n, submit) in self.submit.iter().enumerate() {
            let planned = expand_submit(&hosts, submit);
            let planned = planned.and_then(|planned| self.in_time(vec![planned], |submission| submission.at, "comes"));
            submissions.extend(planned.map_err(|why| self.invalid(format!("submit {}", n + 1), why))?);
        }
        if let Some(workload) = &self.workload {
            submissions.extend(expand_workload(&hosts, workload, ms(self.duration), seed));
        }
        submissions.sort_by_key(|submission| submission.at);
        if faults.len() > EVENTS_MAX || submissions.len() > EVENTS_MAX {
            let why = format!("more than {EVENTS_MAX} faults or submissions: make it shorter or slower");
            return Err(self.invalid("scenario".into(), why));
        }
        let mut core = self.core(&hosts, seed);
        for fault in &faults {
            if let Trouble::Revoke { hosts, .. } = &fault.trouble {
                core.retain(|host| !hosts.contains(host));
            }
        }
        if core.is_empty() {
            return Err(self.invalid("scenario".into(), "all hosts that would have to come to rest are revoked".into()));
        }
        Ok(Plan {
            name: self.name.clone(),
            backend: self.backend,
            seed,
            duration: ms(self.duration),
            wan: self.link,
            lan: self.lan,
            faults,
            submissions,
            core,
            hosts,
            converge_within: ms(self.check.converge_within),
            messages_per_s: self.check.messages_per_s,
            document_bytes: self.check.document_bytes,
            fenced_overlap_max: ms(self.check.fenced_overlap_max),
        })
    }

    /// What comes when the scenario is over befalls a fleet that is only looked at any more.
    fn in_time<T>(&self, planned: Vec<T>, at: impl Fn(&T) -> Ms, what: &str) -> Result<Vec<T>, String> {
        let duration = ms(self.duration);
        match planned.iter().map(&at).find(|at| *at >= duration) {
            None => Ok(planned),
            Some(late) => Err(format!(
                "it {what} at {}, and the scenario ends at {}: let it come sooner, or make `duration` longer",
                shown(late),
                shown(duration)
            )),
        }
    }

    pub(super) fn invalid(&self, at: String, why: String) -> SimError {
        SimError::Invalid { name: self.name.clone(), at, why }
    }

    fn hosts(&self, seed: u64) -> Result<Vec<PlannedHost>, SimError> {
        let mut hosts: Vec<PlannedHost> = Vec::new();
        for group in &self.group {
            let bad = |why: String| self.invalid(format!("group {:?}", group.name), why);
            if hosts.len() + group.count as usize > HOSTS_MAX {
                return Err(bad(format!("more than {HOSTS_MAX} hosts")));
            }
            for i in 0..group.count {
                hosts.push(expand_host(group, i, hosts.len(), seed, self.link.kbps).map_err(&bad)?);
            }
        }
        if hosts.is_empty() {
            return Err(self.invalid("group".into(), "there is no host: give a group a count".into()));
        }
        let mut names: Vec<&str> = hosts.iter().map(|h| h.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(self.invalid("group".into(), format!("two hosts are called {:?}", pair[0])));
        }
        if !hosts.iter().any(|host| host.keeper) {
            hosts[0].keeper = true;
        }
        // Those that can be dialled from anywhere come first; where there is none, the first hosts do.
        let public: BTreeSet<HostNo> =
            hosts.iter().filter(|h| h.nat == super::Nat::None).take(ANCHORS).map(|h| h.no).collect();
        for (i, host) in hosts.iter_mut().enumerate() {
            host.anchor = if public.is_empty() { i < ANCHORS } else { public.contains(&host.no) };
        }
        Ok(hosts)
    }

    fn core(&self, hosts: &[PlannedHost], seed: u64) -> BTreeSet<HostNo> {
        let all: Vec<HostNo> = hosts.iter().map(|host| host.no).collect();
        match self.mode {
            Mode::Safety => all.into_iter().collect(),
            Mode::Liveness => {
                let majority = all.len() / 2 + 1;
                Chance::new(seed, "core").choose(&all, majority).into_iter().collect()
            }
        }
    }
}

fn expand_host(group: &Group, i: u32, no: usize, seed: u64, kbps: u64) -> Result<PlannedHost, String> {
    let name = format!("{}-{i}", group.name);
    name.parse::<holm_types::Label>().map_err(|e| e.to_string())?;
    let site = fill_in(&group.site, i)?;
    site.parse::<holm_types::Label>().map_err(|e| e.to_string())?;
    let no = HostNo(u32::try_from(no).map_err(|e| e.to_string())?);
    let [low, high] = group.skew_ms;
    let span = u64::try_from(high.saturating_sub(low)).map_err(|_| "skew_ms: the first is greater than the second")?;
    let drawn = Chance::new(seed, "skew").of(u64::from(no.0)).between(0, span);
    let skew_ms = low.saturating_add(i64::try_from(drawn).unwrap_or(i64::MAX));
    let kbps = group.kbps.unwrap_or(kbps);
    Ok(PlannedHost {
        no,
        name,
        site,
        nat: group.nat,
        relay: group.relay,
        keeper: group.keeper,
        skew_ms,
        kbps,
        anchor: false,
    })
}

/// `{i}`, `{i%4}` and `{i/4}` in the name of a site.
fn fill_in(site: &str, i: u32) -> Result<String, String> {
    if site.len() > SITE_MAX {
        return Err(format!("site: {} letters, at most {SITE_MAX} are read", site.len()));
    }
    let Some((before, rest)) = site.split_once('{') else { return Ok(site.to_owned()) };
    let bad = || format!("site {site:?}: only {{i}}, {{i%N}} and {{i/N}} are known");
    let (what, after) = rest.split_once('}').ok_or_else(bad)?;
    let operand = |text: &str| text.parse::<u32>().ok().filter(|n| *n > 0).ok_or_else(bad);
    let value = match (what, what.strip_prefix("i%"), what.strip_prefix("i/")) {
        ("i", _, _) => i,
        (_, Some(n), _) => i % operand(n)?,
        (_, _, Some(n)) => i / operand(n)?,
        _ => return Err(bad()),
    };
    fill_in(&format!("{before}{value}{after}"), i)
}

fn expand_fault(hosts: &[PlannedHost], fault: &Fault, n: u64, seed: u64) -> Result<Vec<PlannedFault>, String> {
    let mut planned = Vec::new();
    for turn in 0..u64::from(fault.repeat) {
        let every = fault.every.map_or(fault.lasts, |every| every);
        let at = Ms(ms(fault.at).0.saturating_add(ms(every).0.saturating_mul(turn)));
        let id = (n << 16) + turn;
        let one = |id, at, trouble| PlannedFault { id, at, lasts: ms(fault.lasts), trouble };
        if fault.kind == FaultKind::Upgrade {
            // Its hosts go one after another; `every` is from one to the next.
            let every = fault.every.map_or(UPGRADE_EVERY, ms);
            for (k, host) in befallen(hosts, fault, Chance::new(seed, "pick").of(id))?.into_iter().enumerate() {
                let at = Ms(ms(fault.at).0 + every.0 * k as u64);
                planned.push(one((n << 16) + k as u64, at, Trouble::Upgrade { hosts: [host].into() }));
            }
            return Ok(planned);
        }
        planned.push(one(id, at, trouble_of(hosts, fault, Chance::new(seed, "pick").of(id))?));
    }
    Ok(planned)
}

/// The hosts that a fault names, or that are picked for it.
fn befallen(hosts: &[PlannedHost], fault: &Fault, chance: Chance) -> Result<BTreeSet<HostNo>, String> {
    let chosen = match &fault.pick {
        Some(_) if !fault.hosts.is_empty() => return Err("give either `hosts` or `pick`".into()),
        Some(pick) => {
            let group: Vec<HostNo> = select(hosts, std::slice::from_ref(&pick.group))?.into_iter().collect();
            if pick.n as usize > group.len() {
                return Err(format!("it picks {} of {} hosts", pick.n, group.len()));
            }
            chance.choose(&group, pick.n as usize).into_iter().collect()
        }
        None => select(hosts, &fault.hosts)?,
    };
    if chosen.is_empty() {
        return Err("it befalls nobody: give `hosts` or `pick`".into());
    }
    Ok(chosen)
}

fn trouble_of(hosts: &[PlannedHost], fault: &Fault, chance: Chance) -> Result<Trouble, String> {
    let befallen = || befallen(hosts, fault, chance);
    Ok(match fault.kind {
        FaultKind::Partition | FaultKind::Oneway => {
            let mut sides = sides_of(hosts, &fault.sides)?;
            match (fault.kind, fault.oneway) {
                (FaultKind::Partition, false) => Trouble::Partition { sides },
                _ if sides.len() == 2 => {
                    let to = sides.pop().unwrap_or_default();
                    Trouble::Oneway { from: sides.pop().unwrap_or_default(), to }
                }
                _ => return Err("a one-way cut has two sides".into()),
            }
        }
        FaultKind::Crash => Trouble::Crash {
            hosts: befallen()?,
            power_loss: fault.power_loss,
            disk: fault.disk,
            age: fault.age.map_or(STALE_AGE, ms),
        },
        FaultKind::Pause => Trouble::Pause { hosts: befallen()? },
        FaultKind::ClockJump if fault.clock.by_ms == 0 => return Err("say how far: clock = { by_ms = 1000 }".into()),
        FaultKind::ClockJump => {
            Trouble::ClockJump { hosts: befallen()?, by_ms: fault.clock.by_ms, stays: fault.clock.stays }
        }
        FaultKind::LossBurst => Trouble::LossBurst { hosts: befallen()?, loss: fault.loss.unwrap_or(0.2) },
        FaultKind::RelayDown => Trouble::RelayDown { hosts: befallen()? },
        FaultKind::NatRebind => Trouble::NatRebind { hosts: befallen()? },
        FaultKind::SlowDisk => Trouble::SlowDisk { hosts: befallen()?, slow_ms: fault.slow_ms.unwrap_or(500) },
        FaultKind::GossipStorm => Trouble::GossipStorm { hosts: befallen()?, per_s: fault.per_s.unwrap_or(100) },
        FaultKind::Upgrade => Trouble::Upgrade { hosts: befallen()? },
        FaultKind::Reconnect => Trouble::Reconnect { hosts: befallen()? },
        FaultKind::Liar => Trouble::Liar { hosts: befallen()?, per_s: fault.per_s.unwrap_or(20) },
        FaultKind::Revoke => {
            let (hosts, by) = (befallen()?, hosts.first().map_or(HostNo(0), |first| first.no));
            if hosts.contains(&by) {
                return Err("the first host revokes the others, not itself".into());
            }
            Trouble::Revoke { hosts, by }
        }
    })
}

fn sides_of(hosts: &[PlannedHost], sides: &[Vec<String>]) -> Result<Vec<BTreeSet<HostNo>>, String> {
    if sides.len() < 2 {
        return Err("a partition has two sides or more: sides = [[\"edge\"], [\"rest\"]]".into());
    }
    let mut named = BTreeSet::new();
    for side in sides.iter().filter(|side| !is_rest(side)) {
        for host in select(hosts, side)? {
            if !named.insert(host) {
                return Err(format!("host {} is on two sides", host.0));
            }
        }
    }
    let rest = || hosts.iter().map(|host| host.no).filter(|no| !named.contains(no)).collect();
    sides.iter().map(|side| if is_rest(side) { Ok(rest()) } else { select(hosts, side) }).collect()
}

fn is_rest(side: &[String]) -> bool {
    side == ["rest"]
}

fn expand_submit(hosts: &[PlannedHost], submit: &Submit) -> Result<Submission, String> {
    let on = select(hosts, std::slice::from_ref(&submit.on))?;
    let on = *on.first().ok_or("no host is asked")?;
    submit.app.parse::<holm_types::Label>().map_err(|e| e.to_string())?;
    let runs = match (submit.app_kind, submit.crash_after_s) {
        (AppKind::Job, _) => Some(seconds(submit.task_s)),
        (_, crash) => crash.map(seconds),
    };
    let exit_code = if submit.crash_after_s.is_some() && submit.exit_code == 0 { 1 } else { submit.exit_code };
    let request = match submit.kind {
        SubmitKind::Apply => Request::Apply {
            app_kind: submit.app_kind,
            count: submit.count,
            parallel: submit.parallel,
            runs,
            exit_code,
            stops: seconds(submit.stop_s),
            site: submit.site.clone(),
            fenced: submit.fenced,
        },
        SubmitKind::Scale => Request::Scale { count: submit.count },
        SubmitKind::Remove => Request::Remove,
    };
    Ok(Submission { at: ms(submit.at), on, app: submit.app.clone(), request })
}

fn expand_workload(hosts: &[PlannedHost], workload: &Workload, duration: Ms, seed: u64) -> Vec<Submission> {
    const SETTLED: u64 = 5_000;
    let span = duration.0.saturating_sub(SETTLED);
    let count = (workload.submit_per_s.max(0.0) * span as f64 / 1000.0) as u64;
    let draw = |n: u64| {
        let chance = Chance::new(seed, "workload").of(n);
        let at = SETTLED + span * n / count.max(1) + chance.of(1).between(0, 200);
        let at = Ms(at.min(duration.0.saturating_sub(1)));
        let on = hosts[chance.of(2).between(0, hosts.len() as u64 - 1) as usize].no;
        let app = chance.of(3).between(0, u64::from(workload.apps.max(1)) - 1);
        // Of every three apps one is a job.
        let job = app % 3 == 2;
        // The same app is always fenced, or never.
        let fenced = Chance::new(seed, "fenced").of(app).happens(workload.fenced);
        let app = format!("{}-{app}", if job { "job" } else { "web" });
        let request = if chance.of(4).happens(workload.removals) {
            Request::Remove
        } else {
            let [low, high] = workload.task_s.map(|s| seconds(s).0);
            Request::Apply {
                app_kind: if job { AppKind::Job } else { AppKind::Service },
                count: chance.of(5).between(1, if job { 20 } else { 5 }) as u32,
                parallel: job.then_some(8),
                runs: job.then(|| Ms(chance.of(6).between(low, high))),
                exit_code: 0,
                stops: Ms(chance.of(7).between(0, 3) * 1_000),
                site: None,
                fenced,
            }
        };
        Submission { at, on, app, request }
    };
    (0..count.min(EVENTS_MAX as u64)).map(draw).collect()
}
