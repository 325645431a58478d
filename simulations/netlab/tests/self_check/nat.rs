//! Every kind of NAT is what it says.

use crate::{
    Needs, Story,
    stun::{self, Asker, Filtering, Mapping, Server, Stranger, Tcp, Udp},
};
use anyhow::{Context as _, Result, ensure};
use holm_netlab::{Host, Lab, Nat};
use std::net::{IpAddr, SocketAddr};

pub fn trials() -> Vec<(&'static str, Needs, Story)> {
    vec![
        ("nat: routed", Needs::Lab, || is(Nat::Routed)),
        ("nat: full cone", Needs::Lab, || is(Nat::FullCone)),
        ("nat: home", Needs::Lab, || is(Nat::Home)),
        ("nat: home that answers", Needs::Lab, || is(Nat::HomeAnswering)),
        ("nat: endpoint-independent with other ports", Needs::Lab, || is(Nat::EimRemap)),
        ("nat: symmetric", Needs::Lab, || is(Nat::Symmetric)),
        ("nat: carrier grade", Needs::Lab, || is(Nat::Cgnat)),
        ("nat: UDP blocked", Needs::Lab, || is(Nat::UdpBlocked)),
        ("nat: IPv6 only", Needs::Lab, || is(Nat::V6Only)),
        ("nat: an early packet occupies a port of a router that answers, and of no other", Needs::Lab, early_packets),
        ("nat: two hosts share one public address and are told apart", Needs::Lab, two_hosts),
    ]
}

/// What a kind promises.
fn promise(nat: Nat) -> (Option<Udp>, Tcp) {
    use {Filtering as F, Mapping as M, Stranger as S};
    let as_home = (M::EndpointIndependent, F::AddressAndPortDependent, true, S::Silence);
    let (mapping, filtering, keeps_port, stranger) = match nat {
        Nat::Routed => (M::None, F::EndpointIndependent, true, S::LetIn),
        Nat::FullCone => (M::EndpointIndependent, F::EndpointIndependent, true, S::LetIn),
        Nat::Home | Nat::Cgnat | Nat::UdpBlocked => as_home,
        Nat::HomeAnswering => (M::EndpointIndependent, F::AddressAndPortDependent, true, S::Refused),
        Nat::EimRemap => (M::EndpointIndependent, F::AddressAndPortDependent, false, S::Silence),
        Nat::Symmetric => (M::AddressAndPortDependent, F::AddressAndPortDependent, false, S::Silence),
        Nat::V6Only => (M::None, F::AddressAndPortDependent, true, S::Silence),
    };
    // The site's router and the core.
    let routers = if nat == Nat::Cgnat { 3 } else { 2 };
    let udp = Udp { mapping, filtering, keeps_port, routers };
    ((nat != Nat::UdpBlocked).then_some(udp), Tcp { mapping, keeps_port, stranger })
}

fn is(nat: Nat) -> Result<()> {
    let mut lab = Lab::new()?;
    let servers = [lab.cloud("first")?, lab.cloud("second")?];
    let host = lab.site("home", nat, 1)?.remove(0);
    let address: fn(&Host) -> Option<IpAddr> =
        if nat == Nat::V6Only { |host| host.v6().map(IpAddr::V6) } else { |host| host.v4().map(IpAddr::V4) };
    let server = Server::start([&servers[0], &servers[1]], address)?;
    let found = (stun::udp(&host, &server)?, stun::tcp(&host, &server, 4001)?);
    let promised = promise(nat);
    ensure!(found == promised, "{nat} promises {promised:?}, but is {found:?}");
    if nat == Nat::V6Only {
        let v4 = SocketAddr::new(servers[0].address(), 3478);
        ensure!(host.connect(v4, stun::SILENCE)?.is_err(), "IPv4 leads out of a site that has none");
    }
    Ok(())
}

fn early_packets() -> Result<()> {
    for (nat, moves) in [(Nat::Home, false), (Nat::HomeAnswering, true)] {
        let mut lab = Lab::new()?;
        let servers = [lab.cloud("first")?, lab.cloud("second")?];
        let host = lab.site("home", nat, 1)?.remove(0);
        let server = Server::start([&servers[0], &servers[1]], |host| host.v4().map(IpAddr::V4))?;
        let outside = lab.public_address("home")?.context("a home has one")?;
        server.say(0, SocketAddr::new(outside.into(), 4001), 1)?;
        // The other socket's word is refused or dropped after the first one's: then that has had its effect.
        let answers = Asker::new(&host, 4001)?.ask(&server, 0, 2, &[0])?.context("no answer")?;
        let moved = answers[0].seen.port() != 4001;
        ensure!(moved == moves, "{nat}: the server sees {:?}", answers[0].seen);
    }
    Ok(())
}

fn two_hosts() -> Result<()> {
    let mut lab = Lab::new()?;
    let servers = [lab.cloud("first")?, lab.cloud("second")?];
    let hosts = lab.site("home", Nat::Home, 2)?;
    let server = Server::start([&servers[0], &servers[1]], |host| host.v4().map(IpAddr::V4))?;
    // The same port at both: the second cannot keep it.
    let askers = [Asker::new(&hosts[0], 4001)?, Asker::new(&hosts[1], 4001)?];
    let mut seen = Vec::new();
    for (n, asker) in (1..).zip(&askers) {
        let answers = asker.ask(&server, 0, n, &[0])?.context("no answer")?;
        seen.push(answers[0].seen);
    }
    let public = IpAddr::V4(lab.public_address("home")?.context("a home has one")?);
    ensure!(seen.iter().all(|seen| seen.ip() == public), "{seen:?}, but the site is {public}");
    ensure!(seen[0].port() == 4001 && seen[1].port() != 4001, "{seen:?}");
    Ok(())
}
