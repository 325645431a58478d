//! What was said is kept, and never said differently: acknowledged submissions, sequence numbers,
//! heads, the states of tasks. Read from what reaches the disks and what is published.

use super::{At, Verdicts, tasks::app_view};
use crate::{
    des::{disk::SimDisk, host::Host},
    outcome::Invariant,
    scenario::{HostNo, Ms},
};
use holm_state::{Batch, StoreRead as _, Table, TasksOf};
use holm_types::{
    ActorId, Digest, DocId, NodeId,
    change::{SignedChange, Value},
    view::TaskStatus,
};
use std::collections::{BTreeMap, BTreeSet};

/// A row's key in the log of changes: document, actor, sequence number.
type RowKey = [u8; 40];
/// A document and an actor.
type Tip = [u8; 32];
/// Documents of each host that are looked at in a sample.
const LOOKED_AT: usize = 4;

fn tip_of(key: &RowKey) -> (Tip, u64) {
    let mut tip = [0; 32];
    tip.copy_from_slice(&key[..32]);
    let mut seq = [0; 8];
    seq.copy_from_slice(&key[32..]);
    (tip, u64::from_be_bytes(seq))
}

/// A hash of a row's bytes, to see whether two are the same.
fn print_of(row: &[u8]) -> u64 {
    let digest = Digest::of("sim row", &[row]);
    u64::from_be_bytes([
        digest.0[0],
        digest.0[1],
        digest.0[2],
        digest.0[3],
        digest.0[4],
        digest.0[5],
        digest.0[6],
        digest.0[7],
    ])
}

/// What one host holds, as far as its disk was written.
#[derive(Debug, Default)]
struct Held {
    tips: BTreeMap<Tip, u64>,
    /// Of its own changes those that it had synced. What others bring back of them need not be.
    synced: BTreeMap<Tip, u64>,
    /// How far it has told the states of its tasks: rank, and the state's name.
    told: BTreeMap<(DocId, String), (u8, String)>,
    /// Acknowledgements that wrote something, by document, since the disk was last replaced.
    acknowledged: BTreeMap<DocId, usize>,
    /// Where the next sample begins to look.
    cursor: Option<Tip>,
}

/// A submission that was acknowledged, and the rows that it stands on.
#[derive(Debug)]
struct Acknowledged {
    app: String,
    /// The site that holds it; none if all do.
    site: Option<String>,
    at: At,
    by: usize,
    rows: BTreeSet<RowKey>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Log {
    rows: BTreeMap<RowKey, (u64, usize)>,
    held: Vec<Held>,
    acknowledged: Vec<Acknowledged>,
    lies: BTreeSet<u64>,
    /// Hosts that were revoked.
    revoked: BTreeMap<usize, NodeId>,
    /// When which disk was replaced last.
    replaced: BTreeMap<usize, At>,
    now: At,
}

impl Log {
    pub(crate) fn add_host(&mut self) {
        self.held.push(Held::default());
    }

    pub(crate) fn revoked(&mut self, host: usize, id: NodeId) {
        self.revoked.insert(host, id);
    }

    pub(crate) fn lied(&mut self, bytes: &[u8]) {
        self.lies.insert(print_of(bytes));
    }

    pub(crate) fn written(&mut self, verdicts: &mut Verdicts, at: At, host: usize, there: &Host, batch: &Batch) {
        self.now = at;
        for (table, key, value) in &batch.puts {
            if let (Table::Changes, Ok(key), None) = (table, RowKey::try_from(key.as_slice()), value) {
                self.taken_out(verdicts, at, host, there, &key);
            }
            let (Table::Changes, Ok(key), Some(row)) = (table, RowKey::try_from(key.as_slice()), value) else {
                continue;
            };
            let (tip, seq) = tip_of(&key);
            let last = self.held[host].tips.entry(tip).or_default();
            *last = seq.max(*last);
            if batch.sync && actor_of(&tip).belongs_to(&there.id) {
                let last = self.held[host].synced.entry(tip).or_default();
                *last = seq.max(*last);
            }
            let print = print_of(row.get(4..).unwrap_or_default());
            match self.rows.get(&key) {
                None => {
                    self.rows.insert(key, (print, host));
                    if self.lies.contains(&print) {
                        let detail = format!("a liar's change is in the log of {}", there.plan.name);
                        verdicts.violate(Invariant::LiesAreRefused, at, vec![there.plan.no], detail);
                    }
                }
                Some((first, _)) if *first == print => {}
                Some((_, who)) => {
                    let detail = format!(
                        "sequence {seq} of actor {} in document {} is one change on host {who} and another on {}",
                        hex(&tip[16..]),
                        hex(&tip[..16]),
                        there.plan.name
                    );
                    verdicts.violate(Invariant::OneChangeASequence, at, vec![there.plan.no], detail);
                }
            }
        }
    }

    /// A change is in the log of a host no more: only those of revoked members ever go, and tasks of a life of an app
    /// that the node knows to be over.
    fn taken_out(&mut self, verdicts: &mut Verdicts, at: At, host: usize, there: &Host, key: &RowKey) {
        let (tip, seq) = tip_of(key);
        // Since it was decided, that life may have been found to go on.
        let collected = collected_of(there, &tip).is_some();
        if !self.is_of_revoked(&tip) && !collected {
            let detail = format!("{} has taken change {} out of its log", there.plan.name, hex(key));
            verdicts.violate(Invariant::HeadsNeverRegress, at, vec![there.plan.no], detail);
        }
        let held = &mut self.held[host];
        if collected {
            // Should that life go on elsewhere, what was said of its tasks is not remembered.
            held.told.retain(|(doc, _), _| doc.0 != tip[..16]);
        }
        for tips in [&mut held.tips, &mut held.synced] {
            if let Some(last) = tips.get_mut(&tip) {
                *last = (*last).min(seq - 1);
            }
            if seq == 1 {
                tips.remove(&tip);
            }
        }
    }

    /// Own words are on disk before anyone hears them, and the state of a task never goes back.
    pub(crate) fn published(&mut self, verdicts: &mut Verdicts, at: At, host: usize, there: &Host, bytes: &[u8]) {
        let Ok(change) = SignedChange::decode(bytes) else { return };
        let Ok(actor) = change.actor().copied() else { return };
        let key = [&change.doc.0[..], &actor.0, &change.change.seq.to_be_bytes()].concat();
        if !there.disk.holds_durably(Table::Changes, &key) {
            let detail = format!("{} published change {} before it was durable", there.plan.name, hex(&key));
            verdicts.violate(Invariant::DurableBeforeSaid, at, vec![there.plan.no], detail);
        }
        for op in &change.change.ops {
            let (true, Some(Value::Bytes(value))) = (op.key.starts_with("st/"), &op.value) else { continue };
            let Ok(status) = TaskStatus::decode(value) else { continue };
            self.told(verdicts, at, host, there.plan.no, (change.doc, op.key.clone()), &status);
        }
    }

    fn told(
        &mut self,
        verdicts: &mut Verdicts,
        at: At,
        host: usize,
        no: HostNo,
        key: (DocId, String),
        status: &TaskStatus,
    ) {
        let new = (status.state.rank(), status.state.to_string());
        let what = key.1.clone();
        if let Some(old) = self.held[host].told.insert(key, new.clone()) {
            let ended_otherwise = old.0 == 4 && new.0 == 4 && old.1 != new.1;
            if new.0 < old.0 || ended_otherwise {
                let detail = format!("{what}: {} after {}", new.1, old.1);
                verdicts.violate(Invariant::StateNeverGoesBack, at, vec![no], detail);
            }
        }
    }

    /// What is acknowledged is durable: the node's own changes of the app's document are as many as
    /// it has acknowledged.
    pub(crate) fn acknowledged(
        &mut self,
        verdicts: &mut Verdicts,
        at: At,
        host: usize,
        there: &Host,
        app: &str,
        answer: &serde_json::Value,
    ) {
        if answer["changed"] != true {
            return;
        }
        let Some(view) = app_view(there, app) else { return };
        let (doc, site) = (view.doc, view.scope.site().map(ToString::to_string));
        let count = self.held[host].acknowledged.entry(doc).or_default();
        *count += 1;
        let rows: BTreeSet<RowKey> = own_rows(&there.disk, &doc, there).into_iter().collect();
        if rows.len() < *count {
            let detail =
                format!("{app}: {count} changes acknowledged by {}, {} on its disk", there.plan.name, rows.len());
            verdicts.violate(Invariant::DurableBeforeSaid, at, vec![there.plan.no], detail);
        }
        self.acknowledged.push(Acknowledged { app: app.to_owned(), site, at, by: host, rows });
    }

    pub(crate) fn disk_replaced(&mut self, host: usize) {
        self.replaced.insert(host, self.now);
        self.held[host].told.clear();
        self.held[host].acknowledged.clear();
        self.held[host].tips.clear();
        self.held[host].synced.clear();
    }

    /// A node that starts knows all that its disk holds; and its disk holds all that it ever said,
    /// unless somebody replaced it.
    pub(crate) fn started(&mut self, verdicts: &mut Verdicts, at: At, host: usize, there: &Host) {
        self.now = self.now.max(at);
        let rows = there.disk.sizes(Table::Changes, b"");
        let mut tips: BTreeMap<Tip, u64> = BTreeMap::new();
        for (key, _) in rows {
            if let Ok(key) = RowKey::try_from(key.as_slice()) {
                let (tip, seq) = tip_of(&key);
                let last = tips.entry(tip).or_default();
                *last = seq.max(*last);
            }
        }
        for (tip, seq) in &self.held[host].synced {
            if tips.get(tip).is_none_or(|now| now < seq) {
                let detail = format!("{} has lost its own change {seq} of {}", there.plan.name, hex(&tip[..16]));
                verdicts.violate(Invariant::HeadsNeverRegress, at, vec![there.plan.no], detail);
            }
        }
        self.held[host].tips = tips;
        let tips = self.held[host].tips.iter().map(|(tip, seq)| (*tip, *seq));
        let tips: Vec<(Tip, u64)> = tips.filter(|(tip, _)| !self.is_of_revoked(tip)).collect();
        look(verdicts, at, there, &tips);
    }

    /// Whether a change may be gone from memory before the disk knows.
    fn is_of_revoked(&self, tip: &Tip) -> bool {
        self.revoked.values().any(|id| actor_of(tip).belongs_to(id))
    }

    /// Some documents of each node are compared with what its disk was given.
    pub(crate) fn sampled(&mut self, verdicts: &mut Verdicts, at: At, hosts: &[Host]) {
        self.now = at;
        for (host, there) in hosts.iter().enumerate().filter(|(_, there)| there.is_up()) {
            let held = &mut self.held[host];
            let after = held.cursor.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
            let range = held.tips.range::<Tip, _>((after, std::ops::Bound::Unbounded));
            let tips: Vec<(Tip, u64)> = range.take(LOOKED_AT).map(|(tip, seq)| (*tip, *seq)).collect();
            held.cursor = tips.last().map(|(tip, _)| *tip);
            let tips: Vec<(Tip, u64)> = tips.into_iter().filter(|(tip, _)| !self.is_of_revoked(tip)).collect();
            look(verdicts, at, there, &tips);
        }
    }

    /// Acknowledged submissions that a host does not hold; those that went down with the only disk
    /// that held them are no violation, and counted.
    pub(crate) fn missing(&self, hosts: &[Host], core: &[usize]) -> (Vec<(HostNo, String)>, u64) {
        let (mut missing, mut lost) = (Vec::new(), 0);
        for acknowledged in &self.acknowledged {
            let plan = |host: &usize| &hosts[*host].plan;
            let concerned = |host: &&usize| {
                acknowledged.site.as_ref().is_none_or(|site| plan(host).keeper || plan(host).site == *site)
            };
            let core: Vec<usize> = core.iter().filter(concerned).copied().collect();
            for row in &acknowledged.rows {
                let holds = |host: &Host| host.disk.get(Table::Changes, row).is_ok_and(|row| row.is_some());
                if core.iter().all(|host| holds(&hosts[*host])) {
                    continue;
                }
                // Of what a revoked host acknowledged, the fleet keeps what it has seen in time.
                if self.revoked.contains_key(&acknowledged.by) && !core.iter().any(|host| holds(&hosts[*host])) {
                    lost += 1;
                    continue;
                }
                let replaced = self.replaced.get(&acknowledged.by).is_some_and(|at| *at >= acknowledged.at);
                if replaced && !hosts.iter().any(holds) {
                    lost += 1;
                    continue;
                }
                let without = core.iter().filter(|host| !holds(&hosts[**host]));
                let detail = |host: &usize| {
                    let at = Ms(acknowledged.at / 1_000).0;
                    let detail = format!(
                        "{} does not hold what {} acknowledged of {} at {at} ms",
                        hosts[*host].plan.name, hosts[acknowledged.by].plan.name, acknowledged.app
                    );
                    (hosts[*host].plan.no, detail)
                };
                missing.extend(without.map(detail));
            }
        }
        (missing, lost)
    }
}

/// What a node believes to hold is at least what its disk was given.
fn look(verdicts: &mut Verdicts, at: At, there: &Host, tips: &[(Tip, u64)]) {
    let Some(node) = &there.node else { return };
    for (tip, seq) in tips {
        let (mut doc, mut actor) = ([0; 16], [0; 16]);
        doc.copy_from_slice(&tip[..16]);
        actor.copy_from_slice(&tip[16..]);
        let known = node.vector(&DocId(doc)).into_iter().find(|(a, _)| a.0 == actor).map_or(0, |(_, seq)| seq);
        if known < *seq && !is_over(there, tip) {
            let detail = format!("{}: {known} of {seq} changes of {} are known", there.plan.name, hex(tip));
            verdicts.violate(Invariant::HeadsNeverRegress, at, vec![there.plan.no], detail);
        }
    }
}

/// Whether these were tasks of a life of an app that has ended, or of an earlier volume, as the node itself sees it.
fn is_over(there: &Host, tip: &Tip) -> bool {
    collected_of(there, tip).is_some_and(|of| there.node.as_ref().is_some_and(|node| node.has_ended(of)))
}

/// Whose tasks a document held that the node has deleted.
fn collected_of<'a>(there: &'a Host, tip: &Tip) -> Option<&'a TasksOf> {
    let mut doc = DocId([0; 16]);
    doc.0.copy_from_slice(&tip[..16]);
    there.node.as_ref()?.collected(&doc)
}

fn actor_of(tip: &Tip) -> ActorId {
    let mut actor = [0; 16];
    actor.copy_from_slice(&tip[16..]);
    ActorId(actor)
}

/// The durable rows of a document that a host wrote itself.
fn own_rows(disk: &SimDisk, doc: &DocId, there: &Host) -> Vec<RowKey> {
    let rows = disk.sizes(Table::Changes, &doc.0).into_iter();
    let rows = rows.filter_map(|(key, _)| RowKey::try_from(key.as_slice()).ok());
    let own = |key: &RowKey| {
        let mut actor = [0; 16];
        actor.copy_from_slice(&key[16..32]);
        ActorId(actor).belongs_to(&there.id)
    };
    rows.filter(|key| own(key) && disk.holds_durably(Table::Changes, key)).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
