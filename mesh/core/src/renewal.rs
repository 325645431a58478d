//! Renewal of certificates between connected members: a frame that asks, and one that answers.

use holm_types::{TypeError, cbor, cert::CertChain};
use serde::{Deserialize, Serialize};

/// An encoded message is never longer than this, in bytes.
pub const MAX_RENEWAL_BYTES: usize = 2048;

/// A message about the sender's or the receiver's certificate. The names carry the version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Renewal {
    /// "Mine ends: give me one that ends later." Who asks is known from the connection, and what it holds
    /// from its certificate.
    #[serde(rename = "renew/1")]
    Ask,
    /// "Here it is."
    #[serde(rename = "renewed/1")]
    Given {
        /// The new certificate.
        chain: CertChain,
    },
    /// "No."
    #[serde(rename = "not-renewed/1")]
    Refused {
        /// Why, for people.
        why: String,
    },
}

impl Renewal {
    /// The one encoding.
    ///
    /// # Errors
    /// It cannot be encoded, or is too long.
    pub fn encode(&self) -> Result<Vec<u8>, TypeError> {
        let bytes = cbor::to_vec("renewal", self)?;
        if bytes.len() > MAX_RENEWAL_BYTES {
            return Err(TypeError::TooLarge { what: "renewal", got: bytes.len(), max: MAX_RENEWAL_BYTES });
        }
        Ok(bytes)
    }

    /// Reads a peer's message.
    ///
    /// # Errors
    /// Malformed, or too long.
    pub fn decode(bytes: &[u8]) -> Result<Renewal, TypeError> {
        cbor::from_canonical("renewal", bytes, MAX_RENEWAL_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repair::Message;
    use holm_types::{Digest, Scope};

    #[test]
    fn a_renewal_is_never_taken_for_a_repair_message() {
        for renewal in [Renewal::Ask, Renewal::Refused { why: "no".into() }] {
            let bytes = renewal.encode().unwrap();
            assert_eq!(Renewal::decode(&bytes), Ok(renewal));
            assert!(Message::decode(&bytes).is_err());
        }
        let repair = Message::Root { scope: Scope::Mesh, digest: Digest([0; 32]) }.encode().unwrap();
        assert!(Renewal::decode(&repair).is_err());
        assert!(Renewal::Refused { why: "x".repeat(3000) }.encode().is_err());
    }
}
