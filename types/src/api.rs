//! Requests and answers of the JSON-RPC interface, as plain types: the node's core answers them,
//! the `rpc` crate carries them, the command line prints them. Field names are a promise.

mod apps;
mod certs;
mod error;
mod nodes;
mod tasks;

pub use crate::reach::{NatKind, OwnAddress, PeerPath, Reach, RelayRow};
pub use apps::{
    AppRef, AppRow, AppState, AppStatus, Applied, ApplyParams, Plan, PlanAction, PlannedSlot, ResultParams, ResultRow,
    ScaleParams, SlotRow,
};
pub use certs::{CertRow, CertState, RevokeParams, Revoked};
pub use error::ApiError;
pub use nodes::{Held, MeshStatus, NodeRow, Path, RefusedRow, Room, TokenParams};
pub use tasks::{TaskRef, TaskRow};

use crate::Label;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of lists. The cursor is opaque.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListParams {
    /// Only of this app (`task.list`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<Label>,
    /// Only of this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Label>,
    /// Only of this site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<Label>,
    /// Also what has ended and lost (`task.list`).
    pub all: bool,
    /// Where the last page ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Rows, 1 to 1,000; 1,000 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Give this as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A request that the node's core answers, with a JSON value in the shape of this module's types.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// `mesh.status` -> [`MeshStatus`]
    MeshStatus,
    /// `mesh.refused` -> list of [`RefusedRow`], the latest first
    MeshRefused,
    /// `node.list` -> [`Page`] of [`NodeRow`]
    NodeList(ListParams),
    /// `app.apply` -> [`Applied`], once it is durable here.
    AppApply(ApplyParams),
    /// `app.plan` -> [`Plan`]: nothing is done.
    AppPlan(ApplyParams),
    /// `app.get` -> [`AppStatus`]
    AppGet(AppRef),
    /// `app.list` -> [`Page`] of [`AppRow`]
    AppList(ListParams),
    /// `app.delete` -> [`Applied`]
    AppDelete(AppRef),
    /// `app.scale` -> [`Applied`]
    AppScale(ScaleParams),
    /// `app.result` -> list of [`ResultRow`]
    AppResult(ResultParams),
    /// `task.list` -> [`Page`] of [`TaskRow`]
    TaskList(ListParams),
    /// `task.get` -> [`TaskRow`]
    TaskGet(TaskRef),
    /// `token.create` -> the token's text
    TokenCreate(TokenParams),
    /// `cert.list` -> [`Page`] of [`CertRow`]
    CertList(ListParams),
    /// `cert.revoke` -> [`Revoked`], once it is durable here.
    CertRevoke(RevokeParams),
}
