//! Signing keys. The secret half never prints, and is wiped when dropped.

use crate::{NodeId, TypeError};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use std::fmt;
use zeroize::Zeroizing;

/// Length of a signature in bytes.
pub const SIGNATURE_LEN: usize = 64;

/// An ed25519 key pair: a node's identity, or a mesh's authority (RFC 8032).
#[derive(Clone)]
pub struct KeyPair(SigningKey);

impl KeyPair {
    /// The key pair of a 32-byte secret.
    pub fn from_secret(secret: &[u8; 32]) -> KeyPair {
        KeyPair(SigningKey::from_bytes(secret))
    }

    /// The secret, to be written to a file that only its owner reads.
    pub fn secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half as a node id.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({:?})", self.node_id())
    }
}

/// Verifies one signature, refusing the malleable and small-order forms.
///
/// # Errors
/// The key is not a point, or the signature does not verify.
pub fn verify(what: &'static str, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<(), TypeError> {
    VerifyingKey::from_bytes(key)
        .and_then(|key| key.verify_strict(message, &Signature::from_bytes(signature)))
        .map_err(|_| TypeError::Signature(what))
}
