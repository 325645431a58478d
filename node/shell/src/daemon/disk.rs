//! Two threads of their own: one writes batches, one verifies signatures. Both are slow work that
//! the loop must not wait for.

use super::node_loop::Message;
use crate::environment;
use anyhow::{Context as _, Result};
use holm_node_core::Input;
use holm_state::{Batch, StoreError, StoreRead as _, StoreWrite as _, Table};
use holm_state_rocks::RocksStore;
use holm_types::{Incarnation, MeshId, change::SignedChange};
use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinSet};

/// How often an idle node looks whether its database is still there.
const LOOK: Duration = Duration::from_secs(2);
const INCARNATION_KEY: &[u8] = b"incarnation";
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

/// Opens the database and counts this start, durably: a writer that comes back never continues
/// the sequences of its last life, whatever of them was lost.
pub fn open(path: &Path) -> Result<(RocksStore, Incarnation)> {
    let mut store = RocksStore::open(path, Default::default()).map_err(|error| cannot_open(path, &error))?;
    let last = store.reader().get(Table::Local, INCARNATION_KEY)?;
    let last = last.and_then(|bytes| bytes.try_into().ok()).map(|bytes| Incarnation(u64::from_be_bytes(bytes)));
    let random = u32::from_be_bytes(environment::random());
    let incarnation = Incarnation::begin(last, environment::wall(), random)
        .context("the database says that this node was started 4 billion times: enrol it anew")?;
    let row = (Table::Local, INCARNATION_KEY.to_vec(), Some(incarnation.0.to_be_bytes().to_vec()));
    store.write(&Batch { puts: vec![row], sync: true })?;
    store.sync()?;
    Ok((store, incarnation))
}

/// Why the database cannot be opened, and what to do about it.
fn cannot_open(path: &Path, error: &StoreError) -> anyhow::Error {
    let what = format!("cannot open the database {}", path.display());
    match error {
        StoreError::Locked(_) => {
            let pid = std::fs::metadata(path.join("LOCK"))
                .ok()
                .zip(std::fs::read_to_string("/proc/locks").ok())
                .and_then(|(lock, locks)| holder(&locks, lock.ino()));
            let who = pid.map_or_else(String::new, |pid| format!(", process {pid},"));
            anyhow::anyhow!(
                "{what}: another node{who} runs on this folder; stop it, or choose another folder with --data-dir"
            )
        }
        StoreError::Corrupt(_) => anyhow::anyhow!(
            "{what}: it is damaged. Move it away and start again: the node then gets the state of the mesh from the others. \
             Lost is what no other node has: apps that were submitted here and had not spread, and everything if there is no \
             other node ({error})"
        ),
        StoreError::Io(_) => anyhow::anyhow!("{what}: is the disk full, failing or not writable? ({error})"),
    }
}

/// What was not written is not acknowledged; and nothing that comes after it can be.
fn cannot_write(error: &StoreError) -> anyhow::Error {
    anyhow::anyhow!(
        "the database cannot be written ({error}): is the disk full or failing? This node stops, and has acknowledged \
         nothing that is lost. Its tasks go on; start it again when there is room"
    )
}

/// The process that has a lock on the file of this inode, from the text of `/proc/locks`.
fn holder(locks: &str, inode: u64) -> Option<u32> {
    let held = locks.lines().find(|line| {
        let file = line.split_whitespace().find(|word| word.matches(':').count() == 2);
        file.and_then(|file| file.rsplit(':').next()) == Some(inode.to_string().as_str())
    })?;
    // "1: POSIX  ADVISORY  WRITE 4711 08:01:131 0 EOF"
    held.split_whitespace().nth(4)?.parse().ok()
}

/// Starts the thread that writes batches, and a look now and then at whether the database in `folder` is still there.
pub fn start_writer(
    mut store: RocksStore,
    folder: &Path,
    inbox: mpsc::Sender<Message>,
    tasks: &mut JoinSet<()>,
) -> Result<Outbox<Batch>> {
    let home = Home::of(folder).context("the database was removed at once")?;
    tasks.spawn(watch(home.clone(), inbox.clone()));
    start("disk", inbox, move |batch: Batch| {
        let written = store.write(&batch).and_then(|()| if batch.sync { store.sync() } else { Ok(()) });
        // Looked at after the write: what was written to a folder that is there now, is there.
        match home.is_there().and(written.map_err(|error| cannot_write(&error))) {
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
    start("verify", inbox, move |changes: Vec<SignedChange>| {
        Message::Input(Input::Verified { verdicts: holm_state::verify_batch(&mesh, &changes) })
    })
}

/// A thread that turns each piece of work into a message, until there is none.
fn start<T: Send + 'static>(
    name: &str,
    inbox: mpsc::Sender<Message>,
    mut work: impl FnMut(T) -> Message + Send + 'static,
) -> Result<Outbox<T>> {
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    let run = move || {
        while let Some(piece) = receiver.blocking_recv() {
            if inbox.blocking_send(work(piece)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run).context("cannot start a thread")?;
    Ok(Outbox(sender))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found_by_its_file() {
        let locks = "1: POSIX  ADVISORY  WRITE 4711 08:01:131 0 EOF\n2: FLOCK  ADVISORY  WRITE 12 00:2f:1310 0 EOF\n";
        assert_eq!(holder(locks, 131), Some(4711));
        assert_eq!(holder(locks, 1310), Some(12));
        assert_eq!(holder(locks, 31), None);
        assert_eq!(holder("", 131), None);
    }

    #[test]
    fn a_database_that_cannot_be_opened_is_told_apart() {
        let path = Path::new("/nowhere/db");
        let told = [StoreError::Locked("x".into()), StoreError::Corrupt("y".into()), StoreError::Io("z".into())]
            .map(|error| cannot_open(path, &error).to_string());
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn a_database_that_was_removed_or_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let (_store, _) = open(&path).unwrap();
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
    fn every_start_is_a_new_life_even_on_a_new_database() {
        let folder = tempfile::tempdir().unwrap();
        let (_, first) = open(&folder.path().join("db")).unwrap();
        let (_, second) = open(&folder.path().join("db")).unwrap();
        assert!(first > Incarnation::new(1_000_000, 0) && second > first, "{first} {second}");
    }
}
