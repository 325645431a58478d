//! # holm-node-core: the loop of a node
//!
//! One pure state machine that composes the cores: liveness, healer and repair
//! (`holm-mesh-core`), documents (`holm-state`) and the scheduler (`holm-scheduler`).
//!
//! ```text
//! inputs   request · enrolment, renewal · peer up, down · gossip · frame · runner event
//!          · verified · persisted · tick
//! effects  reply · persist · verify · publish · send · dial · start, stop task · lease · emit
//! ```
//!
//! The shell calls [`Node::handle`] for every input it has, then [`Node::settle`] once, carries
//! the effects out in order, and calls again at [`Node::next_deadline`]. The simulator does
//! exactly the same in virtual time. There is no clock, socket, disk or thread in here.
//!
//! **What is acknowledged is durable.** A change that this node writes is applied in memory and
//! joins the next batch. Replies and publications that depend on it are held by the
//! [`journal`] until the shell says that the batch is on disk; only then they become effects.
//! One batch is in flight at a time, so writes that arrive meanwhile share the next sync.
//!
//! **A change of a peer** is verified in batches off the loop, then validated and applied, in
//! the order in which it came.

mod adopting;
mod apply;
mod budget;
mod certs;
mod collecting;
mod config;
mod conflicts;
mod enrol;
mod fencing;
mod finding;
mod gauges;
mod gossip;
mod heartbeat;
mod inspect;
mod io;
mod journal;
mod last_words;
mod lease;
mod listing;
mod membership;
mod merging;
mod node;
mod pace;
mod placing;
mod planning;
mod postponed;
mod queries;
mod reminding;
mod replicate;
mod revoking;
mod said;
mod tasks;
mod voices;
mod volumes;
mod watching;

pub use config::Config;
pub use inspect::Waiting;
pub use io::{Effect, Found, FoundState, Input, RequestId, RunnerInput, StartTask};
pub use node::{Node, NodeError};
