//! Tasks outlive the agent.

mod host;

use holm_exec::{FoundState, LogCursor, Stream};
use holm_types::{TaskId, manifest::RestartPolicy};
use host::{Host, alive, eventually, script, task};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    time::Duration,
};

#[tokio::test]
async fn an_agent_that_comes_back_takes_its_task_up_where_it_is() {
    let mut host = Host::new().await;
    let go = tempfile::tempdir().expect("a folder");
    let gate = go.path().join("go");
    let id = host.run(script(
        "svc-0",
        &format!("echo before; while [ ! -e {} ]; do sleep 0.01; done; echo after; exec sleep 1000", gate.display()),
    ));
    let (pid, ..) = host.started().await;
    host.says(&id, "before").await;
    let (_, cursor) = host.runner.read_logs(&id, Stream::Stdout, LogCursor::START, 100).await.expect("logs");

    let mut host = host.crash().await.restart().await;
    let FoundState::Alive { pid: found, restarts: 0, .. } = host.found[0].state else { panic!("{:?}", host.found) };
    assert_eq!(found, pid);
    assert_eq!(host.started().await, (pid, 0, true));
    fs::write(gate, "").expect("written");
    host.says(&id, "after").await;
    let (more, _) = host.runner.read_logs(&id, Stream::Stdout, cursor, 100).await.expect("logs");
    assert_eq!(more, b"after\n");
    host.run(task("svc-0", &["true"]));
    host.runner.stop(id);
    assert_eq!(host.ended().await.exit.code, 143);
    assert_eq!(host.runner.counters().duplicate_runs, 1);
}

#[tokio::test]
async fn a_task_that_ended_meanwhile_is_found_with_its_word() {
    let host = Host::new().await;
    let go = tempfile::tempdir().expect("a folder");
    let gate = go.path().join("go");
    let text = format!("while [ ! -e {} ]; do sleep 0.01; done; echo late; exit 9", gate.display());
    let once = host.run(script("once-0", &text));
    let again = host.run({
        let mut spec = script("again-0", &text);
        spec.restart = RestartPolicy::OnFailure;
        spec
    });
    let mut host = host;
    host.started().await;
    host.started().await;
    let crashed = host.crash().await;
    fs::write(&gate, "").expect("written");
    for id in [&once, &again] {
        eventually(async || crashed.folder(id).exit().expect("readable").is_some()).await;
    }

    let mut host = crashed.restart().await;
    for found in &host.found {
        let FoundState::Exited { exit, output, restarts: 0, will_restart_in } = &found.state else {
            panic!("{found:?}")
        };
        assert_eq!((exit.code, output.as_slice()), (9, b"late\n".as_slice()));
        assert_eq!(will_restart_in.is_some(), found.spec.id == again);
    }
    assert_eq!(host.found.len(), 2);
    let (_, restarts, adopted) = host.started().await;
    assert_eq!((restarts, adopted), (1, false));
    assert_eq!(host.ended().await.output, "late\n");
    // The count goes on in the next life.
    let host = host.crash().await.restart().await;
    let states = host.found.iter().filter(|f| f.spec.id == again).map(|f| &f.state);
    for state in states {
        assert!(matches!(
            state,
            FoundState::Exited { restarts: 1.., .. } | FoundState::Alive { restarts: 1.., .. } | FoundState::Gone
        ));
    }
    host.runner.stop(again);
}

#[tokio::test]
async fn a_stop_goes_on_in_the_next_life() {
    let mut host = Host::new().await;
    let mut spec = script("stubborn-0", "trap '' TERM; echo ready; while :; do sleep 0.1; done");
    spec.restart = RestartPolicy::Always;
    spec.grace = Duration::from_millis(1500);
    let id = host.run(spec);
    host.says(&id, "ready").await;
    host.runner.stop(id.clone());
    eventually(async || host.folder(&id).progress().expect("readable").stopping).await;
    let (pid, ..) = host.started().await;

    let mut host = host.crash().await.restart().await;
    assert!(matches!(host.found[0].state, FoundState::Alive { .. }));
    let end = host.ended().await;
    assert_eq!((end.exit.code, end.will_restart_in), (137, None));
    assert!(!alive(pid));
    let host = host.crash().await.restart().await;
    assert!(matches!(host.found[0].state, FoundState::Exited { will_restart_in: None, .. }));
}

#[tokio::test]
async fn a_task_that_left_no_word_is_gone_and_can_be_run_again() {
    let mut host = Host::new().await;
    let id = host.run(task("gone-0", &["sleep", "1000"]));
    let (pid, ..) = host.started().await;
    let shim = host.state(&id).shim();
    let crashed = host.crash().await;
    assert!(shim.signal_process(Signal::SIGKILL));
    eventually(async || !shim.is_alive()).await;

    let mut host = crashed.restart().await;
    assert_eq!(host.found[0].state, FoundState::Gone);
    assert!(!alive(pid), "a command without a shim runs unwatched");
    host.run(task("gone-0", &["true"]));
    assert_eq!(host.started().await.1, 1);
    assert_eq!(host.ended().await.exit.code, 0);
}

#[tokio::test]
async fn a_stranger_with_the_same_number_is_left_alone() {
    let mut host = Host::new().await;
    let id = host.run(task("reused-0", &["true"]));
    host.ended().await;
    let mut state = host.state(&id);
    let crashed = host.crash().await;
    let mut stranger = Command::new("sleep").arg("1000").process_group(0).spawn().expect("a stranger");
    let start = holm_exec::proc::start_ticks(stranger.id()).expect("there");
    (state.shim_pid, state.pid) = (stranger.id(), stranger.id());
    (state.shim_start, state.start) = (start - 1, start - 1);
    let folder = crashed.folder(&id);
    folder.write_state(&state).expect("written");
    fs::remove_file(folder.path().join("exit.json")).expect("removed");

    let host = crashed.restart().await;
    assert_eq!(host.found[0].state, FoundState::Gone);
    host.runner.stop(id);
    assert!(stranger.try_wait().expect("waited").is_none());
    stranger.kill().expect("killed");
    stranger.wait().expect("waited");
}

#[tokio::test]
async fn broken_folders_and_trash_are_removed_and_strange_files_left_alone() {
    let mut host = Host::new().await;
    let good = host.run(task("good-0", &["true"]));
    host.ended().await;
    let bad = host.run(task("bad-0", &["true"]));
    host.ended().await;
    let running = host.run(task("running-0", &["sleep", "1000"]));
    let (pid, ..) = host.started().await;
    let crashed = host.crash().await;
    fs::write(crashed.folder(&running).spec_path(), "{ torn").expect("written");
    fs::write(crashed.folder(&bad).spec_path(), "{ torn").expect("written");
    fs::create_dir_all(crashed.config.dir.join(".trash-1-1/work")).expect("made");
    fs::write(crashed.config.dir.join("README"), "mine").expect("written");

    let host = crashed.restart().await;
    let found: Vec<&TaskId> = host.found.iter().map(|f| &f.spec.id).collect();
    assert_eq!(found, [&good]);
    assert!(!host.folder(&bad).path().exists() && !host.folder(&running).path().exists());
    assert!(!alive(pid), "nobody could stop it any more");
    let dir = host.folder(&good).path().parent().expect("a parent").to_owned();
    assert!(!dir.join(".trash-1-1").exists() && dir.join("README").exists());
}

const AGENT_DIR: &str = "HOLM_EXEC_TEST_AGENT_DIR";

/// Not a test: the agent that the next one kills.
#[tokio::test]
#[ignore = "it is the agent process of agent_killed_with_its_whole_process_group"]
async fn agent() {
    let Ok(dir) = std::env::var(AGENT_DIR) else { return };
    let mut host = Host::with(|c| c.dir = dir.into()).await;
    host.run(task("child-0", &["sleep", "1000"]));
    let (pid, ..) = host.started().await;
    println!("started={pid}");
    std::future::pending().await
}

#[tokio::test]
async fn agent_killed_with_its_whole_process_group() {
    let host = Host::new().await.crash().await;
    let mut agent = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "agent", "--ignored", "--nocapture"])
        .env(AGENT_DIR, &host.config.dir)
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn()
        .expect("an agent");
    let lines = BufReader::new(agent.stdout.take().expect("its output")).lines();
    let pid: u32 = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("started=").and_then(|(_, pid)| pid.trim().parse().ok()))
        .expect("a task");
    // A Ctrl-C in its terminal, and the power button.
    let group = Pid::from_raw(agent.id() as i32);
    killpg(group, Signal::SIGINT).expect("sent");
    let _ = killpg(group, Signal::SIGKILL);
    agent.wait().expect("waited");

    let mut host = host.restart().await;
    assert_eq!(host.started().await, (pid, 0, true));
    host.runner.stop(host.found[0].spec.id.clone());
    assert_eq!(host.ended().await.exit.code, 143);
}
