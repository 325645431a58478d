//! # holm-mesh-core: who is there, who to call, and who lacks what
//!
//! Three pure state machines, each with `now` and seeds handed in and timers as data:
//!
//! - [`liveness`]: heartbeats in, `alive | suspect | dead | left` out.
//! - [`healer`]: known peers and lost connections in, dials out, with back-off and jitter.
//! - [`repair`]: anti-entropy. Two replicas compare digests, then buckets, then documents, then
//!   send each other the changes that are missing. Stateless: any message may be lost, repeated
//!   or answered late, and the next round mends it. Convergence depends on nothing else.
//!
//! Besides: who watches whom while nothing happens, [`beat`]; what a peer is told of a life that it has forgotten, [`reminder`];
//! and what the guards of fenced apps and those who ask them say to each other: [`lease`].
//!
//! This crate carries bytes and knows no apps. What a replica is, it learns through the
//! [`repair::Replica`] trait. Sockets are in `mesh/net`.

pub mod beat;
pub mod healer;
pub mod lease;
pub mod liveness;
pub mod reminder;
pub mod renewal;
pub mod repair;
pub mod topics;
