//! While two parts of the mesh merge, each sees the other in pieces: one node before the next, an
//! app before its tasks. A decision made on such a view would move what runs well. So a coordinator
//! holds its decisions until nothing new came for a moment, and never for long.

use holm_types::Mono;
use std::time::Duration;

/// Decisions are never held longer than this in one go: a mesh that merges all the time must
/// still replace what it lost.
const LONGEST: Duration = Duration::from_secs(10);
/// After a hold of that length decisions are free for so long: words of a dead node that somebody
/// repeats must not keep a mesh from replacing what it lost.
const REST: Duration = Duration::from_secs(20);

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Merging {
    since: Option<Mono>,
    until: Option<Mono>,
}

impl Merging {
    /// A part of the mesh came back: the rest may follow within `time`.
    pub(crate) fn hold(&mut self, now: Mono, time: Duration) {
        let until = now.after(time);
        if self.holds(now).is_none() {
            if self.rests(now) {
                return;
            }
            self.since = Some(now);
        }
        self.until = Some(self.until.map_or(until, |old| old.max(until)));
    }

    /// Whether the last hold was cut short, a while ago.
    fn rests(&self, now: Mono) -> bool {
        let longest = self.since.map(|since| since.after(LONGEST));
        longest.is_some_and(|longest| self.until > Some(longest) && now < longest.after(REST))
    }

    /// Until when decisions are held, if they are.
    pub(crate) fn holds(&self, now: Mono) -> Option<Mono> {
        let longest = self.since?.after(LONGEST);
        self.until.map(|until| until.min(longest)).filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_extended_but_never_for_long() {
        let at = |ms| Mono(Duration::from_millis(ms));
        let second = Duration::from_secs(1);
        let mut merging = Merging::default();
        assert_eq!(merging.holds(at(0)), None);
        merging.hold(at(0), second);
        assert_eq!(merging.holds(at(999)), Some(at(1000)));
        for ms in (500..20_000).step_by(500) {
            merging.hold(at(ms), second);
            if ms == 9_500 {
                assert_eq!(merging.holds(at(ms)), Some(at(10_000)));
            }
        }
        assert!(merging.holds(at(10_500)).is_none(), "it was held for as long as it may be");
        merging.hold(at(22_000), second);
        assert!(merging.holds(at(22_000)).is_none(), "and rests now");
        merging.hold(at(30_000), second);
        assert_eq!(merging.holds(at(30_500)), Some(at(31_000)));
    }
}
