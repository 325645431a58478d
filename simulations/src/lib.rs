//! # holm-simulations: the cores that ship, in a world that is made up
//!
//! [`World`] runs [`holm_node_core::Node`] many times over, on simulated links, disks and
//! runners, in virtual time, from a seed: the same seed gives the same run. It asks what a
//! fleet owner asks: what if the cloud is cut off, a node dies, a host loses power?
//!
//! ```
//! use holm_simulations::World;
//! use std::time::Duration;
//!
//! let mut world = World::new(7);
//! let (a, b) = (world.add("a", "shop"), world.add("b", "shop"));
//! world.run(Duration::from_secs(5));
//! world.apply(a, "name = \"web\"\ntype = \"service\"\nreplicas = 2\n[run.process]\ncommand = [\"serve\"]").unwrap();
//! world.run(Duration::from_secs(5));
//! assert_eq!(world.runners("web").len(), 2);
//! assert!(world.converged(&[a, b]));
//! ```
//!
//! A task whose environment has `SIM_RUN_MS` ends by itself after that time with exit code 0;
//! any other runs until it is stopped.

pub mod des;
mod error;
mod judge;
pub mod outcome;
pub mod scenario;
mod world;

pub use des::{Options, Verify, run};
pub use error::SimError;
pub use outcome::{Invariant, Outcome, Violation};
pub use scenario::{Plan, Scenario};
pub use world::{Crash, HostId, Runner, World};
