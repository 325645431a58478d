//! How many tasks a second one runner does, beside a bare spawn and wait of the same program in the same
//! process; and what an idle shim weighs. `cargo bench -p holm-exec --profile dev`.

use holm_exec::{Runner, RunnerConfig, RunnerEvent, TaskSpec, folder::TaskFolder};
use holm_types::manifest::RestartPolicy;
use std::{collections::BTreeMap, fs, path::Path, process::Stdio, time::Duration, time::Instant};
use tokio::{process::Command, task::JoinSet};

const TASKS: usize = 2000;
const AT_ONCE: usize = 32;
const PROGRAM: &str = "/bin/true";

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = RunnerConfig::new(dir.path().join("tasks"), env!("CARGO_BIN_EXE_holm-shim"));
    let mut tasks = JoinSet::new();
    let (runner, mut events, _) = Runner::start(config, &mut tasks).await.expect("a runner");

    let bare = bare().await;
    println!("bare spawn+wait   {bare:8.0} a second   ({TASKS} x {PROGRAM}, {AT_ONCE} at once)");
    let mut rate = 0.0;
    for round in 0..2 {
        let start = Instant::now();
        let (mut begun, mut ended) = (0, 0);
        while ended < TASKS {
            while begun < TASKS && begun - ended < AT_ONCE {
                assert!(runner.run(task(&format!("job-{round}-{begun}"), &[PROGRAM])));
                begun += 1;
            }
            match events.recv().await.expect("the runner runs") {
                RunnerEvent::Ended { exit, .. } if exit.success() => ended += 1,
                RunnerEvent::Started { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        rate = TASKS as f64 / start.elapsed().as_secs_f64();
        println!("runner            {rate:8.0} a second   (round {round})");
    }
    println!("ratio             {:8.2}", rate / bare);

    assert!(runner.run(task("idle-0", &["sleep", "1000"])));
    let Some(RunnerEvent::Started { id, .. }) = events.recv().await else { panic!("it did not start") };
    let folder = TaskFolder::new(dir.path().join("tasks").join(id.as_str()));
    let shim = folder.state().expect("readable").expect("a state").shim_pid;
    weigh(shim);
    runner.stop(id);
    while !matches!(events.recv().await, Some(RunnerEvent::Ended { .. }) | None) {}
}

fn task(id: &str, command: &[&str]) -> TaskSpec {
    TaskSpec {
        id: id.parse().expect("a task id"),
        command: command.iter().map(|&word| word.to_owned()).collect(),
        env: BTreeMap::new(),
        restart: RestartPolicy::Never,
        grace: Duration::from_secs(5),
        lease: None,
        max_log_bytes: holm_exec::DEFAULT_MAX_LOG_BYTES,
    }
}

async fn bare() -> f64 {
    let start = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..TASKS {
        if running.len() == AT_ONCE {
            running.join_next().await;
        }
        let mut child = Command::new(PROGRAM).stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("spawned");
        running.spawn(async move { child.wait().await });
    }
    while running.join_next().await.is_some() {}
    TASKS as f64 / start.elapsed().as_secs_f64()
}

fn weigh(pid: u32) {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join(file)).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.split_ascii_whitespace().nth(1).unwrap_or("?").to_owned()
    };
    println!(
        "idle shim         {:>8} kB resident, of which {} kB its own (the rest is shared program text); {} kB proportional",
        field("status", "VmRSS:"),
        field("status", "RssAnon:"),
        field("smaps_rollup", "Pss:"),
    );
}
