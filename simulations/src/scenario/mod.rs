//! Scenarios: what a fleet looks like, what is asked of it, and what befalls it, as a text that
//! reads like a fear ("the cloud is gone for a day").
//!
//! A [`Scenario`] is what a person writes (TOML; unknown keys are refused with their line).
//! [`Scenario::expand`] draws everything that is left to chance from a seed and gives a
//! [`Plan`]: explicit hosts, explicit faults with explicit times, explicit submissions. The plan is
//! what runs, what is replayed, and what a shrinker cuts down: no part of it depends on another,
//! and no draw is shared, so that a part that is taken away changes nothing else.
//!
//! ```
//! use holm_simulations::Scenario;
//!
//! let text = r#"
//! ## Two hosts lose each other for ten seconds.
//! duration = "30s"
//! [[group]]
//! name = "node"
//! count = 2
//! [[fault]]
//! at = "10s"
//! for = "10s"
//! kind = "partition"
//! sides = [["node/0"], ["rest"]]
//! "#;
//! let scenario = Scenario::parse("two", text).unwrap();
//! assert_eq!(scenario.about, "Two hosts lose each other for ten seconds.");
//! let plan = scenario.expand(7).unwrap();
//! assert_eq!((plan.hosts.len(), plan.faults.len()), (2, 1));
//! ```

mod drawn;
mod expand;
mod hosts;
mod library;
mod model;
mod parse;
mod plan;
pub(crate) mod random;
mod schedule;
mod sound;

pub use library::{LIBRARY, library};
pub use model::{
    AppKind, Backend, Check, Clock, Disk, Fault, FaultKind, Group, Link, Mode, Nat, Pick, RandomFaults, Scenario,
    Submit, SubmitKind, Workload,
};
pub use parse::read_at_most;
pub use plan::{HostNo, Ms, Plan, PlannedFault, PlannedHost, Request, Submission, Trouble};
pub use schedule::Step;
