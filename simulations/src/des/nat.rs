//! Who can dial whom, by what stands between them (`knowledge/nat-lab.md`, the table with the fixes).

use crate::scenario::Nat;

/// What it takes to connect two hosts of different sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nothing.
    Direct,
    /// A relay that introduces them; then they talk directly.
    Punched,
    /// A relay that carries their bytes.
    Relayed,
}

/// How a host behind `from` reaches one behind `to`.
pub(crate) fn way(from: Nat, to: Nat) -> Way {
    match (from, to) {
        (_, Nat::None | Nat::Full) => Way::Direct,
        (Nat::None | Nat::Full, Nat::Cone | Nat::Sym) | (Nat::Cone, Nat::Cone) => Way::Punched,
        (Nat::Cone, Nat::Sym) | (Nat::Sym, Nat::Cone | Nat::Sym) => Way::Relayed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_symmetric_pairs_without_an_open_side_need_a_relay_for_their_bytes() {
        let all = [Nat::None, Nat::Full, Nat::Cone, Nat::Sym];
        let relayed: Vec<_> = all
            .iter()
            .flat_map(|a| all.iter().map(move |b| (*a, *b)))
            .filter(|(a, b)| way(*a, *b) == Way::Relayed)
            .collect();
        assert_eq!(relayed, [(Nat::Cone, Nat::Sym), (Nat::Sym, Nat::Cone), (Nat::Sym, Nat::Sym)]);
        assert!(all.iter().all(|nat| way(*nat, Nat::None) == Way::Direct));
    }
}
