//! The lab as the tests see it: sites that come to be with their first host, in [`holm_netlab`]'s small internet.
//!
//! A site is a company's plant when nothing else is said: private addresses that are routed everywhere
//! (10.77.`site`.0/24), no NAT. [`Lab::ground`] makes it something else before its first host.
//!
//! A cut drops packets without a word, as a broken link does: connections across it see silence, never a refusal. Inside
//! a site nothing passes the core, so a cut site still works within itself.

use crate::{binaries, process};
use anyhow::{Context, Result, ensure};
use holm_netlab::{Nat, netns};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

pub use holm_netlab::unavailable;

/// What a site stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// Its hosts have public IPv4 addresses, each on an uplink of its own.
    Public,
    /// The same, and IPv6 addresses.
    PublicDual,
    /// Its hosts share a LAN behind this.
    Behind(Nat),
}

/// A number of sites around one core.
#[derive(Debug)]
pub struct Lab {
    net: holm_netlab::Lab,
    sites: BTreeMap<String, Site>,
}

#[derive(Debug)]
struct Site {
    ground: Ground,
    hosts: usize,
}

/// Where a node runs: a host of the lab, or this machine as it is.
#[derive(Debug, Clone)]
pub struct Host {
    inside: Option<holm_netlab::Host>,
    addresses: Vec<IpAddr>,
}

impl Lab {
    /// An empty lab.
    ///
    /// # Errors
    /// This process may not, or a tool is missing; [`unavailable`] tells beforehand.
    pub fn new() -> Result<Lab> {
        // Without the guard a lab works as well; only a `kill -9` of the tests would leave tasks behind.
        let net = match binaries::find("holm-lab") {
            Ok(program) => {
                let mut guard = Command::new(program);
                guard.arg("guard");
                holm_netlab::Lab::guarded(guard)?
            }
            Err(_) => holm_netlab::Lab::new()?,
        };
        Ok(Lab { net, sites: BTreeMap::new() })
    }

    /// Says what a site stands on, before its first host.
    ///
    /// # Errors
    /// There is such a site already.
    pub fn ground(&mut self, site: &str, ground: Ground) -> Result<()> {
        ensure!(!self.sites.contains_key(site), "the lab has a site {site:?} already");
        if let Ground::Behind(nat) = ground {
            self.net.site(site, nat, 0)?;
        }
        self.sites.insert(site.to_owned(), Site { ground, hosts: 0 });
        Ok(())
    }

    /// A new host at `site`.
    ///
    /// # Errors
    /// The network tools refuse, or the lab is full.
    pub fn host(&mut self, site: &str) -> Result<Host> {
        if !self.sites.contains_key(site) {
            self.ground(site, Ground::Behind(Nat::Routed))?;
        }
        let at = self.sites.get_mut(site).context("a site that was just made")?;
        at.hosts += 1;
        let name = name(site, at.hosts);
        let inside = match at.ground {
            Ground::Public | Ground::PublicDual => self.net.cloud(&name)?,
            Ground::Behind(_) => self.net.add_host(site, &name)?,
        };
        let (v4, v6) = (inside.v4().map(IpAddr::V4), inside.v6().map(IpAddr::V6));
        let v6 = v6.filter(|_| at.ground != Ground::Public);
        Ok(Host { inside: Some(inside), addresses: v4.into_iter().chain(v6).collect() })
    }

    /// The lab underneath, for all that it can do; a host in public is a site of its own there.
    pub fn net(&self) -> &holm_netlab::Lab {
        &self.net
    }

    /// Cuts the link between two sites.
    ///
    /// # Errors
    /// There is no such site, or nft refuses.
    pub fn cut(&self, a: &str, b: &str) -> Result<()> {
        for a in self.uplinks(a)? {
            for b in self.uplinks(b)? {
                self.net.partition(&a, &b)?;
            }
        }
        Ok(())
    }

    /// Cuts a site off from all others.
    ///
    /// # Errors
    /// There is no such site, or nft refuses.
    pub fn cut_site(&self, site: &str) -> Result<()> {
        self.uplinks(site)?.iter().try_for_each(|uplink| Ok(self.net.cut(uplink)?))
    }

    /// Mends every link.
    ///
    /// # Errors
    /// nft refuses.
    pub fn heal(&self) -> Result<()> {
        Ok(self.net.heal_all()?)
    }

    fn uplinks(&self, site: &str) -> Result<Vec<String>> {
        let at = self.sites.get(site).with_context(|| format!("the lab has no site {site:?}"))?;
        Ok(match at.ground {
            Ground::Public | Ground::PublicDual => (1..=at.hosts).map(|n| name(site, n)).collect(),
            Ground::Behind(_) => vec![site.to_owned()],
        })
    }
}

/// What the lab calls the `n`-th host of a site.
fn name(site: &str, n: usize) -> String {
    format!("{site}.{n}")
}

impl Host {
    /// This machine, without a lab.
    pub fn this_machine() -> Host {
        Host { inside: None, addresses: vec![Ipv4Addr::LOCALHOST.into()] }
    }

    /// Its address: IPv4 where it has one.
    pub fn address(&self) -> IpAddr {
        self.addresses.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    /// All its addresses.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Whether it has a network of its own.
    pub fn is_in_lab(&self) -> bool {
        self.inside.is_some()
    }

    /// A command that will run there.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match &self.inside {
            Some(host) => host.command(program),
            None => netns::bound_to_us(program),
        }
    }

    /// Runs `work` on a thread of this process that is there.
    ///
    /// # Errors
    /// The host cannot be entered, or `work` fails.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match &self.inside {
            Some(host) => host.run(work)?,
            None => work(),
        }
    }

    /// A connection from there.
    ///
    /// # Errors
    /// It is refused, or not answered in time.
    pub fn connect(&self, to: impl Into<SocketAddr>, patience: Duration) -> Result<TcpStream> {
        let to = to.into();
        self.run(|| TcpStream::connect_timeout(&to, patience).with_context(|| format!("cannot connect to {to}")))
    }

    /// Processes that run in its namespace; none without a lab, where it has none of its own.
    pub fn processes(&self) -> Vec<i32> {
        let Some(host) = &self.inside else { return Vec::new() };
        process::all().into_iter().filter(|pid| host.space().holds(*pid)).collect()
    }
}
