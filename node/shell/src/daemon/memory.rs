//! The one place that tells the allocator what to do: few arenas, and freed memory goes back to the system.
//!
//! glibc keeps what was freed for later use. After a flood of large answers that is most of what the process then
//! occupies, and for good: a free piece goes back by itself only at the end of an arena, and a long-lived
//! small one behind it is always there.

use std::time::Duration;
use tokio::task::JoinSet;

/// How often. It walks over all that is free, so not too often; and a small board has other uses for the memory.
const EVERY: Duration = Duration::from_secs(30);
/// What was needed to read the disk is free as soon as that is done.
const FIRST: Duration = Duration::from_millis(500);

/// Arenas of glibc, which else makes eight a processor. Each keeps what is freed in it for itself, so what one thread
/// has freed is no use to the next; and a node has few threads that allocate at the same time.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: i32 = 2;

/// Keeps the allocator small. Called before there are other threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn keep_small() {
    // SAFETY: it takes two numbers, and an answer that it did not like them changes nothing.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
}

/// Other C libraries have no such arenas.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_small() {}

/// Gives freed memory back from now on, now and then, on a thread where that holds up nobody.
pub fn return_freed(tasks: &mut JoinSet<()>) {
    tasks.spawn(async {
        let mut pause = FIRST;
        loop {
            tokio::time::sleep(pause).await;
            pause = EVERY;
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
