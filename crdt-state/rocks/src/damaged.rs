//! Reading what is left of a damaged database. It is of no use any more: its files are changed in place.

use crate::{Db, Options, RocksStore, store_error};
use holm_state::StoreError;
use rocksdb::{ColumnFamilyDescriptor, DBRecoveryMode};
use std::{
    fs,
    io::Result,
    path::{Path, PathBuf},
};

/// Opens what can be read of a damaged database, which may be several parts of it.
///
/// # Errors
/// Nothing of it can be read.
pub fn open_damaged(path: &Path) -> std::result::Result<Vec<RocksStore>, StoreError> {
    if let Ok(whole) = open(path, None).or_else(|first| {
        // A failure is one of the next try.
        let _ = point_to_newest_manifest(path);
        open(path, None).map_err(|_| first)
    }) {
        return Ok(vec![whole]);
    }
    // What says which files there are is lost. The repair keeps of the log only what belongs to tables that have a
    // file, and on a small node most have none: so the log is read by itself before.
    let log = open_log(path);
    let repaired = Db::repair(&rocksdb::Options::default(), path).and_then(|()| {
        let tables = Db::list_cf(&rocksdb::Options::default(), path)?;
        open(path, Some(&tables))
    });
    match (log, repaired.map_err(store_error)) {
        (Ok(log), repaired) => Ok(std::iter::once(log).chain(repaired).collect()),
        (Err(_), repaired) => Ok(vec![repaired?]),
    }
}

/// Of the given tables, or of all.
fn open(path: &Path, tables: Option<&[String]>) -> std::result::Result<RocksStore, rocksdb::Error> {
    let (mut database, mut families) = Options::default().build();
    database.set_wal_recovery_mode(DBRecoveryMode::SkipAnyCorruptedRecord);
    let known = |family: &ColumnFamilyDescriptor| tables.is_none_or(|t| t.iter().any(|name| name == family.name()));
    families.retain(known);
    Db::open_cf_descriptors_read_only(&database, path, families, false).map(RocksStore::unmarked)
}

/// RocksDB takes a folder without this file for an empty one, and removes what is in it.
pub(crate) fn has_lost_its_beginning(path: &Path) -> bool {
    let names = names(path);
    let holds = |name: &String| name.ends_with(".sst") || name.starts_with("MANIFEST-");
    names.iter().any(holds) && !names.iter().any(|name| name == "CURRENT")
}

/// A database has a log from its first moment on, if an empty one; without it RocksDB begins another, and says nothing of what was
/// in it.
pub(crate) fn has_lost_its_log(path: &Path) -> bool {
    let names = names(path);
    names.iter().any(|name| name == "CURRENT") && !names.iter().any(|name| name.ends_with(".log"))
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn point_to_newest_manifest(path: &Path) -> Result<()> {
    // The numbers have leading zeros, so the names sort by them.
    let newest = names(path).into_iter().filter(|name| name.starts_with("MANIFEST-")).max();
    newest.map_or(Ok(()), |name| fs::write(path.join("CURRENT"), format!("{name}\n")))
}

/// The log alone, by a new database that is given it: its tables have the numbers that those of the old one have, as
/// both made them in the order of [`holm_state::Table::ALL`].
fn open_log(path: &Path) -> std::result::Result<RocksStore, StoreError> {
    let failed = |error: std::io::Error| StoreError::Io(error.to_string());
    let beside = path.with_extension("log");
    let read = || -> Result<std::result::Result<RocksStore, StoreError>> {
        if beside.exists() {
            fs::remove_dir_all(&beside)?;
        }
        if let Err(error) = RocksStore::open(&beside, Options::default()) {
            return Ok(Err(error));
        }
        logs(&beside).iter().try_for_each(fs::remove_file)?;
        for log in logs(path) {
            fs::copy(&log, beside.join(log.file_name().unwrap_or_default()))?;
        }
        // What is in it is in memory from now on.
        Ok(open(&beside, None).map_err(store_error))
    };
    let opened = read().map_err(failed);
    let _ = fs::remove_dir_all(&beside);
    opened?
}

fn logs(path: &Path) -> Vec<PathBuf> {
    names(path).iter().filter(|name| name.ends_with(".log")).map(|name| path.join(name)).collect()
}
