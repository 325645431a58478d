//! # holm-types: the words that every room of Holm speaks
//!
//! Plain values, no IO: identities ([`NodeId`], [`DocId`], [`TaskId`]), what a user submits
//! ([`manifest::Manifest`]), what peers exchange ([`change::SignedChange`], [`cert::CertChain`]),
//! what the scheduler reads ([`view::View`]) and what a client sees ([`api`]).
//!
//! ```
//! use holm_types::manifest::{Format, Manifest};
//!
//! let text = r#"
//! name = "hello"
//! type = "service"
//! replicas = 3
//! [run.process]
//! command = ["/bin/sleep", "60"]
//! "#;
//! let manifest = Manifest::parse(text, Format::Toml).expect("a valid manifest");
//! assert_eq!(manifest.desired_slots(), Some(3));
//! ```
//!
//! Everything that can come from a peer has a bounded size and a decoder that refuses what it
//! would not itself have written ([`cbor::from_canonical`]).

pub mod api;
pub mod branch;
pub mod cbor;
pub mod cert;
pub mod change;
pub mod distrust;
mod error;
pub mod event;
pub mod fence;
mod ids;
mod incarnation;
pub mod keys;
pub mod manifest;
pub mod marks;
pub mod parcel;
pub mod presence;
mod reach;
pub mod revocation;
pub mod sabotage;
mod sorted;
mod time;
pub mod token;
pub mod view;

pub use error::TypeError;
pub use ids::{ActorId, Digest, DocId, DocKind, Epoch, Label, MeshId, NodeId, Scope, Slot, TaskId};
pub use incarnation::Incarnation;
pub use sorted::Sorted;
pub use time::{Mono, Now, Wall};
