//! The table of connections that a NAT remembers.

use crate::{error::LabError, netns::Netns};
use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

/// Forgets every connection of the namespace, as a router does that gets a new address. What `conntrack -F` does, without that program.
pub(crate) fn flush(space: &Netns) -> Result<(), LabError> {
    space.run(delete_all)?.map_err(LabError::system("flush the table of connections"))
}

/// How long a silent UDP mapping is remembered, whether it was ever answered or not.
pub(crate) fn udp_timeout(space: &Netns, timeout: Duration) -> Result<(), LabError> {
    let seconds = timeout.as_secs().max(1).to_string();
    for name in ["netfilter/nf_conntrack_udp_timeout", "netfilter/nf_conntrack_udp_timeout_stream"] {
        space.set(name, &seconds)?;
    }
    Ok(())
}

fn delete_all() -> io::Result<()> {
    // SAFETY: a plain system call; the result is checked before it is taken for a descriptor.
    let raw = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_NETFILTER) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `raw` was just opened, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    let request = delete_request();
    let mut answer = [0_u8; 64];
    // SAFETY: both calls get a live buffer and its length.
    let (sent, got) = unsafe {
        let sent = libc::send(socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0);
        (sent, libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0))
    };
    if sent < 0 || got < 20 {
        return Err(io::Error::last_os_error());
    }
    // An answer is a header of 16 bytes, then the negative error number, or 0.
    let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) }
}

/// `struct nlmsghdr` and `struct nfgenmsg`: delete connections, all of them, of every family, and say how it went.
fn delete_request() -> [u8; 20] {
    const DELETE: u16 = 2;
    let kind = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8 | DELETE;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let mut message = [0; 20];
    message[..4].copy_from_slice(&20_u32.to_ne_bytes());
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&flags.to_ne_bytes());
    message
}
