//! How fast a lab is there, and what is left of it.

use crate::{Needs, Story, stun::PATIENCE};
use anyhow::{Result, ensure};
use holm_netlab::{Lab, Nat, spawner};
use std::time::{Duration, Instant};

pub fn trials() -> Vec<(&'static str, Needs, Story)> {
    vec![
        ("life: ten homes are there at once", Needs::Lab, ten_homes),
        ("life: a child runs on its host and is found there", Needs::Lab, a_child_is_found),
    ]
}

/// Waits for a state.
pub fn eventually(what: &str, mut look: impl FnMut() -> bool) -> Result<()> {
    let begin = Instant::now();
    while !look() {
        ensure!(begin.elapsed() < PATIENCE, "after {PATIENCE:?} it is still not so that {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn ten_homes() -> Result<()> {
    let begin = Instant::now();
    let mut lab = Lab::new()?;
    for n in 0..10 {
        lab.site(&format!("home-{n}"), Nat::Home, 1)?;
    }
    let up = begin.elapsed();
    drop(lab);
    eprintln!("ten homes of one host (21 namespaces): up in {up:.2?}, let go in {:.2?}", begin.elapsed() - up);
    // A machine under load may need ten times what it usually does.
    ensure!(up < Duration::from_secs(5), "{up:?}");
    Ok(())
}

fn a_child_is_found() -> Result<()> {
    let mut lab = Lab::new()?;
    let hosts = lab.site("shop", Nat::Home, 2)?;
    let mut command = hosts[0].command("sh");
    // The child of the child is there too, and in a session of its own, as a task is.
    command.args(["-c", "setsid sleep 1000 & exec sleep 1000"]);
    let mut child = spawner::spawn(command)?;
    eventually("both processes are there", || hosts[0].processes().len() == 2)?;
    ensure!(hosts[0].processes().contains(&child.id().cast_signed()) && hosts[1].processes().is_empty());
    for pid in hosts[0].processes() {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)?;
    }
    child.wait()?;
    eventually("nobody is there", || hosts[0].processes().is_empty())
}
