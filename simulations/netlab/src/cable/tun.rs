//! One end of a cable: a TUN device in a namespace.

use crate::{
    error::LabError,
    netns::{Netns, interface_request},
};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::Path,
};

const NODE: &str = "/dev/net/tun";
/// Each packet has this many bytes in front that say what the kernel has left to do (`struct virtio_net_hdr`).
pub const HEADER: usize = 10;
/// The largest packet, with its header: 64 KiB when the kernel bundles.
pub const LARGEST: usize = 65_536 + HEADER;

/// Makes the TUN device `name` inside `space`. Its file is read and written without waiting.
pub fn open(space: &Netns, name: &str) -> Result<File, LabError> {
    make_node()?;
    let made = space.run(|| -> io::Result<File> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(NODE)?;
        let mut request = interface_request(name);
        let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        // The kernel's flags of this call are 16 bits wide, and these three fit.
        request.ifr_ifru.ifru_flags = flags as libc::c_short;
        // SAFETY: the kernel reads and writes one `ifreq` at the pointer, which outlives the call.
        check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
        Ok(file)
    })?;
    let file = made.map_err(LabError::system(format!("make the TUN device {name}")))?;
    space.ip(&format!("link set {name} mtu 1500 txqueuelen 10000\n"))?;
    Ok(file)
}

/// Whether the kernel may hand over bundles of packets (GSO) and leave checksums undone. Bundles are fast, but a bundle
/// is lost, or waits, as one.
pub fn bundle(file: &File, may: bool) -> io::Result<()> {
    let most = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let udp = libc::TUN_F_USO4 | libc::TUN_F_USO6;
    let set = |flags: libc::c_uint| {
        // SAFETY: the argument of this call is a number, not a pointer.
        check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(flags)) })
    };
    match may {
        true => set(most | udp).or_else(|_| set(most)),
        false => set(0),
    }
}

/// Why there can be no TUN device here, if there cannot.
pub fn unavailable() -> Option<String> {
    let attempt = || open(&Netns::new(crate::netns::Forwarding::Off)?, "probe");
    attempt().err().map(|why| format!("no cables: {why}"))
}

fn make_node() -> Result<(), LabError> {
    if Path::new(NODE).exists() {
        return Ok(());
    }
    let made = || -> io::Result<()> {
        std::fs::create_dir_all("/dev/net")?;
        Ok(mknod(NODE, SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IWUSR, makedev(10, 200))?)
    };
    made().map_err(LabError::system(format!("make {NODE}")))
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
