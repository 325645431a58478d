//! Two threads of their own: one writes batches, one verifies signatures. Both are slow work that
//! the loop must not wait for.

use super::node_loop::Message;
use crate::environment;
use anyhow::{Context as _, Result};
use holm_node_core::{Input, next_incarnation};
use holm_state::{Batch, StoreRead as _, StoreWrite as _, Table};
use holm_state_rocks::RocksStore;
use holm_types::{MeshId, change::SignedChange};
use std::path::Path;
use tokio::sync::mpsc;

const INCARNATION_KEY: &[u8] = b"incarnation";
/// The core has one batch in flight at a time; the rest is slack.
const QUEUE: usize = 4;

/// A bounded queue to one of the threads.
pub struct Outbox<T>(mpsc::Sender<T>);

impl<T> Outbox<T> {
    /// Hands a piece of work over. Fails when the thread is gone, because the disk failed.
    pub async fn send(&self, work: T) -> Result<(), mpsc::error::SendError<T>> {
        self.0.send(work).await
    }
}

/// Opens the database and counts this start, durably: a writer that comes back never continues
/// the sequences of its last life, whatever of them was lost.
pub fn open(path: &Path) -> Result<(RocksStore, u32)> {
    let mut store = RocksStore::open(path, Default::default()).with_context(|| {
        format!("cannot open the database {} (does another node run on this folder?)", path.display())
    })?;
    let last = store.reader().get(Table::Local, INCARNATION_KEY)?;
    let last = last.and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    anyhow::ensure!(last != Some(u32::MAX), "the node was started too often: enrol it anew");
    let incarnation = next_incarnation(last, environment::wall());
    let row = (Table::Local, INCARNATION_KEY.to_vec(), Some(incarnation.to_be_bytes().to_vec()));
    store.write(&Batch { puts: vec![row], sync: true })?;
    store.sync()?;
    Ok((store, incarnation))
}

/// Starts the thread that writes batches.
pub fn start_writer(mut store: RocksStore, inbox: mpsc::Sender<Message>) -> Result<Outbox<Batch>> {
    start("disk", inbox, move |batch: Batch| {
        let written = store.write(&batch).and_then(|()| if batch.sync { store.sync() } else { Ok(()) });
        match written {
            Ok(()) => Some(Input::Persisted),
            Err(error) => {
                tracing::error!(%error, "cannot write to the database");
                None
            }
        }
    })
}

/// Starts the thread that verifies signatures.
pub fn start_verifier(mesh: MeshId, inbox: mpsc::Sender<Message>) -> Result<Outbox<Vec<SignedChange>>> {
    start("verify", inbox, move |changes: Vec<SignedChange>| {
        Some(Input::Verified { verdicts: holm_state::verify_batch(&mesh, &changes) })
    })
}

/// A thread that turns each piece of work into an input, until there is none.
fn start<T: Send + 'static>(
    name: &str,
    inbox: mpsc::Sender<Message>,
    mut work: impl FnMut(T) -> Option<Input> + Send + 'static,
) -> Result<Outbox<T>> {
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    let run = move || {
        while let Some(piece) = receiver.blocking_recv() {
            let Some(input) = work(piece) else { return };
            if inbox.blocking_send(Message::Input(input)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run).context("cannot start a thread")?;
    Ok(Outbox(sender))
}
