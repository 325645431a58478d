//! Nothing grows without limit: what waits in a node, what it sends, what a document holds.

use super::{At, Verdicts};
use crate::{des::host::Host, outcome::Invariant};
use holm_state::{MAX_ORPHANS, Table};
use std::collections::BTreeMap;

/// What a node may have waiting (`node/core`'s and `crdt-state`'s own bounds).
const UNVERIFIED_MAX: usize = 8_192;
const VERIFYING_MAX: usize = 256;
/// Statuses that wait for the next batch: no more than tasks of a node, and their ends.
const STATUSES_MAX: usize = 2_000;
/// Events that wait for one frozen or live agent are not counted: that is the network's queue.
/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Bounds;

impl Bounds {
    pub(crate) fn sampled(&mut self, verdicts: &mut Verdicts, at: At, hosts: &[Host], messages_per_s: u64) {
        for there in hosts {
            let mut over = |what: &str, n: u64, most: u64| {
                if n > most {
                    let detail = format!("{}: {n} {what}, at most {most} are allowed", there.plan.name);
                    verdicts.violate(Invariant::Bounded, at, vec![there.plan.no], detail);
                }
            };
            over("messages in a second", there.sent, messages_per_s);
            let Some(node) = &there.node else { continue };
            let waiting = node.waiting();
            over("changes wait to be verified", waiting.unverified as u64, UNVERIFIED_MAX as u64);
            over("changes are being verified", waiting.verifying as u64, VERIFYING_MAX as u64);
            over("orphans", waiting.orphans as u64, MAX_ORPHANS as u64);
            over("statuses wait", waiting.statuses as u64, STATUSES_MAX as u64);
        }
    }
}

/// The bytes of each document's history on a host's disk; the largest.
pub(crate) fn largest_document(there: &Host) -> (u64, String) {
    let mut sizes: BTreeMap<[u8; 16], u64> = BTreeMap::new();
    for (key, size) in there.disk.sizes(Table::Changes, b"") {
        if let Some(doc) = key.first_chunk::<16>() {
            *sizes.entry(*doc).or_default() += (key.len() + size) as u64;
        }
    }
    let largest = sizes.into_iter().max_by_key(|(_, size)| *size);
    largest.map_or((0, String::new()), |(doc, size)| (size, holm_types::DocId(doc).to_string()))
}
