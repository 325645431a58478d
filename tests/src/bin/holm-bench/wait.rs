//! Waiting with a clock in the hand: finer than the tests' waits, since what is waited for is short.

use anyhow::{Result, bail};
use holm_tests::interrupt;
use std::time::{Duration, Instant};

/// Looks every `every` until `look` finds something; gives it, and how long that was after `begin`.
///
/// # Errors
/// A look fails, nothing is found within `patience` of `begin`, or the user asked to stop.
pub fn until<T>(
    what: &str,
    begin: Instant,
    every: Duration,
    patience: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<(T, Duration)> {
    loop {
        interrupt::check()?;
        if let Some(found) = look()? {
            return Ok((found, begin.elapsed()));
        }
        if begin.elapsed() >= patience {
            bail!("after {patience:?} it is still not so that {what}");
        }
        std::thread::sleep(every);
    }
}

/// Lets time pass, unless the user asks to stop.
///
/// # Errors
/// The user asked to stop.
pub fn pass(time: Duration) -> Result<()> {
    let begin = Instant::now();
    while let Some(left) = time.checked_sub(begin.elapsed()) {
        interrupt::check()?;
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_given_with_its_time() {
        let begin = Instant::now();
        let (mut looks, every) = (0, Duration::from_millis(1));
        let (found, time) = until("three looks", begin, every, Duration::from_secs(20), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        })
        .unwrap();
        assert!(found == 3 && time >= every * 2 && time <= begin.elapsed());
        let never = until::<()>("pigs fly", begin, every, every, || Ok(None));
        assert!(never.unwrap_err().to_string().contains("pigs fly"));
    }
}
