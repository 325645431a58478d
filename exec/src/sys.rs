//! The few system calls that no safe wrapper of our dependencies offers.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
    time::Duration,
};
use tokio::io::{Interest, unix::AsyncFd};

/// A descriptor of a process, readable once it ended. It refers to that process for ever, even
/// when its number is given to another.
///
/// # Errors
/// There is no such process, or the kernel is older than 5.3.
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: the kernel just gave us this descriptor (close-on-exec, as all pidfds are); nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Registers a descriptor with the runtime, to wait until it is readable. Gives it back when that fails.
pub(crate) fn watch_readable(fd: OwnedFd) -> Result<AsyncFd<OwnedFd>, OwnedFd> {
    // SAFETY: an `OwnedFd` keeps its descriptor open, and the same, for as long as the `AsyncFd` owns it.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(|e| e.into_parts().0)
}

/// Closes every descriptor but the standard three: whatever an agent forgot to mark close-on-exec
/// (a socket, the lock of a database) must not live on in a process that outlives it.
///
/// Only for the first line of the shim, before anything else is open.
pub fn close_inherited_descriptors() {
    // SAFETY: called at the start of `main`, when no Rust object owns a descriptor above 2.
    // A kernel older than 5.9 refuses, which costs only this second line of defence.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
}

/// Time since the host was started, also while it was suspended, and whatever its date says: what leases are
/// measured on. All processes of a host have it in common.
pub fn boot_clock() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills in the structure that it is given, which is ours. It fails only for a clock that is
    // not there, and this one is since Linux 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The same in milliseconds, as it is written into task folders.
pub fn boot_clock_ms() -> u64 {
    u64::try_from(boot_clock().as_millis()).unwrap_or(u64::MAX)
}

/// A timer on [`boot_clock`]: a descriptor that is readable when its time has come. It fires at once when the host
/// wakes up after it, which no timeout of a system call does.
#[derive(Debug)]
pub struct BootTimer(OwnedFd);

impl BootTimer {
    /// A timer that is not set.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn new() -> io::Result<BootTimer> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: timerfd_create takes two integers and touches no memory of ours.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_BOOTTIME, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
        Ok(BootTimer(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sets it to a time in milliseconds, in place of what it was set to. It is not readable any more until then.
    ///
    /// # Errors
    /// The time is beyond what the kernel knows.
    pub fn set(&self, at_ms: u64) -> io::Result<()> {
        let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
        // 0 would switch it off.
        let at_ms = at_ms.max(1);
        let at = libc::timespec {
            tv_sec: libc::time_t::try_from(at_ms / 1000).map_err(invalid)?,
            tv_nsec: libc::c_long::try_from(at_ms % 1000 * 1_000_000).map_err(invalid)?,
        };
        let once = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        // SAFETY: the descriptor is ours, the structure lives for the call, and the old value is not asked for.
        let result = unsafe {
            libc::timerfd_settime(self.0.as_raw_fd(), libc::TFD_TIMER_ABSTIME, &raw const once, std::ptr::null_mut())
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsFd for BootTimer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Has the kernel kill the command when the thread that starts it is gone: of the task of a lease, whose
/// supervisor was killed, nothing may go on. What the command has started itself is not concerned.
pub fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let set = move || {
        // SAFETY: prctl and getppid take and give integers and touch no memory of ours.
        let orphaned = unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) < 0
                || u32::try_from(libc::getppid()).is_ok_and(|now| now != parent)
        };
        if orphaned { Err(io::Error::from(io::ErrorKind::BrokenPipe)) } else { Ok(()) }
    };
    // SAFETY: between fork and exec only two system calls are made, and no memory is allocated: an error
    // made of a kind holds none.
    unsafe { command.pre_exec(set) };
}

/// The unit in which the kernel tells start times.
pub(crate) fn ticks_a_second() -> u64 {
    // SAFETY: sysconf takes an integer and touches no memory of ours.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    // It is 100 on every architecture of today.
    u64::try_from(ticks).unwrap_or(100).max(1)
}

extern "C" fn nothing(_: libc::c_int) {}

/// Makes HUP, INT, QUIT and TERM do nothing to this process. A handler, and not "ignore": exec puts handlers
/// back to the default, whereas an ignored signal would stay ignored in the command.
pub fn shrug_off_signals() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: the handler does nothing, so it is safe at any point; `action` is fully initialised.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}
