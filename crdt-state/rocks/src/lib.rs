//! # holm-state-rocks: the store on RocksDB
//!
//! One column family a table, one write-ahead log for all, so that a batch is on disk whole or
//! not at all. The settings are for a small board: a few megabytes of buffers and cache for the
//! whole database, few open files, LZ4.
//!
//! A [`RocksStore`] and the readers that it gives are handles of one open database.

mod damaged;
mod mark;
mod options;

pub use damaged::open_damaged;
pub use options::Options;

use crate::mark::Mark;
use holm_state::{Batch, StoreError, StoreRead, StoreWrite, Table};
use rocksdb::{
    BoundColumnFamily, DBWithThreadMode, Direction, ErrorKind, IteratorMode, MultiThreaded, ReadOptions, WriteBatch,
    WriteOptions,
};
use std::{path::Path, sync::Arc};

type Db = DBWithThreadMode<MultiThreaded>;

/// An open database. Clones are handles of the same one.
#[derive(Clone)]
pub struct RocksStore {
    db: Arc<Db>,
    /// Of a database that is written.
    mark: Option<Mark>,
}

impl std::fmt::Debug for RocksStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RocksStore({})", self.db.path().display())
    }
}

impl RocksStore {
    /// Opens the database in a folder, which is made if it is not there.
    ///
    /// # Errors
    /// Another process has it open, it is corrupt, or the disk failed.
    pub fn open(path: &Path, options: Options) -> Result<RocksStore, StoreError> {
        if damaged::has_lost_its_beginning(path) {
            return Err(StoreError::Corrupt("the file CURRENT is missing".into()));
        }
        if damaged::has_lost_its_log(path) {
            return Err(StoreError::Corrupt("the log of the last writes is missing".into()));
        }
        let (database, families) = options.build();
        match Db::open_cf_descriptors(&database, path, families) {
            Ok(db) => RocksStore::unmarked(db).marked(path),
            // A file that the database names is gone.
            Err(error) if error.kind() == ErrorKind::IOError && error.to_string().contains("No such file") => {
                Err(StoreError::Corrupt(error.to_string()))
            }
            Err(error) => Err(store_error(error)),
        }
    }

    /// Opens a database to read it as it is now, also while another process has it open.
    ///
    /// # Errors
    /// It is corrupt, the disk failed, or the other process has just changed its files: try again.
    pub fn open_read_only(path: &Path) -> Result<RocksStore, StoreError> {
        // Files that the other process removes meanwhile must be open already.
        let (database, families) = Options { open_files: -1, ..Options::default() }.build();
        let opened = Db::open_cf_descriptors_read_only(&database, path, families, false);
        opened.map(RocksStore::unmarked).map_err(store_error)
    }

    fn unmarked(db: Db) -> RocksStore {
        RocksStore { db: Arc::new(db), mark: None }
    }

    /// With its mark, if everything is there that is to be.
    fn marked(mut self, path: &Path) -> Result<RocksStore, StoreError> {
        let (mark, synced) = Mark::open(path).map_err(|error| StoreError::Io(error.to_string()))?;
        let found = self.db.latest_sequence_number();
        if found < synced {
            let why = format!("the log was cut off: {} of the last rows that were written are missing", synced - found);
            return Err(StoreError::Corrupt(why));
        }
        self.mark = Some(mark);
        Ok(self)
    }

    /// All that was written is on disk.
    fn synced(&self) {
        if let Some(mark) = &self.mark {
            mark.set(self.db.latest_sequence_number());
        }
    }

    /// A handle that reads.
    pub fn reader(&self) -> RocksStore {
        self.clone()
    }

    fn family(&self, table: Table) -> Result<Arc<BoundColumnFamily<'_>>, StoreError> {
        self.db
            .cf_handle(table.name())
            .ok_or_else(|| StoreError::Corrupt(format!("the table {} is missing", table.name())))
    }
}

fn store_error(error: rocksdb::Error) -> StoreError {
    let message = error.to_string();
    match error.kind() {
        ErrorKind::Corruption => StoreError::Corrupt(message),
        // RocksDB says so only in words: "While lock file: ...: Resource temporarily unavailable".
        ErrorKind::IOError if is_held(&message) => StoreError::Locked(message),
        _ => StoreError::Io(message),
    }
}

/// As RocksDB says it of a lock that another process has, or this one: the path may contain any word.
fn is_held(message: &str) -> bool {
    let says = |words: &str| message.contains(words);
    says("lock file: ") && says(": Resource temporarily unavailable") || says("lock hold by current process")
}

impl StoreRead for RocksStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(&self.family(table)?, key).map_err(store_error)
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let start = after.filter(|after| *after >= prefix).unwrap_or(prefix);
        let family = self.family(table)?;
        let mut reading = ReadOptions::default();
        // What goes through a whole table comes by once, and would push out of the cache what is read again and again.
        reading.fill_cache(!prefix.is_empty());
        let mut rows = self.db.iterator_cf_opt(&family, reading, IteratorMode::From(start, Direction::Forward));
        let mut found = Vec::new();
        // No row is read beyond those that are asked for: it may be one that cannot be.
        while found.len() < limit {
            let Some(row) = rows.next() else { break };
            let (key, value) = row.map_err(store_error)?;
            if !key.starts_with(prefix) {
                break;
            }
            if after != Some(&*key) {
                found.push((key.into_vec(), value.into_vec()));
            }
        }
        Ok(found)
    }
}

impl StoreWrite for RocksStore {
    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut writes = WriteBatch::default();
        for (table, key, value) in &batch.puts {
            let family = self.family(*table)?;
            match value {
                Some(value) => writes.put_cf(&family, key, value),
                None => writes.delete_cf(&family, key),
            }
        }
        let mut how = WriteOptions::default();
        how.set_sync(batch.sync);
        self.db.write_opt(writes, &how).map_err(store_error)?;
        if batch.sync {
            self.synced();
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.db.flush_wal(true).map_err(store_error)?;
        self.synced();
        Ok(())
    }
}
