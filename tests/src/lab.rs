//! The lab: sites, hosts, and links that can be cut.
//!
//! ```text
//!   site 1  10.77.1.0/24              core                10.77.2.0/24  site 2
//!   host .1 ──┐                   (routes, cuts)                   ┌── host .1
//!   host .2 ──┴── bridge site1 .254 ── nft ── .254 bridge site2 ──┴── host .2
//! ```
//!
//! A cut drops packets in the core without a word, as a broken link does: connections across it see silence, never a
//! refusal. Inside a site nothing passes the core, so a cut site still works within itself.

use crate::{
    netns::{self, Netns},
    process,
};
use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    process::Command,
    time::Duration,
};

/// Hosts that one site can have, and sites that a lab can have.
const MAX: usize = 250;

/// A number of sites around one core.
#[derive(Debug)]
pub struct Lab {
    core: Netns,
    /// Sites in the order they were made, and how many hosts each has.
    sites: BTreeMap<String, Site>,
}

#[derive(Debug)]
struct Site {
    number: usize,
    hosts: usize,
}

/// Where a node runs: a namespace of the lab, or this machine as it is.
#[derive(Debug, Clone)]
pub struct Host {
    space: Option<Netns>,
    address: Ipv4Addr,
}

impl Lab {
    /// An empty lab.
    ///
    /// # Errors
    /// This process may not, or a tool is missing; [`unavailable`] tells beforehand.
    pub fn new() -> Result<Lab> {
        let core = Netns::new()?;
        core.sysctl("ipv4/ip_forward", "1")?;
        for bridge in ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"] {
            // The file is there only when the kernel would filter bridged packets too.
            if std::path::Path::new("/proc/sys/net").join(bridge).exists() {
                core.sysctl(bridge, "0")?;
            }
        }
        core.nft("table inet lab { chain forward { type filter hook forward priority filter; policy accept; }; }\n")?;
        Ok(Lab { core, sites: BTreeMap::new() })
    }

    /// A new host at `site`, which comes to be with its first host.
    ///
    /// # Errors
    /// The network tools refuse, or the lab is full.
    pub fn host(&mut self, site: &str) -> Result<Host> {
        if !self.sites.contains_key(site) {
            let number = self.sites.len() + 1;
            ensure!(number <= MAX, "a lab has at most {MAX} sites");
            // A bridge without an address of its own takes the lowest of its ports, and changes it when
            // a port with a lower one joins: hosts that know the old one are then not heard for a minute.
            self.core.ip(&format!(
                "link add site{number} address 02:4d:00:00:{number:02x}:fe type bridge stp_state 0 forward_delay 0\n\
                 addr add 10.77.{number}.254/24 dev site{number}\n\
                 link set site{number} up\n"
            ))?;
            self.sites.insert(site.to_owned(), Site { number, hosts: 0 });
        }
        let at = self.sites.get_mut(site).context("a site that was just made")?;
        ensure!(at.hosts < MAX, "a site has at most {MAX} hosts");
        at.hosts += 1;
        let (s, h) = (at.number, at.hosts);
        let space = Netns::new()?;
        self.core.ip(&format!(
            "link add h{s}x{h} type veth peer name eth0 netns {}\n\
             link set h{s}x{h} master site{s}\n\
             link set h{s}x{h} up\n",
            space.path()
        ))?;
        space.ip(&format!(
            "addr add 10.77.{s}.{h}/24 dev eth0\nlink set eth0 up\nroute add default via 10.77.{s}.254\n"
        ))?;
        let address = Ipv4Addr::new(10, 77, u8::try_from(s)?, u8::try_from(h)?);
        Ok(Host { space: Some(space), address })
    }

    /// Cuts the link between two sites.
    ///
    /// # Errors
    /// There is no such site, or nft refuses.
    pub fn cut(&self, a: &str, b: &str) -> Result<()> {
        let (a, b) = (self.number(a)?, self.number(b)?);
        self.drop_packets(&[
            format!("iifname \"site{a}\" oifname \"site{b}\""),
            format!("iifname \"site{b}\" oifname \"site{a}\""),
        ])
    }

    /// Cuts a site off from all others.
    ///
    /// # Errors
    /// There is no such site, or nft refuses.
    pub fn cut_site(&self, site: &str) -> Result<()> {
        let site = self.number(site)?;
        self.drop_packets(&[format!("iifname \"site{site}\""), format!("oifname \"site{site}\"")])
    }

    /// Mends every link.
    ///
    /// # Errors
    /// nft refuses.
    pub fn heal(&self) -> Result<()> {
        self.core.nft("flush chain inet lab forward\n")
    }

    fn number(&self, site: &str) -> Result<usize> {
        self.sites.get(site).map(|s| s.number).with_context(|| format!("the lab has no site {site:?}"))
    }

    fn drop_packets(&self, which: &[String]) -> Result<()> {
        let rules: String = which.iter().map(|which| format!("add rule inet lab forward {which} drop\n")).collect();
        self.core.nft(&rules)
    }
}

impl Host {
    /// This machine, without a lab.
    pub fn this_machine() -> Host {
        Host { space: None, address: Ipv4Addr::LOCALHOST }
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Whether it has a network of its own.
    pub fn is_in_lab(&self) -> bool {
        self.space.is_some()
    }

    /// A command that will run there.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match &self.space {
            Some(space) => space.command(program),
            None => netns::bound_to_us(program),
        }
    }

    /// Runs `work` on a thread of this process that is there.
    ///
    /// # Errors
    /// The host cannot be entered, or `work` fails.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match &self.space {
            Some(space) => space.run(work),
            None => work(),
        }
    }

    /// A connection from there.
    ///
    /// # Errors
    /// It is refused, or not answered in time.
    pub fn connect(&self, to: SocketAddrV4, patience: Duration) -> Result<TcpStream> {
        self.run(|| TcpStream::connect_timeout(&to.into(), patience).with_context(|| format!("cannot connect to {to}")))
    }

    /// Processes that run in its namespace; none without a lab, where it has none of its own.
    pub fn processes(&self) -> Vec<i32> {
        let Some(space) = &self.space else { return Vec::new() };
        process::all().into_iter().filter(|pid| space.holds(*pid)).collect()
    }
}

/// Why no lab can be built here, if none can. Found out by building one.
pub fn unavailable() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("the lab of network namespaces needs root".to_owned());
    }
    let attempt = || -> Result<()> {
        let mut lab = Lab::new()?;
        lab.host("a")?;
        lab.host("b")?;
        lab.cut("a", "b")?;
        lab.heal()
    };
    attempt().err().map(|why| format!("the lab of network namespaces cannot be built: {why:#}"))
}
