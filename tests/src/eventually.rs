//! Waiting for a state, never for a time. With `HOLM_E2E_TIMES` in the environment every wait tells how long it took.

use crate::interrupt;
use anyhow::{Result, anyhow, bail};
use std::time::{Duration, Instant};

/// Between two looks.
const POLL: Duration = Duration::from_millis(50);

/// Looks until `look` succeeds, and gives what it gave.
///
/// # Errors
/// It still fails at the deadline (then: the last reason), or the user asked to stop.
pub fn eventually<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    regardless(what, deadline, || match interrupt::check() {
        Ok(()) => look().map(Ok),
        Err(stop) => Ok(Err(stop)),
    })?
}

/// The same for cleaning up: goes on when the user has asked to stop.
pub(crate) fn regardless<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let begin = Instant::now();
    loop {
        match look() {
            Ok(value) => {
                if std::env::var_os("HOLM_E2E_TIMES").is_some() {
                    eprintln!("{:7.2} s until {what}", begin.elapsed().as_secs_f64());
                }
                return Ok(value);
            }
            Err(why) if begin.elapsed() >= deadline => {
                return Err(anyhow!("after {:.0?} it is still not so that {what}: {why:#}", begin.elapsed()));
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// Looks again and again for as long as `time`: what must not happen gets that long to happen.
///
/// # Errors
/// The first look that fails, or the user asked to stop.
pub fn holds(what: &str, time: Duration, mut look: impl FnMut() -> Result<()>) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < time {
        interrupt::check()?;
        if let Err(why) = look() {
            bail!("after {:.1?} it is no longer so that {what}: {why:#}", begin.elapsed());
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reason_is_told() {
        let mut looks = 0;
        let result: Result<()> = eventually("pigs fly", Duration::from_millis(120), || {
            looks += 1;
            bail!("look {looks}")
        });
        let text = format!("{:#}", result.unwrap_err());
        assert!(looks > 1 && text.contains("pigs fly") && text.contains(&format!("look {looks}")), "{text}");
    }

    #[test]
    fn what_stops_being_so_is_noticed() {
        let mut looks = 0;
        let result = holds("it is early", Duration::from_secs(10), || {
            looks += 1;
            if looks < 3 { Ok(()) } else { bail!("it is late") }
        });
        assert!(format!("{:#}", result.unwrap_err()).contains("it is late"));
        assert!(holds("always", Duration::from_millis(60), || Ok(())).is_ok());
    }
}
