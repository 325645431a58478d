//! Multiaddresses as texts: parsed at the border, without the peer id, few and short.

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

/// Addresses kept of one peer.
pub(crate) const MAX_ADDRESSES: usize = 8;
/// An address whose text is longer is not kept.
pub(crate) const MAX_ADDRESS_TEXT: usize = 256;

/// Whether the address leads over a relay.
pub(crate) fn relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// The peer that the address ends at, when it says so.
pub(crate) fn pinned(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

/// The address without the peer that it ends at.
pub(crate) fn bare(mut address: Multiaddr) -> Multiaddr {
    if pinned(&address).is_some() {
        address.pop();
    }
    address
}

/// The text of an address without its peer; none when it is too long to be passed on.
pub(crate) fn text(address: &Multiaddr) -> Option<String> {
    let text = bare(address.clone()).to_string();
    (text.len() <= MAX_ADDRESS_TEXT && !text.is_empty()).then_some(text)
}

/// The first few distinct addresses as texts.
pub(crate) fn texts<'a>(addresses: impl IntoIterator<Item = &'a Multiaddr>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for text in addresses.into_iter().filter_map(text) {
        if out.len() == MAX_ADDRESSES {
            break;
        }
        if !out.contains(&text) {
            out.push(text);
        }
    }
    out
}

/// The usable addresses among `texts` for dialling `peer`: those that parse and do not end at another peer.
pub(crate) fn for_dialling(peer: PeerId, texts: &[String]) -> Vec<Multiaddr> {
    texts
        .iter()
        .take(MAX_ADDRESSES)
        .filter(|text| text.len() <= MAX_ADDRESS_TEXT + 64)
        .filter_map(|text| text.parse::<Multiaddr>().ok())
        .filter(|address| pinned(address).is_none_or(|at| at == peer))
        .map(bare)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bare_distinct_and_few() {
        let peer = PeerId::random();
        let plain: Multiaddr = "/ip4/10.0.0.1/tcp/4001".parse().unwrap();
        let full = plain.clone().with(Protocol::P2p(peer));
        assert_eq!(texts([&plain, &full]), ["/ip4/10.0.0.1/tcp/4001"]);
        let many: Vec<Multiaddr> = (1..20).map(|n| format!("/ip4/10.0.0.1/tcp/{n}").parse().unwrap()).collect();
        assert_eq!(texts(&many).len(), MAX_ADDRESSES);
    }

    #[test]
    fn addresses_of_another_peer_and_garbage_are_not_dialled() {
        let (peer, other) = (PeerId::random(), PeerId::random());
        let list = ["/ip4/10.0.0.1/tcp/1".to_owned(), format!("/ip4/10.0.0.1/tcp/2/p2p/{other}"), "garbage".to_owned()];
        assert_eq!(for_dialling(peer, &list), ["/ip4/10.0.0.1/tcp/1".parse::<Multiaddr>().unwrap()]);
    }
}
