//! A task that runs under a lease ends with it, whoever is left to end it.

mod host;

use holm_exec::{FoundState, LEASE_OVER, TaskSpec, sys::boot_clock_ms};
use holm_types::manifest::RestartPolicy;
use host::{Host, alive, eventually, marked, script};
use nix::sys::signal::Signal;

/// A task that would run for ever, with something beside it that would too.
fn forever(lease_ms: u64) -> TaskSpec {
    TaskSpec {
        lease: Some(boot_clock_ms() + lease_ms),
        restart: RestartPolicy::Always,
        ..script("press-0", "trap '' TERM; setsid sleep 1000 & sleep 1000 & wait; wait")
    }
}

#[tokio::test]
async fn a_task_is_killed_when_its_lease_ends_and_not_restarted() {
    let mut host = Host::new().await;
    let spec = forever(700);
    let until = spec.lease.expect("a lease");
    let id = host.run(spec);
    host.started().await;
    let end = host.ended().await;
    let late = boot_clock_ms().checked_sub(until).expect("not before its time");
    assert!(late < 5_000, "{late} ms late");
    assert!(end.exit.lease_ended && end.exit.code == 137 && end.will_restart_in.is_none(), "{end:?}");
    assert_eq!(marked(&host.folder(&id)), [], "nothing of it goes on");
}

#[tokio::test]
async fn a_lease_that_is_extended_goes_on_until_it_is_not() {
    let mut host = Host::new().await;
    let spec = forever(1_500);
    let first = spec.lease.expect("a lease");
    let id = host.run(spec);
    let (pid, ..) = host.started().await;
    let last = first + 1_500;
    assert!(host.runner.extend(id.clone(), first + 500) && host.runner.extend(id.clone(), last));
    assert!(host.runner.extend(id.clone(), first), "an older one does nothing");
    eventually(async || boot_clock_ms() > first + 300).await;
    assert!(alive(pid), "it was extended");
    let end = host.ended().await;
    assert!(end.exit.lease_ended && boot_clock_ms() >= last, "{end:?}");
}

#[tokio::test]
async fn a_task_whose_lease_is_over_is_not_started() {
    let mut host = Host::new().await;
    let spec = TaskSpec { lease: Some(boot_clock_ms().saturating_sub(1)), ..forever(0) };
    let id = host.run(spec);
    assert_eq!(host.failed().await, LEASE_OVER);
    assert_eq!(marked(&host.folder(&id)), []);
    // A stop of the lease does not spoil the folder.
    let id = host.run(forever(60_000));
    let (pid, ..) = host.started().await;
    assert!(alive(pid));
    host.folder(&id).state().expect("readable").expect("a state").command().signal_group(Signal::SIGKILL);
    let end = host.ended().await;
    assert!(!end.exit.lease_ended && end.will_restart_in.is_some(), "it ended by itself: {end:?}");
}

#[tokio::test]
async fn the_lease_ends_without_an_agent_and_the_next_one_is_told() {
    let mut host = Host::new().await;
    let id = host.run(forever(1_000));
    host.started().await;
    let crashed = host.crash().await;
    eventually(async || crashed.folder(&id).exit().expect("readable").is_some()).await;
    let host = crashed.restart().await;
    let FoundState::Exited { exit, will_restart_in: None, .. } = &host.found[0].state else {
        panic!("{:?}", host.found)
    };
    assert!(exit.lease_ended && host.found[0].spec.lease.is_some(), "{exit:?}");
}

#[tokio::test]
async fn a_task_whose_supervisor_is_killed_does_not_go_on_without_one() {
    let mut host = Host::new().await;
    let id = host.run(forever(60_000));
    let (pid, ..) = host.started().await;
    let state = host.state(&id);
    let crashed = host.crash().await;
    assert!(state.shim().signal_process(Signal::SIGKILL));
    eventually(async || !alive(pid)).await;
    drop(crashed);
}
