//! Nodes that come and go. The first losses of a node are made good at once; one that keeps coming back gets
//! more and more time to do so, and is placed on last, so that a bad line does not move tasks at
//! every flap.

use crate::decide::Context;
use holm_types::{NodeId, sometimes};
use std::time::Duration;

/// Returns that are no sign of anything: a host was rebooted, a line was cut once or twice.
const FORGIVEN: u32 = 1;
/// How long a node that flaps is waited for when it is lost once more; doubled with each further flap.
const FIRST_PATIENCE: Duration = Duration::from_secs(15);
/// No dead node is waited for longer than this for its flapping.
const MAX_PATIENCE: Duration = Duration::from_secs(120);

/// How much a node flaps: 0 for one that is steady.
pub(crate) fn unsteadiness(cx: &Context<'_>, node: &NodeId) -> u32 {
    cx.flaps.get(node).map_or(0, |flaps| flaps.saturating_sub(FORGIVEN))
}

/// How long a dead node is waited for before its slots are placed again, for its flapping alone.
pub(crate) fn patience(cx: &Context<'_>, node: &NodeId) -> Duration {
    match unsteadiness(cx, node) {
        0 => Duration::ZERO,
        n => {
            sometimes!("a node that comes and goes is waited for");
            FIRST_PATIENCE.saturating_mul(1 << (n - 1).min(16)).min(MAX_PATIENCE)
        }
    }
}
