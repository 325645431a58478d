//! # holm-swarm: the real libp2p stack in virtual time
//!
//! The layer `swarm` of the simulations. Where the layer `des` runs the cores under a simulated
//! network of messages, this one runs what stands between them too: the real libp2p Swarm with the
//! gate and the behaviours of `holm-mesh-net`, and the real `holm-node-core` on top. Made up are the
//! sockets, the disk, the runner and time. A [`Plan`](holm_simulations::Plan) goes in,
//! an [`Outcome`](holm_simulations::Outcome) comes out, the same types as in `des`.
//!
//! ```no_run
//! use holm_simulations::{Options, Scenario};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let scenario = Scenario::parse("split-plant", include_str!("../scenarios/split-plant.toml"))?;
//! let outcome = holm_swarm::run(scenario.expand(7)?, Options::default(), None)?;
//! assert!(outcome.passed(), "{:?}", outcome.violations);
//! # Ok(()) }
//! ```
//!
//! ## How a seed decides everything
//!
//! * One current-thread tokio runtime whose clock is paused: it jumps to the next timer when nobody has
//!   anything to do. `futures-timer`, libp2p's timers, is patched onto that clock in this workspace.
//! * [`control`]: `getrandom`, `getentropy` and `clock_gettime` of libc are replaced on the simulation's thread.
//! * Every node's tasks, libp2p's own included, run in a set of their own: under the node's wrong clock, in an
//!   order that the seed perturbs, and ended together when the node crashes.
//! * One process a run ([`fleet`]), since libp2p and tokio count over the whole process.
//! * [`selftest`] proves all of that in the very build that runs, or nothing is run.
//!
//! ## What it does not do
//!
//! QUIC, names and mDNS (they need the system's sockets), congestion control, relays and meeting half-way (the network
//! lab has them), liars and storms (every node is the real one). What a plan asks for and this layer does not do is refused
//! with its name, never skipped.
//!
//! Disks, clocks, processes, judges and the record of a run are those of `des`
//! ([`holm_simulations::fleet`]): a power loss tears, a backup ages, a task falls over, and every
//! invariant is watched all the time, in both layers alike.

mod agent;
pub mod control;
mod error;
mod faults;
pub mod fleet;
mod net;
mod run;
pub mod runtime;
pub mod selftest;
mod tasks;
mod trace;
mod world;

pub use error::SwarmError;
pub use faults::refuse;
pub use run::run;
