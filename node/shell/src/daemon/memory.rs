//! The one place that tells the allocator what to do: freed memory goes back to the system.
//!
//! glibc keeps what was freed for later use. After a flood of large answers that is most of what the process then
//! occupies, and for good: a free piece goes back by itself only at the end of an arena, and a long-lived
//! small one behind it is always there.

use std::time::Duration;
use tokio::task::JoinSet;

/// How often. It walks over all that is free, so not too often; and a small board has other uses for the memory.
const EVERY: Duration = Duration::from_secs(30);

/// Gives freed memory back from now on, now and then, on a thread where that holds up nobody.
pub fn return_freed(tasks: &mut JoinSet<()>) {
    tasks.spawn(async {
        loop {
            tokio::time::sleep(EVERY).await;
            if tokio::task::spawn_blocking(trim).await.is_err() {
                return;
            }
        }
    });
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: it takes a number and touches only what the allocator holds for free, under the allocator's own locks.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries give it back themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
