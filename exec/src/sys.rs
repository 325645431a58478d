//! The few system calls that no safe wrapper of our dependencies offers.

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd},
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
