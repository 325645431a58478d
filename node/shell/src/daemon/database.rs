//! The database at the start of a node: opened; or, where it is damaged, made again from what can be read of it.
//! What it lacks then comes back from peers, as far as they have it.
//!
//! ```text
//! db/              the database
//! db/DAMAGED       a running node met damage in it: the next start makes it again
//! db.new/          one that is being made; whole as soon as there is no db/
//! db.damaged-TIME  what was set aside
//! ```

use crate::{data_dir::DataDir, environment};
use anyhow::{Context as _, Result};
use holm_node_core::{Config, Effect, Found, Node, NodeError};
use holm_state::{Batch, Rebuild, StoreError, StoreRead as _, StoreWrite as _, Table, Unread, salvage};
use holm_state_rocks::{RocksStore, open_damaged};
use holm_types::{
    Incarnation,
    event::{Event, EventKind},
};
use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

const INCARNATION_KEY: &[u8] = b"incarnation";
const MARKER: &str = "DAMAGED";
const ASIDE: &str = "db.damaged-";
/// Damaged databases that are kept for whoever wants to look at them.
const KEPT_ASIDE: usize = 2;

/// Why a running node stops: what it reads from its database is not what it wrote.
#[derive(Debug)]
pub struct Damaged(pub String);

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the database is damaged ({}): is the disk failing? This node stops, and its tasks go on. Start it again: it \
             then makes the database anew from what can be read and from its peers",
            self.0
        )
    }
}

impl std::error::Error for Damaged {}

/// Why a database was not opened.
enum Failure {
    Damaged(String),
    Other(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::Other(error)
    }
}

/// Says so early if another process runs on this folder: whatever else it holds would be noticed first, and tell less.
///
/// # Errors
/// Another process does.
pub fn is_free(dir: &DataDir) -> Result<()> {
    let db = dir.join("db");
    match lock_holder(&db) {
        Some(pid) => Err(in_use(&db, Some(pid))),
        None => Ok(()),
    }
}

/// Whether a node ran on this folder before, and its database is gone. Asked before anything of this run is made there.
pub fn is_gone(dir: &DataDir) -> bool {
    let ran = dir.join("tasks").exists();
    ran && !dir.join("db").exists() && !dir.join("db.new").exists()
}

/// Tells of it, in the log and by an event.
///
/// # Errors
/// This node's certificate cannot be read.
fn tell_gone(config: &Config, out: &mut Vec<Effect>) -> Result<()> {
    let told = "the database of this folder is gone: the node begins with an empty one. What peers have comes back from them, and \
                what only this node had is lost; tasks that run here are left alone until then";
    tracing::warn!("{told}");
    out.push(rebuilt(config, told.to_owned())?);
    Ok(())
}

fn rebuilt(config: &Config, detail: String) -> Result<Effect> {
    Ok(Effect::Emit(Event {
        at: environment::wall(),
        node: config.chain.claims()?.name.clone(),
        kind: EventKind::Rebuilt,
        app: None,
        task: None,
        detail,
    }))
}

fn lock_holder(db: &Path) -> Option<u32> {
    let lock = fs::metadata(db.join("LOCK")).ok()?;
    holder(&fs::read_to_string("/proc/locks").ok()?, lock.ino())
}

fn in_use(db: &Path, pid: Option<u32>) -> anyhow::Error {
    let who = pid.map_or_else(String::new, |pid| format!(", process {pid},"));
    anyhow::anyhow!(
        "cannot open the database {}: another node{who} runs on this folder; stop it, or choose another folder with \
         --data-dir",
        db.display()
    )
}

/// Opens the database and the node on it. A damaged one is made again first, which the effects tell, as they do of one that is `gone`.
pub fn open(
    dir: &DataDir,
    config: &Config,
    found: &[Found],
    gone: bool,
    out: &mut Vec<Effect>,
) -> Result<(RocksStore, Node)> {
    let db = dir.join("db");
    finish_replacing(dir)?;
    let why = match open_node(&db, config, found, out) {
        Ok(opened) => {
            if gone {
                tell_gone(config, out)?;
            }
            return Ok(opened);
        }
        Err(Failure::Other(error)) => return Err(error),
        Err(Failure::Damaged(why)) => why,
    };
    out.clear();
    tracing::error!("the database {} is damaged ({why}): it is made again from what can be read", db.display());
    let told = make_again(dir, config)?;
    tracing::warn!("{told}");
    out.push(rebuilt(config, told)?);
    match open_node(&db, config, found, out) {
        Ok(opened) => Ok(opened),
        Err(Failure::Other(error)) => Err(error),
        Err(Failure::Damaged(why)) => {
            anyhow::bail!(
                "the database {} is damaged again right after it was made ({why}): is the disk failing?",
                db.display()
            )
        }
    }
}

/// Leaves word for the next start that the database has to be made again.
pub fn mark_damaged(dir: &DataDir, damage: &Damaged) {
    // A disk that does not even take this is told of by the error that the node ends with.
    let _ = fs::write(dir.join("db").join(MARKER), &damage.0);
}

fn open_node(
    db: &Path,
    config: &Config,
    found: &[Found],
    out: &mut Vec<Effect>,
) -> Result<(RocksStore, Node), Failure> {
    let (store, incarnation) = open_store(db)?;
    // Read after the opening: another process that runs on this folder is told of first.
    if let Ok(why) = fs::read_to_string(db.join(MARKER)) {
        return Err(Failure::Damaged(why));
    }
    let config = Config { incarnation, ..config.clone() };
    match Node::open(config, Box::new(store.reader()), found.to_vec(), environment::now(), out) {
        Ok(node) => Ok((store, node)),
        Err(NodeError::State(error)) if error.is_damage() => Err(Failure::Damaged(error.to_string())),
        Err(error) => Err(Failure::Other(error.into())),
    }
}

/// Opens the database and counts this start, durably: a writer that comes back never continues
/// the sequences of its last life, whatever of them was lost.
fn open_store(path: &Path) -> Result<(RocksStore, Incarnation), Failure> {
    let failed = |error| cannot_open(path, error);
    let mut store = RocksStore::open(path, Default::default()).map_err(failed)?;
    let last = store.reader().get(Table::Local, INCARNATION_KEY).map_err(failed)?;
    let last = last.and_then(|bytes| bytes.try_into().ok()).map(|bytes| Incarnation(u64::from_be_bytes(bytes)));
    let random = u32::from_be_bytes(environment::random());
    let incarnation = Incarnation::begin(last, environment::wall(), random)
        .context("the database says that this node was started 4 billion times: enrol it anew")?;
    let row = (Table::Local, INCARNATION_KEY.to_vec(), Some(incarnation.0.to_be_bytes().to_vec()));
    store.write(&Batch { puts: vec![row], sync: true }).map_err(failed)?;
    Ok((store, incarnation))
}

/// Why the database cannot be opened, and what to do about it.
fn cannot_open(path: &Path, error: StoreError) -> Failure {
    let what = format!("cannot open the database {}", path.display());
    match error {
        StoreError::Corrupt(why) => Failure::Damaged(why),
        StoreError::Locked(_) => Failure::Other(in_use(path, lock_holder(path))),
        StoreError::Io(why) => {
            Failure::Other(anyhow::anyhow!("{what}: is the disk full, failing or not writable? ({why})"))
        }
    }
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

/// Makes the database again; gives what became of it, for people.
fn make_again(dir: &DataDir, config: &Config) -> Result<String> {
    let (db, fresh) = (dir.join("db"), dir.join("db.new"));
    let aside = dir.join(&format!("{ASIDE}{}", environment::stamp()));
    let made = RocksStore::open(&fresh, Default::default()).context("cannot make a new database")?;
    let mut rebuild = Rebuild::new(config.mesh, config.key.clone(), made).knowing(config.chain.clone());
    let unread = match open_damaged(&db) {
        Ok(old) => salvage(&old, |kept| rebuild.take(kept, environment::wall()))?,
        Err(error) => Unread { places: 1, first: Some(error.to_string()) },
    };
    let rebuilt = rebuild.finish()?;
    fs::rename(&db, &aside).with_context(|| format!("cannot set {} aside", db.display()))?;
    finish_replacing(dir)?;
    forget_older(dir);
    Ok(format!(
        "the damaged database was made again with the {} changes of {} documents that could be read; {} changes and {} \
         places could not. What peers have comes back from them. It was set aside as {}",
        rebuilt.changes,
        rebuilt.documents,
        rebuilt.dropped,
        unread.places,
        aside.display()
    ))
}

/// Puts a database that was made in its place, also where the host went down before that; one that was being made is
/// of no use.
fn finish_replacing(dir: &DataDir) -> Result<()> {
    let (db, fresh) = (dir.join("db"), dir.join("db.new"));
    if !fresh.exists() {
        return Ok(());
    }
    if db.exists() {
        return fs::remove_dir_all(&fresh).with_context(|| format!("cannot remove {}", fresh.display()));
    }
    let placed = fs::rename(&fresh, &db).and_then(|()| fs::File::open(dir.path())?.sync_all());
    placed.with_context(|| format!("cannot put {} in its place", fresh.display()))
}

/// The databases that were set aside, the oldest first.
pub fn aside(dir: &DataDir) -> Vec<PathBuf> {
    let names = fs::read_dir(dir.path()).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut found: Vec<PathBuf> = names
        .filter_map(|name| name.to_str().filter(|name| name.starts_with(ASIDE)).map(|name| dir.join(name)))
        .collect();
    found.sort();
    found
}

fn forget_older(dir: &DataDir) {
    let found = aside(dir);
    for old in &found[..found.len().saturating_sub(KEPT_ASIDE)] {
        if let Err(error) = fs::remove_dir_all(old) {
            tracing::warn!("cannot remove {}: {error}", old.display());
        }
    }
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
        let told = [StoreError::Locked("x".into()), StoreError::Corrupt("y".into()), StoreError::Io("z".into())].map(
            |error| match cannot_open(path, error) {
                Failure::Damaged(why) => Damaged(why).to_string(),
                Failure::Other(error) => error.to_string(),
            },
        );
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn every_start_is_a_new_life_even_on_a_new_database() {
        let folder = tempfile::tempdir().unwrap();
        let begin = || match open_store(&folder.path().join("db")) {
            Ok((_, incarnation)) => incarnation,
            Err(_) => panic!("opens"),
        };
        let (first, second) = (begin(), begin());
        assert!(first > Incarnation::new(1_000_000, 0) && second > first, "{first} {second}");
    }

    #[test]
    fn a_database_that_was_made_takes_its_place_and_half_a_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::new(Some(folder.path().to_owned()));
        for name in ["db", "db.new"] {
            fs::create_dir(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("from"), name).unwrap();
        }
        finish_replacing(&dir).unwrap();
        assert!(!dir.join("db.new").exists());
        assert_eq!(fs::read_to_string(dir.join("db/from")).unwrap(), "db");
        fs::rename(dir.join("db"), dir.join("db.new")).unwrap();
        finish_replacing(&dir).unwrap();
        assert!(!dir.join("db.new").exists() && dir.join("db/from").exists());
    }

    #[test]
    fn the_two_newest_that_were_set_aside_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::new(Some(folder.path().to_owned()));
        for day in ["20260101", "20260303", "20260202"] {
            fs::create_dir(dir.join(&format!("{ASIDE}{day}-000000"))).unwrap();
        }
        forget_older(&dir);
        let left = aside(&dir);
        assert!(left.len() == 2 && left[0].ends_with("db.damaged-20260202-000000"), "{left:?}");
    }
}
