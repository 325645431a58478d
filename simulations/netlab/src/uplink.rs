//! The wire between the core and a site, with the addresses and routes at its two ends.

use crate::{cable::Cable, error::LabError, link::Link, nat::Nat, netns::Netns};
use std::net::{Ipv4Addr, Ipv6Addr};

/// What stands at the far end of an uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Far {
    /// A host with public addresses.
    Cloud,
    /// The router of a site (or the carrier's).
    Router(Nat),
}

/// An uplink: the core's interface is `uN`.
#[derive(Debug)]
pub(crate) struct Uplink {
    pub number: u8,
    pub far: Far,
    /// The namespace that it leads to.
    pub edge: Netns,
}

impl Uplink {
    /// The interface at the far end.
    pub fn inside(&self) -> &'static str {
        match self.far {
            Far::Cloud => "eth0",
            Far::Router(_) => "wan",
        }
    }

    /// The core's interface.
    pub fn outside(&self) -> String {
        format!("u{}", self.number)
    }

    /// The `age`-th public address: the first one is number 0.
    pub fn v4(&self, age: u8) -> Ipv4Addr {
        Ipv4Addr::new(11, 0, self.number, 2 + age)
    }

    /// The public IPv6 address.
    pub fn v6(&self) -> Ipv6Addr {
        v6(0, self.number, 2)
    }

    fn has_v4(&self) -> bool {
        self.far != Far::Router(Nat::V6Only)
    }

    fn has_v6(&self) -> bool {
        matches!(self.far, Far::Cloud | Far::Router(Nat::V6Only))
    }

    /// Lays a plain wire, which is as fast as this machine, and configures it. `inner` are more commands for the far
    /// end.
    pub fn lay_wire(&self, core: &Netns, inner: &str) -> Result<(), LabError> {
        let (outside, inside) = (self.outside(), self.inside());
        self.choose_families(core)?;
        let wire = format!("link add {outside} type veth peer name {inside} netns {}\n", self.edge.path());
        self.configure(core, 0, wire, inner)
    }

    /// Puts a cable in place of the wire, which goes with both its ends. `age` is that of the present address.
    pub fn replace_wire(&self, core: &Netns, link: Link, age: u8) -> Result<Cable, LabError> {
        let (outside, inside) = (self.outside(), self.inside());
        core.ip(&format!("link del {outside}\n"))?;
        self.choose_families(core)?;
        let cable = Cable::new((core, &outside), (&self.edge, inside), link, u64::from(self.number))?;
        self.configure(core, age, String::new(), "")?;
        Ok(cable)
    }

    /// Of the interfaces that are made from now on. A router of IPv6 talks even where nobody has an address, and that
    /// would be counted as traffic.
    fn choose_families(&self, core: &Netns) -> Result<(), LabError> {
        let disable = if self.has_v6() { "0" } else { "1" };
        [core, &self.edge].into_iter().try_for_each(|space| space.set("ipv6/conf/default/disable_ipv6", disable))
    }

    /// Gives both ends their addresses and routes. `near` are commands for the core that come before.
    fn configure(&self, core: &Netns, age: u8, mut near: String, inner: &str) -> Result<(), LabError> {
        let (k, outside, inside, address) = (self.number, self.outside(), self.inside(), self.v4(age));
        let mut far = format!("link set {inside} up\n");
        if self.has_v4() {
            near += &format!("addr add 11.0.{k}.1/24 dev {outside}\n");
            far += &format!("addr add {address}/24 dev {inside}\nroute add default via 11.0.{k}.1 dev {inside}\n");
        }
        if self.has_v6() {
            near += &format!("addr add {}/64 dev {outside} nodad\n", v6(0, k, 1));
            far += &format!("addr add {}/64 dev {inside} nodad\n", self.v6());
            far += &format!("route add default via {} dev {inside}\n", v6(0, k, 1));
        }
        near += &format!("link set {outside} up\n");
        near += &match self.far {
            Far::Router(Nat::Routed) => format!("route add 10.77.{k}.0/24 via {address}\n"),
            Far::Router(Nat::V6Only) => format!("route add {}/64 via {}\n", v6(1, k, 0), self.v6()),
            _ => String::new(),
        };
        core.ip(&near)?;
        self.edge.ip(&(far + inner))?;
        core.settle(&[&outside])?;
        self.edge.settle(&[inside])
    }

    /// Gives the far end another public address in place of that of `age`.
    pub fn readdress(&self, age: u8, new: u8) -> Result<(), LabError> {
        let (k, inside) = (self.number, self.inside());
        // The default route goes with the last address of its network.
        self.edge.ip(&format!(
            "addr del {}/24 dev {inside}\naddr add {}/24 dev {inside}\nroute replace default via 11.0.{k}.1 dev {inside}\n",
            self.v4(age),
            self.v4(new)
        ))
    }
}

/// An address of the lab: `area` 0 are uplinks, 1 are LANs.
pub(crate) fn v6(area: u16, number: u8, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2a11, area, u16::from(number), 0, 0, 0, 0, host)
}
