//! An anonymous network namespace: held by a file descriptor, never named, gone with this process.

use crate::error::LabError;
use nix::{
    sched::{CloneFlags, setns, unshare},
    sys::{prctl::set_pdeathsig, signal::Signal},
};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{fs::MetadataExt, process::CommandExt},
    },
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

/// Settings of every namespace, below `/proc/sys/net`.
const SETTINGS: &[(&str, &str)] = &[
    // Hosts of a lab are not far from each other: what is measured should not depend on this machine's choice.
    ("ipv4/tcp_congestion_control", "reno"),
    // An address is there at once; nobody else in the lab has it.
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    // Else packets that a bridge carries within a LAN pass the router's firewall.
    ("bridge/bridge-nf-call-iptables", "0"),
    ("bridge/bridge-nf-call-ip6tables", "0"),
];

/// Whether a namespace passes packets on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarding {
    /// A router.
    On,
    /// A host.
    Off,
}

/// A network namespace.
#[derive(Debug, Clone)]
pub struct Netns {
    file: Arc<File>,
    inode: u64,
}

impl Netns {
    /// A new one, with the loopback interface up.
    ///
    /// # Errors
    /// This process may not make one.
    pub fn new(forwarding: Forwarding) -> Result<Netns, LabError> {
        // A thread of its own enters the new namespace and ends; the descriptor keeps it.
        let made = std::thread::spawn(move || -> Result<File, LabError> {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|e| LabError::system("make a network namespace")(io::Error::from(e)))?;
            let file = File::open("/proc/thread-self/ns/net").map_err(LabError::system("open the namespace"))?;
            loopback_up().map_err(LabError::system("bring the loopback interface up"))?;
            let forward = if forwarding == Forwarding::On { "1" } else { "0" };
            let forwarding = [("ipv4/ip_forward", forward), ("ipv6/conf/all/forwarding", forward)];
            for (name, value) in forwarding.iter().chain(SETTINGS) {
                write_setting(name, value)?;
            }
            Ok(file)
        });
        let file = made.join().map_err(|_| LabError::Panicked)??;
        let inode = file.metadata().map_err(LabError::system("look at the namespace"))?.ino();
        Ok(Netns { file: Arc::new(file), inode })
    }

    /// The one at `path`, which this descriptor keeps from now on.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn open(path: &str) -> Result<Netns, LabError> {
        let file = File::open(path).map_err(LabError::system(format!("open {path}")))?;
        let inode = file.metadata().map_err(LabError::system("look at the namespace"))?.ino();
        Ok(Netns { file: Arc::new(file), inode })
    }

    /// A path that names it for `ip ... netns PATH` and `nsenter --net=PATH`, as long as this process lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// A command that will run inside, and that dies with the thread that starts it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let file = Arc::clone(&self.file);
        let mut command = Command::new(program);
        // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                setns(&file, CloneFlags::CLONE_NEWNET)?;
                set_pdeathsig(Signal::SIGKILL)?;
                Ok(())
            });
        }
        command
    }

    /// Runs `work` on a thread inside. Sockets that it makes belong to the namespace for good.
    ///
    /// # Errors
    /// The namespace cannot be entered, or `work` panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET)
                    .map_err(|e| LabError::system("enter the namespace")(io::Error::from(e)))?;
                Ok(work())
            });
            inside.join().map_err(|_| LabError::Panicked)?
        })
    }

    /// Whether a process is inside. A zombie is nowhere.
    pub fn holds(&self, pid: i32) -> bool {
        fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|m| m.ino() == self.inode)
    }

    /// The processes inside.
    pub fn processes(&self) -> Vec<i32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| self.holds(*pid)).collect()
    }

    /// Runs a batch of `ip` commands inside.
    ///
    /// # Errors
    /// One of them failed.
    pub fn ip(&self, batch: &str) -> Result<(), LabError> {
        self.feed(&["ip", "-batch", "-"], batch)
    }

    /// Loads a ruleset of nft inside, as one transaction.
    ///
    /// # Errors
    /// The rules are refused.
    pub fn nft(&self, rules: &str) -> Result<(), LabError> {
        self.feed(&["nft", "-f", "-"], rules)
    }

    /// Writes a setting below `/proc/sys/net`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set(&self, name: &str, value: &str) -> Result<(), LabError> {
        self.run(|| write_setting(name, value))?
    }

    /// Waits until the kernel has taken notice that the other ends of these interfaces are up.
    ///
    /// It does so when it finds time, up to a second later; until then it drops what is sent, and a bridge does not
    /// forward. To ask for the state of a link makes it look at once.
    ///
    /// # Errors
    /// There is no such interface, or its other end is not up.
    pub(crate) fn settle(&self, interfaces: &[&str]) -> Result<(), LabError> {
        let looked = self.run(|| interfaces.iter().try_for_each(|name| link_is_up(name)))?;
        looked.map_err(LabError::system(format!("find {} up", interfaces.join(", "))))
    }

    fn feed(&self, program: &[&str], input: &str) -> Result<(), LabError> {
        let cannot_run = || LabError::system(format!("run `{}`", program[0]));
        let mut child = self
            .command(program[0])
            .args(&program[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(cannot_run())?;
        // One that refuses the beginning may not read the end: then what it says is the reason, not the broken pipe.
        let written = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().map_err(cannot_run())?;
        if output.status.success() {
            return written.unwrap_or(Ok(())).map_err(cannot_run());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(LabError::Tool { program: program.join(" "), said, input: input.to_owned() })
    }
}

/// A command in the network as it is, that dies with the thread that starts it.
pub fn bound_to_us(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe {
        command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
    }
    command
}

/// `/proc/sys/net` shows the namespace of the thread that looks.
fn write_setting(name: &str, value: &str) -> Result<(), LabError> {
    let path = Path::new("/proc/sys/net").join(name);
    // Some are there only when the kernel can do what they switch off.
    if !path.exists() {
        return Ok(());
    }
    fs::write(&path, value).map_err(LabError::system(format!("write {value:?} to {}", path.display())))
}

/// Does what `ip link set lo up` does, without a process.
fn loopback_up() -> io::Result<()> {
    let mut request = interface_request("lo");
    // `IFF_UP` fits: the kernel's flags of this call are 16 bits wide.
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    ask_kernel(libc::SIOCSIFFLAGS as libc::Ioctl, &mut request)
}

/// `struct ethtool_value`.
#[repr(C)]
struct LinkState {
    command: u32,
    up: u32,
}

/// Asks for the state of a link, which the kernel brings up to date first. An error when it is down.
fn link_is_up(name: &str) -> io::Result<()> {
    const ETHTOOL_GLINK: u32 = 0x0a;
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    let mut state = LinkState { command: ETHTOOL_GLINK, up: 0 };
    let mut request = interface_request(name);
    request.ifr_ifru.ifru_data = (&raw mut state).cast();
    ask_kernel(SIOCETHTOOL, &mut request)?;
    if state.up == 0 { Err(io::Error::other(format!("{name} is down"))) } else { Ok(()) }
}

/// One request about an interface. What it points to must be what the call expects there, and outlive it.
fn ask_kernel(call: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: a plain system call; the result is checked before it is taken for a descriptor.
    let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `raw` was just opened, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: the kernel reads and writes one `ifreq`, and what it points to: both callers say what that is.
    if unsafe { libc::ioctl(socket.as_raw_fd(), call, &raw mut *request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// An empty request about the interface `name`, of which the first 15 bytes count.
pub(crate) fn interface_request(name: &str) -> libc::ifreq {
    // SAFETY: all bytes zero is a valid `ifreq`: numbers, and addresses of numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request
}
