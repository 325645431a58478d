//! What a scenario says in numbers has to make sense, or its verdict would blame the product for it.

use super::{Fault, FaultKind, Link, Scenario, Workload};
use crate::SimError;

/// Repetitions of a fault, and faults drawn, at most.
const REPEATS: u32 = 10_000;
/// Messages a second of a storm or a liar, at most.
const RATE: u32 = 10_000;
/// Tasks of a job or replicas, at most; a node takes fewer.
const COUNT: u32 = 100_000;
/// The longest delay of a link, in milliseconds: a minute.
const DELAY_MS: u64 = 60_000;
/// The longest time in seconds: a year.
const YEAR_S: f64 = 366.0 * 24.0 * 3600.0;

/// Why a number makes no sense, in words.
type Sound = Result<(), String>;

impl Scenario {
    /// Refuses numbers and keys that make no sense.
    ///
    /// # Errors
    /// The first of them, and where it stands.
    pub(super) fn check_numbers(&self) -> Result<(), SimError> {
        let at = |part: String| move |why: String| self.invalid(part, why);
        link(&self.link).map_err(at("[link]".into()))?;
        link(&self.lan).map_err(at("[lan]".into()))?;
        for group in &self.group {
            if group.kbps == Some(0) {
                let why = "kbps = 0 lets nothing through: leave the host out, or cut it off with a fault".to_owned();
                return Err(self.invalid(format!("group {:?}", group.name), why));
            }
        }
        self.workload.as_ref().map_or(Ok(()), workload).map_err(at("[workload]".into()))?;
        for (n, submit) in self.submit.iter().enumerate() {
            let times = [
                ("task_s", submit.task_s),
                ("stop_s", submit.stop_s),
                ("crash_after_s", submit.crash_after_s.unwrap_or(0.0)),
            ];
            let times = times.into_iter().try_for_each(|(key, value)| not_negative(key, value));
            let counts =
                || at_most("count", submit.count, COUNT).and_then(|()| at_least_one("parallel", submit.parallel));
            times.and_then(|()| counts()).map_err(at(format!("submit {}", n + 1)))?;
        }
        for (n, fault) in self.fault.iter().enumerate() {
            self::fault(fault).map_err(at(format!("fault {}", n + 1)))?;
        }
        let random = self.random_faults.iter().map(|random| {
            at_least_one("count", Some(random.count))?;
            at_most("count", random.count, REPEATS)?;
            range("lasts_s", random.lasts_s)
        });
        random.collect::<Sound>().map_err(at("[random_faults]".into()))
    }
}

fn link(link: &Link) -> Sound {
    range("latency_ms", link.latency_ms.map(|ms| ms as f64))?;
    if link.latency_ms[1].max(link.jitter_ms) > DELAY_MS {
        return Err(format!("latency_ms and jitter_ms: at most {DELAY_MS}"));
    }
    share("loss", link.loss)?;
    share("gossip_miss", link.gossip_miss)?;
    share("gossip_twice", link.gossip_twice)?;
    if link.kbps == 0 { Err("kbps = 0 lets nothing through: cut the link with a fault".into()) } else { Ok(()) }
}

fn workload(workload: &Workload) -> Sound {
    not_negative("submit_per_s", workload.submit_per_s)?;
    range("task_s", workload.task_s)?;
    share("removals", workload.removals)?;
    share("fenced", workload.fenced)?;
    if workload.apps == 0 { Err("apps = 0: give it one app at least, or leave [workload] out".into()) } else { Ok(()) }
}

fn fault(fault: &Fault) -> Sound {
    fault.loss.map_or(Ok(()), |loss| share("loss", loss))?;
    at_least_one("repeat", Some(fault.repeat))?;
    at_most("repeat", fault.repeat, REPEATS)?;
    fault.per_s.map_or(Ok(()), |per_s| at_most("per_s", per_s, RATE))?;
    at_least_one("per_s", fault.per_s)?;
    at_least_one("slow_ms", fault.slow_ms.map(|ms| u32::try_from(ms).unwrap_or(u32::MAX)))?;
    at_most("slow_ms", fault.slow_ms.map_or(0, |ms| u32::try_from(ms).unwrap_or(u32::MAX)), 3_600_000)?;
    if fault.lasts.0.is_zero() || fault.loss == Some(0.0) {
        return Err("it would do nothing: it lasts no time, or loses nothing".into());
    }
    let kind = fault.kind;
    let cuts = matches!(kind, FaultKind::Partition | FaultKind::Oneway);
    let crash = kind == FaultKind::Crash;
    let given = [
        ("sides", !fault.sides.is_empty(), cuts, "a partition or a oneway cut"),
        ("oneway", fault.oneway, kind == FaultKind::Partition, "a partition"),
        ("hosts", !fault.hosts.is_empty(), !cuts, "another kind: a cut has `sides`"),
        ("pick", fault.pick.is_some(), !cuts, "another kind: a cut has `sides`"),
        ("power_loss", fault.power_loss, crash, "a crash"),
        ("disk", fault.disk != Default::default(), crash, "a crash"),
        ("age", fault.age.is_some(), crash && fault.disk == super::Disk::Stale, "a crash with disk = \"stale\""),
        ("loss", fault.loss.is_some(), kind == FaultKind::LossBurst, "a loss_burst"),
        ("slow_ms", fault.slow_ms.is_some(), kind == FaultKind::SlowDisk, "a slow_disk"),
        (
            "per_s",
            fault.per_s.is_some(),
            matches!(kind, FaultKind::GossipStorm | FaultKind::Liar),
            "a gossip_storm or a liar",
        ),
    ];
    match given.into_iter().find(|(_, given, belongs, _)| *given && !belongs) {
        Some((key, _, _, whose)) => Err(format!("`{key}` belongs to {whose}, and would change nothing here")),
        None => Ok(()),
    }
}

fn share(key: &str, value: f64) -> Sound {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(format!("{key} = {value}: it is a share, from 0.0 to 1.0")) }
}

fn not_negative(key: &str, value: f64) -> Sound {
    if (0.0..=YEAR_S).contains(&value) {
        Ok(())
    } else {
        Err(format!("{key} = {value}: it cannot be less than nothing, or more than a year"))
    }
}

fn at_most(key: &str, value: u32, most: u32) -> Sound {
    if value <= most { Ok(()) } else { Err(format!("{key} = {value}: at most {most}")) }
}

fn at_least_one(key: &str, value: Option<u32>) -> Sound {
    if value == Some(0) { Err(format!("{key} = 0 would do nothing")) } else { Ok(()) }
}

fn range(key: &str, [low, high]: [f64; 2]) -> Sound {
    not_negative(key, low)?;
    not_negative(key, high)?;
    if low <= high { Ok(()) } else { Err(format!("{key} = [{low}, {high}]: the first is greater than the second")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        let head = "# x\nduration = \"30s\"\n[[group]]\nname = \"a\"\ncount = 3\n";
        for (text, place, hint) in [
            ("[link]\nloss = 7", "[link]", "from 0.0 to 1.0"),
            ("[link]\nlatency_ms = [60, 5]", "[link]", "greater"),
            ("[link]\nkbps = 0", "[link]", "nothing through"),
            ("[lan]\ngossip_miss = -0.5", "[lan]", "from 0.0 to 1.0"),
            ("[workload]\nsubmit_per_s = -1.0", "[workload]", "less than nothing"),
            ("[workload]\nsubmit_per_s = nan", "[workload]", "less than nothing"),
            ("[workload]\nsubmit_per_s = 1.0\napps = 0", "[workload]", "one app"),
            ("[workload]\nsubmit_per_s = 1.0\ntask_s = [5.0, 1.0]", "[workload]", "greater"),
            ("[[submit]]\nat = \"1s\"\non = \"a/0\"\napp = \"x\"\nstop_s = -1.0", "submit 1", "stop_s"),
            (
                "[[fault]]\nat = \"1s\"\nfor = \"1s\"\nkind = \"loss_burst\"\nhosts = [\"a\"]\nloss = 30.0",
                "fault 1",
                "share",
            ),
            (
                "[[fault]]\nat = \"1s\"\nfor = \"1s\"\nkind = \"pause\"\nhosts = [\"a\"]\npower_loss = true",
                "fault 1",
                "`power_loss`",
            ),
            (
                "[[fault]]\nat = \"1s\"\nfor = \"1s\"\nkind = \"crash\"\nhosts = [\"a\"]\nage = \"1s\"",
                "fault 1",
                "stale",
            ),
            ("[[fault]]\nat = \"1s\"\nfor = \"1s\"\nkind = \"oneway\"\nhosts = [\"a\"]", "fault 1", "`sides`"),
            (
                "[[fault]]\nat = \"1s\"\nfor = \"1s\"\nkind = \"pause\"\npick = { group = \"a\", n = 4 }",
                "fault 1",
                "4 of 3",
            ),
            ("[[fault]]\nat = \"1s\"\nfor = \"0s\"\nkind = \"pause\"\nhosts = [\"a\"]", "fault 1", "no time"),
            (
                "[[fault]]\nat = \"1s\"\nfor = \"1s\"\nkind = \"pause\"\nhosts = [\"a\"]\nrepeat = 0",
                "fault 1",
                "repeat",
            ),
            (
                "[[fault]]\nat = \"1s\"\nfor = \"1s\"\nkind = \"pause\"\nhosts = [\"a\"]\nrepeat = 4294967295",
                "fault 1",
                "at most",
            ),
            ("[random_faults]\ncount = 4294967295\nkinds = [\"pause\"]", "[random_faults]", "at most"),
            ("[random_faults]\ncount = 0\nkinds = [\"pause\"]", "[random_faults]", "nothing"),
            ("[link]\njitter_ms = 9223372036854775807", "[link]", "at most"),
            ("[[submit]]\nat = \"1s\"\non = \"a/0\"\napp = \"x\"\ntask_s = inf", "submit 1", "task_s"),
            (
                "[[submit]]\nat = \"1s\"\non = \"a/0\"\napp = \"x\"\ntype = \"job\"\nparallel = 0",
                "submit 1",
                "parallel",
            ),
        ] {
            let scenario = Scenario::parse("x", &format!("{head}{text}\n")).unwrap();
            let said = scenario.expand(1).unwrap_err().to_string();
            assert!(said.contains(place) && said.contains(hint), "{text}: {said}");
        }
    }
}
