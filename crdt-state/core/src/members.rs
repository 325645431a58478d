//! The members of the mesh: everyone whose certificate this node has seen and verified.

use crate::{error::StateError, revocations::Revocations};
use holm_types::{
    NodeId,
    cert::{CertChain, Claims},
    view::NodeInfo,
};
use std::{collections::BTreeMap, sync::Arc};

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What its certificate says.
    pub claims: Arc<Claims>,
    /// What it says of itself in its document, once that has arrived.
    pub info: Option<Arc<NodeInfo>>,
    /// Its certificate with that of its issuer.
    pub chain: CertChain,
    /// Whether it was one only once: it was revoked, or the issuer that certified it.
    pub revoked: bool,
    /// Its last certificate of each signer, mostly of one: any of these may be the one that is left when a signer falls.
    chains: Vec<CertChain>,
}

impl Member {
    /// Its certificates: the last one of each signer.
    pub(crate) fn chains(&self) -> impl Iterator<Item = &CertChain> {
        self.chains.iter()
    }
}

/// All members, and those that were.
#[derive(Debug, Default)]
pub(crate) struct Members(BTreeMap<NodeId, Member>);

/// What two certificates of a node are compared by.
type Rank = (u64, u64, Vec<u8>);

/// Of two certificates of a node the one that begins last counts, on every node.
fn rank(chain: &CertChain) -> Result<Rank, StateError> {
    let claims = chain.claims()?;
    Ok((claims.not_before, claims.serial, chain.encode()?))
}

/// The chain that counts now, and whether it has been voided, as all of them have.
fn choose(chains: &[CertChain], revocations: &Revocations) -> Result<Option<(CertChain, bool)>, StateError> {
    let mut best: Option<(bool, Rank, &CertChain)> = None;
    for chain in chains {
        let (stands, rank) = (!revocations.voids(chain), rank(chain)?);
        if best.as_ref().is_none_or(|best| (best.0, &best.1) < (stands, &rank)) {
            best = Some((stands, rank, chain));
        }
    }
    Ok(best.map(|(stands, _, chain)| (chain.clone(), !stands)))
}

/// The issuer that signed a certificate; none for the authority.
fn signer(chain: &CertChain) -> Option<NodeId> {
    chain.issuer().map(|issuer| issuer.subject)
}

impl Members {
    pub(crate) fn get(&self, id: &NodeId) -> Option<&Member> {
        self.0.get(id)
    }

    pub(crate) fn all(&self) -> &BTreeMap<NodeId, Member> {
        &self.0
    }

    /// Takes note of a verified chain; true if it was not known, nor a later one of its signer.
    pub(crate) fn learn(&mut self, chain: CertChain, revocations: &Revocations) -> Result<bool, StateError> {
        let subject = chain.claims()?.subject;
        let known = self.0.get(&subject);
        let mut chains = known.map(|member| member.chains.clone()).unwrap_or_default();
        match chains.iter_mut().find(|old| signer(old) == signer(&chain)) {
            Some(old) if rank(&chain)? <= rank(old)? => return Ok(false),
            Some(old) => *old = chain,
            None => chains.push(chain),
        }
        let info = known.and_then(|member| member.info.clone());
        if let Some((chain, revoked)) = choose(&chains, revocations)? {
            let claims = chain.claims()?.clone();
            self.0.insert(subject, Member { claims, info, chain, revoked, chains });
        }
        Ok(true)
    }

    /// Looks at all certificates again, as there are new revocations; gives those for whom something changed.
    pub(crate) fn review(&mut self, revocations: &Revocations) -> Result<Vec<NodeId>, StateError> {
        let mut changed = Vec::new();
        for (id, member) in &mut self.0 {
            let Some((chain, revoked)) = choose(&member.chains, revocations)? else { continue };
            if (&chain, revoked) != (&member.chain, member.revoked) {
                member.claims = chain.claims()?.clone();
                (member.chain, member.revoked) = (chain, revoked);
                changed.push(*id);
            }
        }
        Ok(changed)
    }

    pub(crate) fn describe(&mut self, id: &NodeId, info: Option<NodeInfo>) {
        if let Some(member) = self.0.get_mut(id) {
            member.info = info.map(Arc::new);
        }
    }
}
