//! The lab: sites around one core.

use crate::{
    cable::{Cable, Traffic},
    conntrack,
    cuts::Cuts,
    error::LabError,
    guard::Guard,
    host::Host,
    link::Link,
    nat::Nat,
    netns::{Forwarding, Netns},
    site::{Far, Site},
    upnp::Upnp,
};
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Sites and clouds that a lab can have.
const MOST_SITES: u8 = 250;

/// A small internet.
#[derive(Debug)]
pub struct Lab {
    // Cables before the namespaces that they end in.
    state: Mutex<State>,
    core: Netns,
    sites: BTreeMap<String, Site>,
    hosts: BTreeMap<String, Host>,
    /// Last: it clears what is left.
    guard: Option<Guard>,
}

/// What changes while the lab is up.
#[derive(Debug, Default)]
struct State {
    upnp: Vec<Upnp>,
    cables: BTreeMap<u8, Cable>,
    cuts: Cuts,
    /// How often a site got a new address.
    ages: BTreeMap<u8, u8>,
}

impl Lab {
    /// An empty lab.
    ///
    /// # Errors
    /// This process may not, or a tool is missing; [`crate::unavailable`] tells beforehand.
    pub fn new() -> Result<Lab, LabError> {
        let core = Netns::new(Forwarding::On)?;
        core.nft(Cuts::TABLE)?;
        Ok(Lab { state: Mutex::default(), core, sites: BTreeMap::new(), hosts: BTreeMap::new(), guard: None })
    }

    /// The same with a guard, which in the end kills every process on a host of the lab, whoever started it; also when this
    /// process is killed. `command` has to call [`crate::guard::serve`], as `holm-lab guard` does.
    ///
    /// # Errors
    /// As [`Lab::new`], or the guard cannot be started.
    pub fn guarded(command: Command) -> Result<Lab, LabError> {
        let guard = Some(Guard::start(command)?);
        Ok(Lab { guard, ..Lab::new()? })
    }

    // ---- building ----

    /// A host with public addresses, IPv4 and IPv6, and nothing in front of it.
    ///
    /// # Errors
    /// The name is taken, or the lab is full.
    pub fn cloud(&mut self, name: &str) -> Result<Host, LabError> {
        self.free("host", name)?;
        let site = self.new_site(name, Far::Cloud)?;
        let host = site.cloud_host(name);
        self.sites.insert(name.to_owned(), site);
        self.keep(host)
    }

    /// A site behind `nat` with hosts `NAME-1`, `NAME-2` and so on. All sites that translate use 192.168.1.0/24, as
    /// homes do.
    ///
    /// # Errors
    /// The name is taken, or the lab is full.
    pub fn site(&mut self, name: &str, nat: Nat, hosts: usize) -> Result<Vec<Host>, LabError> {
        let site = self.new_site(name, Far::Router(nat))?;
        self.sites.insert(name.to_owned(), site);
        (1..=hosts).map(|n| self.add_host(name, &format!("{name}-{n}"))).collect()
    }

    /// One more host at a site.
    ///
    /// # Errors
    /// There is no such site, the host's name is taken, or the site is full.
    pub fn add_host(&mut self, site: &str, name: &str) -> Result<Host, LabError> {
        self.free("host", name)?;
        let host = self.known_mut(site)?.add_host(site, name)?;
        self.keep(host)
    }

    fn keep(&mut self, host: Host) -> Result<Host, LabError> {
        self.guard.as_mut().map_or(Ok(()), |guard| guard.watch(host.space()))?;
        self.hosts.insert(host.name().to_owned(), host.clone());
        Ok(host)
    }

    fn new_site(&mut self, name: &str, far: Far) -> Result<Site, LabError> {
        self.free("site", name)?;
        let number = u8::try_from(self.sites.len() + 1).ok().filter(|number| *number <= MOST_SITES);
        let full = || LabError::Full { what: "sites of a lab".to_owned(), most: usize::from(MOST_SITES) };
        Site::new(&self.core, number.ok_or_else(full)?, far)
    }

    fn free(&self, what: &'static str, name: &str) -> Result<(), LabError> {
        let taken = match what {
            "host" => self.hosts.contains_key(name),
            _ => self.sites.contains_key(name),
        };
        if taken { Err(LabError::Taken { what, name: name.to_owned() }) } else { Ok(()) }
    }

    // ---- looking ----

    /// A host by its name.
    ///
    /// # Errors
    /// There is none.
    pub fn host(&self, name: &str) -> Result<&Host, LabError> {
        self.hosts.get(name).ok_or_else(|| LabError::Unknown { what: "host", name: name.to_owned() })
    }

    /// All hosts, by name.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    /// The names of sites and clouds.
    pub fn sites(&self) -> impl Iterator<Item = &str> {
        self.sites.keys().map(String::as_str)
    }

    /// What stands before a site; none before a cloud.
    ///
    /// # Errors
    /// There is no such site.
    pub fn nat(&self, site: &str) -> Result<Option<Nat>, LabError> {
        Ok(match self.known(site)?.far() {
            Far::Cloud => None,
            Far::Router(nat) => Some(nat),
        })
    }

    /// The public IPv4 address of a site now; none where it has none.
    ///
    /// # Errors
    /// There is no such site.
    pub fn public_address(&self, site: &str) -> Result<Option<Ipv4Addr>, LabError> {
        let site = self.known(site)?;
        Ok(site.public_v4(self.state().age(site.number())))
    }

    /// What a site's cable has carried, out of the site and into it; none while it has a plain wire.
    ///
    /// # Errors
    /// There is no such site.
    pub fn traffic(&self, site: &str) -> Result<Option<[Traffic; 2]>, LabError> {
        let number = self.known(site)?.number();
        Ok(self.state().cables.get(&number).map(|cable| {
            let [inwards, outwards] = cable.traffic();
            [outwards, inwards]
        }))
    }

    // ---- what happens to it ----

    /// From now on a site's uplink is a cable that does this. The first call replaces the plain wire: connections
    /// through a NAT may break then. Later calls change the cable under running connections.
    ///
    /// # Errors
    /// There is no such site, or no cable can be made here ([`crate::cable::unavailable`]).
    pub fn link(&self, site: &str, link: Link) -> Result<(), LabError> {
        let site = self.known(site)?;
        let mut state = self.state();
        match state.cables.get(&site.number()) {
            Some(cable) => cable.set(link),
            None => {
                let cable = site.replace_wire(&self.core, link, state.age(site.number()))?;
                state.cables.insert(site.number(), cable);
                Ok(())
            }
        }
    }

    /// Cuts a site off from all others.
    ///
    /// # Errors
    /// There is no such site.
    pub fn cut(&self, site: &str) -> Result<(), LabError> {
        let number = self.known(site)?.number();
        self.change_cuts(|cuts| cuts.cut(number))
    }

    /// Mends all that is cut at a site: its own cut, and its partitions.
    ///
    /// # Errors
    /// There is no such site.
    pub fn heal(&self, site: &str) -> Result<(), LabError> {
        let number = self.known(site)?.number();
        self.change_cuts(|cuts| cuts.heal(number))
    }

    /// Cuts two sites off from each other, and from nobody else.
    ///
    /// # Errors
    /// There is no such site.
    pub fn partition(&self, a: &str, b: &str) -> Result<(), LabError> {
        let (a, b) = (self.known(a)?.number(), self.known(b)?.number());
        self.change_cuts(|cuts| cuts.part(a, b))
    }

    /// Mends everything.
    ///
    /// # Errors
    /// nft refuses.
    pub fn heal_all(&self) -> Result<(), LabError> {
        self.change_cuts(Cuts::clear)
    }

    fn change_cuts(&self, change: impl FnOnce(&mut Cuts)) -> Result<(), LabError> {
        let mut state = self.state();
        change(&mut state.cuts);
        self.core.nft(&state.cuts.rules())
    }

    /// The provider gives a site another address: the old one is gone, and its router forgets all connections.
    ///
    /// # Errors
    /// The site does not translate, and so has no address that could change without its hosts.
    pub fn wan_change(&self, site: &str) -> Result<Ipv4Addr, LabError> {
        let at = self.known(site)?;
        let mut state = self.state();
        let age = state.ages.entry(at.number()).or_default();
        let address = at.change_address(site, *age)?;
        *age += 1;
        Ok(address)
    }

    /// How long a site's NAT remembers a UDP mapping that is silent, in whole seconds, one at least. Linux says 30 s,
    /// and 120 s once both sides have spoken for a while.
    ///
    /// # Errors
    /// The site has nothing that remembers.
    pub fn udp_timeout(&self, site: &str, timeout: Duration) -> Result<(), LabError> {
        let routers = self.known(site)?.translators();
        if routers.is_empty() {
            return Err(LabError::refused(site, "no router here remembers connections"));
        }
        routers.into_iter().try_for_each(|router| conntrack::udp_timeout(router, timeout))
    }

    pub(crate) fn known(&self, site: &str) -> Result<&Site, LabError> {
        self.sites.get(site).ok_or_else(|| LabError::Unknown { what: "site", name: site.to_owned() })
    }

    fn known_mut(&mut self, site: &str) -> Result<&mut Site, LabError> {
        self.sites.get_mut(site).ok_or_else(|| LabError::Unknown { what: "site", name: site.to_owned() })
    }

    pub(crate) fn keep_upnp(&self, server: Upnp) {
        self.state().upnp.push(server);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn age(&self, site: u8) -> u8 {
        self.ages.get(&site).copied().unwrap_or_default()
    }
}
