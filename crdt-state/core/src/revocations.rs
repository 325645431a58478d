//! The revocations that are known, and what of the revoked members' past counts.

use crate::members::Member;
use holm_types::{
    ActorId, DocId, NodeId,
    cert::CertChain,
    distrust::{self, Distrust},
    revocation::{Revocation, SignedPart, Signer},
};
use std::{collections::BTreeMap, sync::Arc};

/// One whole revocation.
#[derive(Debug)]
struct Held {
    signer: Signer,
    said: Revocation,
    cut: BTreeMap<(DocId, ActorId), u64>,
}

/// Which revocation a part belongs to: subject, issuer, id.
type Which = (NodeId, Option<NodeId>, u64);

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    parts: BTreeMap<Which, Vec<SignedPart>>,
    held: BTreeMap<NodeId, Vec<Held>>,
    distrust: Arc<Distrust>,
}

impl Revocations {
    /// Takes in a verified part. True if its revocation is whole now.
    pub(crate) fn hear(&mut self, part: SignedPart) -> bool {
        let signer = part.signer();
        let which = (part.subject(), signer.issuer(), part.id());
        let parts = self.parts.entry(which).or_default();
        if parts.contains(&part) {
            return false;
        }
        let wanted = usize::from(part.parts());
        parts.push(part);
        if parts.len() < wanted {
            return false;
        }
        let Some(said) = Revocation::join(parts.iter()) else { return false };
        let cut = said.cut.iter().map(|cut| ((cut.doc, cut.actor(&said.subject)), cut.seq)).collect();
        self.held.entry(said.subject).or_default().push(Held { signer, said, cut });
        self.parts.remove(&which);
        self.distrust = Arc::new(self.distrusted());
        true
    }

    fn of(&self, subject: &NodeId) -> impl Iterator<Item = &Held> {
        self.held.get(subject).into_iter().flatten()
    }

    fn holds(&self, held: &Held) -> bool {
        let above = held.signer.issuer().and_then(|issuer| self.held.get(&issuer));
        distrust::holds(&held.said, above.into_iter().flatten().map(|above| (&above.signer, &above.said)))
    }

    fn distrusted(&self) -> Distrust {
        let words: Vec<_> = self.held.values().flatten().map(|held| (&held.signer, &held.said)).collect();
        Distrust::of(&words)
    }

    /// What they mean for certificates.
    pub(crate) fn distrust(&self) -> &Arc<Distrust> {
        &self.distrust
    }

    /// Whether a chain makes nobody a member any more.
    pub(crate) fn voids(&self, chain: &CertChain) -> bool {
        self.distrust.voids(chain)
    }

    /// Whether a change counts: its author is a member, or it came before the cut of every revocation that
    /// ended its membership. `brought` is a certificate that came with the change.
    pub(crate) fn counts(
        &self,
        author: Option<&Member>,
        brought: Option<&CertChain>,
        doc: &DocId,
        actor: &ActorId,
        seq: u64,
    ) -> bool {
        if author.is_some_and(|member| !member.revoked) || brought.is_some_and(|chain| !self.voids(chain)) {
            return true;
        }
        let chains: Vec<&CertChain> = author.into_iter().flat_map(Member::chains).chain(brought).collect();
        let Some(subject) = chains.first().and_then(|chain| chain.claims().ok()).map(|claims| claims.subject) else {
            return true;
        };
        let concerns = |held: &Held| {
            chains.iter().filter_map(|chain| chain.claims().ok()).any(|claims| held.signer.may_revoke(claims))
        };
        let cuts = self.of(&subject).filter(|held| self.holds(held) && concerns(held));
        // A member that fell with its issuer has no cut of its own: nothing is known to be before.
        let limit = cuts.map(|held| held.cut.get(&(*doc, *actor)).copied().unwrap_or(0)).min();
        seq <= limit.unwrap_or(0)
    }

    /// The revocations that an issuer signed and that hold.
    pub(crate) fn signed_by(&self, issuer: &NodeId) -> Vec<u64> {
        let all = self.held.values().flatten();
        all.filter(|held| held.signer.issuer() == Some(*issuer) && self.holds(held)).map(|held| held.said.id).collect()
    }

    /// The revocations of a node that hold, for people.
    pub(crate) fn about(&self, subject: &NodeId) -> impl Iterator<Item = (&Signer, &Revocation)> {
        self.of(subject).filter(|held| self.holds(held)).map(|held| (&held.signer, &held.said))
    }
}
