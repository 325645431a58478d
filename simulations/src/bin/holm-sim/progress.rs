//! One line on the terminal that rewrites itself. Where nobody looks on, there is nothing.

use std::{
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

/// Not more often than this.
const EVERY: Duration = Duration::from_millis(100);

/// See the [module](self).
pub struct Progress {
    shown: bool,
    start: Instant,
    last: Option<Instant>,
}

impl Progress {
    /// Nothing is shown yet.
    pub fn start() -> Progress {
        Progress { shown: std::io::stderr().is_terminal(), start: Instant::now(), last: None }
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Shows a line, if it is time for one.
    pub fn show(&mut self, line: impl FnOnce() -> String) {
        if self.shown && self.last.is_none_or(|last| last.elapsed() >= EVERY) {
            self.last = Some(Instant::now());
            // A terminal that is gone is no reason to stop.
            let _ = write!(std::io::stderr(), "\r\x1b[2K{}", line());
            let _ = std::io::stderr().flush();
        }
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if self.last.take().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
            let _ = std::io::stderr().flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
