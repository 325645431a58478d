//! Tokens to join: signed, expiring, counted, and pinned to one mesh and one issuer.

use crate::{
    Label, MeshId, NodeId, TypeError, Wall, cbor,
    cert::{CertChain, Role},
    keys,
    keys::KeyPair,
};
use serde::{Deserialize, Serialize};
use std::fmt;

const PREFIX: &str = "holm1.";
const DOMAIN: &[u8] = b"holm token v1\0";
/// A token's text is never longer than this, in bytes.
pub const MAX_TOKEN_BYTES: usize = 4096;

/// What a token grants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The mesh that the joining node must find.
    pub mesh: MeshId,
    /// Its name.
    pub mesh_name: Label,
    /// The issuer that enrols. The transport proves this key before anything is said to it.
    pub issuer: NodeId,
    /// Where the issuer listens (multiaddresses, at most 8).
    pub addresses: Vec<String>,
    /// Counted by the issuer.
    pub id: u64,
    /// The role of the node that joins.
    pub role: Role,
    /// The site of the node that joins.
    pub site: Label,
    /// Valid until, seconds since 1970.
    pub not_after: u64,
    /// How many nodes may join with it.
    pub uses: u32,
    /// How long the certificates are good that it buys, in seconds.
    pub validity_s: u64,
}

/// A grant and its issuer's signature. It is a secret: whoever holds it can join.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// What it grants.
    pub grant: Grant,
    #[serde(with = "serde_bytes")]
    signature: [u8; 64],
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(id {}, hidden)", self.grant.id)
    }
}

fn signed_bytes(grant: &Grant) -> Result<Vec<u8>, TypeError> {
    let mut message = DOMAIN.to_vec();
    message.extend(cbor::to_vec("token", grant)?);
    Ok(message)
}

impl Token {
    /// Signs a grant with the issuer's node key.
    ///
    /// # Errors
    /// The grant cannot be encoded.
    pub fn sign(grant: Grant, issuer: &KeyPair) -> Result<Token, TypeError> {
        let signature = issuer.sign(&signed_bytes(&grant)?);
        Ok(Token { grant, signature })
    }

    /// What the issuer checks before it counts a use: its own signature, its mesh, the date.
    ///
    /// # Errors
    /// Why the token is refused.
    pub fn verify(&self, mesh: &MeshId, issuer: &NodeId, now: Wall) -> Result<&Grant, TypeError> {
        if self.grant.mesh != *mesh {
            return Err(TypeError::Token("it is for another mesh"));
        }
        if self.grant.issuer != *issuer {
            return Err(TypeError::Token("it was made by another node"));
        }
        keys::verify("token", &issuer.0, &signed_bytes(&self.grant)?, &self.signature)?;
        if now.seconds() > self.grant.not_after {
            return Err(TypeError::Token("it has expired: make a new one with `holm token create`"));
        }
        Ok(&self.grant)
    }

    /// The text that a person copies.
    ///
    /// # Errors
    /// Longer than [`MAX_TOKEN_BYTES`].
    pub fn to_text(&self) -> Result<String, TypeError> {
        let text = format!("{PREFIX}{}", hex::encode(cbor::to_vec("token", self)?));
        if text.len() > MAX_TOKEN_BYTES {
            return Err(TypeError::TooLarge { what: "token", got: text.len(), max: MAX_TOKEN_BYTES });
        }
        Ok(text)
    }

    /// Reads the text that a person pasted. Only the issuer can say whether it is good.
    ///
    /// # Errors
    /// Not a token.
    pub fn from_text(text: &str) -> Result<Token, TypeError> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(TypeError::TooLarge { what: "token", got: text.len(), max: MAX_TOKEN_BYTES });
        }
        let body = text.trim().strip_prefix(PREFIX).ok_or(TypeError::Token("it does not begin with \"holm1.\""))?;
        let bytes = hex::decode(body).map_err(|_| TypeError::Token("it is cut off or was altered"))?;
        cbor::from_canonical("token", &bytes, MAX_TOKEN_BYTES)
            .map_err(|_| TypeError::Token("it is cut off or was altered"))
    }
}

/// What an issuer answers to a token that it accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The new member's certificate chain.
    pub chain: CertChain,
    /// Members to begin with: ids and multiaddresses.
    pub peers: Vec<(NodeId, Vec<String>)>,
}
