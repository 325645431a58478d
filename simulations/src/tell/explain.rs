//! A scenario in words: who is there, what happens when, and what is checked.

use super::words::{amount, lasting, list, promise, request, split, time, trouble, who, wrapped};
use crate::{
    outcome::Invariant,
    scenario::{FaultKind, HostNo, Link, Mode, Ms, Nat, Plan, PlannedHost, Scenario},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{Display, Formatter, Result},
};

/// Requests of a steady workload told one by one, at most.
const REQUESTS: usize = 40;

/// What must hold at all times.
const ALWAYS: [Invariant; 12] = [
    Invariant::AcknowledgedIsKept,
    Invariant::DurableBeforeSaid,
    Invariant::OneChangeASequence,
    Invariant::HeadsNeverRegress,
    Invariant::StateNeverGoesBack,
    Invariant::FencedRunsOnce,
    Invariant::HealDisturbsNothing,
    Invariant::RemovedStaysRemoved,
    Invariant::Bounded,
    Invariant::LiesAreRefused,
    Invariant::NodeStarts,
    Invariant::NoPanic,
];

/// What must hold at rest.
const AT_REST: [Invariant; 5] = [
    Invariant::EqualHeads,
    Invariant::EqualViews,
    Invariant::LiveIsAlive,
    Invariant::EachSlotOnce,
    Invariant::NoOrphans,
];

/// A scenario in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Its name.
    pub name: String,
    /// What its author says that it is about.
    pub about: String,
    /// The seed that everything random in it was drawn from.
    pub seed: u64,
    /// The hosts, site by site.
    pub fleet: Vec<String>,
    /// The links.
    pub links: Vec<String>,
    /// What happens when.
    pub timeline: Vec<Moment>,
    /// What comes on top of the timeline: requests left out of it, what is random.
    pub notes: Vec<String>,
    /// What is checked.
    pub checks: Vec<String>,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// When.
    pub at: Ms,
    /// How long it lasts; none for a request.
    pub lasts: Option<Ms>,
    /// Of what kind; none for a request.
    pub fault: Option<FaultKind>,
    /// What, as a sentence.
    pub what: String,
}

/// Tells a scenario with what was drawn for it from a seed.
pub fn explain(scenario: &Scenario, plan: &Plan) -> Explanation {
    let mut timeline: Vec<Moment> = plan
        .faults
        .iter()
        .map(|f| Moment {
            at: f.at,
            lasts: Some(f.lasts),
            fault: Some(f.trouble.kind()),
            what: trouble(plan, &f.trouble),
        })
        .collect();
    let told = plan.submissions.iter().take(REQUESTS);
    timeline.extend(told.map(|s| Moment { at: s.at, lasts: None, fault: None, what: request(plan, s) }));
    timeline.sort_by_key(|moment| moment.at);
    Explanation {
        name: plan.name.clone(),
        about: scenario.about.clone(),
        seed: plan.seed,
        fleet: fleet(plan),
        links: vec![link("between sites", &plan.wan), link("inside a site", &plan.lan)],
        timeline,
        notes: notes(scenario, plan),
        checks: checks(scenario, plan),
    }
}

fn fleet(plan: &Plan) -> Vec<String> {
    // Sites in the order of the plan: `plant-2` comes before `plant-10`.
    let mut place: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sites: Vec<(&str, Vec<&PlannedHost>)> = Vec::new();
    for host in &plan.hosts {
        let place = *place.entry(&host.site).or_insert(sites.len());
        if place == sites.len() {
            sites.push((&host.site, Vec::new()));
        }
        sites[place].1.push(host);
    }
    let mut lines = Vec::new();
    for (site, hosts) in sites {
        let mut names: BTreeMap<(String, String), BTreeSet<HostNo>> = BTreeMap::new();
        for host in hosts {
            let group = split(&host.name).map_or("", |(group, _)| group).to_owned();
            names.entry((group, traits(host, plan.wan.kbps))).or_default().insert(host.no);
        }
        // Named one by one: that they are the whole site is what the line already says.
        let beyond = |which: &BTreeSet<HostNo>| {
            let of: Vec<PlannedHost> = plan.hosts.iter().filter(|h| which.contains(&h.no)).cloned().collect();
            if of.len() <= 6 {
                list(&of.iter().map(|host| host.name.as_str()).collect::<Vec<_>>())
            } else {
                format!("{} hosts, {} to {}", of.len(), of[0].name, of[of.len() - 1].name)
            }
        };
        let groups: Vec<String> = names.iter().map(|((_, traits), which)| beyond(which) + traits).collect();
        lines.push(format!("{site}: {}", groups.join("; ")));
    }
    lines
}

/// What is special about a host.
fn traits(host: &PlannedHost, kbps: u64) -> String {
    let mut traits = String::new();
    match host.nat {
        Nat::None => {}
        Nat::Full => traits += ", behind a full-cone NAT",
        Nat::Cone => traits += ", behind a NAT",
        Nat::Sym => traits += ", behind a symmetric NAT",
    }
    if host.relay {
        traits += ", relaying for others";
    }
    if host.skew_ms.unsigned_abs() >= 1_000 {
        let way = if host.skew_ms < 0 { "slow" } else { "fast" };
        traits += &format!(", clock {} {way}", lasting(Ms(host.skew_ms.unsigned_abs() / 1_000 * 1_000)));
    }
    if host.kbps != kbps {
        traits += &format!(", uplink {} kbit/s", amount(host.kbps));
    }
    traits
}

fn link(where_: &str, link: &Link) -> String {
    let [low, high] = link.latency_ms;
    let mut line = format!("{where_}: {low} to {high} ms one way, {} ms jitter", link.jitter_ms);
    if link.loss > 0.0 {
        line += &format!(", {} % of the packets lost", percent(link.loss));
    }
    line + &format!(", {} kbit/s", amount(link.kbps))
}

fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn notes(scenario: &Scenario, plan: &Plan) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(random) = &scenario.random_faults {
        let n = random.count;
        notes.push(format!(
            "{n} of the faults are random: these are those of seed {}; another seed has others",
            plan.seed
        ));
    }
    if let Some(left) = plan.submissions.len().checked_sub(REQUESTS).filter(|left| *left > 0) {
        notes.push(format!("{left} more requests come until {}", time(plan.duration)));
    }
    if scenario.mode == Mode::Liveness {
        let others = plan.hosts.iter().map(|h| h.no).filter(|no| !plan.core.contains(no)).collect();
        notes.push(format!(
            "faults that befall only {} go on to the end; the others are healed",
            who(&plan.hosts, &others)
        ));
    }
    notes
}

fn checks(scenario: &Scenario, plan: &Plan) -> Vec<String> {
    let mut checks: Vec<String> =
        ALWAYS.iter().map(|invariant| format!("always: {} ({invariant})", promise(*invariant))).collect();
    checks.push(format!(
        "always: a host sends at most {} messages a second, and a document has at most {} bytes",
        amount(plan.messages_per_s),
        amount(plan.document_bytes)
    ));
    let whom = if scenario.mode == Mode::Liveness { "among the healed majority, " } else { "" };
    let by = lasting(plan.converge_within);
    checks.extend(
        AT_REST.iter().map(|i| format!("at rest, {by} after the end at the latest: {whom}{} ({i})", promise(*i))),
    );
    checks.push(format!("of the run itself: {} ({})", promise(Invariant::FaultsFired), Invariant::FaultsFired));
    checks
}

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "{}\n{}\n", self.name, "=".repeat(self.name.chars().count()))?;
        if !self.about.is_empty() {
            writeln!(f, "{}\n", wrapped(&self.about, 100))?;
        }
        for (title, lines) in [("Hosts", &self.fleet), ("Links", &self.links)] {
            writeln!(f, "{title}")?;
            lines.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
            writeln!(f)?;
        }
        writeln!(f, "What happens (seed {})", self.seed)?;
        for moment in &self.timeline {
            let lasts = moment.lasts.filter(|lasts| lasts.0 > 0).map(|l| format!(" (for {})", lasting(l)));
            writeln!(f, "  {:>14}  {}{}", time(moment.at), moment.what, lasts.unwrap_or_default())?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  {:>14}  {note}", ""))?;
        writeln!(f, "\nWhat is checked")?;
        self.checks.iter().try_for_each(|check| writeln!(f, "  {check}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_told_as_a_story() {
        let text = r#"
# A shop loses its line, and power too.
duration = "60s"
[[group]]
name = "cloud"
count = 2
site = "cloud"
relay = true
[[group]]
name = "till"
count = 8
site = "shop"
nat = "cone"
kbps = 512
[[group]]
name = "old"
count = 1
site = "shop"
skew_ms = [-86400000, -86400000]
[[submit]]
at = "5s"
on = "cloud/0"
app = "web"
count = 3
stop_s = 2.0
[[submit]]
at = "6500ms"
on = "till/2"
app = "report"
type = "job"
count = 20
parallel = 4
[[fault]]
at = "20s"
for = "30s"
kind = "partition"
sides = [["site:shop"], ["rest"]]
[[fault]]
at = "25s"
for = "5s"
kind = "crash"
power_loss = true
disk = "stale"
hosts = ["till/0-3"]
"#;
        let scenario = Scenario::parse("shop", text).unwrap();
        insta::assert_snapshot!(explain(&scenario, &scenario.expand(3).unwrap()).to_string());
    }

    #[test]
    fn every_scenario_of_the_library_can_be_told() {
        for scenario in crate::scenario::library().unwrap() {
            let told = explain(&scenario, &scenario.expand(scenario.seed).unwrap());
            assert!(!told.timeline.is_empty(), "{told}");
            assert!(told.timeline.iter().all(|moment| !moment.what.contains("nobody")), "{told}");
        }
    }

    #[test]
    fn every_invariant_is_among_the_checks() {
        let named: BTreeSet<Invariant> = ALWAYS.into_iter().chain(AT_REST).collect();
        assert_eq!(named.len(), ALWAYS.len() + AT_REST.len());
        // Those of the run itself are told apart.
        assert!(!named.contains(&Invariant::FaultsFired) && !named.contains(&Invariant::Deterministic));
    }
}
