//! Presence: what a node says of itself every second or so. Ephemeral: last value wins, by
//! incarnation, then by sequence. Never in a document.

use crate::{Incarnation, NodeId, TypeError, cbor, cert::CertChain, manifest::Amounts};
use serde::{Deserialize, Serialize};

/// An encoded presence is never longer than this, in bytes.
pub const MAX_PRESENCE_BYTES: usize = 3072;
/// One heartbeat of so many leaves nothing out and carries the certificate, for those who do not know the node yet.
pub const INTRODUCE_EVERY: u64 = 8;
/// Addresses told about one node, at most.
pub const MAX_ADDRESSES: usize = 8;

/// One heartbeat. Its names are short because it is most of what an idle mesh says.
///
/// What it leaves out is as it was in the last heartbeat of this incarnation that said it. A node says all of it now and then
/// ([`Presence::is_full`]), and what has changed in the heartbeats after that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Presence {
    /// Who speaks. Must be the signer of the gossip message.
    #[serde(rename = "n")]
    pub node: NodeId,
    /// Which life of the node's process speaks.
    #[serde(rename = "i")]
    pub incarnation: Incarnation,
    /// Counts the heartbeats of this incarnation.
    #[serde(rename = "s")]
    pub seq: u64,
    /// When to expect the next one, in milliseconds.
    #[serde(rename = "e")]
    pub every_ms: u32,
    /// What tasks may still use here.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub free: Option<Amounts>,
    /// Tasks that run here.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub running: Option<u32>,
    /// Where the node listens (multiaddresses, at most [`MAX_ADDRESSES`]).
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<String>>,
    /// The node leaves for good.
    #[serde(rename = "l", default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// Somebody was missed, or this node has just come: everybody who hears it speaks at once, and who is not heard soon is dead.
    #[serde(rename = "q", default, skip_serializing_if = "std::ops::Not::not")]
    pub calls: bool,
    /// Its certificate, now and then, for those who do not know it yet.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<CertChain>,
}

impl Presence {
    /// Whether it leaves nothing out but the certificate.
    pub fn is_full(&self) -> bool {
        self.free.is_some() && self.running.is_some() && self.addresses.is_some()
    }

    /// Fills in what it leaves out with what the same incarnation said before.
    pub fn complete(&mut self, before: &Presence) {
        if before.incarnation == self.incarnation && before.node == self.node {
            self.free = self.free.take().or_else(|| before.free.clone());
            self.running = self.running.or(before.running);
            self.addresses = self.addresses.take().or_else(|| before.addresses.clone());
        }
    }

    /// The one encoding.
    ///
    /// # Errors
    /// Longer than [`MAX_PRESENCE_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, TypeError> {
        let bytes = cbor::to_vec("presence", self)?;
        if bytes.len() > MAX_PRESENCE_BYTES {
            return Err(TypeError::TooLarge { what: "presence", got: bytes.len(), max: MAX_PRESENCE_BYTES });
        }
        Ok(bytes)
    }

    /// Reads a peer's presence.
    ///
    /// # Errors
    /// Malformed, or over a bound.
    pub fn decode(bytes: &[u8]) -> Result<Presence, TypeError> {
        let presence: Presence = cbor::from_canonical("presence", bytes, MAX_PRESENCE_BYTES)?;
        let addresses = presence.addresses.as_ref().map_or(0, Vec::len);
        if addresses > MAX_ADDRESSES {
            return Err(TypeError::TooLarge { what: "presence addresses", got: addresses, max: MAX_ADDRESSES });
        }
        Ok(presence)
    }
}
