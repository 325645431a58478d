//! Measures in the network lab: routers that translate, cables that take their time.

pub mod crowd;
pub mod idle;
pub mod join;
pub mod punch;
mod rathole;
pub mod revoke;
pub mod streams;

use holm_tests::netlab::Link;
use std::time::Duration;

/// A cable that takes so long in each direction.
fn cable(delay: Duration) -> Link {
    Link { delay, ..Link::default() }
}
