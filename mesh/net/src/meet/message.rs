//! What is said when two members meet: canonical CBOR behind its length (`u16`).

use crate::reach::{dialable, socket};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use holm_types::cbor;
use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, io, net::IpAddr};

/// A message is never longer than this, in bytes.
const MAX_MESSAGE: usize = 4 << 10;
/// Addresses of one kind that are told or believed.
const MAX_TOLD: usize = 8;
/// An address in its text is not longer than this.
const MAX_TEXT: usize = 100;

/// Where a node can be reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Card {
    /// By anybody.
    pub(crate) open: Vec<Multiaddr>,
    /// By a peer that it sends to at the same time.
    pub(crate) half_way: Vec<Multiaddr>,
    /// From its own LAN. Told only to who is behind the same NAT.
    pub(crate) near: Vec<Multiaddr>,
}

impl Card {
    fn public_ips(&self) -> BTreeSet<IpAddr> {
        self.open.iter().chain(&self.half_way).filter_map(socket).map(|(ip, ..)| ip).collect()
    }

    /// Whether both are behind one NAT, by their public addresses.
    pub(crate) fn shares_nat_with(&self, other: &Card) -> bool {
        !self.public_ips().is_disjoint(&other.public_ips())
    }

    /// The texts that travel. `near` only where it may be told.
    pub(super) fn tell(&self, near: bool) -> Told {
        let texts = |list: &[Multiaddr]| list.iter().take(MAX_TOLD).map(ToString::to_string).collect();
        let near = if near { texts(&self.near) } else { Vec::new() };
        Told { open: texts(&self.open), half_way: texts(&self.half_way), near }
    }
}

/// A card on its way: nothing in it is to be believed before [`Told::read`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    open: Vec<String>,
    half_way: Vec<String>,
    near: Vec<String>,
}

impl Told {
    /// The addresses to which packets may be sent on a peer's word.
    pub(super) fn read(&self) -> Card {
        let read = |texts: &[String]| {
            let short = texts.iter().take(MAX_TOLD).filter(|text| text.len() <= MAX_TEXT);
            short.filter_map(|text| text.parse().ok()).filter(dialable).collect()
        };
        Card { open: read(&self.open), half_way: read(&self.half_way), near: read(&self.near) }
    }
}

/// The messages. Their names carry the version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// Let us meet: where I am. `swapped`: I shall dial and you be dialled.
    #[serde(rename = "call/1")]
    Call { card: Told, swapped: bool },
    /// Where I am.
    #[serde(rename = "card/1")]
    Card(Told),
    /// Now; and what I did not want to tell before I knew who you are.
    #[serde(rename = "go/1")]
    Go(Told),
    /// Try to reach me there.
    #[serde(rename = "test/1")]
    Test { address: String },
    /// Whether that worked.
    #[serde(rename = "tested/1")]
    Tested { reached: bool },
}

/// Sends one message.
pub(super) async fn send<S: AsyncWrite + Unpin>(stream: &mut S, message: &Message) -> io::Result<()> {
    let bytes = cbor::to_vec("a message about addresses", message).map_err(io::Error::other)?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
    stream.flush().await
}

/// Receives one message.
pub(super) async fn receive<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Message> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    cbor::from_canonical("a message about addresses", &bytes, MAX_MESSAGE)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, io::Cursor};
    use proptest::prelude::*;

    fn list(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn private_addresses_are_told_only_when_allowed_and_come_back_as_they_were() {
        let card = Card {
            open: list(&["/ip4/11.0.1.2/tcp/1"]),
            half_way: list(&["/ip4/11.0.1.2/udp/2/quic-v1"]),
            near: list(&["/ip4/192.168.1.1/tcp/3"]),
        };
        assert_eq!(card.tell(true).read(), card);
        assert_eq!(card.tell(false).read(), Card { near: Vec::new(), ..card.clone() });
        let behind_the_same = Card { half_way: list(&["/ip4/11.0.1.2/tcp/9"]), ..Card::default() };
        assert!(card.shares_nat_with(&behind_the_same) && !card.shares_nat_with(&Card::default()));
    }

    #[test]
    fn what_must_not_be_dialled_is_not_believed() {
        let told = Told {
            open: ["/ip4/127.0.0.1/tcp/22", "garbage", "/dns4/bank/tcp/443", "/ip4/0.0.0.0/tcp/1"]
                .map(str::to_owned)
                .to_vec(),
            half_way: vec!["/ip4/11.0.1.2/tcp/1".to_owned(); 100],
            near: vec![format!("/ip4/11.0.1.2/tcp/1/p2p/{}/p2p-circuit", libp2p::PeerId::random())],
        };
        let card = told.read();
        assert!(card.open.is_empty() && card.near.is_empty());
        assert_eq!(card.half_way.len(), MAX_TOLD);
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_or_a_message(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let framed = [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat();
            let got = receive(&mut Cursor::new(framed)).now_or_never().expect("nothing to wait for");
            if let Ok(message) = got {
                let mut out = Cursor::new(Vec::new());
                send(&mut out, &message).now_or_never().unwrap().unwrap();
                prop_assert_eq!(&out.into_inner()[2..], &bytes[..]);
            }
        }
    }
}
