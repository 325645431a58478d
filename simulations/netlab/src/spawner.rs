//! Starts long-lived children from one thread that never ends.
//!
//! A child asks the kernel to be killed when its parent dies. For the kernel the parent is the *thread* that
//! forked, so a child of a test's own thread would die when that test ends, or never start in peace.

use crate::error::LabError;
use std::{
    io,
    process::{Child, Command},
    sync::{
        OnceLock,
        mpsc::{Sender, channel},
    },
};

/// A child that is killed when this is dropped, whatever becomes of the test.
#[derive(Debug)]
pub struct Guarded(Child);

impl Guarded {
    /// Starts `command`, as [`spawn`] does.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(command: Command) -> Result<Guarded, LabError> {
        spawn(command).map(Guarded)
    }
}

impl From<Child> for Guarded {
    fn from(child: Child) -> Guarded {
        Guarded(child)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

type Order = (Command, Sender<io::Result<Child>>);

/// Starts `command` as a child of the spawner's thread.
///
/// # Errors
/// It cannot be started.
pub fn spawn(command: Command) -> Result<Child, LabError> {
    static ORDERS: OnceLock<Sender<Order>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (sender, receiver) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in receiver {
                // A caller that went away has no use for the answer.
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let cannot = || LabError::system(format!("start {}", command.get_program().display()));
    let cannot = cannot();
    let gone = || io::Error::other("the spawner's thread is gone");
    let (reply, answer) = channel();
    let sent = orders.send((command, reply)).map_err(|_| gone());
    sent.and_then(|()| answer.recv().map_err(|_| gone())?).map_err(cannot)
}
