//! A small internet inside one process: real programs, real kernels' NATs, cables with latency and loss.
//!
//! ```text
//!   shop  Nat::Home                      core                       meet  (cloud)
//!   shop-1 192.168.1.1 ──┐                                     ┌── 11.0.1.2
//!   shop-2 192.168.1.2 ──┴─ lan router wan ── uplink ─── u2 u1 ┴
//!                       .254   11.0.2.2       wire or   (routes,
//!                                             cable      cuts)
//! ```
//!
//! ```no_run
//! use holm_netlab::{Lab, Link, Nat};
//! use std::time::Duration;
//!
//! let mut lab = Lab::new()?;
//! let meet = lab.cloud("meet")?;
//! let shop = lab.site("shop", Nat::Home, 2)?;
//! lab.link("shop", Link { delay: Duration::from_millis(40), loss: 0.05, ..Link::default() })?;
//!
//! let mut server = meet.command("holm-bootstrap");
//! server.arg("up");
//! let server = holm_netlab::spawner::spawn(server)?;   // dies with this process, however that ends
//!
//! lab.cut("shop")?;          // silence, as of a broken cable
//! lab.heal("shop")?;
//! lab.wan_change("shop")?;   // the provider gives the shop another address
//! # Ok::<(), holm_netlab::LabError>(())
//! ```
//!
//! # Concepts
//!
//! * **[`Lab`]**: *clouds* (hosts with public addresses) and *sites* (a LAN behind a router of some [`Nat`]) around one
//!   core that routes and holds the cuts. Every home has the same 192.168.1.0/24, as real ones do.
//! * **[`Host`]**: a network namespace. Commands, threads and sockets can be put into it.
//! * **[`Link`]**: what an uplink does to packets. Without one it is a plain wire; with one it is a [`cable`] in user
//!   space, whose properties can change while connections run over it.
//! * **Nothing to clean up**: namespaces are anonymous and held by descriptors ([`netns::Netns`]). When this process ends,
//!   however it ends, the kernel removes them, once no process is left inside; children started through
//!   [`spawner::spawn`] die with this process, and a [`guard`] kills who is still there.
//!
//! The lab needs root, `ip` and `nft`; [`unavailable`] says why it cannot be built, [`cable::unavailable`] why there can be
//! no cables. That each NAT is what it says is proved by `tests/self_check`, before anything is blamed that runs in it.
//! `holm-lab` builds a lab from a file, for people: see `docs/lab.md`.

pub mod cable;
mod conntrack;
mod cuts;
mod error;
pub mod guard;
mod host;
mod lab;
mod link;
mod nat;
pub mod netns;
mod plan;
mod site;
pub mod spawner;
mod uplink;
mod upnp;

pub use error::LabError;
pub use host::Host;
pub use lab::Lab;
pub use link::Link;
pub use nat::Nat;
pub use plan::Plan;
pub use upnp::unavailable as upnp_unavailable;

/// Why no lab can be built here, if none can. Found out by building one.
pub fn unavailable() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("the lab of network namespaces needs root".to_owned());
    }
    let attempt = || -> Result<(), LabError> {
        let mut lab = Lab::new()?;
        lab.cloud("a")?;
        lab.site("b", Nat::Home, 1)?;
        lab.partition("a", "b")?;
        lab.heal_all()
    };
    attempt().err().map(|why| format!("the lab of network namespaces cannot be built: {why}"))
}
