//! Changes of a peer, verified and applied, beside nothing but the signatures.

use crate::{costs, fleet, row::Row};
use anyhow::{Context, Result, ensure};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use holm_state::{MemStore, Outcome, State, StoreWrite, verify_batch};
use holm_types::{Incarnation, Slot, change::SignedChange, view::TaskState};
use std::hint::black_box;

/// Changes that a node verifies at once, at most.
const BATCH: usize = 256;
/// Statuses that a node writes with one change, as a busy one does.
const SHARED: usize = 24;

/// Measures.
///
/// # Errors
/// Something that must be valid is not.
pub fn measure(count: usize) -> Result<Vec<Row>> {
    let raw = raw(count)?;
    let single = changes(count, 1)?;
    let shared = changes(count.div_ceil(8), SHARED)?;
    let one_by_one = applied(&single, 1)?;
    let many = applied(&single, BATCH)?;
    let batched = applied(&shared, BATCH)?;
    let per_status = batched * SHARED as f64;
    let share = |rate: f64| rate / raw * 100.0;
    Ok(vec![
        Row::new("verify_raw", "raw ed25519, verified one by one", raw, "/s")
            .note("ed25519-dalek, messages of 120 bytes"),
        Row::new("apply_single", "changes verified and applied, one by one", one_by_one, "/s"),
        Row::new("apply_single_share", "that beside raw ed25519", share(one_by_one), "%").at_least(70.0),
        Row::new("apply_verified_together", "verified 256 at once, applied", many, "/s"),
        Row::new("apply_verified_together_share", "that beside raw ed25519", share(many), "%").at_least(70.0),
        Row::new("apply_batched", format!("statuses applied, {SHARED} in a change"), per_status, "/s"),
        Row::new("apply_batched_share", "that beside raw ed25519", share(per_status), "%").at_least(70.0),
    ])
}

/// Signatures a second, checked the way a change's is.
fn raw(count: usize) -> Result<f64> {
    let key = SigningKey::from_bytes(&[7; 32]);
    let public = key.verifying_key().to_bytes();
    let messages: Vec<[u8; 120]> = (0..count).map(|n| std::array::from_fn(|i| (n >> (i % 8)) as u8)).collect();
    let signatures: Vec<Signature> = messages.iter().map(|message| key.sign(message)).collect();
    let begin = costs::of_this_thread()?;
    for (message, signature) in messages.iter().zip(&signatures) {
        let key = VerifyingKey::from_bytes(black_box(&public)).context("the bench's own key")?;
        ensure!(key.verify_strict(message, signature).is_ok(), "a signature of the bench's own does not verify");
    }
    Ok(count as f64 / (costs::of_this_thread()? - begin).as_secs_f64())
}

/// Statuses of the tasks of jobs by one node, a hundred tasks a document, each starting and ending, encoded as they travel.
fn changes(count: usize, in_one: usize) -> Result<Vec<Vec<u8>>> {
    let (scope, me) = (fleet::site()?, fleet::key(0).node_id());
    let mut state = open(0)?;
    let mut made = Vec::with_capacity(count);
    for app in 0.. {
        let (doc, _) = fleet::app(&scope, app)?;
        let of = fleet::tasks_of(&scope, doc, 0);
        let first = state.write(&scope, of.doc(), vec![fleet::names_app(&of)], fleet::NOW)?;
        made.push(first.encode()?);
        for told in [TaskState::Running, TaskState::Succeeded] {
            let slots: Vec<Slot> = (0..96).collect();
            for slots in slots.chunks(in_one) {
                let ops = slots.iter().map(|slot| fleet::status(*slot, &me, told)).collect::<Result<_>>()?;
                made.push(state.write(&scope, of.doc(), ops, fleet::NOW)?.encode()?);
            }
        }
        fleet::persist_unsynced(&mut state, &mut MemStore::new())?;
        if made.len() >= count {
            break;
        }
    }
    made.truncate(count);
    Ok(made)
}

fn open(number: u8) -> Result<State> {
    let mut state = State::open(fleet::mesh(), fleet::key(number), Incarnation(0), Box::new(MemStore::new()))?;
    for member in 0..2 {
        state.add_member(fleet::chain(member)?, fleet::NOW)?;
    }
    Ok(state)
}

/// Changes a second: decoded, verified `together`, judged and applied, their rows handed to a store.
fn applied(changes: &[Vec<u8>], together: usize) -> Result<f64> {
    let mut disk = MemStore::new();
    let mut state = State::open(fleet::mesh(), fleet::key(1), Incarnation(0), Box::new(disk.clone()))?;
    for member in 0..2 {
        state.add_member(fleet::chain(member)?, fleet::NOW)?;
    }
    let begin = costs::of_this_thread()?;
    for bytes in changes.chunks(together) {
        let changes = bytes.iter().map(|bytes| SignedChange::decode(bytes)).collect::<Result<Vec<_>, _>>()?;
        ensure!(verify_batch(&fleet::mesh(), &changes).iter().all(|held| *held), "a change does not verify");
        for change in changes {
            let outcome = state.apply(change, fleet::NOW);
            ensure!(matches!(outcome, Outcome::Applied { .. }), "a change became {outcome:?}");
        }
        while let Some(batch) = state.take_batch() {
            disk.write(&batch)?;
            state.persisted();
        }
    }
    Ok(changes.len() as f64 / (costs::of_this_thread()? - begin).as_secs_f64())
}
