//! # holm-state: the mesh's documents
//!
//! Every node holds the documents that concern it, writes to them without asking anyone, and
//! merges what others wrote. This crate is that, as one pure state machine ([`State`]): no
//! clock, no thread, no socket. It reads through a small trait ([`StoreRead`]) and hands out
//! what must be written ([`Batch`]).
//!
//! ```
//! use holm_state::{MemStore, State, StoreWrite};
//! use holm_types::{
//!     DocId, Incarnation, MeshId, Scope, Wall,
//!     cert::{CertChain, Certificate, Claims, Role},
//!     change::{Value, keys_of},
//!     keys::KeyPair,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (authority, key) = (KeyPair::from_secret(&[1; 32]), KeyPair::from_secret(&[2; 32]));
//! let mesh = MeshId(authority.node_id().0);
//! let claims = Claims {
//!     mesh, mesh_name: "m".parse()?, subject: key.node_id(), name: "n".parse()?, site: "s".parse()?,
//!     roles: vec![Role::Edge], not_before: 0, not_after: 1, serial: 1,
//! };
//! let chain = CertChain::new(vec![Certificate::sign(claims, &authority)?]);
//!
//! let mut disk = MemStore::new();
//! let mut state = State::open(mesh, key.clone(), Incarnation(1), Box::new(disk.clone()))?;
//! let doc = DocId::node(&key.node_id());
//! let ops = vec![(keys_of::CERT.to_owned(), Some(Value::Bytes(chain.encode()?)))];
//! let home = Scope::Site("s".parse()?); // a node's document is at its site
//! let change = state.write(&home, doc, ops, Wall(0))?;
//! while let Some(batch) = state.take_batch() {
//!     disk.write(&batch)?; // the batch asks for a sync: the change was written here
//!     state.persisted(); // only now may anyone hear of `change`
//! }
//! assert!(change.verify(&mesh).is_ok());
//! assert_eq!(state.members().len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! ## Concepts
//!
//! **Document.** One small automerge document for each entity, with flat keys at its root, each
//! a scalar. A key has one value, or several while writers have not seen each other
//! ([`Registers`]). Automerge keeps the history and says what is concurrent with what.
//!
//! **Change.** A writer's signed step ([`holm_types::change::SignedChange`]). A change of a peer is
//! judged before anything is done with it: is it *known*; is it *well formed*, and really what was
//! signed; *may* its author do that; does it *follow* from the changes it names. The verdict
//! depends on the change, its ancestry and the membership alone, so honest nodes agree. What
//! cannot be judged yet waits, in a bounded pool, and what is refused is remembered
//! ([`State::quarantined`]). Automerge never sees a peer's bytes: the change is rebuilt from checked
//! fields, and a panic in it costs no more than loading that document again.
//!
//! **Revocation.** A member's end, said in a document like any other. It names the last of the member's changes
//! that count. What a document holds is the changes that count and the ancestors of these, whether the revocation
//! or the changes came first: what was applied and counts no more is taken out again.
//!
//! **View.** The reduction of all writers' values to what everyone believes ([`State::apps`],
//! [`State::members`]). A function of the documents alone, kept up to date step by step.
//!
//! **Log.** Each change goes with its document's heads and the views it touched into one batch.
//! Memory holds heads and registers of all documents, and automerge's replicas of the few that
//! were written last ([`MAX_LOADED_DOCUMENTS`]); the rest is replayed from the log when needed.
//!
//! **Digest.** What is held of a scope, as one hash, as 256, or document by document, so that two
//! nodes find out what they lack ([`State::digest`], [`State::changes_since`]).
//!
//! ## What this does not promise
//!
//! A writer that signs two different changes under one sequence number can make honest nodes
//! disagree about that document; each refuses the second one it sees, and counts it (`forked`).
//! A document belongs to the scope of its first change: writers that see nothing of each other
//! must derive the same scope for the same document.

mod authority;
mod cache;
mod counters;
mod digest;
mod document;
mod entity;
mod error;
mod graph;
mod layout;
mod members;
mod memory;
mod orphans;
mod overlay;
mod quarantine;
mod reduce;
mod registers;
mod revocations;
mod salvage;
mod state;
mod store;
mod usage;
mod validate;
mod verdict;
mod wire;

pub use authority::{TASKS_APP, TasksOf, may_deploy};
pub use cache::{MAX_LOADED_CHANGES, MAX_LOADED_DOCUMENTS};
pub use digest::DocDigest;
pub use error::StateError;
pub use members::Member;
pub use memory::MemStore;
pub use orphans::{MAX_ORPHAN_BYTES, MAX_ORPHANS};
pub use quarantine::{MAX_QUARANTINED, Quarantined};
pub use reduce::{floor_of, life_of};
pub use registers::{Register, Registers, Values, beginning};
pub use salvage::{Kept, Rebuild, Rebuilt, Unread, salvage};
pub use state::{Outcome, State, revocation_ops};
pub use store::{Batch, Put, Row, StoreError, StoreRead, StoreWrite, Table};
pub use usage::Usage;
pub use verdict::verify_batch;
