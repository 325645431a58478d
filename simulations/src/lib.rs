//! # holm-simulations: the cores that ship, in a world that is made up
//!
//! What happens to my fleet if the cloud is gone for a day, a disk is restored from an old backup, a
//! gateway is stolen? A [`Scenario`] asks that in TOML. [`Scenario::expand`] draws from a seed what is left
//! to chance and gives a [`Plan`]; [`run`] plays it with the node cores that ship
//! ([`holm_node_core::Node`], real automerge documents and signatures included), on simulated links,
//! disks, clocks and runners, in virtual time; the [`Outcome`] says which invariants did not hold, and
//! what a picture of the run is drawn from. The same plan always gives the same run.
//!
//! ```
//! use holm_simulations::{Options, Scenario, run};
//!
//! let text = r#"
//! duration = "20s"
//! [[group]]
//! name = "node"
//! count = 3
//! [[submit]]
//! at = "5s"
//! on = "node/0"
//! app = "web"
//! count = 2
//! [[fault]]
//! at = "8s"
//! for = "6s"
//! kind = "crash"
//! power_loss = true
//! hosts = ["node/1"]
//! "#;
//! let plan = Scenario::parse("power", text).unwrap().expand(7).unwrap();
//! let outcome = run(&plan, Options::default()).unwrap();
//! assert!(outcome.passed(), "{:?}", outcome.violations);
//! ```
//!
//! The rooms: [`scenario`] (what is asked), [`des`] (the engine), [`fleet`] (its parts, for a layer that brings a network
//! of its own), judges (what must hold), [`outcome`]
//! (what came of it), [`report`] and [`tell`] (what people read of it), [`shrink`] (the smallest plan that fails in the same
//! way). `scenarios/` holds the library, [`scenario::library`] reads it; the binary `holm-sim` is the way in.
//!
//! **Stories.** [`World`] is the same engine, moved by hand, for tests that read like a story:
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
//! assert!(world.converged(&[a, b]) && world.violations().is_empty());
//! ```
//!
//! A task whose environment has `SIM_RUN_MS` ends by itself after that time with the exit code
//! `SIM_EXIT` (0 if absent); any other runs until it is stopped, which takes it `SIM_STOP_MS`.

pub mod ddmin;
pub mod des;
mod error;
pub mod fleet;
mod judge;
pub mod marks;
pub mod outcome;
pub mod report;
pub mod scenario;
pub mod shrink;
pub mod tell;
mod world;

pub use des::{Options, Verify, run};
pub use error::SimError;
pub use outcome::{Invariant, Outcome, Violation};
pub use scenario::{Plan, Scenario};
pub use world::{Crash, HostId, Runner, World};
