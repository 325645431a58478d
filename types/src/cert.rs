//! Certificates: who is a member of the mesh, where, and as what.
//!
//! The authority signs certificates; an issuer that it certified may sign others. A chain is at
//! most two certificates long: `[subject]`, or `[subject, issuer]`.

use crate::{Label, MeshId, NodeId, Scope, TypeError, Wall, cbor, keys, keys::KeyPair};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// An encoded chain is never longer than this, in bytes.
pub const MAX_CHAIN_BYTES: usize = 1024;

/// What a node may do beyond running tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs tasks at its site.
    Edge,
    /// Holds the documents of the sites it is told to keep; runs tasks too.
    Keeper,
    /// May sign certificates and tokens.
    Issuer,
    /// May submit and change apps.
    Deployer,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Edge => "edge",
            Role::Keeper => "keeper",
            Role::Issuer => "issuer",
            Role::Deployer => "deployer",
        })
    }
}

impl FromStr for Role {
    type Err = TypeError;
    fn from_str(text: &str) -> Result<Role, TypeError> {
        match text {
            "edge" => Ok(Role::Edge),
            "keeper" => Ok(Role::Keeper),
            "issuer" => Ok(Role::Issuer),
            "deployer" => Ok(Role::Deployer),
            other => Err(TypeError::Decode {
                what: "role",
                why: format!("{other:?} is not one of edge, keeper, issuer, deployer"),
            }),
        }
    }
}

/// What is certified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The mesh.
    pub mesh: MeshId,
    /// The mesh's name.
    pub mesh_name: Label,
    /// The node's key.
    pub subject: NodeId,
    /// The node's name.
    pub name: Label,
    /// The node's site.
    pub site: Label,
    /// Its roles, sorted, each once.
    pub roles: Vec<Role>,
    /// Valid from, seconds since 1970.
    pub not_before: u64,
    /// Valid until, seconds since 1970.
    pub not_after: u64,
    /// Unique among the signer's certificates.
    pub serial: u64,
}

impl Claims {
    /// Whether the node holds the documents of other sites, too.
    pub fn is_keeper(&self) -> bool {
        self.roles.contains(&Role::Keeper)
    }

    /// Whether the node holds the documents of `scope`, and so may write some.
    pub fn holds(&self, scope: &Scope) -> bool {
        scope.site().is_none_or(|site| *site == self.site) || self.is_keeper()
    }

    /// Where the node's own document is: all sites need to know who the keepers are.
    pub fn home(&self) -> Scope {
        if self.is_keeper() { Scope::Mesh } else { Scope::Site(self.site.clone()) }
    }
}

/// Claims and the signature of the authority or of an issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// What is certified.
    pub claims: Claims,
    #[serde(with = "serde_bytes")]
    signature: [u8; 64],
}

const DOMAIN: &[u8] = b"holm certificate v1\0";

fn signed_bytes(claims: &Claims) -> Result<Vec<u8>, TypeError> {
    let mut message = DOMAIN.to_vec();
    message.extend(cbor::to_vec("certificate", claims)?);
    Ok(message)
}

impl Certificate {
    /// Signs `claims` with the key of the authority or of an issuer.
    ///
    /// # Errors
    /// The claims cannot be encoded.
    pub fn sign(claims: Claims, signer: &KeyPair) -> Result<Certificate, TypeError> {
        let signature = signer.sign(&signed_bytes(&claims)?);
        Ok(Certificate { claims, signature })
    }

    fn verify(&self, signer: &[u8; 32]) -> Result<(), TypeError> {
        keys::verify("certificate", signer, &signed_bytes(&self.claims)?, &self.signature)
    }
}

/// A node's certificate, followed by its issuer's unless the authority itself signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertChain(Vec<Certificate>);

impl CertChain {
    /// A chain from its certificates, the subject's first.
    pub fn new(certificates: Vec<Certificate>) -> CertChain {
        CertChain(certificates)
    }

    /// What the chain certifies, once [`CertChain::verify`] accepted it.
    ///
    /// # Errors
    /// An empty chain.
    pub fn claims(&self) -> Result<&Claims, TypeError> {
        self.0.first().map(|c| &c.claims).ok_or(TypeError::Certificate("the chain is empty"))
    }

    /// Checks everything that does not depend on the time of day: signatures, mesh, length,
    /// the issuer's role. This is the part that decides whether a *change* of the subject is
    /// valid, so that all nodes agree whatever their clocks say.
    ///
    /// # Errors
    /// Why the chain is not one of this mesh.
    pub fn verify(&self, mesh: &MeshId) -> Result<&Claims, TypeError> {
        let claims = self.claims()?;
        if self.0.iter().any(|c| c.claims.mesh != *mesh) {
            return Err(TypeError::Certificate("it belongs to another mesh"));
        }
        if !claims.roles.is_sorted_by(|a, b| a < b) {
            return Err(TypeError::Certificate("its roles are not sorted"));
        }
        match self.0.as_slice() {
            [subject] => subject.verify(&mesh.0)?,
            [subject, issuer] => {
                if !issuer.claims.roles.contains(&Role::Issuer) {
                    return Err(TypeError::Certificate("its signer is not an issuer"));
                }
                issuer.verify(&mesh.0)?;
                subject.verify(&issuer.claims.subject.0)?;
            }
            _ => return Err(TypeError::Certificate("the chain is longer than two")),
        }
        Ok(claims)
    }

    /// Checks the chain and that every certificate of it is valid at `now`, as the transport
    /// does with a peer. `slack` forgives clocks that differ.
    ///
    /// # Errors
    /// Why the chain is refused.
    pub fn verify_at(&self, mesh: &MeshId, now: Wall, slack: std::time::Duration) -> Result<&Claims, TypeError> {
        let claims = self.verify(mesh)?;
        for certificate in &self.0 {
            if now.seconds() > certificate.claims.not_after.saturating_add(slack.as_secs()) {
                return Err(TypeError::Certificate("it has expired"));
            }
            if now.seconds().saturating_add(slack.as_secs()) < certificate.claims.not_before {
                return Err(TypeError::Certificate("it is not valid yet"));
            }
        }
        Ok(claims)
    }

    /// The one encoding.
    ///
    /// # Errors
    /// Longer than [`MAX_CHAIN_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, TypeError> {
        let bytes = cbor::to_vec("certificate chain", self)?;
        if bytes.len() > MAX_CHAIN_BYTES {
            return Err(TypeError::TooLarge { what: "certificate chain", got: bytes.len(), max: MAX_CHAIN_BYTES });
        }
        Ok(bytes)
    }

    /// Reads a chain. Nothing in it is believed before [`CertChain::verify`].
    ///
    /// # Errors
    /// Too long, or not the one encoding.
    pub fn decode(bytes: &[u8]) -> Result<CertChain, TypeError> {
        cbor::from_canonical("certificate chain", bytes, MAX_CHAIN_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn claims(mesh: &KeyPair, subject: &KeyPair, roles: &[Role]) -> Claims {
        Claims {
            mesh: MeshId(mesh.node_id().0),
            mesh_name: "m".parse().unwrap(),
            subject: subject.node_id(),
            name: "n".parse().unwrap(),
            site: "s".parse().unwrap(),
            roles: roles.to_vec(),
            not_before: 100,
            not_after: 200,
            serial: 1,
        }
    }

    fn key(n: u8) -> KeyPair {
        KeyPair::from_secret(&[n; 32])
    }

    #[test]
    fn a_chain_of_one_and_of_two_verify_and_no_other_does() {
        let (authority, issuer, node, stranger) = (key(1), key(2), key(3), key(4));
        let mesh = MeshId(authority.node_id().0);
        let one = Certificate::sign(claims(&authority, &node, &[Role::Edge]), &authority).unwrap();
        CertChain::new(vec![one.clone()]).verify(&mesh).unwrap();
        let issuing = Certificate::sign(claims(&authority, &issuer, &[Role::Issuer]), &authority).unwrap();
        let leaf = Certificate::sign(claims(&authority, &node, &[Role::Edge]), &issuer).unwrap();
        let two = CertChain::new(vec![leaf.clone(), issuing]);
        two.verify(&mesh).unwrap();
        assert_eq!(CertChain::decode(&two.encode().unwrap()).unwrap(), two);

        let plain = Certificate::sign(claims(&authority, &issuer, &[Role::Edge]), &authority).unwrap();
        assert!(CertChain::new(vec![leaf.clone(), plain]).verify(&mesh).is_err(), "signer is no issuer");
        assert!(CertChain::new(vec![leaf]).verify(&mesh).is_err(), "signer is missing");
        let forged = Certificate::sign(claims(&authority, &node, &[Role::Edge]), &stranger).unwrap();
        assert!(CertChain::new(vec![forged]).verify(&mesh).is_err(), "signed by a stranger");
        assert!(CertChain::new(vec![one]).verify(&MeshId(stranger.node_id().0)).is_err(), "another mesh");
        assert!(CertChain::new(vec![]).verify(&mesh).is_err(), "empty");
    }

    #[test]
    fn validity_is_checked_with_slack() {
        let (authority, node) = (key(1), key(3));
        let mesh = MeshId(authority.node_id().0);
        let chain = CertChain::new(vec![Certificate::sign(claims(&authority, &node, &[]), &authority).unwrap()]);
        let slack = Duration::from_secs(10);
        for (at, ok) in [(89, false), (90, true), (150, true), (210, true), (211, false)] {
            assert_eq!(chain.verify_at(&mesh, Wall(at * 1000), slack).is_ok(), ok, "at {at}");
        }
    }
}
