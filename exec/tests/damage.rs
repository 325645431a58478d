//! Damaged folders of tasks that still run, and supervisors that are killed: never two of a task, never an orphan,
//! never a loop, and no delay.

mod host;

use holm_exec::{ExecError, FoundState, Runner, Stream, proc::Process};
use holm_types::{TaskId, manifest::RestartPolicy};
use host::{Crashed, Host, alive, eventually, marked, script, task};
use nix::sys::signal::Signal;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

/// A start takes milliseconds; what is far below the ten seconds of a wait is none, also on a loaded host.
const NO_DELAY: Duration = Duration::from_secs(3);

/// What may happen to a file.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Remove,
    Empty,
    Truncate,
    Garble,
    Unreadable,
    Pipe,
    Folder,
}

const EVERY_HARM: [Harm; 7] =
    [Harm::Remove, Harm::Empty, Harm::Truncate, Harm::Garble, Harm::Unreadable, Harm::Pipe, Harm::Folder];

impl Harm {
    fn inflict(self, path: &Path) {
        let content = fs::read(path).unwrap_or_default();
        let _ = fs::remove_file(path);
        match self {
            Harm::Remove => {}
            Harm::Empty => fs::write(path, "").expect("written"),
            Harm::Truncate => fs::write(path, &content[..content.len() / 2]).expect("written"),
            Harm::Garble => fs::write(path, [b'{', 0xff, 0, b'7']).expect("written"),
            // Root reads what nobody may; a link to itself nobody can.
            Harm::Unreadable => std::os::unix::fs::symlink(path, path).expect("a link"),
            Harm::Pipe => nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe"),
            Harm::Folder => fs::create_dir(path).expect("a folder"),
        }
    }
}

/// A service with a daemon that left its group and session.
const SERVICE: &str = "setsid sleep 1000 & echo ready; exec sleep 1000";

/// Waits until the `count` processes of a task are what they are going to be, and returns them: in the middle of an
/// exec one shows no mark, so that a later look may miss it.
async fn settled(folder: &holm_exec::folder::TaskFolder, count: usize) -> Vec<Process> {
    let sleeps =
        |process: &Process| fs::read(format!("/proc/{}/cmdline", process.pid)).is_ok_and(|c| c.starts_with(b"sleep"));
    let mut seen = Vec::new();
    eventually(async || {
        seen = marked(folder);
        seen.len() == count && seen.iter().all(sleeps)
    })
    .await;
    seen
}

/// An agent that crashed beside one such service, and beside another that nothing happens to.
async fn crashed_beside(name: &str) -> (Crashed, TaskId, u32, u32) {
    let mut host = Host::new().await;
    let mut spec = script(name, SERVICE);
    spec.restart = RestartPolicy::Always;
    let id = host.run(spec);
    let (pid, ..) = host.started().await;
    host.says(&id, "ready").await;
    host.run(task("bystander-0", &["sleep", "1000"]));
    let (bystander, ..) = host.started().await;
    let crashed = host.crash().await;
    settled(&crashed.folder(&id), 2).await;
    (crashed, id, pid, bystander)
}

async fn restart_in_time(crashed: Crashed) -> Host {
    let start = Instant::now();
    let host = crashed.restart().await;
    assert!(start.elapsed() < NO_DELAY, "the start took {:?}", start.elapsed());
    host
}

/// Started again it runs, once, and can be stopped; then nothing is left of it.
async fn runs_once(host: &mut Host, id: &TaskId) {
    host.run(script(id.as_str(), SERVICE));
    loop {
        let (pid, _, adopted) = host.started().await;
        if !adopted {
            assert!(alive(pid));
            break;
        }
    }
    eventually(async || marked(&host.folder(id)).len() == 2).await;
    host.runner.stop(id.clone());
    host.ended().await;
    assert_eq!(marked(&host.folder(id)), []);
}

#[tokio::test]
async fn a_running_task_without_a_readable_state_is_adopted() {
    for harm in EVERY_HARM {
        let (crashed, id, pid, bystander) = crashed_beside("svc-0").await;
        let before = marked(&crashed.folder(&id));
        harm.inflict(&crashed.folder(&id).path().join("state.json"));
        let mut host = restart_in_time(crashed).await;
        let found = host.found.iter().find(|f| f.spec.id == id).expect("it is there");
        assert!(matches!(found.state, FoundState::Alive { pid: of, .. } if of == pid), "{harm:?}: {found:?}");
        let FoundState::Alive { started_at, .. } = found.state else { panic!() };
        assert!(holm_exec::host_clock().0.abs_diff(started_at.0) < 60_000, "{harm:?}: {started_at:?}");
        assert_eq!(marked(&host.folder(&id)), before, "{harm:?}: nothing was touched");
        assert_eq!((host.runner.counters().damaged_folders, host.runner.counters().stray_processes), (1, 0));
        // It is under control again: a stop ends all of it.
        host.runner.stop(id.clone());
        assert_eq!(host.ended().await.exit.code, 143);
        assert_eq!(marked(&host.folder(&id)), []);
        assert!(alive(bystander), "{harm:?}");
    }
}

#[tokio::test]
async fn a_running_task_whose_folder_does_not_say_what_it_is_is_killed_and_starts_again_once() {
    for harm in EVERY_HARM {
        for also_state in [false, true] {
            let (crashed, id, pid, bystander) = crashed_beside("svc-0").await;
            harm.inflict(&crashed.folder(&id).spec_path());
            if also_state {
                harm.inflict(&crashed.folder(&id).path().join("state.json"));
            }
            let mut host = restart_in_time(crashed).await;
            assert!(!alive(pid), "{harm:?}");
            assert_eq!(marked(&host.folder(&id)), [], "{harm:?}: an orphan");
            assert!(host.found.iter().all(|found| found.spec.id != id));
            let counters = host.runner.counters();
            // The shim, the command and the daemon.
            assert_eq!((counters.damaged_folders, counters.stray_processes), (1, 3), "{harm:?}");
            if !matches!(harm, Harm::Unreadable | Harm::Folder) {
                runs_once(&mut host, &id).await;
            }
            assert!(alive(bystander), "{harm:?}");
        }
    }
}

#[tokio::test]
async fn a_running_task_without_any_folder_is_killed() {
    let (crashed, id, pid, bystander) = crashed_beside("svc-0").await;
    fs::remove_dir_all(crashed.folder(&id).path()).expect("removed");
    let mut host = restart_in_time(crashed).await;
    assert!(!alive(pid) && alive(bystander));
    runs_once(&mut host, &id).await;
}

#[tokio::test]
async fn two_of_a_task_are_both_killed() {
    let (crashed, id, pid, bystander) = crashed_beside("svc-0").await;
    let folder = crashed.folder(&id);
    let mark = folder.launch_file().expect("readable").mark;
    let mut second = std::process::Command::new(host::shim());
    let mut second = second.arg(folder.path()).env_clear().env("HOLM_SHIM", &mark).spawn().expect("a second shim");
    eventually(async || marked(&folder).len() == 4).await;
    let mut host = restart_in_time(crashed).await;
    second.wait().expect("it was killed");
    assert!(!alive(pid) && alive(bystander));
    assert_eq!(host.found.iter().find(|f| f.spec.id == id).map(|f| &f.state), Some(&FoundState::Gone));
    runs_once(&mut host, &id).await;
}

#[tokio::test]
async fn what_still_runs_of_a_task_is_killed_before_it_starts_again() {
    let mut host = Host::new().await;
    let id = host.run(script("svc-0", "[ -e once ] && { echo ready; exec sleep 1000; }; touch once"));
    host.ended().await;
    // A supervisor that this agent knows nothing of, with the lock of the folder and without.
    for with_lock in [false, true] {
        let folder = host.folder(&id);
        let lock = fs::File::open(folder.spec_path()).expect("open");
        if with_lock {
            lock.lock().expect("locked");
        }
        let mark = if with_lock { String::new() } else { folder.launch_file().expect("readable").mark };
        let mut command = std::process::Command::new(host::shim());
        command.arg(folder.path()).env_clear().env("HOLM_SHIM", mark).stdin(lock);
        let mut second = command.spawn().expect("a second shim");
        // It holds the lock too.
        drop(command);
        let stranger = settled(&folder, 1).await[0];
        let mut spec = script("svc-0", "exec sleep 1000");
        spec.restart = RestartPolicy::Always;
        host.run(spec);
        let (pid, ..) = host.started().await;
        assert!(!stranger.is_alive(), "a duplicate");
        let running = || marked(&folder).iter().map(|process| process.pid).collect::<Vec<_>>();
        // In the middle of an exec it shows no mark.
        eventually(async || running() == [pid]).await;
        second.wait().expect("it was killed");
        host.runner.stop(id.clone());
        host.ended().await;
    }
}

#[tokio::test]
async fn a_daemon_of_a_task_whose_shim_was_killed_is_killed_with_it() {
    let mut host = Host::new().await;
    let id = host.run(script("svc-0", SERVICE));
    host.started().await;
    host.says(&id, "ready").await;
    let (folder, shim) = (host.folder(&id), host.state(&id).shim());
    settled(&folder, 2).await;
    assert!(shim.signal_process(Signal::SIGKILL));
    let end = host.ended().await;
    assert!(end.exit.reason.expect("a reason").contains("2 processes that it left were killed"));
    assert_eq!(marked(&folder), []);

    // While no agent looks, too.
    let (crashed, id, ..) = crashed_beside("svc-0").await;
    let (folder, shim) = (crashed.folder(&id), crashed.folder(&id).state().expect("readable").expect("there").shim());
    assert!(shim.signal_process(Signal::SIGKILL));
    eventually(async || !shim.is_alive()).await;
    assert_eq!(marked(&folder).len(), 2, "they outlive the shim, or this test shows nothing");
    let mut host = restart_in_time(crashed).await;
    assert_eq!(marked(&folder), []);
    runs_once(&mut host, &id).await;
}

#[tokio::test]
async fn equal_task_ids_of_two_nodes_are_two_tasks() {
    let (left, id, ..) = crashed_beside("svc-0").await;
    let (right, ..) = crashed_beside("svc-0").await;
    let before = marked(&right.folder(&id));
    fs::remove_dir_all(left.folder(&id).path()).expect("removed");
    let left = restart_in_time(left).await;
    assert_eq!(marked(&left.folder(&id)), []);
    assert_eq!(marked(&right.folder(&id)), before);
}

#[tokio::test]
async fn a_shim_that_says_nothing_is_not_waited_for() {
    let mut host = Host::new().await;
    let mut tasks = Vec::new();
    for i in 0..5 {
        tasks.push(host.run(task(&format!("mute-{i}"), &["sleep", "1000"])));
        host.started().await;
    }
    let crashed = host.crash().await;
    let mut shims = Vec::new();
    for id in &tasks {
        // A shim that hangs before it could start its command: stopped, and childless.
        let state = crashed.folder(id).state().expect("readable").expect("there");
        state.shim().signal_process(Signal::SIGSTOP);
        state.command().signal_process(Signal::SIGKILL);
        eventually(async || !state.command().is_alive()).await;
        fs::remove_file(crashed.folder(id).path().join("state.json")).expect("removed");
        shims.push(state.shim());
    }
    let mut host = restart_in_time(crashed).await;
    assert!(host.found.iter().all(|found| found.state == FoundState::Gone));
    assert!(shims.iter().all(|shim| !shim.is_alive()));
    runs_once(&mut host, &tasks[0]).await;
}

#[tokio::test]
async fn only_the_owner_may_look() {
    let mut host = Host::new().await;
    let id = host.run(script("secret-0", "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done; echo x >&2"));
    host.ended().await;
    host.runner.stop(id.clone());
    let folder = host.folder(&id).path().to_owned();
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    let tasks = folder.parent().expect("a parent");
    for dir in [tasks, &folder, &folder.join("work")] {
        assert_eq!(mode(dir), 0o700, "{}", dir.display());
    }
    let mut seen = 0;
    for file in fs::read_dir(&folder).expect("readable").chain(fs::read_dir(tasks).expect("readable")) {
        let path = file.expect("an entry").path();
        if path.is_file() {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 6, "spec, state, exit, two logs and the lock");
    // One that was made by an older version.
    let crashed = host.crash().await;
    fs::set_permissions(tasks, fs::Permissions::from_mode(0o755)).expect("set");
    let _host = crashed.restart().await;
    assert_eq!(mode(tasks), 0o700);
}

/// Of a run of some seconds of ill luck, one that a seed repeats.
#[tokio::test]
async fn whatever_is_killed_or_damaged_there_is_one_of_each_task_in_the_end() {
    let (mut crashed, id, ..) = crashed_beside("svc-0").await;
    let mut seed = 42_u64;
    let mut random = |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % n
    };
    for round in 0..12 {
        let folder = crashed.folder(&id);
        let shim = folder.state().ok().flatten().map(|state| state.shim());
        let files = ["spec.json", "state.json", "meta.json", "exit.json", "stdout.log", "stdout.log.pos"];
        for _ in 0..random(3) {
            // A file that does not exist can be put there; some cannot be replaced by the next run then.
            let harm = [Harm::Remove, Harm::Empty, Harm::Truncate, Harm::Garble][random(4)];
            harm.inflict(&folder.path().join(files[random(files.len())]));
        }
        if random(2) == 0 {
            shim.map(|shim| shim.signal_process(Signal::SIGKILL));
        }
        let host = restart_in_time(crashed).await;
        let is_alive = host.found.iter().any(|f| f.spec.id == id && matches!(f.state, FoundState::Alive { .. }));
        if !is_alive {
            let mut spec = script("svc-0", SERVICE);
            spec.restart = RestartPolicy::Always;
            host.run(spec);
        }
        settled(&host.folder(&id), 2).await;
        // Until it has said who it is, the next round would only see a start that was cut short.
        eventually(async || host.folder(&id).state().is_ok_and(|s| s.is_some_and(|s| s.command().is_alive()))).await;
        assert!(host.log(&id, Stream::Stdout).await.len() < 1000, "round {round}");
        crashed = host.crash().await;
    }
    let marks: Vec<Process> = marked(&crashed.folder(&id));
    assert_eq!(marks.len(), 2);
}

#[tokio::test]
async fn a_folder_of_tasks_that_was_removed_is_made_again() {
    let mut host = Host::new().await;
    let id = host.run(script("before-0", "sleep 1000"));
    let (pid, ..) = host.started().await;
    fs::remove_dir_all(&host.config.dir).expect("removable");
    for n in 0..3 {
        host.run(script(&format!("after-{n}"), "echo hello"));
    }
    for _ in 0..3 {
        assert_eq!(host.ended().await.output, "hello\n");
    }
    assert!(alive(pid), "what ran goes on");
    let second = Runner::start(host.config.clone(), &mut tokio::task::JoinSet::new()).await;
    assert!(matches!(second, Err(ExecError::InUse { .. })), "it has one owner, as before");
    host.runner.stop(id);
    assert_eq!(host.ended().await.exit.code, 143, "and its end is told");
}

#[tokio::test]
async fn a_host_that_can_start_nothing_says_so() {
    let mut host = Host::new().await;
    fs::remove_dir_all(&host.config.dir).expect("removable");
    fs::write(&host.config.dir, "a file").expect("writable");
    host.run(script("nowhere-0", "echo hello"));
    assert!(host.host_failed().await.contains("nowhere-0"), "it names the folder");
    fs::remove_file(&host.config.dir).expect("removable");
    host.run(script("nowhere-0", "echo hello"));
    assert_eq!(host.ended().await.output, "hello\n", "as soon as it can, it does");
}
