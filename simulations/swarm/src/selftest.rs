//! Proof that timers, clocks and entropy are under control, in this very build, before any result counts.
//!
//! The dangerous failure is the silent one: without the patched `futures-timer` every timer of libp2p
//! is dead and a run just looks quiet; with one generator that asks the kernel, a seed replays
//! something else. So what must fire is seen to fire, what must be equal is compared, and a leak
//! that is made on purpose has to be noticed by the same comparison.

use crate::{
    SwarmError,
    control::{self, leak},
    runtime,
    trace::Hash,
};
use std::{
    hash::{BuildHasher as _, RandomState},
    time::{Duration, Instant, SystemTime},
};

/// What a probe sleeps through.
const HOUR: Duration = Duration::from_secs(3600);
/// How long the real world may take for that.
const REAL: Duration = Duration::from_secs(20);

/// A way around the control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leak {
    None,
    Entropy,
    Clock,
}

/// What one probe saw.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    /// By the monotonic clock of the standard library, over one hour of each kind of timer.
    futures_timer: Duration,
    tokio: Duration,
    /// By the wall clock, over both.
    wall: Duration,
    wall_skewed: Duration,
    /// Everything that a seed should decide.
    entropy: u64,
    /// Real time that the probe took.
    real: Duration,
    asked: control::Asked,
}

async fn probe(leak: Leak) -> Seen {
    let real = leak::mono();
    let (start, date) = (Instant::now(), SystemTime::now());
    futures_timer::Delay::new(HOUR).await;
    let futures_timer = start.elapsed();
    tokio::time::sleep(HOUR).await;
    let tokio = start.elapsed() - futures_timer;
    let wall = date.elapsed().unwrap_or_default();
    let before = control::set_skew(60_000);
    let wall_skewed = date.elapsed().unwrap_or_default();
    control::set_skew(before);
    Seen {
        futures_timer,
        tokio,
        wall,
        wall_skewed,
        entropy: drawn(leak),
        real: leak::mono() - real,
        asked: control::asked(),
    }
}

/// A hash over every source of chance that the stack uses, with a leak if one is asked for. Not
/// among them: the order of an unbiased `select!`, which tokio mixes with a count of the runtimes that
/// this process ever had; that is one reason for one process a run.
fn drawn(leak: Leak) -> u64 {
    let mut hash = Hash::default();
    hash.add(&[rand::random(), RandomState::new().hash_one(7u64)]);
    #[expect(clippy::disallowed_types, reason = "its order is what is looked at")]
    let order: std::collections::HashMap<u64, ()> = (0..64).map(|n| (n, ())).collect();
    hash.add(&order.into_keys().collect::<Vec<_>>());
    let mut bytes = [0u8; 16];
    // SAFETY: sixteen writable bytes, as announced.
    let got = unsafe { libc::getentropy(bytes.as_mut_ptr().cast(), bytes.len()) };
    hash.add(&[u64::from(got == 0)]);
    hash.bytes(&bytes);
    match leak {
        Leak::None => {}
        Leak::Entropy => hash.add(&[leak::entropy()]),
        Leak::Clock => hash.add(&[u64::try_from(leak::mono().as_nanos()).unwrap_or(u64::MAX)]),
    }
    hash.0
}

fn run(seed: u64, leak: Leak) -> Result<Seen, SwarmError> {
    runtime::run(seed, move || probe(leak))
}

/// Runs the self-test, in a few milliseconds.
///
/// # Errors
/// [`SwarmError::Control`] says what is not under control.
pub fn check() -> Result<(), SwarmError> {
    let (first, second, other) = (run(7, Leak::None)?, run(7, Leak::None)?, run(8, Leak::None)?);
    let leaking = |leak| Ok::<_, SwarmError>((run(7, leak)?.entropy, run(7, leak)?.entropy));
    let (entropy, clock) = (leaking(Leak::Entropy)?, leaking(Leak::Clock)?);
    let real = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let must = [
        (first.futures_timer == HOUR, "an hour of futures-timer is not an hour of virtual time: is it patched?"),
        (first.tokio == HOUR, "an hour of tokio's timers is not an hour of virtual time: is the clock paused?"),
        (first.wall == 2 * HOUR, "the wall clock is not virtual"),
        (first.wall_skewed == 2 * HOUR + Duration::from_secs(60), "a node's wall clock cannot be skewed"),
        (first.real < REAL, "virtual hours take real time"),
        (first.asked.entropy > 0 && first.asked.mono > 0 && first.asked.wall > 0, "libc's functions are not replaced"),
        (first.entropy == second.entropy, "the same seed does not give the same chance: entropy leaks in"),
        (first.entropy != other.entropy, "another seed does not give another chance"),
        (entropy.0 != entropy.1, "a leak of real entropy is not noticed"),
        (clock.0 != clock.1, "a leak of the real clock is not noticed"),
        (
            real > control::WALL_START / 2 && control::asked() == control::Asked::default(),
            "threads outside are affected",
        ),
    ];
    match must.into_iter().find(|(held, _)| !held) {
        Some((_, what)) => Err(SwarmError::Control(what.to_owned())),
        None => Ok(()),
    }
}
