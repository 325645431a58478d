//! A host of the lab.

use crate::{error::LabError, netns::Netns};
use std::{
    ffi::OsStr,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

/// A host: a network namespace with an address. Clones are the same host.
#[derive(Debug, Clone)]
pub struct Host {
    pub(crate) name: String,
    pub(crate) site: String,
    pub(crate) space: Netns,
    pub(crate) v4: Option<Ipv4Addr>,
    pub(crate) v6: Option<Ipv6Addr>,
}

impl Host {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The site, or the host's own name when it stands in the cloud.
    pub fn site(&self) -> &str {
        &self.site
    }

    /// Its own address, which behind a NAT nobody outside can use: IPv4 where it has one.
    pub fn address(&self) -> IpAddr {
        let v6 = || IpAddr::V6(self.v6.unwrap_or(Ipv6Addr::UNSPECIFIED));
        self.v4.map_or_else(v6, IpAddr::V4)
    }

    /// Its IPv4 address.
    pub fn v4(&self) -> Option<Ipv4Addr> {
        self.v4
    }

    /// Its IPv6 address.
    pub fn v6(&self) -> Option<Ipv6Addr> {
        self.v6
    }

    /// Its namespace.
    pub fn space(&self) -> &Netns {
        &self.space
    }

    /// A command that will run there, and die with the thread that starts it (see [`crate::spawner`]).
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.space.command(program)
    }

    /// Runs `work` on a thread of this process that is there. Sockets that it makes stay there.
    ///
    /// # Errors
    /// The host cannot be entered, or `work` panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        self.space.run(work)
    }

    /// A TCP connection from there.
    ///
    /// # Errors
    /// The host cannot be entered; or, inside, the connection is refused or not answered in time.
    pub fn connect(&self, to: SocketAddr, patience: Duration) -> Result<io::Result<TcpStream>, LabError> {
        self.run(|| TcpStream::connect_timeout(&to, patience))
    }

    /// The processes that run there, whoever started them.
    pub fn processes(&self) -> Vec<i32> {
        self.space.processes()
    }

    /// A command line that enters it from any shell of root on this machine, as long as this process lives.
    pub fn how_to_enter(&self) -> String {
        format!("nsenter --net={}", self.space.path())
    }
}
