//! Certificates: who is a member of the mesh, where, and as what.
//!
//! The authority signs certificates; an issuer that it certified may sign others, within the limits of
//! [`Claims::may_certify`]. A chain is at most two certificates long: `[subject]`, or `[subject, issuer]`.
//!
//! A certificate has an end. It is renewed when a third of its life is left; peers bear with one that has
//! ended for another third ([`Claims::borne_until`]), and then let its node in for nothing but a renewal.

use crate::{Label, MeshId, NodeId, Scope, TypeError, Wall, cbor, keys, keys::KeyPair};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

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

    /// Whether the node may certify others.
    pub fn is_issuer(&self) -> bool {
        self.roles.contains(&Role::Issuer)
    }

    /// Whether the node has a say over members that are certified so, as their issuer or to revoke them:
    /// those of its own site, or of all sites if it is a keeper, too; never over issuers.
    ///
    /// # Errors
    /// Why not.
    pub fn may_govern(&self, of: &Claims) -> Result<(), TypeError> {
        let refuse = |why| Err(TypeError::Certificate(why));
        if !self.is_issuer() {
            return refuse("its signer is not an issuer");
        }
        if of.is_issuer() {
            return refuse("only the authority makes issuers");
        }
        if !self.is_keeper() && of.is_keeper() {
            return refuse("its issuer is no keeper and may not make keepers");
        }
        if !self.is_keeper() && of.site != self.site {
            return refuse("its issuer may certify its own site only");
        }
        Ok(())
    }

    /// Whether the node may sign a certificate with these claims: those that it has a say over, of another
    /// node, and never beyond its own end.
    ///
    /// # Errors
    /// Why not.
    pub fn may_certify(&self, of: &Claims) -> Result<(), TypeError> {
        self.may_govern(of)?;
        if of.subject == self.subject {
            return Err(TypeError::Certificate("an issuer does not certify itself"));
        }
        if of.not_after > self.not_after {
            return Err(TypeError::Certificate("it outlives its issuer's certificate"));
        }
        Ok(())
    }

    /// From its beginning to its end, in seconds.
    pub fn life(&self) -> u64 {
        self.not_after.saturating_sub(self.not_before)
    }

    /// When it should be renewed: a third of its life is left. Seconds since 1970.
    pub fn renew_from(&self) -> u64 {
        self.not_after - self.life() / 3
    }

    /// Until when peers bear with it: a third of its life beyond its end, [`MAX_GRACE_S`] at most. Seconds
    /// since 1970.
    pub fn borne_until(&self) -> u64 {
        self.not_after.saturating_add((self.life() / 3).min(MAX_GRACE_S))
    }
}

/// Peers bear with a certificate that has ended no longer than this, in seconds.
pub const MAX_GRACE_S: u64 = 30 * 86_400;

/// Beginning and end of a certificate that is made at `now` and good for `validity`, all in seconds. Clocks of
/// new hosts are often behind: it begins a day, or a tenth of its validity, before it was made.
pub fn term(now: u64, validity: u64) -> (u64, u64) {
    (now.saturating_sub((validity / 10).min(86_400)), now.saturating_add(validity))
}

/// The validity that [`term`] was given, of a certificate that lives for `life` seconds.
pub fn validity_of(life: u64) -> u64 {
    life - (life / 11).min(86_400)
}

/// Claims and the signature of the authority or of an issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// What is certified. Clones share it: whoever knows a member refers to what its certificate says.
    pub claims: Arc<Claims>,
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
    pub fn sign(claims: impl Into<Arc<Claims>>, signer: &KeyPair) -> Result<Certificate, TypeError> {
        let claims = claims.into();
        let signature = signer.sign(&signed_bytes(&claims)?);
        Ok(Certificate { claims, signature })
    }

    pub(crate) fn verify(&self, signer: &[u8; 32]) -> Result<(), TypeError> {
        keys::verify("certificate", signer, &signed_bytes(&self.claims)?, &self.signature)
    }
}

/// A node's certificate, followed by its issuer's unless the authority itself signed it. Clones share it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertChain(Arc<[Certificate]>);

impl CertChain {
    /// A chain from its certificates, the subject's first.
    pub fn new(certificates: Vec<Certificate>) -> CertChain {
        CertChain(certificates.into())
    }

    /// What the chain certifies, once [`CertChain::verify`] accepted it.
    ///
    /// # Errors
    /// An empty chain.
    pub fn claims(&self) -> Result<&Arc<Claims>, TypeError> {
        self.0.first().map(|c| &c.claims).ok_or(TypeError::Certificate("the chain is empty"))
    }

    /// What the issuer's certificate says; none if the authority itself signed.
    pub fn issuer(&self) -> Option<&Claims> {
        self.0.get(1).map(|c| &*c.claims)
    }

    /// The subject's own certificate, if the authority itself signed it: with it an issuer proves that it is one.
    pub fn signed_by_authority(&self) -> Option<&Certificate> {
        if let [own] = &*self.0 { Some(own) } else { None }
    }

    /// Until when peers bear with the chain, in seconds since 1970: none of its certificates may be past that.
    pub fn borne_until(&self) -> u64 {
        self.0.iter().map(|c| c.claims.borne_until()).min().unwrap_or(0)
    }

    /// Checks everything that does not depend on the time of day: signatures, mesh, length,
    /// what the issuer may certify. This is the part that decides whether a *change* of the subject is
    /// valid, so that all nodes agree whatever their clocks say.
    ///
    /// # Errors
    /// Why the chain is not one of this mesh.
    pub fn verify(&self, mesh: &MeshId) -> Result<&Arc<Claims>, TypeError> {
        let claims = self.claims()?;
        if self.0.iter().any(|c| c.claims.mesh != *mesh) {
            return Err(TypeError::Certificate("it belongs to another mesh"));
        }
        if !claims.roles.is_sorted_by(|a, b| a < b) {
            return Err(TypeError::Certificate("its roles are not sorted"));
        }
        match &*self.0 {
            [subject] => subject.verify(&mesh.0)?,
            [subject, issuer] => {
                issuer.claims.may_certify(claims)?;
                issuer.verify(&mesh.0)?;
                subject.verify(&issuer.claims.subject.0)?;
            }
            _ => return Err(TypeError::Certificate("the chain is longer than two")),
        }
        Ok(claims)
    }

    /// Checks the chain and that every certificate of it is valid at `now`, as the transport
    /// does with a peer: one that has ended is borne with for a while ([`Claims::borne_until`]), and `slack`
    /// forgives clocks that are behind.
    ///
    /// # Errors
    /// Why the chain is refused.
    pub fn verify_at(&self, mesh: &MeshId, now: Wall, slack: std::time::Duration) -> Result<&Claims, TypeError> {
        let claims = self.verify(mesh)?;
        for certificate in self.0.iter() {
            if now.seconds() > certificate.claims.borne_until() {
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
    fn an_issuer_certifies_its_own_site_and_nothing_that_outlives_it() {
        let (authority, issuer, node) = (key(1), key(2), key(3));
        let mesh = MeshId(authority.node_id().0);
        let verdict = |issuing: Claims, leaf: Claims| {
            let issuing = Certificate::sign(issuing, &authority).unwrap();
            CertChain::new(vec![Certificate::sign(leaf, &issuer).unwrap(), issuing]).verify(&mesh).is_ok()
        };
        let issuing = |roles: &[Role]| claims(&authority, &issuer, roles);
        let leaf = |roles: &[Role]| claims(&authority, &node, roles);
        let (plain, keeping) = (issuing(&[Role::Issuer]), issuing(&[Role::Keeper, Role::Issuer]));
        let elsewhere = Claims { site: "t".parse().unwrap(), ..leaf(&[Role::Edge]) };
        assert!(verdict(plain.clone(), leaf(&[Role::Edge])) && verdict(plain.clone(), leaf(&[Role::Deployer])));
        assert!(!verdict(plain.clone(), elsewhere.clone()), "another site");
        assert!(verdict(keeping.clone(), elsewhere), "a keeper holds all sites");
        assert!(!verdict(plain.clone(), leaf(&[Role::Keeper])) && verdict(keeping.clone(), leaf(&[Role::Keeper])));
        assert!(!verdict(keeping.clone(), leaf(&[Role::Issuer])), "only the authority makes issuers");
        assert!(!verdict(keeping, Claims { not_after: 201, ..leaf(&[Role::Edge]) }), "it outlives its issuer");
        assert!(!verdict(plain, claims(&authority, &issuer, &[Role::Edge])), "itself");
    }

    #[test]
    fn a_renewed_certificate_lives_as_long_as_the_one_before() {
        for validity in [10, 30, 3_600, 86_400, 864_000, 90 * 86_400, 3_650 * 86_400] {
            let (from, to) = term(1_000_000_000, validity);
            assert_eq!(validity_of(to - from), validity);
        }
    }

    #[test]
    fn validity_is_checked_with_grace_and_slack() {
        let (authority, node) = (key(1), key(3));
        let mesh = MeshId(authority.node_id().0);
        let chain = CertChain::new(vec![Certificate::sign(claims(&authority, &node, &[]), &authority).unwrap()]);
        let slack = Duration::from_secs(10);
        for (at, ok) in [(89, false), (90, true), (150, true), (233, true), (234, false)] {
            assert_eq!(chain.verify_at(&mesh, Wall(at * 1000), slack).is_ok(), ok, "at {at}");
        }
    }
}
