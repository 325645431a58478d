//! Pacing: work that is asked for often is done at once when the node is quiet, and in batches
//! when it is busy.

use holm_types::Mono;
use std::time::Duration;

/// A recurring piece of work with a smallest gap between two runs.
#[derive(Debug)]
pub(crate) struct Pace {
    gap: Duration,
    last: Option<Mono>,
    due: Option<Mono>,
}

impl Pace {
    pub(crate) fn new(gap: Duration) -> Pace {
        Pace { gap, last: None, due: None }
    }

    /// From now on there is at least this gap between two runs.
    pub(crate) fn set_gap(&mut self, gap: Duration) {
        self.gap = gap;
    }

    /// Asks for a run: now, or when the gap since the last one has passed.
    pub(crate) fn request(&mut self, now: Mono) {
        let at = self.last.map_or(now, |last| last.after(self.gap).max(now));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Asks for a run at a point of time.
    pub(crate) fn request_at(&mut self, at: Mono) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Whether it is to run now; if so, the run is taken as done.
    pub(crate) fn take(&mut self, now: Mono) -> bool {
        let due = self.due.is_some_and(|due| due <= now);
        if due {
            self.due = None;
            self.last = Some(now);
        }
        due
    }

    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_run_is_immediate_and_the_next_waits_for_the_gap() {
        let at = |ms| Mono(Duration::from_millis(ms));
        let mut pace = Pace::new(Duration::from_millis(40));
        assert!(!pace.take(at(0)));
        pace.request(at(5));
        assert!(pace.take(at(5)));
        pace.request(at(6));
        pace.request(at(30));
        assert_eq!(pace.deadline(), Some(at(45)));
        assert!(!pace.take(at(44)));
        assert!(pace.take(at(45)));
        pace.request(at(500));
        assert!(pace.take(at(500)));
        pace.set_gap(Duration::from_millis(200));
        pace.request(at(501));
        assert_eq!(pace.deadline(), Some(at(700)));
    }
}
