//! What a task gets, what it leaves, and how it ends.

mod host;

use holm_exec::{ExecError, LogCursor, Runner, RunnerConfig, RunnerEvent, Stream};
use holm_types::manifest::RestartPolicy;
use host::{Host, alive, eventually, script, shim, task};
use std::{
    fs,
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    time::Duration,
};
use tokio::task::JoinSet;

#[tokio::test]
async fn output_exit_code_and_both_streams() {
    let mut host = Host::new().await;
    let id = host.run(script("echo-0", "echo hello; echo oops >&2; exit 3"));
    let end = host.ended().await;
    assert_eq!((end.exit.code, end.exit.reason, end.restarts, end.will_restart_in), (3, None, 0, None));
    assert_eq!(end.output, "hello\n");
    assert_eq!(host.log(&id, Stream::Stderr).await, "oops\n");
    assert!(end.exit.finished_at.0 > 1_500_000_000_000);
}

#[tokio::test]
async fn its_environment_is_clean_and_its_directory_its_own() {
    let mut host =
        Host::with(|c| c.base_env = [("PATH".into(), "/usr/bin:/bin".into()), ("TZ".into(), "UTC".into())].into())
            .await;
    let mut spec = task("env-0", &["env"]);
    // What it is known by is not for the task to say.
    spec.env =
        [("HOLM_TASK".into(), "env-0".into()), ("HOLM_MARK".into(), "forged".into()), ("TZ".into(), "CET".into())]
            .into();
    host.run(spec);
    let end = host.ended().await;
    let mut lines: Vec<&str> = end.output.lines().collect();
    lines.sort_unstable();
    let folder = host.folder(&"env-0".parse().expect("an id"));
    let mark = format!("HOLM_MARK={}", folder.path().canonicalize().expect("there").display());
    assert_eq!(lines, [&mark, "HOLM_TASK=env-0", "PATH=/usr/bin:/bin", "TZ=CET"]);

    let id = host.run(task("pwd-0", &["pwd"]));
    let end = host.ended().await;
    assert_eq!(end.output.trim(), host.folder(&id).work().canonicalize().expect("there").to_str().expect("text"));
}

#[tokio::test]
async fn no_descriptor_of_the_agent_leaks() {
    let mut host = Host::new().await;
    let lock = fs::File::open("/dev/zero").expect("open");
    // What a careless library would do: a descriptor that survives exec.
    nix::fcntl::fcntl(&lock, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).expect("set");
    let id = host.run(script("fds-0", "readlink /proc/$$/fd/*; cat; echo ready; exec sleep 1000"));
    host.says(&id, "ready").await;
    let said = host.log(&id, Stream::Stdout).await;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 4, "{said}");
    assert!(lines[0] == "/dev/null" && lines[1].starts_with("pipe:") && lines[2].starts_with("pipe:"), "{said}");
    let shim = host.state(&id).shim_pid;
    for entry in fs::read_dir(format!("/proc/{shim}/fd")).expect("readable") {
        let target = fs::read_link(entry.expect("an entry").path()).expect("a link");
        assert_ne!(target.to_str(), Some("/dev/zero"), "descriptor {} leaked", lock.as_raw_fd());
    }
    host.runner.stop(id);
    assert_eq!(host.ended().await.exit.code, 143);
}

#[tokio::test]
async fn huge_binary_output_stays_bounded() {
    let mut host = Host::new().await;
    let id = host.run(script("huge-0", "head -c 100000000 /dev/zero; printf '\\377\\376end'"));
    let end = host.ended().await;
    assert_eq!(end.exit.code, 0);
    assert!(end.output.ends_with("end"));
    let size = |path| fs::metadata(path).map_or(0, |m: fs::Metadata| m.len());
    let total: u64 = host.runner.log_paths(&id, Stream::Stdout).into_iter().map(size).sum();
    assert!((64 * 1024..=2 * 64 * 1024).contains(&total), "{total}");
    let (_, end) = host.runner.read_logs(&id, Stream::Stdout, LogCursor::END, 10).await.expect("logs");
    assert_eq!(end, LogCursor(100_000_005));
}

#[tokio::test]
async fn stop_is_term_then_kill_and_asks_twice_without_harm() {
    let mut host = Host::new().await;
    let mut polite = script("polite-0", "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.01; done");
    polite.restart = RestartPolicy::Always;
    let id = host.run(polite);
    host.says(&id, "ready").await;
    assert!(host.runner.stop(id.clone()) && host.runner.stop(id.clone()));
    let end = host.ended().await;
    assert_eq!((end.exit.code, end.will_restart_in, end.output.as_str()), (7, None, "ready\nbye\n"));
    host.runner.stop(id);

    let mut stubborn = script("stubborn-0", "trap '' TERM; echo ready; while :; do sleep 1; done");
    stubborn.grace = Duration::from_millis(50);
    let id = host.run(stubborn);
    host.says(&id, "ready").await;
    host.runner.stop(id);
    assert_eq!(host.ended().await.exit.code, 137);
    assert!(host.no_event());
}

#[tokio::test]
async fn a_stop_on_the_heels_of_a_run_stops_it() {
    let mut host = Host::new().await;
    let id = host.run(task("short-0", &["sleep", "1000"]));
    host.runner.stop(id);
    assert_eq!(host.ended().await.exit.code, 143);
}

#[tokio::test]
async fn nothing_of_a_task_outlives_it() {
    let mut host = Host::new().await;
    // One in its group, one that left both group and session; both hold the pipes.
    host.run(script("parent-0", "sleep 1000 & echo $!; setsid sleep 1001 & echo $!; exit 0"));
    let end = host.ended().await;
    assert_eq!(end.exit.code, 0);
    let pids: Vec<u32> = end.output.lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|pid| !alive(*pid)), "{pids:?}");
}

#[tokio::test]
async fn many_grandchildren_are_stopped_with_the_group() {
    let mut host = Host::new().await;
    let mut spec =
        script("bomb-0", "trap '' TERM; for i in $(seq 60); do sleep 1000 & echo $!; done; echo ready; wait");
    spec.grace = Duration::from_millis(50);
    let id = host.run(spec);
    host.says(&id, "ready").await;
    host.runner.stop(id);
    let end = host.ended().await;
    assert_eq!(end.exit.code, 137);
    let pids: Vec<u32> = end.output.lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(pids.len(), 60);
    assert!(pids.iter().all(|pid| !alive(*pid)));
}

#[tokio::test]
async fn bad_commands_say_what_is_wrong() {
    let mut host = Host::new().await;
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &str, mode| {
        let path = dir.path().join(name);
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        path.to_str().expect("text").to_owned()
    };
    let plain = file("plain", "x", 0o644);
    let orphan = file("orphan", "#!/no/such/interpreter\n", 0o755);
    let noise = file("noise", "\u{1}\u{2}", 0o755);
    let cases: [(&[&str], &str); 6] = [
        (&["no-such-command-here"], "no-such-command-here: command not found in PATH="),
        (&["/no/such/file"], "/no/such/file: not found"),
        (&[&plain], "not executable"),
        (&["/tmp"], "is a directory"),
        (&[&orphan], "interpreter is not found"),
        (&[], "the command is empty"),
    ];
    for (i, (command, expected)) in cases.into_iter().enumerate() {
        host.run(task(&format!("bad-{i}"), command));
        let reason = host.failed().await;
        assert!(reason.contains(expected), "{reason}");
    }
    host.run(task("bad-noise", &[&noise]));
    assert!(host.failed().await.contains("Exec format error"));
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_told() {
    let mut host = Host::new().await;
    let id = host.run(task("twice-0", &["true"]));
    host.ended().await;
    fs::remove_dir(host.folder(&id).work()).expect("removed");
    fs::write(host.folder(&id).work(), "in the way").expect("written");
    host.run(task("twice-0", &["true"]));
    let reason = host.failed().await;
    assert!(reason.contains("cannot create the working directory"), "{reason}");
}

#[tokio::test]
async fn a_full_disk_is_told() {
    let mut host = Host::new().await;
    let id = host.run(task("full-0", &["true"]));
    host.ended().await;
    std::os::unix::fs::symlink("/dev/full", host.folder(&id).log(Stream::Stdout)).expect("a link");
    host.run(script("full-0", "echo hello; exit 5"));
    let end = host.ended().await;
    assert_eq!(end.exit.code, 5);
    let reason = end.exit.reason.expect("a reason");
    assert!(reason.contains("6 bytes of stdout.log were dropped: No space left"), "{reason}");
}

#[tokio::test]
async fn the_same_task_is_not_started_twice() {
    let mut host = Host::new().await;
    let id = host.run(task("one-0", &["sleep", "1000"]));
    let (pid, ..) = host.started().await;
    host.run(task("one-0", &["sleep", "1000"]));
    host.runner.stop(id);
    host.ended().await;
    assert_eq!(host.runner.counters().duplicate_runs, 1);
    assert!(host.no_event() && !alive(pid));
}

#[tokio::test]
async fn the_number_of_tasks_is_bounded() {
    let mut host = Host::with(|c| c.max_tasks = 1).await;
    let id = host.run(task("first-0", &["sleep", "1000"]));
    host.started().await;
    host.run(task("second-0", &["true"]));
    assert_eq!(host.failed().await, "this node already runs 1 tasks");
    host.runner.stop(id);
    host.ended().await;
    assert_eq!(host.runner.counters().refused_runs, 1);
}

#[tokio::test]
async fn restarts_back_off_and_a_stop_cancels_the_wait() {
    let mut host = Host::with(|c| c.backoff.base = Duration::from_millis(5)).await;
    let mut spec = task("flaky-0", &["false"]);
    spec.restart = RestartPolicy::OnFailure;
    let id = host.run(spec);
    for n in 0..4 {
        assert_eq!(host.started().await.1, n);
        let end = host.ended().await;
        assert_eq!((end.restarts, end.will_restart_in), (n, Some(Duration::from_millis(5 << n))));
    }
    host.runner.stop(id.clone());
    loop {
        // A start may have been under way; the last word is the one without a restart.
        let end = host.ended().await;
        if end.will_restart_in.is_none() {
            break;
        }
    }
    assert!(host.folder(&id).progress().expect("readable").stopping);

    let mut spec = task("fine-0", &["true"]);
    spec.restart = RestartPolicy::OnFailure;
    host.run(spec);
    assert_eq!(host.ended().await.will_restart_in, None);
}

#[tokio::test]
async fn a_stop_in_a_long_wait_is_the_end() {
    let mut host = Host::with(|c| c.backoff.base = Duration::from_secs(3600)).await;
    let mut spec = task("waiting-0", &["/no/such/file"]);
    spec.restart = RestartPolicy::Always;
    let id = host.run(spec);
    let RunnerEvent::FailedToStart { will_restart_in, .. } = host.event().await else { panic!("it cannot start") };
    assert_eq!(will_restart_in, Some(Duration::from_secs(3600)));
    host.runner.stop(id);
    let RunnerEvent::FailedToStart { will_restart_in, .. } = host.event().await else { panic!("the same again") };
    assert_eq!(will_restart_in, None);
}

#[tokio::test]
async fn a_killed_shim_takes_its_command_with_it() {
    let mut host = Host::new().await;
    let id = host.run(script("orphan-0", "sleep 1000 & echo $!; wait"));
    let (pid, ..) = host.started().await;
    eventually(async || host.log(&id, Stream::Stdout).await.ends_with('\n')).await;
    host.state(&id).shim().signal_process(nix::sys::signal::Signal::SIGKILL);
    let end = host.ended().await;
    assert_eq!(end.exit.code, 137);
    assert!(end.exit.reason.expect("a reason").contains("supervisor of the task vanished"));
    assert!(!alive(pid));
    let grandchild = end.output.trim().parse().expect("a number");
    eventually(async || !alive(grandchild)).await;
}

#[tokio::test]
async fn signals_to_the_shim_do_nothing() {
    use nix::sys::signal::Signal;
    let mut host = Host::new().await;
    let id = host.run(task("calm-0", &["sleep", "1000"]));
    let (pid, ..) = host.started().await;
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        assert!(host.state(&id).shim().signal_process(signal));
    }
    let session = |pid: u32| nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(pid as i32))).expect("a session");
    assert_eq!(session(pid).as_raw() as u32, host.state(&id).shim_pid);
    assert_ne!(session(pid), session(std::process::id()));
    host.runner.stop(id);
    assert_eq!(host.ended().await.exit.code, 143);
}

#[tokio::test]
async fn folders_of_ended_tasks_are_bounded_and_can_be_forgotten() {
    let mut host = Host::with(|c| c.max_dirs = 2).await;
    let mut ids = Vec::new();
    for i in 0..4 {
        ids.push(host.run(task(&format!("done-{i}"), &["true"])));
        host.ended().await;
    }
    let there: Vec<bool> = ids.iter().map(|id| host.folder(id).path().exists()).collect();
    assert_eq!(there, [false, false, true, true]);
    let gone = host.runner.read_logs(&ids[0], Stream::Stdout, LogCursor::START, 1).await;
    assert!(matches!(gone, Err(ExecError::NotFound(_))));
    host.runner.forget(ids[3].clone());
    eventually(async || !host.folder(&ids[3]).path().exists()).await;
    assert!(host.folder(&ids[2]).path().exists());
}

#[tokio::test]
async fn logs_are_followed_across_rotations_while_they_grow() {
    let mut host = Host::new().await;
    let mut spec =
        script("lines-0", "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done; echo end; exec sleep 1000");
    spec.max_log_bytes = 4096;
    let id = host.run(spec);
    host.started().await;
    let (mut at, mut last) = (LogCursor::START, None::<u32>);
    let (mut text, mut torn) = (String::new(), false);
    eventually(async || {
        let (bytes, next) = host.runner.read_logs(&id, Stream::Stdout, at, 700).await.expect("logs");
        if next.0 - bytes.len() as u64 != at.0 {
            // Lagging: whole lines are lost, and the beginning of the next.
            (text, torn, last) = (String::new(), true, None);
        }
        at = next;
        text.push_str(std::str::from_utf8(&bytes).expect("text"));
        while let Some((line, rest)) = text.split_once('\n') {
            let (line, rest) = (line.to_owned(), rest.to_owned());
            text = rest;
            if line == "end" {
                return true;
            }
            if std::mem::take(&mut torn) {
                continue;
            }
            let number = line.parse().expect("a number");
            assert!(last.is_none_or(|last| number == last + 1), "{number} after {last:?}");
            last = Some(number);
        }
        false
    })
    .await;
    host.runner.stop(id);
    host.ended().await;
}

#[tokio::test]
async fn a_runner_without_a_shim_or_on_a_used_folder_does_not_start() {
    let host = Host::new().await;
    let dir = host.folder(&"x".parse().expect("an id")).path().parent().expect("a parent").to_owned();
    let second = Runner::start(RunnerConfig::new(&dir, shim()), &mut JoinSet::new()).await;
    assert!(matches!(second, Err(ExecError::InUse { .. })));
    let other = tempfile::tempdir().expect("a folder");
    let shimless = Runner::start(RunnerConfig::new(other.path(), "/no/shim"), &mut JoinSet::new()).await;
    assert!(shimless.expect_err("no shim").to_string().contains("cannot find the shim /no/shim"));
}

#[test]
fn a_shim_with_a_corrupt_spec_says_so_and_leaves_word() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("spec.json"), "{ torn").expect("written");
    let output = std::process::Command::new(shim()).arg(dir.path()).output().expect("run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("failed ") && said.contains("spec.json is not valid"), "{said}");
    let exit = holm_exec::folder::TaskFolder::new(dir.path().to_owned()).exit().expect("readable").expect("a record");
    assert_eq!((exit.code(), output.status.code()), (125, Some(125)));
}
