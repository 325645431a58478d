//! The program as a user types it: a failure is found, replayed with the command that it prints, and shrunk.

use holm_simulations::{Options, Scenario};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// A fault that cannot do anything (nobody here is behind a NAT) among three that can: the run has to fail, and the
/// other faults have nothing to do with it.
const BOUND_TO_FAIL: &str = r#"
# A router forgets connections that do not exist.
duration = "25s"

[[group]]
name = "node"
count = 4
site = "plant-{i%2}"

[[submit]]
at = "4s"
on = "node/0"
app = "web"
count = 2

[[fault]]
at = "8s"
for = "3s"
kind = "partition"
sides = [["node/0"], ["rest"]]

[[fault]]
at = "12s"
for = "1s"
kind = "nat_rebind"
hosts = ["node/1"]

[[fault]]
at = "14s"
for = "2s"
kind = "pause"
hosts = ["node/2"]

[[fault]]
at = "18s"
for = "2s"
kind = "crash"
hosts = ["node/3"]
"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("bound to fail.toml"), BOUND_TO_FAIL).expect("a scenario");
    folder
}

fn run(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_holm-sim")).args(args).current_dir(folder).output().expect("holm-sim runs")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(output)))
}

fn exit(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

#[test]
fn a_failure_is_found_replayed_and_shrunk() {
    let folder = folder();
    let found = run(folder.path(), &["run", "bound to fail.toml", "--seeds", "3..6", "--jobs", "2", "-o", "json"]);
    assert_eq!(exit(&found), 1, "{}", text(&found));
    assert!(found.stderr.is_empty(), "no progress where nobody looks on");
    let found = json(&found);
    let failure = &found["failures"][0];
    assert_eq!((failure["invariant"].as_str(), failure["seed"].as_u64()), (Some("faults-fired"), Some(3)));
    assert_eq!((found["runs"].as_u64(), found["ran_twice"].as_u64()), (Some(3), Some(1)));
    let hash = found["seeds"][0]["trace_hash"].as_str().expect("a hash");

    // The command goes through a shell, as it would for a person.
    let command = format!("{} --events -o json", failure["replay"].as_str().expect("a command"));
    let again = Command::new("sh").args(["-c", &command]).current_dir(folder.path()).output().expect("a shell");
    assert_eq!(exit(&again), 1, "{command}: {}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(json(&again)["trace_hash"], hash, "the same run");
    assert!(json(&again)["events"].as_array().expect("events").len() > 20);

    // So does the plan that was left.
    let plan = "holm-sim-report/bound_to_fail-seed3.plan.json";
    let again = run(folder.path(), &["replay", plan, "-o", "json"]);
    assert_eq!((exit(&again), &json(&again)["same_as_recorded"]), (1, &Value::Bool(true)));
    for file in ["report.html", "report.txt", "report.json", "bound_to_fail-seed3.events.txt"] {
        assert!(folder.path().join("holm-sim-report").join(file).metadata().is_ok_and(|f| f.len() > 0), "{file}");
    }

    let shrunk = run(folder.path(), &["shrink", plan, "--budget", "100,5m", "-o", "json"]);
    assert_eq!(exit(&shrunk), 0, "{}", String::from_utf8_lossy(&shrunk.stderr));
    let shrunk = json(&shrunk);
    assert_eq!((&shrunk["before"]["faults"], &shrunk["after"]["faults"]), (&4.into(), &1.into()), "{shrunk}");
    assert_eq!((&shrunk["after"]["requests"], &shrunk["complete"]), (&0.into(), &true.into()), "{shrunk}");
    let small = shrunk["plan"].as_str().expect("a plan file");
    let again = run(folder.path(), &["replay", small, "-o", "json"]);
    assert_eq!((&json(&again)["trace_hash"], exit(&again)), (&shrunk["trace_hash"], 1));
    // What is left is told as a scenario, which fails in the same way with the seed that it names.
    let retold = shrunk["retold"].as_str().expect("a scenario");
    let again = json(&run(folder.path(), &["replay", retold, "-o", "json"]));
    assert_eq!(again["violations"][0]["invariant"], "faults-fired");
}

#[test]
fn what_passes_is_said_and_leaves_nothing_behind() {
    let folder = folder();
    let passed = run(folder.path(), &["run", "split_plant", "--seed", "5"]);
    assert_eq!(exit(&passed), 0, "{}", text(&passed));
    assert!(text(&passed).starts_with("split_plant: 1 run, passed"), "{}", text(&passed));
    assert!(!folder.path().join("holm-sim-report").exists());
    let nothing = run(folder.path(), &["shrink", "split_plant", "--seed", "5"]);
    assert_eq!(exit(&nothing), 1);
    assert!(text(&nothing).contains("there is nothing to shrink"), "{}", text(&nothing));
}

#[test]
fn a_replay_can_be_broken_off() {
    let folder = folder();
    let until = run(folder.path(), &["replay", "bound to fail.toml", "--until", "9s", "--events"]);
    assert_eq!(exit(&until), 0, "the end was not looked at");
    let lines = text(&until);
    assert!(lines.contains("fault         node-0 is cut off from the others (for 3 s)"), "{lines}");
    assert!(lines.contains("broken off at 9.0 s") && !lines.contains("00:10."), "{lines}");
}

#[test]
fn an_end_in_time_is_kept_and_the_first_failure_stops_a_run_without_end() {
    let folder = folder();
    let soak = run(folder.path(), &["run", "bound to fail.toml", "--seeds", "0..", "--fail-fast", "-o", "json"]);
    assert_eq!(exit(&soak), 1);
    assert!(json(&soak)["runs"].as_u64().expect("a number") < 100);
    let soak = run(folder.path(), &["run", "split_plant", "--seeds", "0..", "--for", "500ms", "--jobs", "1"]);
    assert_eq!(exit(&soak), 0, "{}", text(&soak));
}

#[test]
fn a_run_without_end_that_is_interrupted_tells_what_it_found() {
    let folder = folder();
    let child = Command::new(env!("CARGO_BIN_EXE_holm-sim"))
        .args(["run", "two_nodes_lose_each_other", "--seeds", "0..", "--jobs", "1", "-o", "json"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("holm-sim runs");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !runs(child.id()) {
        assert!(Instant::now() < deadline, "it never begins");
        std::thread::yield_now();
    }
    let pid = i32::try_from(child.id()).expect("a process id");
    kill(Pid::from_raw(pid), Signal::SIGINT).expect("a signal");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(exit(&output), 0, "{}", text(&output));
    let told = json(&output);
    assert!(told["runs"].is_u64() && told["failed"] == 0, "{told}");
}

/// Whether it has begun a run: it has a second thread, and listens for Ctrl-C since before.
fn runs(process: u32) -> bool {
    std::fs::read_dir(format!("/proc/{process}/task")).is_ok_and(|threads| threads.count() > 1)
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    let folder = folder();
    let told = |args: &[&str], expected: &str| {
        let output = run(folder.path(), args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(exit(&output), 3, "{args:?}: {said}");
        assert!(said.contains(expected) && output.stdout.is_empty(), "{args:?}: {said}");
    };
    told(&[], "Usage");
    told(&["run", "split-plant"], "Did you mean split_plant?");
    told(&["run", "missing.toml"], "missing.toml");
    told(&["run", "split_plant", "--seeds", "9..3"], "holds no seed");
    told(&["replay", "missing.plan.json"], "missing.plan.json");
    std::fs::write(folder.path().join("odd.toml"), "duration = \"9s\"\nspeed = 3\n").expect("a file");
    told(&["explain", "odd.toml"], "line 2");
    std::fs::write(folder.path().join("odd.json"), "{}").expect("a file");
    told(&["replay", "odd.json"], "not a plan that holm-sim wrote");
}

/// The layer `swarm` is another program. Here a stand-in speaks for it: it keeps the plan that it is given, and
/// answers with the outcome of a run of `des`.
#[test]
fn a_plan_of_the_layer_swarm_goes_to_its_own_program() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("both.toml"), format!("backend = \"swarm\"\n{BOUND_TO_FAIL}")).expect("a file");
    let scenario = Scenario::load(&at("both.toml")).expect("a scenario");
    let outcome = holm_simulations::run(&scenario.expand(3).expect("a plan"), Options::default()).expect("an outcome");
    std::fs::write(at("outcome"), serde_json::to_vec(&outcome).expect("text")).expect("a file");
    let stand_in = |script: &str| {
        std::fs::write(at("stand-in"), format!("#!/bin/sh\n{script}\n")).expect("a file");
        std::fs::set_permissions(at("stand-in"), std::fs::Permissions::from_mode(0o755)).expect("a program");
    };
    let asked = |program: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holm-sim"));
        command.args(["run", "both.toml", "--seed", "3", "-o", "json"]).current_dir(folder.path());
        command.env("HOLM_SWARM", at(program)).output().expect("holm-sim runs")
    };

    stand_in("cat >plan.json; echo \"$@\" >arguments; cat outcome");
    let answered = asked("stand-in");
    assert_eq!(exit(&answered), 1, "{}", String::from_utf8_lossy(&answered.stderr));
    assert_eq!(json(&answered)["failures"][0]["invariant"], "faults-fired");
    let plan: Value = serde_json::from_slice(&std::fs::read(at("plan.json")).expect("a plan")).expect("JSON");
    assert_eq!((&plan["backend"], &plan["seed"]), (&"swarm".into(), &3.into()));
    assert_eq!(std::fs::read_to_string(at("arguments")).expect("arguments"), "one -\n");

    stand_in("echo 'this layer has no liars' >&2; exit 1");
    let refused = asked("stand-in");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(exit(&refused) == 3 && words.contains("both: holm-swarm ended") && words.contains("no liars"), "{words}");
    let missing = asked("nowhere");
    assert!(String::from_utf8_lossy(&missing.stderr).contains("nowhere: no such file"));
}

#[test]
fn the_library_is_listed_and_explained() {
    let folder = folder();
    let listed = json(&run(folder.path(), &["list", "-o", "json"]));
    let listed = listed.as_array().expect("a list");
    assert!(listed.len() >= 15);
    assert!(listed.iter().all(|row| row["title"].as_str().is_some_and(|title| title.len() > 10)), "{listed:?}");
    let told = text(&run(folder.path(), &["explain", "split_plant"]));
    assert!(told.contains("line-0 to line-2 are cut off from the others (for 35 s)"), "{told}");
    let told = json(&run(folder.path(), &["explain", "split_plant", "-o", "json"]));
    assert_eq!(told["timeline"][1]["fault"], "partition", "{told}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let folder = folder();
    let command = format!("'{}' replay split_plant --events | head -1", env!("CARGO_BIN_EXE_holm-sim"));
    let read = Command::new("sh").args(["-c", &command]).current_dir(folder.path()).output().expect("a shell");
    assert_eq!((text(&read).lines().count(), String::from_utf8_lossy(&read.stderr).as_ref()), (1, ""));
}
