//! Control over entropy and clocks: what `libc` answers on a thread that runs a simulation.
//!
//! Everything below us asks `libc`: the standard library for the clocks and for the order of its hash
//! maps, noise, gossipsub and every generator for entropy. The three functions here take the
//! place of libc's at link time. On a thread that was [armed](arm) they answer from the seed and from
//! tokio's paused clock; on every other thread they ask the kernel, as before.
//!
//! What escapes: a system call without libc (see [`leak`]), another thread, `rdtsc`. The self-test
//! proves that the first is noticed, the runner that there is no second.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    cell::{Cell, RefCell},
    time::Duration,
};
use tokio::{runtime::Handle, time::Instant};

/// What the monotonic clock shows when a simulation begins.
const MONO_START: Duration = Duration::from_secs(1_000_000);
/// What the wall clock shows then: 2026-01-01.
pub const WALL_START: Duration = Duration::from_secs(1_767_225_600);

thread_local! {
    static ENTROPY: RefCell<Option<ChaCha8Rng>> = const { RefCell::new(None) };
    static ARMED: Cell<bool> = const { Cell::new(false) };
    static START: Cell<Option<Instant>> = const { Cell::new(None) };
    static SKEW_MS: Cell<i64> = const { Cell::new(0) };
    static ASKED: Cell<Asked> = const { Cell::new(Asked { entropy: 0, mono: 0, wall: 0 }) };
}

/// How often the simulation asked for what the seed decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// Reads of entropy.
    pub entropy: u64,
    /// Reads of a monotonic clock.
    pub mono: u64,
    /// Reads of the wall clock.
    pub wall: u64,
}

/// Takes this thread under control. Call it before the thread makes a runtime or a hash map.
pub fn arm(seed: u64) {
    ENTROPY.with(|entropy| *entropy.borrow_mut() = Some(ChaCha8Rng::seed_from_u64(seed)));
    ARMED.set(true);
}

/// Lets the clocks follow the paused clock of the runtime that this thread is in.
pub(crate) fn follow_runtime() {
    START.set(Some(Instant::now()));
}

/// What was asked on this thread so far.
pub fn asked() -> Asked {
    ASKED.get()
}

/// Sets by how much the wall clock is off from now on, and gives what it was before: every node's
/// tasks run under the node's own skew.
pub(crate) fn set_skew(ms: i64) -> i64 {
    SKEW_MS.replace(ms)
}

/// Time since the simulation began; none on a thread that is not under control.
fn elapsed() -> Option<Duration> {
    if !ARMED.try_with(Cell::get).unwrap_or(false) {
        return None;
    }
    // Outside a runtime tokio itself would ask the clock that is being answered here.
    let start = START.try_with(Cell::get).ok().flatten().filter(|_| Handle::try_current().is_ok());
    Some(start.map_or(Duration::ZERO, |start| Instant::now().duration_since(start)))
}

fn count(of: impl FnOnce(&mut Asked)) {
    // The thread may be ending: then nobody reads it any more.
    let _ = ASKED.try_with(|asked| {
        let mut counts = asked.get();
        of(&mut counts);
        asked.set(counts);
    });
}

/// Fills `bytes` from the seed; false on a thread that is not under control.
fn fill(bytes: &mut [u8]) -> bool {
    let filled = ENTROPY.try_with(|entropy| match entropy.try_borrow_mut().as_deref_mut() {
        Ok(Some(seeded)) => {
            seeded.fill_bytes(bytes);
            true
        }
        _ => false,
    });
    let filled = filled.unwrap_or(false);
    if filled {
        count(|asked| asked.entropy += 1);
    }
    filled
}

/// Instead of libc's `getrandom`.
///
/// # Safety
/// As libc's: `buf` must be valid for writes of `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buf: *mut libc::c_void, len: usize, flags: libc::c_uint) -> isize {
    if !buf.is_null() && len > 0 {
        // SAFETY: the caller promises `len` writable bytes; they are initialised below before anybody reads.
        let bytes = unsafe { std::slice::from_raw_parts_mut(buf.cast::<u8>(), len) };
        if fill(bytes) {
            return isize::try_from(len).unwrap_or(isize::MAX);
        }
    }
    // SAFETY: the arguments are the caller's, passed on unchanged to the call that they are meant for.
    unsafe { libc::syscall(libc::SYS_getrandom, buf, len, flags) as isize }
}

/// Instead of libc's `getentropy`.
///
/// # Safety
/// As libc's: `buf` must be valid for writes of `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getentropy(buf: *mut libc::c_void, len: usize) -> libc::c_int {
    // SAFETY: the caller's promise is the same.
    let got = if len <= 256 { unsafe { getrandom(buf, len, 0) } } else { -1 };
    if usize::try_from(got) == Ok(len) { 0 } else { -1 }
}

/// Instead of libc's `clock_gettime`.
///
/// # Safety
/// As libc's: `at` must be valid for one write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, at: *mut libc::timespec) -> libc::c_int {
    if let Some(time) = elapsed().and_then(|elapsed| shown(clock, elapsed)) {
        let (tv_sec, tv_nsec) = (time.as_secs().cast_signed(), i64::from(time.subsec_nanos()));
        // SAFETY: the caller promises a writable timespec.
        unsafe { at.write(libc::timespec { tv_sec, tv_nsec }) };
        return 0;
    }
    // SAFETY: the arguments are the caller's, passed on unchanged to the call that they are meant for.
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock, at) as libc::c_int }
}

/// What a clock shows; none for clocks that measure something else, as CPU time.
fn shown(clock: libc::clockid_t, elapsed: Duration) -> Option<Duration> {
    match clock {
        libc::CLOCK_MONOTONIC | libc::CLOCK_MONOTONIC_RAW | libc::CLOCK_MONOTONIC_COARSE | libc::CLOCK_BOOTTIME => {
            count(|asked| asked.mono += 1);
            Some(MONO_START + elapsed)
        }
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => {
            count(|asked| asked.wall += 1);
            let skew = SKEW_MS.try_with(Cell::get).unwrap_or(0);
            let off = Duration::from_millis(skew.unsigned_abs());
            let wall = WALL_START + elapsed;
            Some(if skew < 0 { wall.saturating_sub(off) } else { wall + off })
        }
        _ => None,
    }
}

/// Ways around the control, for the self-test to show that they are noticed, and for measuring.
pub mod leak {
    use std::time::Duration;

    /// Entropy of the kernel.
    pub fn entropy() -> u64 {
        let mut bytes = [0u8; 8];
        // SAFETY: eight writable bytes, as announced.
        unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), 0) };
        u64::from_ne_bytes(bytes)
    }

    /// The kernel's monotonic clock.
    pub fn mono() -> Duration {
        clock(libc::CLOCK_MONOTONIC)
    }

    /// CPU time that this process has used.
    pub fn cpu() -> Duration {
        clock(libc::CLOCK_PROCESS_CPUTIME_ID)
    }

    fn clock(of: libc::clockid_t) -> Duration {
        let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: one writable timespec.
        unsafe { libc::syscall(libc::SYS_clock_gettime, of, &raw mut at) };
        Duration::new(at.tv_sec.unsigned_abs(), u32::try_from(at.tv_nsec).unwrap_or(0))
    }
}
