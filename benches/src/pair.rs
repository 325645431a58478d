//! Two nodes of a site, each with its own disk, and the wire between them.

use crate::{costs, fleet};
use anyhow::{Context, Result, bail};
use holm_mesh_core::repair;
use holm_node_core::{Config, Effect, Input, Node};
use holm_state::{State, StoreWrite, verify_batch};
use holm_state_rocks::{Options, RocksStore};
use holm_types::{Incarnation, Mono, Now, Scope, Wall, change::SCHEMA, view::NodeInfo};
use std::{
    collections::VecDeque,
    path::Path,
    time::{Duration, Instant},
};

/// One step of virtual time: that of a frame on its way, too.
const STEP: Duration = Duration::from_millis(1);
/// Steps within which all must be said.
const PATIENCE: u64 = 600_000;

/// What a side has used up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Used {
    /// Bytes that it sent to its peer.
    pub bytes: usize,
    /// Messages that it sent to its peer.
    pub messages: usize,
    /// The bytes by what they say: digests, documents, what is wanted, changes.
    pub by_kind: [usize; 4],
    /// Processor time, that for its disk included.
    pub cpu: Duration,
}

/// One node.
pub struct Side {
    number: u8,
    node: Node,
    store: RocksStore,
    inbox: VecDeque<Input>,
    used: Used,
}

impl Side {
    /// Opens the node on what is in `folder`, after `prepare` has written to its documents.
    ///
    /// # Errors
    /// The disk fails.
    pub fn open(
        number: u8,
        folder: &Path,
        life: u64,
        prepare: impl FnOnce(&mut State, &mut RocksStore) -> Result<()>,
    ) -> Result<Side> {
        let mut store = RocksStore::open(folder, Options::default())?;
        let mut state =
            State::open(fleet::mesh(), fleet::key(number), Incarnation(life * 2), Box::new(store.reader()))?;
        for member in 0..2 {
            state.add_member(fleet::chain(member)?, fleet::NOW)?;
        }
        prepare(&mut state, &mut store)?;
        fleet::persist_unsynced(&mut state, &mut store)?;
        drop(state);
        let now = Now { mono: Mono(Duration::ZERO), wall: fleet::NOW };
        let mut effects = Vec::new();
        let config = config(number, Incarnation(life * 2 + 1))?;
        let node = Node::open(config, Box::new(store.reader()), Vec::new(), now, &mut effects)?;
        let mut side = Side { number, node, store, inbox: VecDeque::new(), used: Used::default() };
        side.perform(effects)?;
        Ok(side)
    }

    /// Digest of what it holds of a scope.
    pub fn digest(&self, scope: &Scope) -> holm_types::Digest {
        self.node.digest(scope)
    }

    /// Hears all that lies before it, and does what is due.
    fn turn(&mut self, now: Now) -> Result<Vec<Vec<u8>>> {
        let mut sent = Vec::new();
        let begin = costs::of_this_thread()?;
        let mut effects = Vec::new();
        while let Some(input) = self.inbox.pop_front() {
            self.node.handle(now, input, &mut effects);
        }
        self.node.settle(now, &mut effects);
        sent.extend(self.perform(effects)?);
        self.used.cpu += costs::of_this_thread()? - begin;
        Ok(sent)
    }

    fn perform(&mut self, effects: Vec<Effect>) -> Result<Vec<Vec<u8>>> {
        let mut sent = Vec::new();
        for effect in effects {
            match effect {
                Effect::Persist(batch) => {
                    self.store.write(&batch)?;
                    self.inbox.push_back(Input::Persisted);
                }
                Effect::Verify(changes) => {
                    let verdicts = verify_batch(&fleet::mesh(), &changes);
                    self.inbox.push_back(Input::Verified { verdicts });
                }
                Effect::Send { bytes, .. } => {
                    self.used.bytes += bytes.len();
                    self.used.messages += 1;
                    self.used.by_kind[kind_of(&bytes)?] += bytes.len();
                    sent.push(bytes);
                }
                // Heartbeats and the gossip of what is new are no part of a repair, and nobody listens to the rest here.
                _ => {}
            }
        }
        Ok(sent)
    }
}

fn kind_of(bytes: &[u8]) -> Result<usize> {
    Ok(match repair::Message::decode(bytes)? {
        repair::Message::Docs { .. } => 1,
        repair::Message::Want { .. } => 2,
        repair::Message::Changes { .. } => 3,
        _ => 0,
    })
}

fn config(number: u8, incarnation: Incarnation) -> Result<Config> {
    let version = "bench".to_owned();
    Ok(Config {
        mesh: fleet::mesh(),
        mesh_name: "bench".parse()?,
        key: fleet::key(number),
        chain: fleet::chain(number)?,
        incarnation,
        seed: u64::from(number),
        info: NodeInfo {
            labels: Default::default(),
            capacity: Default::default(),
            arch: "x".into(),
            version,
            schema: SCHEMA,
        },
        authority: None,
        peers: Vec::new(),
        liveness: Default::default(),
        healer: Default::default(),
        // Only the round that a new connection opens.
        repair_every: Duration::from_secs(3600),
        keep_removed: Duration::from_secs(3600),
        disk_budget: u64::MAX,
        volume: 1_000,
        max_tasks: 100,
        grace: Duration::from_secs(1),
    })
}

/// What a connection of the two has cost, side by side.
pub struct Healed {
    /// Of each side.
    pub used: [Used; 2],
    /// Time on the wall, both sides on one core.
    pub wall: Duration,
    /// Round trips: steps of virtual time, two of which are one.
    pub steps: u64,
}

/// Connects the two, and lets them talk until they hold the same and are silent.
///
/// # Errors
/// They do not come to hold the same.
pub fn connect(sides: &mut [Side; 2], scope: &Scope) -> Result<Healed> {
    for side in sides.iter_mut() {
        side.used = Used::default();
        let other = 1 - side.number;
        side.inbox.push_back(Input::PeerUp {
            node: fleet::key(other).node_id(),
            chain: fleet::chain(other)?,
            address: "/memory/1".to_owned(),
            relayed: false,
        });
    }
    let begin = Instant::now();
    let mut steps = 0;
    while steps < PATIENCE {
        steps += 1;
        let passed = STEP * u32::try_from(steps).context("too many steps")?;
        let now = Now { mono: Mono(passed), wall: Wall(fleet::NOW.0 + steps) };
        let frames = [sides[0].turn(now)?, sides[1].turn(now)?];
        let silent = frames.iter().all(Vec::is_empty);
        for (from, frames) in frames.into_iter().enumerate() {
            let from_id = fleet::key(sides[from].number).node_id();
            sides[1 - from].inbox.extend(frames.into_iter().map(|bytes| Input::Frame { from: from_id, bytes }));
        }
        let at_rest = sides.iter().all(|side| side.inbox.is_empty());
        if silent && at_rest && steps > 2 && sides[0].digest(scope) == sides[1].digest(scope) {
            let wall = begin.elapsed();
            return Ok(Healed { used: [sides[0].used, sides[1].used], wall, steps });
        }
    }
    bail!("after {PATIENCE} steps the two do not hold the same")
}
