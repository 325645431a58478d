//! A disk under a node's documents. It knows what was synced and what was not: an agent's death
//! loses nothing that was written, a power loss all that was not synced, or the later part of it.

use holm_state::{Batch, Row, StoreError, StoreRead, StoreWrite, Table};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The table's number, then the key in it.
type Key = Arc<[u8]>;
type Rows = BTreeMap<Key, Arc<[u8]>>;

/// An older state of a disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backup(Rows);

#[derive(Debug, Default)]
struct Platter {
    /// What is visible: synced or not.
    rows: Rows,
    unsynced: Unsynced,
}

/// Batches since the last sync: what their rows were before, in the order of writing.
#[derive(Debug, Default)]
struct Unsynced {
    before: Vec<(Key, Option<Arc<[u8]>>)>,
    /// Where each batch ends.
    ends: Vec<u32>,
}

impl Unsynced {
    /// Takes back all but the first `survivors` batches, the latest write first.
    fn take_back(&self, rows: &mut Rows, survivors: usize) {
        let kept = survivors
            .checked_sub(1)
            .map_or(0, |last| self.ends.get(last).map_or(self.before.len(), |end| *end as usize));
        for (key, before) in self.before[kept..].iter().rev() {
            set(rows, key.clone(), before.clone());
        }
    }
}

/// A key of a table as it is held, or what the keys with a prefix begin with.
fn key_of(table: Table, key: &[u8]) -> Vec<u8> {
    [&[table as u8], key].concat()
}

/// See the [module](self). Clones are handles of one disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimDisk {
    platter: Arc<Mutex<Platter>>,
    shelf: Shelf,
}

/// Keys and values that are on the disks of several hosts are in memory once: what a mesh replicates is the same everywhere.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shelf(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    values: BTreeSet<Arc<[u8]>>,
    /// So many were left when those that no disk holds any more were taken out.
    left: usize,
}

/// What is shorter is not worth the search.
const SHARED: usize = 32;
const FEW: usize = 1024;

impl Shelf {
    fn keep(&self, value: &[u8]) -> Arc<[u8]> {
        if value.len() < SHARED {
            return value.into();
        }
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shared.values.get(value) {
            return known.clone();
        }
        if shared.values.len() > 2 * shared.left.max(FEW) {
            shared.values.retain(|value| Arc::strong_count(value) > 1);
            shared.left = shared.values.len();
        }
        let new: Arc<[u8]> = value.into();
        shared.values.insert(new.clone());
        new
    }
}

impl SimDisk {
    /// An empty disk, one of several with this shelf.
    pub(crate) fn beside(shelf: &Shelf) -> SimDisk {
        SimDisk { platter: Arc::default(), shelf: shelf.clone() }
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Power is lost: of the batches that were not synced the first `survivors` are there, whole.
    pub(crate) fn lose_power(&self, survivors: usize) {
        let mut platter = self.platter();
        let unsynced = std::mem::take(&mut platter.unsynced);
        unsynced.take_back(&mut platter.rows, survivors);
    }

    /// Batches that a power loss would lose now.
    pub(crate) fn unsynced(&self) -> usize {
        self.platter().unsynced.ends.len()
    }

    /// What a backup of this moment would hold: what is synced.
    pub(crate) fn backup(&self) -> Backup {
        let platter = self.platter();
        let mut rows = platter.rows.clone();
        platter.unsynced.take_back(&mut rows, 0);
        Backup(rows)
    }

    /// Puts an older state in place of what is there.
    pub(crate) fn restore(&self, backup: &Backup) {
        *self.platter() = Platter { rows: backup.0.clone(), ..Platter::default() };
    }

    /// Whether a row is there and would survive a power loss.
    pub(crate) fn holds_durably(&self, table: Table, key: &[u8]) -> bool {
        let platter = self.platter();
        let key = key_of(table, key);
        match platter.unsynced.before.iter().find(|(written, _)| **written == *key) {
            Some((_, before)) => before.is_some(),
            None => platter.rows.contains_key(&*key),
        }
    }

    /// The keys of a table that begin with `prefix`, and the length of their values.
    pub(crate) fn sizes(&self, table: Table, prefix: &[u8]) -> Vec<(Vec<u8>, usize)> {
        let platter = self.platter();
        let prefix = key_of(table, prefix);
        let rows = platter.rows.range::<[u8], _>((Bound::Included(&*prefix), Bound::Unbounded));
        let inside = rows.take_while(|(key, _)| key.starts_with(&prefix));
        inside.map(|(key, value)| (key[1..].to_vec(), value.len())).collect()
    }
}

/// Puts a value in place of another one, and gives that.
fn set(rows: &mut Rows, key: Key, value: Option<Arc<[u8]>>) -> Option<Arc<[u8]>> {
    match value {
        Some(value) => rows.insert(key, value),
        None => rows.remove(&key),
    }
}

impl StoreRead for SimDisk {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.platter().rows.get(&*key_of(table, key)).map(|value| value.to_vec()))
    }

    fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        let after = after.filter(|after| *after >= prefix).map(|after| key_of(table, after));
        let prefix = key_of(table, prefix);
        let start = after.as_deref().map_or(Bound::Included(&*prefix), Bound::Excluded);
        let platter = self.platter();
        let rows = platter.rows.range::<[u8], _>((start, Bound::Unbounded));
        let inside = rows.take_while(|(key, _)| key.starts_with(&prefix));
        Ok(inside.take(limit).map(|(key, value)| (key[1..].to_vec(), value.to_vec())).collect())
    }
}

impl StoreWrite for SimDisk {
    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        {
            let mut platter = self.platter();
            let Platter { rows, unsynced } = &mut *platter;
            unsynced.before.reserve_exact(batch.puts.len());
            for (table, key, value) in &batch.puts {
                let key = self.shelf.keep(&key_of(*table, key));
                let before = set(rows, key.clone(), value.as_deref().map(|value| self.shelf.keep(value)));
                unsynced.before.push((key, before));
            }
            unsynced.ends.push(unsynced.before.len() as u32);
        }
        if batch.sync { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let mut platter = self.platter();
        platter.unsynced = Unsynced::default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_disks_hold_is_in_memory_once_and_goes_with_the_last() {
        let shelf = Shelf::default();
        let (mut one, mut two) = (SimDisk::beside(&shelf), SimDisk::beside(&shelf));
        let write = |disk: &mut SimDisk, n: usize| {
            let value = [&n.to_be_bytes()[..], &[7; SHARED]].concat();
            disk.write(&put(b"k", Some(&value), true)).unwrap();
        };
        write(&mut one, 0);
        write(&mut two, 0);
        assert_eq!(shelf.0.lock().unwrap().values.len(), 1);
        (0..9 * FEW).for_each(|n| write(&mut one, n));
        assert!(shelf.0.lock().unwrap().values.len() <= 2 * FEW + 1);
        assert_eq!(rows(&two), [row(b"k", &[&[0; 8][..], &[7; SHARED]].concat())]);
    }

    fn put(key: &[u8], value: Option<&[u8]>, sync: bool) -> Batch {
        Batch { puts: vec![(Table::Local, key.to_vec(), value.map(<[u8]>::to_vec))], sync }
    }

    fn rows(disk: &SimDisk) -> Vec<Row> {
        disk.scan(Table::Local, b"", None, 99).unwrap()
    }

    fn row(key: &[u8], value: &[u8]) -> Row {
        (key.to_vec(), value.to_vec())
    }

    #[test]
    fn a_power_loss_takes_what_was_not_synced_or_the_later_part_of_it() {
        let mut disk = SimDisk::default();
        disk.write(&put(b"a", Some(b"1"), true)).unwrap();
        disk.write(&put(b"a", Some(b"2"), false)).unwrap();
        disk.write(&put(b"a", None, false)).unwrap();
        disk.write(&put(b"b", Some(b"1"), false)).unwrap();
        assert_eq!((rows(&disk), disk.unsynced()), (vec![row(b"b", b"1")], 3));
        assert!(disk.holds_durably(Table::Local, b"a") && !disk.holds_durably(Table::Local, b"b"));
        let backup = disk.backup();
        disk.lose_power(1);
        assert_eq!((rows(&disk), disk.unsynced()), (vec![row(b"a", b"2")], 0));
        disk.restore(&backup);
        assert_eq!(rows(&disk), [row(b"a", b"1")]);
        disk.restore(&Backup::default());
        assert!(rows(&disk).is_empty());
    }
}
