//! Durable writes beside a bare RocksDB loop, and what a finished task leaves on the disk.

use crate::{fleet, row::Row};
use anyhow::{Context, Result, anyhow, ensure};
use holm_state::{Batch, State, StoreWrite};
use holm_state_rocks::{Options, RocksStore};
use holm_types::{Incarnation, Slot, change::SLOTS_PER_GROUP, view::TaskState};
use rocksdb::{DB, WriteBatch, WriteOptions};
use std::{path::Path, sync::Arc, sync::mpsc, time::Instant};

/// Writes that clients wait for at the same time.
const MANY: usize = 64;

/// Durable writes a second, one after the other, and the same rows in a bare database with a sync each.
///
/// # Errors
/// The disk fails.
pub fn writes(count: usize) -> Result<Vec<Row>> {
    let [mut alone, mut many, mut bare] = [Vec::new(), Vec::new(), Vec::new()];
    // In turn, so that all see the same disk.
    for _ in 0..3 {
        let folder = tempfile::tempdir()?;
        let (one_by_one, batches) = holm(&folder.path().join("one"), count, 1)?;
        let beside = plain(&folder.path().join("bare"), &batches)?;
        let (together, _) = holm(&folder.path().join("many"), count, MANY)?;
        alone.push(one_by_one / beside * 100.0);
        many.push(together / beside * 100.0);
        bare.push(beside);
    }
    let row = |key, what: String, samples: &[f64]| {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        Row::new(key, what, sorted[1], "%").note(format!("median of 3: {:.0} to {:.0}", sorted[0], sorted[2]))
    };
    bare.sort_by(f64::total_cmp);
    Ok(vec![
        Row::new("durable_bare", "rows of a submission in a bare RocksDB, one sync each", bare[1], "/s"),
        row("durable_alone", "submissions signed and durable beside that, one at a time".to_owned(), &alone),
        row("durable_share", format!("the same, {MANY} under way at a time"), &many).at_least(80.0),
    ])
}

fn open(path: &Path) -> Result<(State, RocksStore)> {
    let store = RocksStore::open(path, Options::default())?;
    let mut state = State::open(fleet::mesh(), fleet::key(0), Incarnation(0), Box::new(store.reader()))?;
    state.add_member(fleet::chain(0)?, fleet::NOW)?;
    Ok((state, store))
}

/// As in a node: one thread signs and applies, another brings what is queued to the disk, one batch at a time. What comes up
/// meanwhile shares the next batch, `waiting` writes at most. A write counts when it is durable.
fn holm(path: &Path, count: usize, waiting: usize) -> Result<(f64, Vec<Arc<Batch>>)> {
    let (mut state, mut store) = open(path)?;
    let scope = fleet::site()?;
    let submissions = (0..count).map(|number| fleet::app(&scope, number)).collect::<Result<Vec<_>>>()?;
    let (to_disk, queue) = mpsc::channel::<Arc<Batch>>();
    let (to_node, durable) = mpsc::channel::<Arc<Batch>>();
    let disk = std::thread::spawn(move || -> Result<()> {
        for batch in queue {
            store.write(&batch)?;
            to_node.send(batch)?;
        }
        Ok(())
    });
    let mut batches = Vec::with_capacity(count);
    let (mut gathered, mut in_flight) = (0, 0);
    let mut submissions = submissions.into_iter().peekable();
    let begin = Instant::now();
    while submissions.peek().is_some() || gathered + in_flight > 0 {
        if gathered + in_flight < waiting
            && let Some((doc, ops)) = submissions.next()
        {
            state.write(&scope, doc, ops, fleet::NOW)?;
            gathered += 1;
        }
        let done = match in_flight > 0 && (gathered + in_flight == waiting || submissions.peek().is_none()) {
            true => Some(durable.recv().context("the disk has failed")?),
            false => durable.try_recv().ok(),
        };
        if let Some(batch) = done {
            state.persisted();
            batches.push(batch);
            in_flight = 0;
        }
        if in_flight == 0
            && let Some(batch) = state.take_batch()
        {
            ensure!(batch.sync, "a batch with a change of this node does not ask for a sync");
            to_disk.send(batch)?;
            (in_flight, gathered) = (gathered, 0);
        }
    }
    let took = begin.elapsed();
    drop(to_disk);
    disk.join().map_err(|_| anyhow!("the thread of the disk panicked"))??;
    Ok((count as f64 / took.as_secs_f64(), batches))
}

fn plain(path: &Path, batches: &[Arc<Batch>]) -> Result<f64> {
    let db = DB::open_default(path)?;
    let mut how = WriteOptions::default();
    how.set_sync(true);
    let begin = Instant::now();
    for batch in batches {
        let mut writes = WriteBatch::default();
        for (table, key, value) in &batch.puts {
            let key = [table.name().as_bytes(), key].concat();
            match value {
                Some(value) => writes.put(key, value),
                None => writes.delete(key),
            }
        }
        db.write_opt(writes, &how)?;
    }
    let took = begin.elapsed();
    Ok(batches.len() as f64 / took.as_secs_f64())
}

/// Jobs of so many tasks in all: assigned in batches, started and finished in batches by the node that runs them.
///
/// # Errors
/// The disk fails.
pub fn tasks(count: usize) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("db");
    let (mut state, mut store) = open(&path)?;
    let (scope, me) = (fleet::site()?, fleet::key(0).node_id());
    let (app, ops) = fleet::app(&scope, 0)?;
    state.write(&scope, app, ops, fleet::NOW)?;
    let slots: Vec<Slot> = (0..count as Slot).collect();
    for group in slots.chunks(SLOTS_PER_GROUP as usize) {
        let of = fleet::tasks_of(&scope, app, group[0]);
        state.write(&scope, of.doc(), vec![fleet::names_app(&of)], fleet::NOW)?;
        for few in group.chunks(20) {
            let ops = few.iter().map(|slot| fleet::assigned(*slot, &me)).collect::<Result<_>>()?;
            state.write(&scope, of.doc(), ops, fleet::NOW)?;
            for told in [TaskState::Running, TaskState::Succeeded] {
                let ops = few.iter().map(|slot| fleet::status(*slot, &me, told)).collect::<Result<_>>()?;
                state.write(&scope, of.doc(), ops, fleet::NOW)?;
            }
        }
        fleet::persist_unsynced(&mut state, &mut store)?;
    }
    let documents = state.document_count();
    store.sync()?;
    drop((state, store));
    let before = used(&path)?;
    // What a start finds in the log it writes into tables; an idle node does the same when the log is long enough.
    drop(RocksStore::open(&path, Options::default())?);
    drop(RocksStore::open(&path, Options::default())?);
    let after = used(&path)?;
    let each = |bytes: u64| bytes as f64 / count as f64;
    Ok(vec![
        Row::new("task_documents", format!("documents of a job of {count} tasks"), documents as f64, "")
            .note("the issue's word: about a hundred for 10,000"),
        Row::new("task_bytes", "bytes on disk a finished task", each(after), "B")
            .at_most(1024.0)
            .note(format!("after a restart of the store; {:.0} while all of it was in the log", each(before))),
    ])
}

/// Bytes of all files of a database.
fn used(path: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
        sum += entry?.metadata()?.len();
    }
    Ok(sum)
}
