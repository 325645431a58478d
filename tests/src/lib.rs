//! End-to-end tests of Holm: real `holm` processes, real disks, real sockets, real kills.
//!
//! Nothing here links against Holm's own crates but the network lab. A test knows what a user knows: the command line,
//! the JSON-RPC interface, the files of a data folder, and `/proc`.
//!
//! # Concepts
//!
//! * **[`lab::Lab`]**: a small internet inside this process ([`holm_netlab`]). A *site* is a network of its own
//!   (10.77.`site`.0/24, or behind a NAT), a *host* is a network namespace in it, and the core routes between sites. Links
//!   can be cut silently and healed. Namespaces are anonymous: when the process ends, however it ends, a guard kills
//!   what is left inside, and the kernel removes them. The lab needs root; where it cannot be built,
//!   [`lab::unavailable`] says why.
//! * **[`cluster::Cluster`]**: a mesh under test. It makes the authority, enrols every node, starts them, and
//!   takes everything away again when it is dropped, task processes included. Without a lab all nodes share
//!   127.0.0.1, and links cannot be cut.
//! * **[`node::Node`]**: one node: its folder, its process, its command line. It can be killed as an agent
//!   ([`node::Node::kill9`]), or with everything on its host ([`node::Node::power_off`]), and started again.
//! * **[`suite::Suite`]**: runs tests one after another, each in a [`suite::Scene`] of its own, says honestly which
//!   of them cannot run here, and keeps the nodes' logs of those that fail.
//! * **[`eventually`]**: every wait is for a state, with a deadline and the last reason why it was not there yet.
//!
//! ```no_run
//! use holm_tests::{suite::Scene, cluster::Cluster};
//!
//! fn a_service_is_placed(scene: &Scene) -> anyhow::Result<()> {
//!     let mesh = Cluster::of(scene).node("cloud-1", "cloud").node("till-1", "shop").start()?;
//!     mesh.node("cloud-1").apply("name = 'hello'\ntype = 'service'\n[run.process]\ncommand = ['/bin/sleep', '1000']")?;
//!     mesh.node("till-1").wait_running("hello", 1)?;
//!     Ok(())
//! }
//! ```

pub mod binaries;
pub mod bootstrap;
pub mod cluster;
pub mod eventually;
pub mod http;
pub mod interrupt;
pub mod lab;
pub mod node;
pub mod process;
pub mod rows;
pub mod suite;

pub use eventually::{eventually, holds};
pub use holm_netlab::{self as netlab, spawner};
