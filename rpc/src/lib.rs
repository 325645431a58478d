//! # holm-rpc: how programs talk to a node
//!
//! JSON-RPC 2.0 on one loopback port, over HTTP POST and over WebSocket at `/rpc`; beside it
//! `/healthz`, `/readyz` and `/metrics`. The command line is a client of it like any other.
//!
//! ```
//! use holm_rpc::{Client, Credential, RpcError};
//! use holm_types::api::MeshStatus;
//!
//! async fn show(credential: &Credential) -> Result<(), RpcError> {
//!     let client = Client::connect("http://127.0.0.1:7070", credential).await?;
//!     let status: MeshStatus = client.call("mesh.status", &()).await?;
//!     println!("{} has {} peers", status.node, status.peers);
//!     Ok(())
//! }
//! ```
//!
//! ## Layers
//! - `jsonrpc` is the specification and nothing else: text to requests, outcomes to text. Pure.
//! - `dispatch` gives each request to the callback that jsonrpsee's registry holds for its method. HTTP
//!   and WebSocket share it, so both keep to the specification; jsonrpsee's own servers do not.
//! - `methods` is the one table of methods. Registration reads it, and so does `rpc.discover`: what is
//!   served and what is described (OpenRPC 1.2.6, draft-07 schemas) cannot differ.
//! - `server`, `routes`, `upgrade` and `session` are the transport: the limits, the credential, the time-outs.
//!   `places` says who may be connected, `budget` whose answers may wait, `socket` which peer has left or stalls.
//! - [`Backend`] is all that the server knows of the node; [`Client`] is all that the command line needs.
//!
//! ## Trust
//! The port is on loopback and not encrypted: the server refuses any other address, and the client
//! sends its [`Credential`] nowhere else. Every request to `/rpc` carries it as a bearer token; it
//! is looked at before anything else is read, and compared in constant time. The other paths need
//! none, and show no secret.
//!
//! ## Subscriptions
//! `event.watch` and `task.logs` answer with a subscription's id; notifications then carry a [`Frame`]:
//! an item, the end, or the error that is the end. `event.watch.stop` and `task.logs.stop` take the id as
//! their one (positional) parameter, as jsonrpsee's clients send it. A subscriber that is too slow for the
//! events is told how many it has lost and is closed; one that is too slow for a log makes the log wait.
//!
//! ## Limits
//! A message has at most 1 MiB, a batch 64 requests, JSON a depth of 128, all answers to a message 32 MiB; a
//! connection has at most 16 subscriptions and 32 calls at a time. There are at most 128 connections that have
//! shown the credential, and 64 that have not: of those the oldest is closed when one more comes. A head has 3
//! seconds to arrive, a body 10.
//!
//! Answers that wait for their clients have at most 32 MiB together, 8 MiB a connection; what may exceed that and why
//! is in `budget`. Until there is room nothing more is asked of the node and nothing more is read from the socket. A
//! peer that takes less than 64 KiB in 10 seconds, while there is more for it, is given up. Calls of a peer that has
//! left are dropped. `/metrics` counts all that was refused or dropped, and `mesh.status` shows it too.
//!
//! An id that is a number outside the range of 64-bit integers comes back as the nearest double.

mod backend;
mod budget;
mod client;
mod counters;
mod credential;
mod discover;
mod dispatch;
mod error;
mod jsonrpc;
mod methods;
mod places;
mod routes;
mod server;
mod session;
mod socket;
mod subscribe;
mod upgrade;

pub use backend::{Backend, Lagged, LogStream};
pub use client::Client;
pub use credential::{Credential, NotACredential};
pub use error::{ErrorBody, ErrorData, RpcError};
pub use server::{ServerConfig, serve};
pub use subscribe::{EventsParams, Frame, LogsItem, LogsParams};
