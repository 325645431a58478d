//! Revocations: signed words that somebody is no member any more, and what of its past stays.
//!
//! A revocation names, for each document and each incarnation of the member, the last of its changes that
//! counts: the *cut*. No clock is needed to tell what came before it, so all nodes agree. It proves itself:
//! whoever carries it, the signature inside is the authority's or that of an issuer whose certificate is
//! inside, too. As cuts can be long, a revocation is said in [`Part`]s, and holds once all are there.
//!
//! Whoever holds an issuer's key can certify whomever it likes. So the revocation of an issuer says which of
//! the members that it certified stay, and which of its own revocations.

use crate::{
    ActorId, DocId, Incarnation, MeshId, NodeId, TypeError, cbor,
    cert::{Certificate, Claims},
    keys,
    keys::KeyPair,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An encoded part is never longer than this, in bytes: it fits into one value of a document.
pub const MAX_PART_BYTES: usize = 4096;
/// Parts of one revocation, at most.
pub const MAX_PARTS: u16 = 512;
/// Bytes of the reason, at most.
pub const MAX_REASON_BYTES: usize = 200;
/// What a part may spend on its lists, in bytes; the rest is for the signer's certificate and the reason.
const PART_BUDGET: usize = 2880;
const DOMAIN: &[u8] = b"holm revocation v1\0";
const CUT_BYTES: usize = 32;

/// The last change of a revoked member's incarnation in a document that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cut {
    /// The document.
    pub doc: DocId,
    /// The incarnation of the member.
    pub incarnation: Incarnation,
    /// The sequence number of that change.
    pub seq: u64,
}

/// What a revocation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The mesh.
    pub mesh: MeshId,
    /// Whom it concerns.
    pub subject: NodeId,
    /// Unique among the signer's revocations.
    pub id: u64,
    /// When it was made, in seconds since 1970. For people.
    pub at: u64,
    /// Why, [`MAX_REASON_BYTES`] at most. For people.
    pub reason: String,
    /// What counts of the subject's changes; whatever is not named does not.
    pub cut: Vec<Cut>,
    /// If the subject is an issuer: the members that it certified and that stay.
    pub keeps: Vec<NodeId>,
    /// If the subject is an issuer: the ids of its own revocations that stay.
    pub upholds: Vec<u64>,
}

/// A part of a revocation, as it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    #[serde(rename = "m")]
    mesh: MeshId,
    #[serde(rename = "s")]
    subject: NodeId,
    #[serde(rename = "i")]
    id: u64,
    #[serde(rename = "p")]
    part: u16,
    #[serde(rename = "n")]
    parts: u16,
    #[serde(rename = "t")]
    at: u64,
    #[serde(rename = "r")]
    reason: String,
    #[serde(rename = "c", with = "serde_bytes")]
    cut: Vec<u8>,
    #[serde(rename = "k", with = "serde_bytes")]
    keeps: Vec<u8>,
    #[serde(rename = "u", with = "serde_bytes")]
    upholds: Vec<u8>,
    /// The issuer's certificate, signed by the authority; none if the authority itself revokes.
    #[serde(rename = "b")]
    by: Option<Certificate>,
}

/// A part and its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPart {
    #[serde(rename = "w")]
    part: Part,
    #[serde(rename = "g", with = "serde_bytes")]
    signature: [u8; 64],
}

/// Who signed a revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    /// The authority: it may revoke whomever it likes.
    Authority,
    /// An issuer: it may revoke those that it may certify ([`Claims::may_govern`]).
    Issuer(Arc<Claims>),
}

impl Signer {
    /// Whether the word of this signer holds for certificates with these claims.
    pub fn may_revoke(&self, of: &Claims) -> bool {
        match self {
            Signer::Authority => true,
            Signer::Issuer(issuer) => issuer.may_govern(of).is_ok(),
        }
    }

    /// The issuer's key; none for the authority.
    pub fn issuer(&self) -> Option<NodeId> {
        if let Signer::Issuer(claims) = self { Some(claims.subject) } else { None }
    }
}

fn signed_bytes(part: &Part) -> Result<Vec<u8>, TypeError> {
    let mut message = DOMAIN.to_vec();
    message.extend(cbor::to_vec("revocation", part)?);
    Ok(message)
}

impl Revocation {
    /// Signs it, in as many parts as it takes: with the authority's key, or with that of the issuer whose
    /// certificate is `by`. Of what does not fit into [`MAX_PARTS`], the last is left out: so much more does not count.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn sign(&self, by: Option<&Certificate>, key: &KeyPair) -> Result<Vec<SignedPart>, TypeError> {
        let mut chunks: Vec<[Vec<u8>; 3]> = vec![Default::default()];
        let cut = self.cut.iter().map(|cut| (0, cut_bytes(cut).to_vec()));
        let keeps = self.keeps.iter().map(|node| (1, node.0.to_vec()));
        let upholds = self.upholds.iter().map(|id| (2, id.to_be_bytes().to_vec()));
        for (list, bytes) in upholds.chain(keeps).chain(cut) {
            if chunks.last().is_none_or(|c| c.iter().map(Vec::len).sum::<usize>() + bytes.len() > PART_BUDGET) {
                if chunks.len() == usize::from(MAX_PARTS) {
                    break;
                }
                chunks.push(Default::default());
            }
            if let Some(chunk) = chunks.last_mut() {
                chunk[list].extend(bytes);
            }
        }
        let parts = chunks.len() as u16;
        let mut reason = self.reason.clone();
        reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
        let sign = |(number, [cut, keeps, upholds]): (usize, [Vec<u8>; 3])| -> Result<SignedPart, TypeError> {
            let part = Part {
                mesh: self.mesh,
                subject: self.subject,
                id: self.id,
                part: number as u16,
                parts,
                at: self.at,
                reason: reason.clone(),
                cut,
                keeps,
                upholds,
                by: by.cloned(),
            };
            let signature = key.sign(&signed_bytes(&part)?);
            Ok(SignedPart { part, signature })
        };
        chunks.into_iter().enumerate().map(sign).collect()
    }

    /// Puts the parts of one revocation of one signer together; none while some are missing.
    pub fn join<'a>(parts: impl IntoIterator<Item = &'a SignedPart>) -> Option<Revocation> {
        let mut parts: Vec<&Part> = parts.into_iter().map(|signed| &signed.part).collect();
        parts.sort_by_key(|part| part.part);
        parts.dedup_by_key(|part| part.part);
        let first = *parts.first()?;
        let whole = parts.len() == usize::from(first.parts)
            && parts.iter().all(|p| (p.parts, p.id, p.subject) == (first.parts, first.id, first.subject));
        whole.then(|| Revocation {
            mesh: first.mesh,
            subject: first.subject,
            id: first.id,
            at: first.at,
            reason: first.reason.clone(),
            cut: parts.iter().flat_map(|part| part.cut.as_chunks().0).map(read_cut).collect(),
            keeps: parts.iter().flat_map(|part| part.keeps.as_chunks().0).map(|bytes| NodeId(*bytes)).collect(),
            upholds: parts.iter().flat_map(|p| p.upholds.as_chunks().0).map(|b| u64::from_be_bytes(*b)).collect(),
        })
    }
}

impl SignedPart {
    /// Whom the revocation concerns.
    pub fn subject(&self) -> NodeId {
        self.part.subject
    }

    /// Which revocation of its signer this is a part of.
    pub fn id(&self) -> u64 {
        self.part.id
    }

    /// How many parts the revocation has.
    pub fn parts(&self) -> u16 {
        self.part.parts
    }

    /// Who claims to have signed it: true once [`SignedPart::verify`] accepted it.
    pub fn signer(&self) -> Signer {
        self.part.by.as_ref().map_or(Signer::Authority, |by| Signer::Issuer(by.claims.clone()))
    }

    /// Checks that the authority of `mesh` said this, or an issuer that it certified.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn verify(&self, mesh: &MeshId) -> Result<Signer, TypeError> {
        let part = &self.part;
        let bad = |why: &str| Err(TypeError::Decode { what: "revocation", why: why.into() });
        if part.mesh != *mesh {
            return bad("it is of another mesh");
        }
        if part.part >= part.parts || part.parts > MAX_PARTS || part.reason.len() > MAX_REASON_BYTES {
            return bad("a number is out of range");
        }
        let whole = |bytes: &[u8], size| bytes.len().is_multiple_of(size);
        if !whole(&part.cut, CUT_BYTES) || !whole(&part.keeps, 32) || !whole(&part.upholds, 8) {
            return bad("a list is cut off");
        }
        let Some(by) = &part.by else {
            keys::verify("revocation", &mesh.0, &signed_bytes(part)?, &self.signature)?;
            return Ok(Signer::Authority);
        };
        by.verify(&mesh.0)?;
        if by.claims.mesh != *mesh || !by.claims.is_issuer() {
            return Err(TypeError::Certificate("its signer is not an issuer"));
        }
        if by.claims.subject == part.subject {
            return bad("an issuer does not revoke itself");
        }
        keys::verify("revocation", &by.claims.subject.0, &signed_bytes(part)?, &self.signature)?;
        Ok(Signer::Issuer(by.claims.clone()))
    }

    /// The one encoding.
    ///
    /// # Errors
    /// Longer than [`MAX_PART_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, TypeError> {
        let bytes = cbor::to_vec("revocation", self)?;
        if bytes.len() > MAX_PART_BYTES {
            return Err(TypeError::TooLarge { what: "revocation", got: bytes.len(), max: MAX_PART_BYTES });
        }
        Ok(bytes)
    }

    /// Reads a part. Nothing in it is believed before [`SignedPart::verify`].
    ///
    /// # Errors
    /// Too long, or not the one encoding.
    pub fn decode(bytes: &[u8]) -> Result<SignedPart, TypeError> {
        cbor::from_canonical("revocation", bytes, MAX_PART_BYTES)
    }
}

fn cut_bytes(cut: &Cut) -> [u8; CUT_BYTES] {
    let mut bytes = [0; CUT_BYTES];
    bytes[..16].copy_from_slice(&cut.doc.0);
    bytes[16..24].copy_from_slice(&cut.incarnation.0.to_be_bytes());
    bytes[24..].copy_from_slice(&cut.seq.to_be_bytes());
    bytes
}

fn read_cut(bytes: &[u8; CUT_BYTES]) -> Cut {
    let (mut doc, mut incarnation, mut seq) = ([0; 16], [0; 8], [0; 8]);
    doc.copy_from_slice(&bytes[..16]);
    incarnation.copy_from_slice(&bytes[16..24]);
    seq.copy_from_slice(&bytes[24..]);
    Cut { doc: DocId(doc), incarnation: Incarnation(u64::from_be_bytes(incarnation)), seq: u64::from_be_bytes(seq) }
}

impl Cut {
    /// The actor of `subject` that it is about.
    pub fn actor(&self, subject: &NodeId) -> ActorId {
        ActorId::new(subject, self.incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::Role;
    use proptest::prelude::*;

    fn key(n: u8) -> KeyPair {
        KeyPair::from_secret(&[n; 32])
    }

    fn mesh() -> MeshId {
        MeshId(key(1).node_id().0)
    }

    fn issuer(roles: &[Role]) -> Certificate {
        let long: crate::Label = "x".repeat(63).parse().unwrap();
        let claims = Claims {
            mesh: mesh(),
            mesh_name: long.clone(),
            subject: key(2).node_id(),
            name: long.clone(),
            site: long,
            roles: roles.to_vec(),
            not_before: 0,
            not_after: u64::MAX,
            serial: u64::MAX,
        };
        Certificate::sign(claims, &key(1)).unwrap()
    }

    fn revocation(cuts: usize, keeps: usize, upholds: usize) -> Revocation {
        let cut = |n: usize| Cut { doc: DocId([n as u8; 16]), incarnation: Incarnation(n as u64), seq: n as u64 };
        Revocation {
            mesh: mesh(),
            subject: key(3).node_id(),
            id: 7,
            at: 1,
            reason: "é".repeat(MAX_REASON_BYTES),
            cut: (0..cuts).map(cut).collect(),
            keeps: (0..keeps).map(|n| NodeId([n as u8; 32])).collect(),
            upholds: (0..upholds as u64).collect(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_revocation_of_any_length_is_put_together_again(
            cuts in 0..400usize, keeps in 0..200usize, upholds in 0..30usize, order in any::<u64>(),
        ) {
            let said = revocation(cuts, keeps, upholds);
            let by = issuer(&[Role::Keeper, Role::Issuer]);
            let mut parts = said.sign(Some(&by), &key(2)).unwrap();
            let turn = order as usize % parts.len();
            parts.rotate_left(turn);
            for part in &parts {
                let read = SignedPart::decode(&part.encode().unwrap()).unwrap();
                prop_assert!(matches!(read.verify(&mesh()), Ok(Signer::Issuer(_))));
            }
            let reason = "é".repeat(MAX_REASON_BYTES / 2);
            prop_assert_eq!(Revocation::join(&parts), Some(Revocation { reason, ..said }));
            if parts.len() > 1 {
                prop_assert_eq!(Revocation::join(&parts[1..]), None);
            }
        }

        #[test]
        fn garbage_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(SignedPart::decode(&bytes).is_err());
        }
    }

    #[test]
    fn only_the_authority_and_its_issuers_revoke() {
        let said = revocation(1, 0, 0);
        let signer = |by: Option<&Certificate>, n| said.sign(by, &key(n)).unwrap()[0].verify(&mesh());
        assert_eq!(signer(None, 1), Ok(Signer::Authority));
        assert!(signer(None, 2).is_err() && signer(None, 3).is_err(), "not with the authority's key");
        let by = issuer(&[Role::Issuer]);
        assert!(signer(Some(&by), 2).is_ok() && signer(Some(&by), 3).is_err());
        assert!(signer(Some(&issuer(&[Role::Keeper])), 2).is_err(), "not an issuer");
        let forged = Certificate::sign(by.claims.clone(), &key(3)).unwrap();
        assert!(signer(Some(&forged), 2).is_err(), "certified by a stranger");
        let own = Revocation { subject: key(2).node_id(), ..said.clone() };
        assert!(own.sign(Some(&by), &key(2)).unwrap()[0].verify(&mesh()).is_err(), "itself");
        assert!(said.sign(None, &key(1)).unwrap()[0].verify(&MeshId([9; 32])).is_err(), "another mesh");
        let mut altered = said.sign(None, &key(1)).unwrap().remove(0);
        altered.part.cut.clear();
        assert!(altered.verify(&mesh()).is_err(), "altered");
    }
}
