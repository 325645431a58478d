//! The lease of a task: until when it may run. The agent writes it into the folder, again and again; when
//! the time comes that this supervisor knows, it looks for a later one.

use crate::command::Failure;
use holm_exec::{
    LEASE_OVER,
    folder::{LaunchFile, TaskFolder},
    sys::{BootTimer, boot_clock_ms},
};
use std::os::fd::{AsFd, BorrowedFd};

/// See the [module](self).
pub struct Lease {
    folder: TaskFolder,
    timer: BootTimer,
    until_ms: u64,
    killed: bool,
}

impl Lease {
    /// The lease of the task that is about to start; none if it needs none.
    pub fn of(folder: &TaskFolder, launch: &LaunchFile) -> Result<Option<Lease>, Failure> {
        let Some(until_ms) = launch.task.lease else { return Ok(None) };
        let timer = BootTimer::new().map_err(Failure::setup)?;
        let mut lease = Lease { folder: folder.clone(), timer, until_ms, killed: false };
        lease.look();
        if lease.until_ms <= boot_clock_ms() {
            return Err(Failure::setup(LEASE_OVER));
        }
        lease.timer.set(lease.until_ms).map_err(Failure::setup)?;
        Ok(Some(lease))
    }

    /// Readable when there is something to do.
    pub fn timer(&self) -> Option<BorrowedFd<'_>> {
        (!self.killed).then(|| self.timer.as_fd())
    }

    /// Whether the task has to be killed now. Says so once.
    pub fn is_over(&mut self) -> bool {
        if self.killed || boot_clock_ms() < self.until_ms {
            return false;
        }
        self.look();
        // A timer that cannot be set would never fire: then it is over.
        self.killed = boot_clock_ms() >= self.until_ms || self.timer.set(self.until_ms).is_err();
        self.killed
    }

    /// Whether the task was killed for it.
    pub fn has_killed(&self) -> bool {
        self.killed
    }

    /// What cannot be read extends nothing.
    fn look(&mut self) {
        if let Ok(Some(until_ms)) = self.folder.lease() {
            self.until_ms = self.until_ms.max(until_ms);
        }
    }
}
