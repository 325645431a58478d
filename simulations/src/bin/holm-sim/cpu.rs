//! The time that this thread has had on a CPU.

use std::time::{Duration, Instant};

/// Measures from now on.
pub struct Stopwatch {
    cpu: Option<Duration>,
    wall: Instant,
}

impl Stopwatch {
    /// Starts.
    pub fn start() -> Stopwatch {
        Stopwatch { cpu: on_cpu(), wall: Instant::now() }
    }

    /// Time on a CPU since the start; where the kernel does not tell, the time that passed.
    pub fn stop(&self) -> Duration {
        match (self.cpu, on_cpu()) {
            (Some(then), Some(now)) => now.saturating_sub(then),
            _ => self.wall.elapsed(),
        }
    }
}

/// The first number of `schedstat` (Linux, `Documentation/scheduler/sched-stats.rst`): nanoseconds on a CPU.
fn on_cpu() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}
