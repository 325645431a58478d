//! Deliberate bugs: `sabotaged!("an acknowledgement comes before the disk")` is a branch that would be
//! wrong. The simulator's tests commit one at a time and demand that its judges find it: a judge that
//! has never found anything has shown nothing.
//!
//! Without the feature `marks`, which only the simulator asks for, the branch is not there. With it,
//! it is taken only on a thread that holds a [`Sabotage`], which no product code makes.

/// Whether this deliberate bug is committed now. The name is a literal, unique in the product.
#[macro_export]
macro_rules! sabotaged {
    ($name:literal) => {
        $crate::sabotage::is_committed($name)
    };
}

#[cfg(feature = "marks")]
thread_local! {
    static COMMITTED: std::cell::Cell<Option<&'static str>> = const { std::cell::Cell::new(None) };
}

/// Called by [`sabotaged!`](crate::sabotaged).
#[inline]
pub fn is_committed(name: &str) -> bool {
    #[cfg(feature = "marks")]
    return COMMITTED.get() == Some(name);
    #[cfg(not(feature = "marks"))]
    {
        let _ = name;
        false
    }
}

/// While this lives, the deliberate bug of that name is in the product, on this thread alone.
#[cfg(feature = "marks")]
#[derive(Debug)]
#[must_use = "the bug is gone when this is dropped"]
pub struct Sabotage(());

#[cfg(feature = "marks")]
impl Sabotage {
    /// Commits a bug in place of the one before.
    pub fn commit(name: &'static str) -> Sabotage {
        COMMITTED.set(Some(name));
        Sabotage(())
    }
}

#[cfg(feature = "marks")]
impl Drop for Sabotage {
    fn drop(&mut self) {
        COMMITTED.set(None);
    }
}

#[cfg(all(test, feature = "marks"))]
mod tests {
    use super::*;

    #[test]
    fn a_bug_is_there_as_long_as_it_is_committed() {
        assert!(!sabotaged!("one"));
        let bug = Sabotage::commit("one");
        assert!(sabotaged!("one") && !sabotaged!("two"));
        drop(bug);
        assert!(!sabotaged!("one"));
    }
}
