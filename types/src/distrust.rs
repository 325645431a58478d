//! What the revocations that hold mean for certificates: one rule, asked by the gate in the transport and by
//! those who judge changes.

use crate::{
    NodeId,
    cert::CertChain,
    revocation::{Revocation, Signer},
};
use std::collections::{BTreeMap, BTreeSet};

/// Who is not trusted any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distrust {
    /// Who revoked a node.
    revoked: BTreeMap<NodeId, Vec<Signer>>,
    /// Revoked issuers, and the members certified by them that stay.
    issuers: BTreeMap<NodeId, BTreeSet<NodeId>>,
}

/// Whether a revocation holds, given those `above` of its signer: an issuer's holds if nobody revoked the issuer, or
/// left it this revocation. Only the authority revokes issuers, so nothing depends on itself.
pub fn holds<'a>(said: &Revocation, above: impl IntoIterator<Item = (&'a Signer, &'a Revocation)>) -> bool {
    let mut above = above.into_iter().filter(|(signer, _)| **signer == Signer::Authority);
    above.all(|(_, revocation)| revocation.upholds.contains(&said.id))
}

impl Distrust {
    /// What all these revocations mean together.
    pub fn of(words: &[(&Signer, &Revocation)]) -> Distrust {
        let mut distrust = Distrust::default();
        for (signer, said) in words {
            let above = words.iter().filter(|(_, above)| Some(above.subject) == signer.issuer()).copied();
            if holds(said, above) {
                distrust.add(said.subject, (*signer).clone(), &said.keeps.iter().copied().collect());
            }
        }
        distrust
    }

    /// `signer` revoked `subject`; if that was an issuer, `keeps` are the members certified by it that stay.
    pub fn add(&mut self, subject: NodeId, signer: Signer, keeps: &BTreeSet<NodeId>) {
        if signer == Signer::Authority {
            // Of two revocations both have to keep a member.
            self.issuers
                .entry(subject)
                .and_modify(|kept| kept.retain(|node| keeps.contains(node)))
                .or_insert_with(|| keeps.clone());
        }
        let signers = self.revoked.entry(subject).or_default();
        if !signers.contains(&signer) {
            signers.push(signer);
        }
    }

    /// Whether a chain makes nobody a member any more: its subject was revoked by someone who has a say over
    /// such certificates, or its issuer was and did not leave it.
    pub fn voids(&self, chain: &CertChain) -> bool {
        let Ok(claims) = chain.claims() else { return true };
        let revoked = self.revoked.get(&claims.subject);
        if revoked.is_some_and(|signers| signers.iter().any(|signer| signer.may_revoke(claims))) {
            return true;
        }
        let issuer = chain.issuer().and_then(|issuer| self.issuers.get(&issuer.subject));
        issuer.is_some_and(|kept| !kept.contains(&claims.subject))
    }

    /// Whether nobody is distrusted.
    pub fn is_empty(&self) -> bool {
        self.revoked.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        MeshId,
        cert::{Certificate, Claims, Role},
        keys::KeyPair,
    };

    fn key(n: u8) -> KeyPair {
        KeyPair::from_secret(&[n; 32])
    }

    fn claims(n: u8, site: &str, roles: &[Role]) -> Claims {
        Claims {
            mesh: MeshId(key(1).node_id().0),
            mesh_name: "m".parse().unwrap(),
            subject: key(n).node_id(),
            name: "n".parse().unwrap(),
            site: site.parse().unwrap(),
            roles: roles.to_vec(),
            not_before: 0,
            not_after: 9,
            serial: 1,
        }
    }

    fn by_authority(claims: Claims) -> CertChain {
        CertChain::new(vec![Certificate::sign(claims, &key(1)).unwrap()])
    }

    fn by_issuer(n: u8) -> CertChain {
        let issuer = Certificate::sign(claims(2, "s", &[Role::Issuer]), &key(1)).unwrap();
        CertChain::new(vec![Certificate::sign(claims(n, "s", &[Role::Edge]), &key(2)).unwrap(), issuer])
    }

    #[test]
    fn an_issuer_has_no_say_over_issuers_or_other_sites() {
        let mut distrust = Distrust::default();
        let issuer = Signer::Issuer(claims(2, "s", &[Role::Issuer]).into());
        for n in 3..6 {
            distrust.add(key(n).node_id(), issuer.clone(), &BTreeSet::new());
        }
        assert!(distrust.voids(&by_authority(claims(3, "s", &[Role::Edge]))));
        assert!(!distrust.voids(&by_authority(claims(4, "t", &[Role::Edge]))), "another site's");
        assert!(!distrust.voids(&by_authority(claims(5, "s", &[Role::Issuer]))), "an issuer");
        assert!(!distrust.voids(&by_authority(claims(6, "s", &[Role::Edge]))), "nobody spoke of it");
        distrust.add(key(5).node_id(), Signer::Authority, &BTreeSet::new());
        assert!(distrust.voids(&by_authority(claims(5, "s", &[Role::Issuer]))));
    }

    #[test]
    fn of_those_that_a_revoked_issuer_certified_the_named_ones_stay() {
        let mut distrust = Distrust::default();
        let keeps = |list: &[u8]| list.iter().map(|n| key(*n).node_id()).collect::<BTreeSet<_>>();
        distrust.add(key(2).node_id(), Signer::Authority, &keeps(&[3, 4]));
        assert!(!distrust.voids(&by_issuer(3)) && !distrust.voids(&by_issuer(4)) && distrust.voids(&by_issuer(5)));
        assert!(!distrust.voids(&by_authority(claims(5, "s", &[Role::Edge]))), "another chain of it");
        distrust.add(key(2).node_id(), Signer::Authority, &keeps(&[4, 5]));
        assert!(distrust.voids(&by_issuer(3)) && !distrust.voids(&by_issuer(4)) && distrust.voids(&by_issuer(5)));
    }
}
