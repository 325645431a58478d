//! How long to wait before a task is started again. Pure.

use std::time::Duration;

/// The rule: doubling from `base` to `cap`, forgotten after `reset_after` of running. There is no
/// jitter: restarts of one task on one node have no crowd to avoid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub base: Duration,
    /// The longest wait.
    pub cap: Duration,
    /// A run of at least this length counts as healthy: the next wait is the first again.
    pub reset_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { base: Duration::from_millis(500), cap: Duration::from_secs(60), reset_after: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// The wait after a run of length `ran` that followed `streak` short ones, and the new streak.
    pub fn next(&self, streak: u32, ran: Duration) -> (Duration, u32) {
        let streak = if ran >= self.reset_after { 0 } else { streak };
        let factor = 1u32.checked_shl(streak).unwrap_or(u32::MAX);
        (self.base.saturating_mul(factor).min(self.cap), streak.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn doubles_to_the_cap_and_starts_anew_after_a_healthy_run() {
        let rule = Backoff::default();
        let mut streak = 0;
        let mut waits = Vec::new();
        for _ in 0..9 {
            let (wait, next) = rule.next(streak, Duration::ZERO);
            waits.push(wait.as_millis());
            streak = next;
        }
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]);
        assert_eq!(rule.next(streak, Duration::from_secs(60)), (Duration::from_millis(500), 1));
    }

    proptest! {
        #[test]
        fn never_shorter_with_a_longer_streak_and_never_beyond_the_cap(streak in any::<u32>(), ms in 0u64..59_999) {
            let rule = Backoff::default();
            let ran = Duration::from_millis(ms);
            let (wait, next) = rule.next(streak, ran);
            prop_assert!(wait <= rule.cap && wait >= rule.base);
            prop_assert!(rule.next(next, ran).0 >= wait);
        }
    }
}
