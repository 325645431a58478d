//! Times, hosts, faults and requests as people say them.

use crate::{
    outcome::Invariant,
    scenario::{AppKind, Disk, HostNo, Ms, Plan, PlannedHost, Request, Submission, Trouble},
};
use std::collections::{BTreeMap, BTreeSet};

/// Names listed one by one, at most.
const NAMES: usize = 6;

/// A moment of the run: `12.3 s`, `4 min 05.0 s`.
pub fn time(at: Ms) -> String {
    let (minutes, rest) = (at.0 / 60_000, at.0 % 60_000);
    let (seconds, tenths) = (rest / 1_000, rest % 1_000 / 100);
    if minutes == 0 { format!("{seconds}.{tenths} s") } else { format!("{minutes} min {seconds:02}.{tenths} s") }
}

/// A span of time, as short as it can be said: `20 s`, `500 ms`, `10 min`.
pub fn lasting(span: Ms) -> String {
    match span.0 {
        86_400_000 => "a day".to_owned(),
        ms if ms >= 86_400_000 && ms % 86_400_000 == 0 => format!("{} days", ms / 86_400_000),
        ms if ms >= 60_000 && ms % 60_000 == 0 => format!("{} min", ms / 60_000),
        ms if ms < 1_000 => format!("{ms} ms"),
        ms if ms >= 3_600_000 => format!("{} h {:02} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
        ms if ms % 1_000 == 0 && ms < 60_000 => format!("{} s", ms / 1_000),
        _ => time(span),
    }
}

/// A number with its thousands apart: `1,234,567`.
pub fn amount(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `a`, `a and b`, `a, b and c`.
pub fn list<T: AsRef<str>>(parts: &[T]) -> String {
    match parts {
        [] => "nobody".to_owned(),
        [one] => one.as_ref().to_owned(),
        [most @ .., last] => {
            let most: Vec<&str> = most.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", most.join(", "), last.as_ref())
        }
    }
}

/// Who these hosts are: by site where they are whole sites, by name otherwise, by number when there are too many.
pub fn who(hosts: &[PlannedHost], which: &BTreeSet<HostNo>) -> String {
    let named: Vec<&PlannedHost> = hosts.iter().filter(|host| which.contains(&host.no)).collect();
    if !named.is_empty() && named.len() == hosts.len() && hosts.len() > 1 {
        return "all hosts".to_owned();
    }
    let mut of_site: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for host in hosts {
        let (all, chosen) = of_site.entry(&host.site).or_default();
        *all += 1;
        *chosen += usize::from(which.contains(&host.no));
    }
    let whole: Vec<&str> = of_site.iter().filter(|(_, (all, chosen))| all == chosen).map(|(site, _)| *site).collect();
    let in_whole: usize = whole.iter().map(|site| of_site[site].0).sum();
    if in_whole == named.len() && named.len() > whole.len() && whole.len() <= NAMES {
        return format!("{} {}", if whole.len() == 1 { "site" } else { "sites" }, list(&whole));
    }
    let ranges = ranges(&named);
    if ranges.len() <= NAMES { list(&ranges) } else { format!("{} of {} hosts", named.len(), hosts.len()) }
}

/// Names in a row of one group as one: `edge-3 to edge-9`.
fn ranges(hosts: &[&PlannedHost]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut rest = hosts;
    while let Some(first) = rest.first() {
        let follows = |pair: &[&PlannedHost]| match (split(&pair[0].name), split(&pair[1].name)) {
            (Some((group, n)), Some((other, m))) => group == other && n.checked_add(1) == Some(m),
            _ => false,
        };
        let row = 1 + rest.windows(2).take_while(|pair| follows(pair)).count();
        if row > 2 {
            out.push(format!("{} to {}", first.name, rest[row - 1].name));
        } else {
            out.extend(rest[..row].iter().map(|host| host.name.clone()));
        }
        rest = &rest[row..];
    }
    out
}

/// The group of a host and its number there.
pub(crate) fn split(name: &str) -> Option<(&str, u32)> {
    let (group, number) = name.rsplit_once('-')?;
    Some((group, number.parse().ok()?))
}

/// The hosts with their verb: `site a loses power`, `a-0 and a-1 lose power`.
struct They {
    who: String,
    one: bool,
}

impl They {
    fn of(plan: &Plan, hosts: &BTreeSet<HostNo>) -> They {
        let who = who(&plan.hosts, hosts);
        let there = plan.hosts.iter().filter(|host| hosts.contains(&host.no)).count();
        They { one: there <= 1 || who.starts_with("site "), who }
    }

    fn verb(&self, one: &str, many: &str) -> String {
        format!("{} {}", self.who, if self.one { one } else { many })
    }
}

/// What a fault does to whom, as a sentence without its full stop.
pub fn trouble(plan: &Plan, trouble: &Trouble) -> String {
    let they = They::of(plan, &trouble.hosts());
    let hosts = &they.who;
    match trouble {
        Trouble::Partition { sides } => cut(plan, sides),
        Trouble::Oneway { from, to } => {
            let all = from.len() + to.len() == plan.hosts.len();
            let others = if all { "the others".to_owned() } else { who(&plan.hosts, to) };
            let sends = They::of(plan, from).verb("sends", "send");
            format!("what {sends} to {others} is lost, the other way is open")
        }
        Trouble::Crash { power_loss: false, .. } => format!("the agent dies on {hosts}, tasks run on"),
        Trouble::Crash { power_loss: true, disk, age, .. } => {
            let back = match disk {
                Disk::Keep => "what was synced is there afterwards".to_owned(),
                Disk::Torn => "some writes are half done afterwards".to_owned(),
                Disk::Wipe => "the disk is empty afterwards".to_owned(),
                Disk::Stale => format!("the disk is a backup afterwards, {} old", lasting(*age)),
            };
            format!("{}, {back}", they.verb("loses power", "lose power"))
        }
        Trouble::Pause { .. } => format!("the agent freezes on {hosts}"),
        Trouble::ClockJump { by_ms, stays, .. } => {
            let far = lasting(Ms(by_ms.unsigned_abs()));
            let (way, after) = (if *by_ms < 0 { "back" } else { "ahead" }, if *stays { ", for good" } else { "" });
            format!("the date on {hosts} jumps {far} {way}{after}")
        }
        Trouble::LossBurst { loss, .. } => format!("{:.0} % of the packets of {hosts} are lost", loss * 100.0),
        Trouble::RelayDown { .. } => they.verb("stops to relay for others", "stop to relay for others"),
        Trouble::NatRebind { .. } => format!("the connections of {hosts} are forgotten by the NAT"),
        Trouble::SlowDisk { slow_ms, .. } => format!("each write on {hosts} takes {} longer", lasting(Ms(*slow_ms))),
        Trouble::GossipStorm { per_s, .. } => {
            format!("{} old gossip {per_s} times a second", they.verb("repeats", "repeat"))
        }
        Trouble::Upgrade { .. } => format!("the agent on {hosts} is replaced by another version, tasks run on"),
        Trouble::Reconnect { .. } => format!("all connections of {hosts} are reset"),
        Trouble::Revoke { .. } => format!("the membership of {hosts} is revoked, for good"),
        Trouble::Liar { per_s, .. } => format!("{}: {per_s} false messages a second", they.verb("lies", "lie")),
    }
}

fn cut(plan: &Plan, sides: &[BTreeSet<HostNo>]) -> String {
    let all: usize = sides.iter().map(BTreeSet::len).sum();
    match sides {
        // Whom it is about comes first: `[["shop"], ["rest"]]`.
        [first, _] if all == plan.hosts.len() => {
            They::of(plan, first).verb("is cut off from the others", "are cut off from the others")
        }
        _ => {
            let sides: Vec<String> = sides.iter().map(|side| who(&plan.hosts, side)).collect();
            format!("{} are cut off from each other", list(&sides))
        }
    }
}

/// A request as a sentence without its full stop.
pub fn request(plan: &Plan, submission: &Submission) -> String {
    let on = plan.hosts.iter().find(|host| host.no == submission.on).map_or("nobody", |host| host.name.as_str());
    let app = &submission.app;
    match &submission.request {
        Request::Remove => format!("{on} is asked to remove {app}"),
        Request::Scale { count } => format!("{on} is asked to scale {app} to {count}"),
        Request::Apply { app_kind, count, parallel, runs, exit_code, stops, site, fenced } => {
            let mut what = match app_kind {
                AppKind::Service => format!("{app}, a service of {count}"),
                AppKind::Daemon => format!("{app}, a daemon on every host"),
                AppKind::Job => format!("{app}, a job of {count} tasks"),
            };
            if let Some(parallel) = parallel {
                what += &format!(", {parallel} at a time");
            }
            match (app_kind, runs) {
                (AppKind::Job, Some(runs)) => what += &format!(", each {}", lasting(*runs)),
                (_, Some(runs)) => what += &format!(", which falls over every {}", lasting(*runs)),
                (_, None) => {}
            }
            if *exit_code != 0 {
                what += &format!(", with exit code {exit_code}");
            }
            if stops.0 > 0 {
                what += &format!(", {} to stop", lasting(*stops));
            }
            if let Some(site) = site {
                what += &format!(", only at {site}");
            }
            if *fenced {
                what += ", fenced";
            }
            format!("{on} is asked to run {what}")
        }
    }
}

/// What an invariant promises, as a sentence.
pub fn promise(invariant: Invariant) -> &'static str {
    match invariant {
        Invariant::AcknowledgedIsKept => "an acknowledged submission never disappears",
        Invariant::DurableBeforeSaid => "what is acknowledged or published is on disk before",
        Invariant::OneChangeASequence => "a writer never uses a sequence number twice",
        Invariant::HeadsNeverRegress => "what a host holds never shrinks, but on a wiped or old disk",
        Invariant::StateNeverGoesBack => "a task's state never goes back",
        Invariant::FencedRunsOnce => "a slot of a fenced app never has two runners",
        Invariant::HealDisturbsNothing => "a heal restarts, moves or duplicates no healthy task",
        Invariant::RemovedStaysRemoved => "nothing removed is started, and what of it runs is stopped",
        Invariant::Bounded => "queues, messages and documents stay within their bounds",
        Invariant::LiesAreRefused => "no node applies what no honest member could have written",
        Invariant::NodeStarts => "a node starts from its disk",
        Invariant::NoPanic => "nothing in a node panics",
        Invariant::EqualHeads => "all replicas are equal",
        Invariant::EqualViews => "all nodes believe the same of all apps",
        Invariant::LiveIsAlive => "no live node is held for dead",
        Invariant::EachSlotOnce => "every slot that can run runs, once",
        Invariant::NoOrphans => "no process is there that nobody wants",
        Invariant::FaultsFired => "every kind of fault that was asked for did something",
        Invariant::Deterministic => "the same plan gives the same run",
    }
}

/// Lines of so many letters, at most, broken between words.
pub(crate) fn wrapped(text: &str, width: usize) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut column = 0;
    for word in text.split_whitespace() {
        let letters = word.chars().count();
        if column > 0 && column + 1 + letters > width {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += letters;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scenario;

    fn plan() -> Plan {
        let text = "duration = \"9s\"\n[[group]]\nname = \"a\"\ncount = 3\nsite = \"x\"\n[[group]]\nname = \"b\"\ncount = 9\nsite = \"y-{i%3}\"";
        Scenario::parse("words", text).unwrap().expand(1).unwrap()
    }

    fn some(numbers: &[u32]) -> BTreeSet<HostNo> {
        numbers.iter().map(|n| HostNo(*n)).collect()
    }

    #[test]
    fn times_and_numbers() {
        let told = [0, 950, 12_345, 65_000, 600_000].map(|ms| (time(Ms(ms)), lasting(Ms(ms))));
        let expected = [
            ("0.0 s", "0 ms"),
            ("0.9 s", "950 ms"),
            ("12.3 s", "12.3 s"),
            ("1 min 05.0 s", "1 min 05.0 s"),
            ("10 min 00.0 s", "10 min"),
        ];
        assert_eq!(told, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        let long = [86_400_000, 2 * 86_400_000, 29_910_923].map(|ms| lasting(Ms(ms)));
        assert_eq!(long, ["a day", "2 days", "8 h 18 min"]);
        assert_eq!([7, 1_000, 123_456, 1_234_567].map(amount), ["7", "1,000", "123,456", "1,234,567"]);
    }

    #[test]
    fn hosts_are_named_as_shortly_as_it_is_clear() {
        let hosts = plan().hosts;
        assert_eq!(who(&hosts, &some(&[0, 1, 2])), "site x");
        assert_eq!(who(&hosts, &some(&[0, 2])), "a-0 and a-2");
        assert_eq!(who(&hosts, &some(&[3, 4, 5, 6])), "b-0 to b-3");
        assert_eq!(who(&hosts, &some(&[3, 6, 9, 0, 1, 2])), "sites x and y-0");
        assert_eq!(who(&hosts, &(0..12).map(HostNo).collect()), "all hosts");
        assert_eq!(who(&hosts, &BTreeSet::new()), "nobody");
    }

    #[test]
    fn a_cut_is_told_of_its_first_side() {
        let plan = plan();
        let rest: BTreeSet<HostNo> = (1..12).map(HostNo).collect();
        let sides = Trouble::Partition { sides: vec![some(&[0]), rest] };
        assert_eq!(trouble(&plan, &sides), "a-0 is cut off from the others");
        let sides = Trouble::Partition { sides: vec![some(&[0]), some(&[1])] };
        assert_eq!(trouble(&plan, &sides), "a-0 and a-1 are cut off from each other");
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("one two three", 7), "one two\nthree");
        assert_eq!(wrapped("", 7), "");
    }
}
