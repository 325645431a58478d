//! A site: an uplink, a router or two, and a LAN.

pub(crate) use crate::uplink::Far;
use crate::{
    cable::Cable,
    conntrack,
    error::LabError,
    host::Host,
    link::Link,
    nat::Nat,
    netns::{Forwarding, Netns},
    uplink::{Uplink, v6},
};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Hosts that one site can have: .1 to .250; the router is .254.
const MOST_HOSTS: u8 = 250;
/// Addresses that a site can have had.
const MOST_ADDRESSES: u8 = 250;

/// A site, or a host in the cloud.
#[derive(Debug)]
pub(crate) struct Site {
    uplink: Uplink,
    /// The router of the LAN. A cloud has none; behind a carrier's NAT it is not the end of the uplink.
    router: Option<Netns>,
    hosts: u8,
}

impl Site {
    /// Lays the uplink and sets the routers up. `number` is unique in the lab.
    pub fn new(core: &Netns, number: u8, far: Far) -> Result<Site, LabError> {
        let forwarding = if far == Far::Cloud { Forwarding::Off } else { Forwarding::On };
        let uplink = Uplink { number, far, edge: Netns::new(forwarding)? };
        let router = match far {
            Far::Cloud => {
                uplink.lay_wire(core, "")?;
                None
            }
            Far::Router(Nat::Cgnat) => Some(uplink.carrier_and_home(core)?),
            Far::Router(nat) => {
                uplink.lay_wire(core, &uplink.lan(nat))?;
                if nat != Nat::Routed {
                    uplink.edge.nft(&nat.rules(uplink.v4(0)))?;
                }
                Some(uplink.edge.clone())
            }
        };
        Ok(Site { uplink, router, hosts: 0 })
    }

    pub fn number(&self) -> u8 {
        self.uplink.number
    }

    pub fn far(&self) -> Far {
        self.uplink.far
    }

    /// The routers that translate or filter: the home's and the carrier's.
    pub fn translators(&self) -> Vec<&Netns> {
        match self.far() {
            Far::Cloud | Far::Router(Nat::Routed) => Vec::new(),
            Far::Router(Nat::Cgnat) => self.router.iter().chain([&self.uplink.edge]).collect(),
            Far::Router(_) => vec![&self.uplink.edge],
        }
    }

    pub fn public_v4(&self, age: u8) -> Option<Ipv4Addr> {
        (self.far() != Far::Router(Nat::V6Only)).then(|| self.uplink.v4(age))
    }

    /// The router of the LAN.
    pub fn router(&self) -> Option<&Netns> {
        self.router.as_ref()
    }

    /// The host that a cloud is.
    pub fn cloud_host(&self, name: &str) -> Host {
        let uplink = &self.uplink;
        Host {
            name: name.to_owned(),
            site: name.to_owned(),
            space: uplink.edge.clone(),
            v4: Some(uplink.v4(0)),
            v6: Some(uplink.v6()),
        }
    }

    /// One more host on the LAN.
    pub fn add_host(&mut self, site: &str, name: &str) -> Result<Host, LabError> {
        let (Some(router), Far::Router(nat)) = (&self.router, self.far()) else {
            return Err(LabError::refused(site, "a host in the cloud has no LAN"));
        };
        if self.hosts == MOST_HOSTS {
            return Err(LabError::Full { what: format!("hosts of {site}"), most: usize::from(MOST_HOSTS) });
        }
        self.hosts += 1;
        let (k, h) = (self.number(), self.hosts);
        let space = Netns::new(Forwarding::Off)?;
        router.ip(&format!(
            "link add h{h} type veth peer name eth0 netns {}\nlink set h{h} master lan\nlink set h{h} up\n",
            space.path()
        ))?;
        let (v4, v6) = match nat {
            Nat::V6Only => (None, Some(v6(1, k, u16::from(h)))),
            Nat::Routed => (Some(Ipv4Addr::new(10, 77, k, h)), None),
            _ => (Some(Ipv4Addr::new(192, 168, 1, h)), None),
        };
        let mut batch = "link set eth0 up\n".to_owned();
        if let Some(address) = v4 {
            let [a, b, c, _] = address.octets();
            batch += &format!("addr add {address}/24 dev eth0\nroute add default via {a}.{b}.{c}.254\n");
        }
        if let Some(address) = v6 {
            batch += &format!("addr add {address}/64 dev eth0 nodad\nroute add default via {}\n", lan_router_v6(k));
        }
        space.ip(&batch)?;
        space.settle(&["eth0"])?;
        // The bridge has a link once one of its ports has.
        router.settle(&[&format!("h{h}"), "lan"])?;
        Ok(Host { name: name.to_owned(), site: site.to_owned(), space, v4, v6 })
    }

    /// Puts a cable in place of the wire.
    pub fn replace_wire(&self, core: &Netns, link: Link, age: u8) -> Result<Cable, LabError> {
        self.uplink.replace_wire(core, link, age)
    }

    /// Gives the site the next address; `age` is that of the present one.
    pub fn change_address(&self, name: &str, age: u8) -> Result<Ipv4Addr, LabError> {
        let nat = match self.far() {
            Far::Router(nat) if nat.translates() => nat,
            _ => {
                return Err(LabError::refused(name, "only a site that translates has an address of its own to change"));
            }
        };
        if age + 1 >= MOST_ADDRESSES {
            return Err(LabError::Full { what: format!("addresses of {name}"), most: usize::from(MOST_ADDRESSES) });
        }
        let (uplink, address) = (&self.uplink, self.uplink.v4(age + 1));
        uplink.readdress(age, age + 1)?;
        let edge = if nat == Nat::Cgnat { Nat::Home } else { nat };
        uplink.edge.nft(&edge.rules(address))?;
        conntrack::flush(&uplink.edge)?;
        Ok(address)
    }
}

impl Uplink {
    /// Commands that give a router its LAN.
    fn lan(&self, nat: Nat) -> String {
        let k = self.number;
        // A bridge without an address of its own takes the lowest of its ports, and changes it when a port with a
        // lower one joins: hosts that know the old one are then not heard for a minute.
        let bridge = format!("link add lan address 02:4d:00:00:{k:02x}:fe type bridge stp_state 0 forward_delay 0\n");
        let address = match nat {
            Nat::V6Only => format!("addr add {}/64 dev lan nodad\n", lan_router_v6(k)),
            Nat::Routed => format!("addr add 10.77.{k}.254/24 dev lan\n"),
            _ => "addr add 192.168.1.254/24 dev lan\n".to_owned(),
        };
        bridge + &address + "link set lan up\n"
    }

    /// A carrier's NAT at the end of the uplink, and a home router behind it.
    fn carrier_and_home(&self, core: &Netns) -> Result<Netns, LabError> {
        let k = self.number;
        let home = Netns::new(Forwarding::On)?;
        self.lay_wire(
            core,
            &format!(
                "link add sub type veth peer name wan netns {}\naddr add 100.64.{k}.1/24 dev sub\nlink set sub up\n",
                home.path()
            ),
        )?;
        home.ip(&format!(
            "addr add 100.64.{k}.2/24 dev wan\nlink set wan up\nroute add default via 100.64.{k}.1\n{}",
            self.lan(Nat::Cgnat)
        ))?;
        home.settle(&["wan"])?;
        self.edge.settle(&["sub"])?;
        self.edge.nft(&Nat::Home.rules(self.v4(0)))?;
        home.nft(&Nat::Cgnat.rules(Ipv4Addr::new(100, 64, k, 2)))?;
        Ok(home)
    }
}

fn lan_router_v6(number: u8) -> Ipv6Addr {
    v6(1, number, 254)
}
