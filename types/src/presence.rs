//! Presence: what a node says of itself every second or so. Ephemeral: last value wins, by
//! incarnation, then by sequence. Never in a document.

use crate::{Incarnation, NodeId, TypeError, cbor, cert::CertChain, manifest::Amounts};
use serde::{Deserialize, Serialize};

/// An encoded presence is never longer than this, in bytes.
pub const MAX_PRESENCE_BYTES: usize = 3072;
/// Addresses told about one node, at most.
pub const MAX_ADDRESSES: usize = 8;

/// One heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Who speaks. Must be the signer of the gossip message.
    pub node: NodeId,
    /// Which life of the node's process speaks.
    pub incarnation: Incarnation,
    /// Counts the heartbeats of this incarnation.
    pub seq: u64,
    /// When to expect the next one, in milliseconds.
    pub every_ms: u32,
    /// What tasks may still use here.
    pub free: Amounts,
    /// Tasks that run here.
    pub running: u32,
    /// Where the node listens (multiaddresses, at most [`MAX_ADDRESSES`]).
    pub addresses: Vec<String>,
    /// The node leaves for good.
    pub leaving: bool,
    /// Its certificate, now and then, for those who do not know it yet.
    pub chain: Option<CertChain>,
}

impl Presence {
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
        if presence.addresses.len() > MAX_ADDRESSES {
            return Err(TypeError::TooLarge {
                what: "presence addresses",
                got: presence.addresses.len(),
                max: MAX_ADDRESSES,
            });
        }
        Ok(presence)
    }
}
