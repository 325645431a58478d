//! Reachability marks: `sometimes!("a heal found two holders")` at a rare branch says that a test
//! which never gets there has not tested it. The simulator counts them and names those that no
//! run has reached.
//!
//! Without the feature `marks`, which only the simulator asks for, a mark is nothing at all. With it,
//! reaching one is an addition to a table of this thread; no decision ever depends on it.

/// Says that a rare branch was reached. The name is a literal, unique in the product.
#[macro_export]
macro_rules! sometimes {
    ($name:literal) => {
        $crate::marks::reached($name)
    };
}

#[cfg(feature = "marks")]
mod table {
    use std::{cell::RefCell, collections::BTreeMap};

    thread_local! {
        static REACHED: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
    }

    pub(super) fn add(name: &'static str) {
        REACHED.with_borrow_mut(|reached| *reached.entry(name).or_default() += 1);
    }

    pub(super) fn take() -> BTreeMap<&'static str, u64> {
        REACHED.take()
    }
}

/// Counts a mark on this thread. Called by [`sometimes!`](crate::sometimes).
#[inline]
pub fn reached(name: &'static str) {
    #[cfg(feature = "marks")]
    table::add(name);
    #[cfg(not(feature = "marks"))]
    let _ = name;
}

/// The marks that this thread has reached since the last call.
#[cfg(feature = "marks")]
pub fn take() -> std::collections::BTreeMap<&'static str, u64> {
    table::take()
}

#[cfg(all(test, feature = "marks"))]
mod tests {
    #[test]
    fn marks_are_counted_and_taken_once() {
        crate::sometimes!("one");
        crate::sometimes!("one");
        assert_eq!(super::take(), [("one", 2)].into());
        assert!(super::take().is_empty());
    }
}
