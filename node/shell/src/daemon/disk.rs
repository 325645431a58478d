//! Two threads of their own: one writes batches, one verifies signatures. Both are slow work that
//! the loop must not wait for.

use super::{database::Damaged, node_loop::Message};
use anyhow::{Context as _, Result};
use holm_node_core::Input;
use holm_state::{Batch, StoreError, StoreWrite as _};
use holm_state_rocks::RocksStore;
use holm_types::{MeshId, change::SignedChange};
use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinSet};

/// How often an idle node looks whether its database is still there.
const LOOK: Duration = Duration::from_secs(2);
/// The core has one batch in flight at a time; the rest is slack.
const QUEUE: usize = 4;

/// Where the database was opened. A process can go on writing to files that were removed, as if nothing was.
#[derive(Debug, Clone)]
struct Home {
    folder: PathBuf,
    /// Device and inode of the file that RocksDB locks, and keeps for as long as it runs.
    lock: (u64, u64),
}

impl Home {
    fn of(folder: &Path) -> std::io::Result<Home> {
        Ok(Home { folder: folder.to_owned(), lock: lock_of(folder)? })
    }

    fn is_there(&self) -> Result<()> {
        anyhow::ensure!(
            lock_of(&self.folder).is_ok_and(|lock| lock == self.lock),
            "the database {} was removed or replaced while this node ran. It stops, because nothing that it writes would \
             last. Its tasks go on. Put the folder back, or start the node as it is: it then gets the state of the \
             mesh from the others",
            self.folder.display()
        );
        Ok(())
    }
}

fn lock_of(folder: &Path) -> std::io::Result<(u64, u64)> {
    let lock = std::fs::metadata(folder.join("LOCK"))?;
    Ok((lock.dev(), lock.ino()))
}

/// A bounded queue to one of the threads.
pub struct Outbox<T>(mpsc::Sender<T>);

impl<T> Outbox<T> {
    /// Hands a piece of work over. Fails when the thread is gone, because the disk failed.
    pub async fn send(&self, work: T) -> Result<(), mpsc::error::SendError<T>> {
        self.0.send(work).await
    }
}

/// One of the threads.
pub struct Thread(JoinHandle<()>);

impl Thread {
    /// Waits until it has ended, which it does when its outbox is gone. The one that writes closes the database then: a process
    /// that ends meanwhile takes away under it what it needs for that, and aborts.
    pub async fn ended(self) {
        let joined = tokio::task::spawn_blocking(|| self.0.join());
        // It says itself why it ended.
        let _ = joined.await;
    }
}

/// What was not written is not acknowledged; and nothing that comes after it can be.
fn cannot_write(error: StoreError) -> anyhow::Error {
    if let StoreError::Corrupt(what) = error {
        return Damaged(what).into();
    }
    anyhow::anyhow!(
        "the database cannot be written ({error}): is the disk full or failing? This node stops, and has acknowledged \
         nothing that is lost. Its tasks go on; start it again when there is room"
    )
}

/// Starts the thread that writes batches, and a look now and then at whether the database in `folder` is still there.
pub fn start_writer(
    mut store: RocksStore,
    folder: &Path,
    inbox: mpsc::Sender<Message>,
    tasks: &mut JoinSet<()>,
) -> Result<(Outbox<Arc<Batch>>, Thread)> {
    let home = Home::of(folder).context("the database was removed at once")?;
    tasks.spawn(watch(home.clone(), inbox.clone()));
    start("disk", inbox, move |batch: Arc<Batch>| {
        let written = store.write(&batch);
        // Looked at after the write: what was written to a folder that is there now, is there.
        match home.is_there().and(written.map_err(cannot_write)) {
            Ok(()) => Message::Input(Input::Persisted),
            Err(failure) => Message::DiskFailed(failure),
        }
    })
}

/// Until the database is gone, or the loop.
async fn watch(home: Home, inbox: mpsc::Sender<Message>) {
    let mut looks = tokio::time::interval(LOOK);
    let mut gone = None;
    while gone.is_none() {
        looks.tick().await;
        gone = home.is_there().err();
    }
    if let Some(failure) = gone {
        // The loop may have ended for another reason.
        let _ = inbox.send(Message::DiskFailed(failure)).await;
    }
    std::future::pending().await
}

/// Starts the thread that verifies signatures.
pub fn start_verifier(mesh: MeshId, inbox: mpsc::Sender<Message>) -> Result<Outbox<Vec<SignedChange>>> {
    let (outbox, _) = start("verify", inbox, move |changes: Vec<SignedChange>| {
        Message::Input(Input::Verified { verdicts: holm_state::verify_batch(&mesh, &changes) })
    })?;
    Ok(outbox)
}

/// A thread that turns each piece of work into a message, until there is none.
fn start<T: Send + 'static>(
    name: &str,
    inbox: mpsc::Sender<Message>,
    mut work: impl FnMut(T) -> Message + Send + 'static,
) -> Result<(Outbox<T>, Thread)> {
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    let run = move || {
        while let Some(piece) = receiver.blocking_recv() {
            if inbox.blocking_send(work(piece)).is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run).context("cannot start a thread")?;
    Ok((Outbox(sender), Thread(thread)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_was_removed_or_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let _store = RocksStore::open(&path, Default::default()).unwrap();
        let home = Home::of(&path).unwrap();
        assert!(home.is_there().is_ok());
        std::fs::rename(&path, folder.path().join("aside")).unwrap();
        let told = home.is_there().unwrap_err().to_string();
        assert!(told.contains(&path.display().to_string()), "{told}");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("LOCK"), "").unwrap();
        assert!(home.is_there().is_err(), "another one is in its place");
    }

    #[test]
    fn a_write_that_meets_damage_is_told_apart() {
        assert!(cannot_write(StoreError::Corrupt("x".into())).is::<Damaged>());
        assert!(!cannot_write(StoreError::Io("x".into())).is::<Damaged>());
    }
}
