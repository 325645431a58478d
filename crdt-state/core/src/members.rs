//! The members of the mesh: everyone whose certificate this node has seen and verified.

use crate::error::StateError;
use holm_types::{
    NodeId,
    cert::{CertChain, Claims},
    view::NodeInfo,
};
use std::collections::BTreeMap;

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What its certificate says.
    pub claims: Claims,
    /// What it says of itself in its document, once that has arrived.
    pub info: Option<NodeInfo>,
    /// Its certificate with that of its issuer.
    pub chain: CertChain,
}

/// All members.
#[derive(Debug, Default)]
pub(crate) struct Members(BTreeMap<NodeId, Member>);

impl Members {
    pub(crate) fn get(&self, id: &NodeId) -> Option<&Member> {
        self.0.get(id)
    }

    pub(crate) fn all(&self) -> &BTreeMap<NodeId, Member> {
        &self.0
    }

    /// Takes note of a verified chain. Of a member's certificates the one that begins last
    /// counts, on every node. True if that is now this one and was not before.
    pub(crate) fn learn(&mut self, chain: CertChain) -> Result<bool, StateError> {
        let claims = chain.claims()?.clone();
        let known = self.0.get(&claims.subject);
        if let Some(known) = known {
            let order = |claims: &Claims, chain: &CertChain| {
                Ok::<_, StateError>((claims.not_before, claims.serial, chain.encode()?))
            };
            if order(&claims, &chain)? <= order(&known.claims, &known.chain)? {
                return Ok(false);
            }
        }
        let info = known.and_then(|member| member.info.clone());
        self.0.insert(claims.subject, Member { claims, info, chain });
        Ok(true)
    }

    pub(crate) fn describe(&mut self, id: &NodeId, info: Option<NodeInfo>) {
        if let Some(member) = self.0.get_mut(id) {
            member.info = info;
        }
    }
}
