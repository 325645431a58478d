//! Scenarios on the real stack over seeds, each run in a process of its own.

use holm_simulations::{
    Invariant, Outcome, Plan,
    scenario::{FaultKind, Ms, library},
};
use holm_swarm::{fleet, refuse};
use std::{
    ops::Range,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

const JOBS: usize = 2;
/// Of the library what takes this layer seconds, not minutes.
const MOST_HOSTS: usize = 12;
const LONGEST: Ms = Ms(100_000);

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_holm-swarm"))
}

fn scenario(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name)
}

/// Runs seeds of a scenario, the first one twice; all must hold.
fn all_hold(name: &str, seeds: Range<u64>) -> Vec<Outcome> {
    let file = scenario(name);
    let results = fleet::run(program(), &file, seeds.clone(), JOBS, |_, _| {});
    assert_eq!(results.len() as u64, seeds.end - seeds.start);
    let outcomes: Vec<Outcome> = results
        .into_iter()
        .map(|(seed, result)| {
            let outcome = result.unwrap_or_else(|why| panic!("{why}\n{}", fleet::replay(&file, seed)));
            assert!(outcome.passed(), "{:#?}\n{}", outcome.violations, fleet::replay(&file, seed));
            outcome
        })
        .collect();
    for (n, outcome) in outcomes.iter().enumerate() {
        let again = outcomes[..n].iter().find(|other| other.trace_hash == outcome.trace_hash);
        assert_eq!(again.map(|other| other.seed), None, "two seeds, one run: {}", outcome.seed);
    }
    outcomes
}

#[test]
fn both_sides_of_a_split_take_deployments_and_merge() {
    for outcome in all_hold("split-plant.toml", 0..8) {
        assert_eq!(outcome.counters["acknowledged"], 3);
        assert!(outcome.counters["link_held"] > 0, "the cut held something back");
        assert!(outcome.timeline.samples.iter().any(|sample| sample.parts == 2));
    }
}

#[test]
fn a_rough_day_ends_in_rest() {
    for outcome in all_hold("rough-day.toml", 0..10) {
        let kinds: Vec<FaultKind> = outcome.fired.keys().copied().collect();
        assert!(kinds.len() == 9 && kinds.contains(&FaultKind::Crash), "{kinds:?}");
    }
}

#[test]
fn gateways_behind_routers_stay_in_the_mesh() {
    for outcome in all_hold("behind-nat.toml", 0..4) {
        assert!(outcome.counters["link_unheard"] > 0, "a router let somebody in");
    }
}

#[test]
fn disks_that_tear_age_and_are_wiped_and_tasks_that_fall_over_come_to_rest() {
    for outcome in all_hold("old-backup.toml", 0..2) {
        assert_eq!(outcome.fired[&FaultKind::Crash], 3);
        assert!(outcome.counters["restarts_in_place"] > 2, "a task fell over");
    }
}

/// What a fleet owner fears is one library for both layers: whatever of it this layer can express holds here too.
#[test]
fn the_library_holds_on_the_real_stack() {
    let plans: Vec<Plan> = library().unwrap().iter().map(|scenario| scenario.expand(scenario.seed).unwrap()).collect();
    let expressible = |plan: &&Plan| refuse(plan).is_ok() && plan.hosts.len() <= MOST_HOSTS && plan.duration <= LONGEST;
    let plans: Vec<&Plan> = plans.iter().filter(expressible).collect();
    assert!(plans.len() >= 14, "{} of the library can be run", plans.len());
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let work = || {
        while let Some(plan) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
            match fleet::run_plan(program(), plan) {
                Ok(outcome) if outcome.passed() => {}
                Ok(outcome) => wrong.lock().unwrap().push(format!("{}: {:#?}", plan.name, outcome.violations)),
                Err(why) => wrong.lock().unwrap().push(format!("{}: {why}", plan.name)),
            }
        }
    };
    std::thread::scope(|scope| (0..JOBS).for_each(|_| drop(scope.spawn(work))));
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// One seed is one run, whatever else the machine does: four processes at once, on fewer processors, go the same way
/// as one alone.
#[test]
fn a_seed_is_one_run_alone_and_under_load() {
    let hash = || {
        let mut command = Command::new(program());
        command.arg("one").arg(scenario("split-plant.toml")).args(["--seed", "77"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Outcome>(&output.stdout).unwrap().trace_hash
    };
    let alone = hash();
    let crowd: Vec<u64> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(hash)).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert_eq!(crowd, [alone; 4]);
}

/// The judges of the layer `des` look on here too, all the time: what they are to find is committed on purpose.
#[test]
fn deliberate_bugs_are_found_by_the_continuous_judges() {
    let bugs = [
        ("an acknowledgement comes before the disk", Invariant::DurableBeforeSaid),
        ("a restored disk counts on from what it knows", Invariant::OneChangeASequence),
    ];
    for (bug, invariant) in bugs {
        let mut command = Command::new(program());
        command.arg("one").arg(scenario("old-backup.toml")).args(["--seed", "1", "--bug", bug]);
        let output = command.output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{bug}: {words}");
        let outcome: Outcome = serde_json::from_slice(&output.stdout).unwrap();
        let seen: Vec<Invariant> = outcome.violations.iter().map(|violation| violation.invariant).collect();
        assert!(seen.contains(&invariant), "{bug}: {seen:?}");
    }
}

#[test]
fn what_this_layer_does_not_do_is_refused_by_name() {
    for (fault, word) in [("liar", "liar"), ("gossip_storm", "gossip_storm"), ("relay_down", "relay_down")] {
        let text = format!(
            "duration = \"10s\"\n[[group]]\nname = \"n\"\ncount = 2\nrelay = true\n[[fault]]\nat = \"1s\"\nfor = \"1s\"\nkind = \"{fault}\"\nhosts = [\"n/0\"]\n"
        );
        let file = std::env::temp_dir().join(format!("holm-swarm-{}-{fault}.toml", std::process::id()));
        std::fs::write(&file, text).unwrap();
        let output = Command::new(program()).arg("one").arg(&file).output().unwrap();
        std::fs::remove_file(&file).unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && words.contains(word) && words.contains("layer des"), "{words}");
    }
}
