//! Signals, as a list of what happened.

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};
use std::{
    os::unix::process::CommandExt as _,
    process::Command,
    sync::mpsc::{Receiver, Sender, channel},
};

/// What ends a program, and what tells that a child did.
const CAUGHT: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD];

/// What has happened.
#[derive(Debug)]
pub enum Event {
    /// A signal.
    Signal(Signal),
    /// A line of input.
    Line(String),
    /// The input has ended.
    End,
}

/// Both ends: others add events of theirs.
pub type Events = (Sender<Event>, Receiver<Event>);

/// From now on these signals do nothing but become events. To be called while there is one thread.
pub fn catch() -> Result<Events> {
    let set: SigSet = CAUGHT.into_iter().collect();
    set.thread_block().context("cannot block signals")?;
    let (sender, receiver) = channel();
    let events = sender.clone();
    std::thread::spawn(move || {
        while let Ok(signal) = set.wait() {
            if sender.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    });
    Ok((events, receiver))
}

/// The command starts with no signal blocked, as everything expects.
pub fn unblocked(command: &mut Command) {
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe {
        command.pre_exec(|| Ok(SigSet::empty().thread_set_mask()?));
    }
}
