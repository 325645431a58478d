//! How far the log was on disk. RocksDB takes the end of its log for the end of what was written: a log that was cut off or
//! emptied, by a failing disk or by hand, is opened without a word, and what was acknowledged is gone.

use std::{
    fs::{File, OpenOptions},
    io::Result,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

/// Beside the files of the database, which take no notice of it.
const NAME: &str = "SYNCED";

/// The number of the last write that was synced. It is never ahead of the log, as it is written after it and not synced itself.
#[derive(Debug, Clone)]
pub(crate) struct Mark(Arc<File>);

impl Mark {
    /// Opens the mark of the database in a folder, or makes it, and reads it.
    pub(crate) fn open(folder: &Path) -> Result<(Mark, u64)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(folder.join(NAME))?;
        let mut bytes = [0; 16];
        let number = |half: &[u8]| half.try_into().map_or(0, u64::from_be_bytes);
        // Half of it may be lost with the power: then it says nothing.
        let whole = file.read_exact_at(&mut bytes, 0).is_ok() && number(&bytes[..8]) == !number(&bytes[8..]);
        Ok((Mark(Arc::new(file)), if whole { number(&bytes[..8]) } else { 0 }))
    }

    /// Everything up to this write is on disk.
    pub(crate) fn set(&self, number: u64) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        bytes[8..].copy_from_slice(&(!number).to_be_bytes());
        // Without it less is noticed, and nothing is lost.
        let _ = self.0.write_all_at(&bytes, 0);
    }
}
