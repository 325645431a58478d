//! Address translation, in the kinds that matter for reachability (RFC 4787).

use holm_simulations::scenario::Nat;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddrV4,
};

/// First port of a symmetric mapping, and how many there are.
const SYMMETRIC: (u16, u16) = (20_000, 40_000);

/// The NAT in front of one host.
#[derive(Debug)]
pub(crate) struct Translator {
    kind: Nat,
    /// The port outside for a port inside; for a symmetric NAT for each remote too.
    outside: BTreeMap<(u16, Option<SocketAddrV4>), u16>,
    inside: BTreeMap<u16, u16>,
    /// Remotes that were written to from a port outside.
    spoken_to: BTreeSet<(u16, SocketAddrV4)>,
}

impl Translator {
    pub(crate) fn new(kind: Nat) -> Translator {
        Translator { kind, outside: BTreeMap::new(), inside: BTreeMap::new(), spoken_to: BTreeSet::new() }
    }

    /// Whether a host can be reached at all without having spoken first.
    pub(crate) fn is_public(&self) -> bool {
        self.kind == Nat::None
    }

    /// The port that `remote` sees of what the port `from` inside sends to it. `draw` chooses the
    /// port of a symmetric mapping.
    pub(crate) fn outbound(&mut self, from: u16, remote: SocketAddrV4, draw: u64) -> u16 {
        if self.kind == Nat::None {
            return from;
        }
        let symmetric = self.kind == Nat::Sym;
        let key = (from, symmetric.then_some(remote));
        let port = match self.outside.get(&key) {
            Some(port) => *port,
            None => {
                let (first, count) = SYMMETRIC;
                let chosen = u16::try_from(draw % u64::from(count)).unwrap_or(0);
                let mut port = if symmetric { first + chosen } else { from };
                while self.inside.contains_key(&port) {
                    port = port.wrapping_add(1).max(1024);
                }
                self.outside.insert(key, port);
                self.inside.insert(port, from);
                port
            }
        };
        self.spoken_to.insert((port, remote));
        port
    }

    /// The port inside for what `remote` sends to the port `to` outside; none: it is dropped.
    pub(crate) fn inbound(&self, to: u16, remote: SocketAddrV4) -> Option<u16> {
        let mapped = || self.inside.get(&to).copied();
        match self.kind {
            Nat::None => Some(to),
            Nat::Full => mapped(),
            Nat::Cone | Nat::Sym => mapped().filter(|_| self.spoken_to.contains(&(to, remote))),
        }
    }

    /// Forgets all mappings.
    pub(crate) fn rebind(&mut self) {
        *self = Translator::new(self.kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new([52, 0, 0, 9].into(), port)
    }

    #[test]
    fn each_kind_lets_in_whom_it_should() {
        for (kind, stranger, same_port) in
            [(Nat::None, true, true), (Nat::Full, true, true), (Nat::Cone, false, true), (Nat::Sym, false, false)]
        {
            let mut nat = Translator::new(kind);
            let (first, second) = (nat.outbound(4001, at(1), 7), nat.outbound(4001, at(2), 8));
            assert_eq!(nat.inbound(first, at(1)), Some(4001), "{kind:?}: an answer");
            assert_eq!(nat.inbound(first, at(3)).is_some(), stranger, "{kind:?}: a stranger");
            assert_eq!(first == second, same_port, "{kind:?}");
            nat.rebind();
            assert_eq!(nat.inbound(first, at(1)).is_some(), kind == Nat::None, "{kind:?}: forgotten");
        }
    }
}
