//! Processor time of a piece of work.

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use std::time::Duration;

/// Processor time that this thread has used. Threads of RocksDB in the background count for nobody.
///
/// # Errors
/// The system does not tell.
pub fn of_this_thread() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).context("the system does not tell what this thread used")?;
    let micros = [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| time.tv_sec() * 1_000_000 + time.tv_usec())
        .sum::<i64>();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}
