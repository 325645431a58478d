//! The small store trait: six ordered tables, one atomic batch, one sync.
//!
//! The core only ever reads; what it wants written leaves it as a [`Batch`], which the shell
//! hands to a [`StoreWrite`] on a thread of its own.

/// A table of the store. Keys of one table never meet those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// The change log: document, actor, sequence number -> the signed change.
    Changes,
    /// Document -> its scope and heads.
    Heads,
    /// Document, key -> the concurrent values of that key.
    Views,
    /// Document, actor -> who that is, its last sequence number and change.
    Actors,
    /// The last changes that were refused, in a ring.
    Quarantine,
    /// Small things of this node alone.
    Local,
}

impl Table {
    /// All of them.
    pub const ALL: [Table; 6] =
        [Table::Changes, Table::Heads, Table::Views, Table::Actors, Table::Quarantine, Table::Local];

    /// Its name on disk.
    pub fn name(self) -> &'static str {
        match self {
            Table::Changes => "changes",
            Table::Heads => "heads",
            Table::Views => "views",
            Table::Actors => "actors",
            Table::Quarantine => "quarantine",
            Table::Local => "local",
        }
    }
}

/// A row to write: `None` deletes.
pub type Put = (Table, Vec<u8>, Option<Vec<u8>>);

/// A row that was read: its key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Rows that are written together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The rows, each key once, in the order of tables and keys.
    pub puts: Vec<Put>,
    /// It must be durable before anything that depends on it is said to anyone.
    pub sync: bool,
}

/// Why the store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk, or what manages it.
    #[error("the store failed: {0}")]
    Io(String),
    /// What is on disk is not what was written.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
    /// Another process has it open.
    #[error("the store is in use by another process: {0}")]
    Locked(String),
}

/// Reads. Sees every batch that was written, durable or not.
pub trait StoreRead: Send {
    /// The value of a key.
    ///
    /// # Errors
    /// The store failed.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Up to `limit` rows whose keys begin with `prefix` and are greater than `after`, in order.
    ///
    /// # Errors
    /// The store failed.
    fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError>;
}

/// Writes.
pub trait StoreWrite: Send {
    /// Writes a batch: visible at once, durable at the next [`StoreWrite::sync`], or on return if [`Batch::sync`] is set.
    ///
    /// # Errors
    /// The store failed; nothing of the batch was written.
    fn write(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// The store failed.
    fn sync(&mut self) -> Result<(), StoreError>;
}

impl<T: StoreRead + ?Sized> StoreRead for Box<T> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).get(table, key)
    }

    fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        (**self).scan(table, prefix, after, limit)
    }
}
