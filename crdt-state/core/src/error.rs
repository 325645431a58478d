//! What can go wrong, and why a change is refused.

use crate::store::StoreError;
use holm_types::{DocId, TypeError};

/// Why a call of [`crate::State`] failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A value that cannot be encoded or decoded.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// A row that is not what was written.
    #[error("the store is corrupt: {table} of document {doc}: {why}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The document.
        doc: DocId,
        /// The reason.
        why: String,
    },
    /// A write that makes no sense or breaks a bound.
    #[error("cannot write document {doc}: {why}")]
    Invalid {
        /// The document.
        doc: DocId,
        /// The reason, and what is allowed.
        why: String,
    },
    /// A write by a node that has no certificate yet.
    #[error("this node's own certificate is not known yet: add it, or write it to the node's document first")]
    NotMember,
    /// The certificate was revoked, or that of its issuer.
    #[error("the certificate was revoked")]
    Revoked,
}

/// Why a change is refused. Decided from the change, its ancestry and the membership alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It breaks a rule of form.
    #[error("{0}")]
    Form(&'static str),
    /// Its author may not do that.
    #[error("not authorised: {0}")]
    Authority(String),
    /// It does not follow from its ancestry.
    #[error("{0}")]
    Ancestry(&'static str),
    /// Its author signed another change with the same number.
    #[error("the author signed two changes with one sequence number")]
    Fork,
    /// Its document lives in another scope.
    #[error("the document belongs to another scope")]
    Scope,
    /// Automerge panicked on it.
    #[error("the engine panicked")]
    Panic,
    /// Automerge did not take it.
    #[error("the engine refused it: {0}")]
    Engine(String),
    /// It could not be judged, as the store failed.
    #[error(transparent)]
    Local(#[from] StateError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        Refusal::Local(error.into())
    }
}

impl Refusal {
    /// The counter of its kind, beside `refused`.
    pub(crate) fn counter(&self) -> Option<&'static str> {
        match self {
            Refusal::Fork => Some("forked"),
            Refusal::Scope => Some("scope_conflicts"),
            Refusal::Panic => Some("panics_caught"),
            Refusal::Local(_) => Some("store_errors"),
            Refusal::Form(_) | Refusal::Authority(_) | Refusal::Ancestry(_) | Refusal::Engine(_) => None,
        }
    }
}
