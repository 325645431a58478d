//! Own addresses, how peers see them, and what tests said about them.
//!
//! A peer that sees this node under an address that is not its own tells of a NAT. From then on the
//! private addresses are nobody's business outside: they are announced only while every peer
//! sees this node as it is. Who shares the NAT finds it over mDNS, or is told when the two meet
//! over a relay (`meet`), since then each knows the other's public address.

use super::ip::{Carrier, is_global, is_link_local, socket};
use crate::address::MAX_ADDRESSES;
use holm_types::{Mono, api::NatKind};
use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

/// A verdict that it was reached stands this long.
const GOOD_FOR: Duration = Duration::from_secs(15 * 60);
/// One that it was not is doubted after this time, and each further one after the second.
const BAD_FOR: Duration = Duration::from_secs(60);
const STILL_BAD_FOR: Duration = Duration::from_secs(10 * 60);
/// Verdicts kept: the oldest make room.
const MAX_VERDICTS: usize = 32;
/// Circuit addresses announced.
const MAX_CIRCUITS: usize = 4;
/// Candidates told of one carrier and family.
const MAX_ALIKE: usize = 2;

/// How a peer sees this node on one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) peer: PeerId,
    /// Without the peer id.
    pub(crate) address: Multiaddr,
    /// The connection uses the port that this node listens on: others can be told of it.
    pub(crate) own_port: bool,
    /// The peer is on the same LAN, and tells nothing about the world outside.
    pub(crate) near: bool,
}

#[derive(Debug, Clone, Copy)]
struct Verdict {
    good: bool,
    at: Mono,
    /// Bad verdicts in a row.
    bad: u32,
}

impl Verdict {
    fn stale_at(&self) -> Mono {
        self.at.after(match (self.good, self.bad) {
            (true, _) => GOOD_FOR,
            (false, 0 | 1) => BAD_FOR,
            _ => STILL_BAD_FOR,
        })
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Book {
    listening: Vec<Multiaddr>,
    advertised: Vec<Multiaddr>,
    mapped: Vec<Multiaddr>,
    circuits: Vec<Multiaddr>,
    seen: BTreeMap<ConnectionId, Seen>,
    /// The addresses of others under which this node was last seen.
    public: BTreeSet<IpAddr>,
    verdicts: BTreeMap<Multiaddr, Verdict>,
}

fn ip(address: &Multiaddr) -> Option<IpAddr> {
    socket(address).map(|(ip, ..)| ip)
}

fn add(list: &mut Vec<Multiaddr>, address: Multiaddr) -> bool {
    let new = !list.contains(&address);
    if new {
        list.push(address);
    }
    new
}

fn remove(list: &mut Vec<Multiaddr>, address: &Multiaddr) -> bool {
    let before = list.len();
    list.retain(|known| known != address);
    before != list.len()
}

impl Book {
    /// `advertised`: what the operator says others can dial.
    pub(crate) fn new(advertised: Vec<Multiaddr>) -> Book {
        Book { advertised, ..Book::default() }
    }

    // ---- what happens ----

    /// A listener has an address; false when it is known.
    pub(crate) fn listen(&mut self, address: Multiaddr) -> bool {
        add(&mut self.listening, address)
    }

    /// It has it no more.
    pub(crate) fn unlisten(&mut self, address: &Multiaddr) -> bool {
        remove(&mut self.listening, address)
    }

    /// The router leads this address here.
    pub(crate) fn map(&mut self, address: Multiaddr) -> bool {
        add(&mut self.mapped, address)
    }

    /// It does no more.
    pub(crate) fn unmap(&mut self, address: &Multiaddr) -> bool {
        remove(&mut self.mapped, address)
    }

    /// A relay forwards from this address. A relay that tells of many is believed some.
    pub(crate) fn circuit(&mut self, address: Multiaddr) -> bool {
        self.circuits.len() < 2 * MAX_ADDRESSES && add(&mut self.circuits, address)
    }

    /// It does no more.
    pub(crate) fn no_circuit(&mut self, address: &Multiaddr) -> bool {
        remove(&mut self.circuits, address)
    }

    /// A peer says how it sees this node. True when the public address is another than before.
    pub(crate) fn observe(&mut self, connection: ConnectionId, seen: Seen) -> bool {
        self.seen.insert(connection, seen);
        let now = self.foreign_ips();
        if now.is_empty() {
            return false;
        }
        // Compared with what was last known, though the connections that told it may be long gone.
        let before = std::mem::replace(&mut self.public, now);
        !before.is_empty() && !self.public.is_subset(&before)
    }

    /// The connection is gone.
    pub(crate) fn forget(&mut self, connection: ConnectionId) -> bool {
        self.seen.remove(&connection).is_some()
    }

    /// Somebody tried to reach the address.
    pub(crate) fn judge(&mut self, address: Multiaddr, good: bool, now: Mono) {
        let bad = self.verdicts.get(&address).map_or(0, |verdict| verdict.bad);
        self.verdicts.insert(address, Verdict { good, at: now, bad: if good { 0 } else { bad.saturating_add(1) } });
        while self.verdicts.len() > MAX_VERDICTS {
            let oldest = self.verdicts.iter().min_by_key(|(_, verdict)| verdict.at).map(|(address, _)| address.clone());
            oldest.map(|address| self.verdicts.remove(&address));
        }
    }

    /// The network is another one: what tests said is of the past.
    pub(crate) fn doubt(&mut self) {
        self.verdicts.clear();
    }

    // ---- what follows ----

    pub(crate) fn own_ips(&self) -> BTreeSet<IpAddr> {
        self.listening.iter().filter_map(ip).collect()
    }

    /// The addresses of others under which peers outside see this node.
    fn foreign_ips(&self) -> BTreeSet<IpAddr> {
        let own = self.own_ips();
        self.outside().filter_map(|seen| ip(&seen.address)).filter(|ip| !own.contains(ip)).collect()
    }

    fn outside(&self) -> impl Iterator<Item = &Seen> {
        self.seen.values().filter(|seen| !seen.near)
    }

    /// Whether a NAT stands before this node, for one family.
    fn is_translated(&self, v4: bool) -> bool {
        self.foreign_ips().iter().any(|ip| ip.is_ipv4() == v4)
    }

    /// Whether a NAT stands before this node.
    pub(crate) fn is_behind_nat(&self) -> bool {
        !self.foreign_ips().is_empty()
    }

    fn good(&self, address: &Multiaddr, now: Mono) -> Option<bool> {
        // Until the next test has an answer the last one stands a little longer.
        let slack = Duration::from_secs(60);
        self.verdicts.get(address).filter(|v| v.stale_at().after(slack) > now).map(|verdict| verdict.good)
    }

    /// Addresses that anybody should be able to dial.
    pub(crate) fn open(&self, now: Mono) -> Vec<Multiaddr> {
        let mut open = self.advertised.clone();
        let proved = self.verdicts.keys().filter(|address| self.good(address, now) == Some(true)).cloned();
        let global = |address: &&Multiaddr| ip(address).is_some_and(is_global);
        let likely = self.mapped.iter().chain(self.listening.iter().filter(global));
        let likely = likely.filter(|address| self.good(address, now) != Some(false)).cloned();
        for address in proved.chain(likely) {
            add(&mut open, address);
        }
        open.truncate(MAX_ADDRESSES);
        open
    }

    /// Private addresses that may be told to others: none while a peer sees this node under another's.
    fn plain(&self) -> Vec<Multiaddr> {
        let as_is: BTreeSet<IpAddr> = self.seen.values().filter_map(|seen| ip(&seen.address)).collect();
        let tellable = |address: &&Multiaddr| {
            ip(address).is_some_and(|ip| match ip {
                _ if is_global(ip) => false,
                // A process on the same host dials it, or nobody.
                _ if ip.is_loopback() => as_is.contains(&ip),
                IpAddr::V6(v6) if is_link_local(v6) => false,
                _ => !self.is_translated(ip.is_ipv4()) && as_is.iter().any(|seen| seen.is_ipv4() == ip.is_ipv4()),
            })
        };
        let mut plain: Vec<Multiaddr> = self.listening.iter().filter(tellable).cloned().collect();
        plain.sort_by_key(|address| ip(address).is_none_or(|ip| !as_is.contains(&ip)));
        plain
    }

    /// What others are told about where this node is, the best first.
    pub(crate) fn announced(&self, now: Mono) -> Vec<Multiaddr> {
        let mut circuits = self.circuits.clone();
        circuits.truncate(MAX_CIRCUITS);
        let mut announced = self.open(now);
        for address in self.plain() {
            add(&mut announced, address);
        }
        announced.truncate(MAX_ADDRESSES - circuits.len());
        announced.extend(circuits);
        announced
    }

    /// Addresses at which packets of a peer arrive while this node sends to that peer from the same port.
    pub(crate) fn half_way(&self, now: Mono) -> Vec<Multiaddr> {
        let own = self.own_ips();
        let mut alike: BTreeMap<(Carrier, bool), usize> = BTreeMap::new();
        let mut out: Vec<Multiaddr> = Vec::new();
        // The latest connection tells what the NAT does now.
        for seen in self.seen.values().rev().filter(|seen| seen.own_port && !seen.near) {
            let Some((ip, carrier, _)) = socket(&seen.address) else { continue };
            let useful = is_global(ip) || !own.contains(&ip) || !self.is_translated(ip.is_ipv4());
            let count = alike.entry((carrier, ip.is_ipv4())).or_default();
            let room = *count < MAX_ALIKE && self.good(&seen.address, now) != Some(true);
            if useful && room && add(&mut out, seen.address.clone()) {
                *count += 1;
            }
        }
        out
    }

    /// Addresses on this node's own networks: only for who is on one of them.
    pub(crate) fn near(&self) -> Vec<Multiaddr> {
        let near = |address: &&Multiaddr| ip(address).is_some_and(|ip| !is_global(ip)) && super::dialable(address);
        self.listening.iter().filter(near).take(MAX_ADDRESSES).cloned().collect()
    }

    /// Addresses to have tested now, each with the peers that see it.
    pub(crate) fn untested(&self, now: Mono) -> Vec<(Multiaddr, Vec<(PeerId, ConnectionId)>)> {
        let seen = self.outside().filter(|seen| seen.own_port).map(|seen| &seen.address);
        let global = self.listening.iter().filter(|address| ip(address).is_some_and(is_global));
        let candidates: BTreeSet<&Multiaddr> = seen.chain(&self.mapped).chain(global).collect();
        let due = |address: &&Multiaddr| self.verdicts.get(*address).is_none_or(|verdict| verdict.stale_at() <= now);
        let with_servers = |address: &Multiaddr| {
            let sees = |seen: &&Seen| !seen.near && ip(&seen.address) == ip(address);
            let servers = self.seen.iter().filter(|(_, seen)| sees(seen)).map(|(id, seen)| (seen.peer, *id));
            (address.clone(), servers.collect::<Vec<_>>())
        };
        let tests = candidates.into_iter().filter(due).map(with_servers);
        tests.filter(|(_, servers)| !servers.is_empty()).collect()
    }

    /// Whether others need a relay to reach this node: a NAT is in the way, or they have tried in vain.
    pub(crate) fn needs_relay(&self, now: Mono) -> bool {
        let in_vain = |seen: &Seen| self.good(&seen.address, now) == Some(false);
        let blocked = match self.nat() {
            NatKind::Unknown => false,
            NatKind::None => self.outside().filter(|seen| seen.own_port).all(in_vain),
            NatKind::Translated | NatKind::Cone | NatKind::Symmetric => true,
        };
        blocked && self.open(now).is_empty()
    }

    /// What kind of NAT this looks like.
    pub(crate) fn nat(&self) -> NatKind {
        let (own, own_ports) = (self.own_ips(), self.own_ports());
        let mut groups: BTreeMap<(Carrier, bool), BTreeMap<PeerId, u16>> = BTreeMap::new();
        let mut seen_at_all = false;
        for seen in self.outside() {
            let Some((ip, carrier, port)) = socket(&seen.address) else { continue };
            seen_at_all = true;
            if seen.own_port && !own.contains(&ip) {
                groups.entry((carrier, ip.is_ipv4())).or_default().insert(seen.peer, port);
            }
        }
        let differ = |ports: &BTreeMap<PeerId, u16>| ports.values().collect::<BTreeSet<_>>().len() > 1;
        match (seen_at_all, self.is_behind_nat()) {
            (false, _) => NatKind::Unknown,
            (true, false) => NatKind::None,
            _ if groups.values().any(differ) => NatKind::Symmetric,
            // Two that see the same, or one that sees the very port that this node has: not by chance.
            _ if groups
                .values()
                .any(|ports| ports.len() > 1 || ports.values().any(|port| own_ports.contains(port))) =>
            {
                NatKind::Cone
            }
            _ => NatKind::Translated,
        }
    }

    fn own_ports(&self) -> BTreeSet<u16> {
        self.listening.iter().filter_map(socket).map(|(.., port)| port).collect()
    }

    /// Whether a peer outside is connected over this carrier.
    pub(crate) fn carries(&self, carrier: Carrier) -> bool {
        self.outside().any(|seen| socket(&seen.address).is_some_and(|(_, by, _)| by == carrier))
    }

    /// Every own address and what is known of it, for people.
    pub(crate) fn describe(&self, now: Mono) -> Vec<(Multiaddr, &'static str)> {
        let mut out: Vec<(Multiaddr, &'static str)> = Vec::new();
        let mut note = |address: &Multiaddr, what: &'static str| {
            if !out.iter().any(|(known, _)| known == address) {
                out.push((address.clone(), what));
            }
        };
        for address in &self.advertised {
            note(address, "advertised");
        }
        for address in self.verdicts.keys() {
            match self.good(address, now) {
                Some(true) => note(address, "reached from outside"),
                Some(false) => note(address, "not reached from outside"),
                None => {}
            }
        }
        self.mapped.iter().for_each(|address| note(address, "mapped by the router"));
        self.outside().filter(|seen| seen.own_port).for_each(|seen| note(&seen.address, "seen by peers"));
        self.circuits.iter().for_each(|address| note(address, "relayed"));
        self.listening.iter().for_each(|address| note(address, "local"));
        out
    }
}

#[cfg(test)]
mod tests;
