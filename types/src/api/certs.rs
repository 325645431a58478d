//! Requests and answers about certificates.

use crate::{Label, NodeId, cert::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of `cert.revoke`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeParams {
    /// The node: its name, its certificate's serial number, or the beginning of its id (8 digits at least).
    pub node: String,
    /// Why, for people; the first 200 bytes count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Answer of `cert.revoke`: durable on this node, and on its way to the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Revoked {
    /// The node's id. Its key never becomes a member again.
    pub id: NodeId,
    /// Its name, which another node may take now.
    pub name: Label,
    /// Its site.
    pub site: Label,
}

/// A row of `cert.list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CertRow {
    /// The node's id.
    pub id: NodeId,
    /// Its name.
    pub name: Label,
    /// Its site.
    pub site: Label,
    /// Its roles.
    pub roles: Vec<Role>,
    /// The certificate's serial number, as 16 hexadecimal digits.
    pub serial: String,
    /// Name of the issuer that signed it, or `authority`.
    pub issuer: String,
    /// When it begins, in seconds since 1970.
    pub not_before: u64,
    /// When it ends, in seconds since 1970.
    pub not_after: u64,
    /// Whether it is good.
    pub state: CertState,
    /// Why it was revoked, if somebody said so.
    pub reason: String,
}

/// Whether a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CertState {
    /// It is.
    Valid,
    /// It is; less than a third of its life is left, and it should have been renewed by now or soon be.
    Renewing,
    /// It has ended, and peers bear with it for a while.
    Grace,
    /// It has ended: its node is let in for nothing but a renewal, and only reads.
    Ended,
    /// It was revoked.
    Revoked,
}
