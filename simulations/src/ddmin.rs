//! Delta debugging: which few of many things are enough to make something fail?
//!
//! The algorithm is `ddmin` (Zeller, Hildebrandt, "Simplifying and isolating failure-inducing input",
//! IEEE TSE 2002) in the form that only tries complements: for two parts the complements are the
//! subsets, and for more the subsets seldom fail. It is pure: what a trial is, what it costs and
//! when it is enough is the caller's business.

use std::ops::ControlFlow;

/// What a trial came to: it failed in the way that is looked for, or not; or there are no more trials.
pub type Trial = ControlFlow<(), bool>;

/// What is left of the things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minimal<T> {
    /// A selection that failed when it was tried, in the order given; all things when no smaller one did.
    pub items: Vec<T>,
    /// No single thing can be taken away any more. False when the trials were over before that was known.
    pub complete: bool,
}

/// Takes away as much as it can while `fails` still says so. That all `items` together fail is
/// taken as known and not tried.
///
/// The result is 1-minimal; where every superset of what fails fails too, it is minimal. It takes at
/// most `n² + 3n` trials for `n` things, and about `2 k log n` when `k` of them matter.
pub fn ddmin<T: Clone>(items: &[T], mut fails: impl FnMut(&[T]) -> Trial) -> Minimal<T> {
    let mut items = items.to_vec();
    // Most often nothing of a kind matters at all, so that comes first.
    if !items.is_empty() {
        match fails(&[]) {
            ControlFlow::Break(()) => return Minimal { items, complete: false },
            ControlFlow::Continue(true) => return Minimal { items: Vec::new(), complete: true },
            ControlFlow::Continue(false) => {}
        }
    }
    let mut parts = 2.min(items.len());
    while items.len() > 1 {
        match smaller(&items, parts, &mut fails) {
            ControlFlow::Break(()) => return Minimal { items, complete: false },
            ControlFlow::Continue(Some(rest)) => {
                items = rest;
                parts = (parts - 1).clamp(2, items.len().max(2));
            }
            ControlFlow::Continue(None) if parts >= items.len() => break,
            ControlFlow::Continue(None) => parts = (parts * 2).min(items.len()),
        }
    }
    Minimal { items, complete: true }
}

/// The first selection that still fails when one of so many parts is taken away, if any.
fn smaller<T: Clone>(
    items: &[T],
    parts: usize,
    fails: &mut impl FnMut(&[T]) -> Trial,
) -> ControlFlow<(), Option<Vec<T>>> {
    for part in 0..parts {
        let bounds = (items.len() * part / parts)..(items.len() * (part + 1) / parts);
        let rest = [&items[..bounds.start], &items[bounds.end..]].concat();
        if fails(&rest)? {
            return ControlFlow::Continue(Some(rest));
        }
    }
    ControlFlow::Continue(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::btree_set, prelude::*};
    use std::collections::BTreeSet;

    /// A cause of its own: any one of these sets of things is enough.
    fn monotone(causes: &[BTreeSet<u32>], tried: &[u32]) -> bool {
        causes.iter().any(|cause| cause.iter().all(|needed| tried.contains(needed)))
    }

    proptest! {
        #[test]
        fn a_minimal_cause_is_found(causes in prop::collection::vec(btree_set(0u32..40, 0..6), 1..4)) {
            let all: Vec<u32> = (0..40).collect();
            let found = ddmin(&all, |tried| ControlFlow::Continue(monotone(&causes, tried)));
            prop_assert!(found.complete);
            prop_assert!(monotone(&causes, &found.items));
            for n in 0..found.items.len() {
                let mut less = found.items.clone();
                less.remove(n);
                prop_assert!(!monotone(&causes, &less), "{less:?} is enough");
            }
        }

        #[test]
        fn whatever_the_predicate_what_comes_out_has_failed(seed: u64, n in 0usize..30) {
            let all: Vec<usize> = (0..n).collect();
            // No law at all but that the whole fails.
            let fails = |tried: &[usize]| {
                let hash = tried.iter().fold(seed, |hash, x| (hash ^ *x as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                tried.len() == n || hash >> 62 == 0
            };
            let mut trials = 0;
            let found = ddmin(&all, |tried| {
                trials += 1;
                ControlFlow::Continue(fails(tried))
            });
            prop_assert!(fails(&found.items));
            prop_assert!(found.items.windows(2).all(|pair| pair[0] < pair[1]), "the order is kept");
            prop_assert!(trials <= n * n + 3 * n, "{trials} trials of {n}");
        }

        #[test]
        fn no_trial_comes_after_the_last(cause in btree_set(0u32..30, 1..5), budget in 0u32..40) {
            let all: Vec<u32> = (0..30).collect();
            let causes = [cause];
            let (mut trials, mut over) = (0, false);
            let found = ddmin(&all, |tried| {
                assert!(!over, "asked again after the end");
                if trials == budget {
                    over = true;
                    return ControlFlow::Break(());
                }
                trials += 1;
                ControlFlow::Continue(monotone(&causes, tried))
            });
            prop_assert!(trials <= budget);
            prop_assert!(monotone(&causes, &found.items), "half done, but it fails");
            prop_assert_eq!(found.complete, !over);
        }
    }

    #[test]
    fn nothing_is_enough_when_nothing_matters() {
        let found = ddmin(&[1, 2, 3], |_| ControlFlow::Continue(true));
        assert_eq!(found, Minimal { items: vec![], complete: true });
        assert_eq!(ddmin::<u8>(&[], |_| unreachable!()), Minimal { items: vec![], complete: true });
        let one = ddmin(&[7], |tried| ControlFlow::Continue(!tried.is_empty()));
        assert_eq!(one, Minimal { items: vec![7], complete: true });
    }
}
