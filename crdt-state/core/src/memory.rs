//! A store in memory that can crash, for tests and the simulator.

use crate::store::{Batch, Row, StoreError, StoreRead, StoreWrite, Table};
use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

type Key = (Table, Vec<u8>);

#[derive(Debug, Default)]
struct Rows {
    durable: BTreeMap<Key, Vec<u8>>,
    /// Written since the last sync; `None` hides a durable row.
    recent: BTreeMap<Key, Option<Vec<u8>>>,
}

/// A store in memory. Clones share their rows, as handles of one disk.
#[derive(Debug, Clone, Default)]
pub struct MemStore(Arc<Mutex<Rows>>);

impl MemStore {
    /// An empty store.
    pub fn new() -> MemStore {
        MemStore::default()
    }

    /// Loses what was not synced, as a host does that loses power.
    pub fn crash(&self) {
        self.rows().recent.clear();
    }

    /// Rows that are visible.
    pub fn len(&self) -> usize {
        let rows = self.rows();
        let hidden = rows.recent.iter().filter(|(k, v)| v.is_none() && rows.durable.contains_key(*k)).count();
        let added = rows.recent.iter().filter(|(k, v)| v.is_some() && !rows.durable.contains_key(*k)).count();
        rows.durable.len() + added - hidden
    }

    /// Whether no row is visible.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoreRead for MemStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let rows = self.rows();
        let key = (table, key.to_vec());
        Ok(match rows.recent.get(&key) {
            Some(value) => value.clone(),
            None => rows.durable.get(&key).cloned(),
        })
    }

    fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        let rows = self.rows();
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded((table, after.to_vec())),
            _ => Bound::Included((table, prefix.to_vec())),
        };
        let range = (start, Bound::Unbounded);
        let inside = |key: &Key| key.0 == table && key.1.starts_with(prefix);
        let mut recent = rows.recent.range(range.clone()).take_while(|(k, _)| inside(k)).peekable();
        let mut durable = rows.durable.range(range).take_while(|(k, _)| inside(k)).peekable();
        let mut found = Vec::new();
        while found.len() < limit {
            let newer = match (recent.peek(), durable.peek()) {
                (None, None) => break,
                (Some((r, _)), Some((d, _))) => r <= d,
                (Some(_), None) => true,
                (None, Some(_)) => false,
            };
            if newer {
                if let Some((key, value)) = recent.next() {
                    durable.next_if(|(k, _)| *k == key);
                    found.extend(value.as_ref().map(|v| (key.1.clone(), v.clone())));
                }
            } else if let Some((key, value)) = durable.next() {
                found.push((key.1.clone(), value.clone()));
            }
        }
        Ok(found)
    }
}

impl StoreWrite for MemStore {
    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        {
            let mut rows = self.rows();
            for (table, key, value) in &batch.puts {
                rows.recent.insert((*table, key.clone()), value.clone());
            }
        }
        if batch.sync { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let mut rows = self.rows();
        for (key, value) in std::mem::take(&mut rows.recent) {
            match value {
                Some(value) => rows.durable.insert(key, value),
                None => rows.durable.remove(&key),
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &[u8], value: Option<&[u8]>) -> Batch {
        Batch { puts: vec![(Table::Local, key.to_vec(), value.map(<[u8]>::to_vec))], sync: false }
    }

    #[test]
    fn a_crash_loses_exactly_what_was_not_synced() {
        let mut store = MemStore::new();
        store.write(&put(b"a", Some(b"1"))).unwrap();
        store.write(&put(b"b", Some(b"1"))).unwrap();
        store.sync().unwrap();
        store.write(&put(b"a", None)).unwrap();
        store.write(&put(b"b", Some(b"2"))).unwrap();
        store.write(&put(b"c", Some(b"1"))).unwrap();
        assert_eq!(store.len(), 2);
        let seen = store.scan(Table::Local, b"", None, 9).unwrap();
        assert_eq!(seen, vec![(b"b".to_vec(), b"2".to_vec()), (b"c".to_vec(), b"1".to_vec())]);
        store.crash();
        let seen = store.scan(Table::Local, b"", None, 9).unwrap();
        assert_eq!(seen, vec![(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"1".to_vec())]);
    }

    #[test]
    fn a_scan_keeps_to_its_prefix_and_begins_after_its_cursor() {
        let mut store = MemStore::new();
        for key in [&b"a1"[..], b"a2", b"a3", b"b1"] {
            store.write(&put(key, Some(b"x"))).unwrap();
        }
        let keys = |after: Option<&[u8]>, limit| {
            let rows = store.scan(Table::Local, b"a", after, limit).unwrap();
            rows.into_iter().map(|(k, _)| k).collect::<Vec<_>>()
        };
        assert_eq!(keys(None, 2), [b"a1", b"a2"]);
        assert_eq!(keys(Some(b"a2"), 9), [b"a3"]);
        assert!(store.scan(Table::Heads, b"", None, 9).unwrap().is_empty());
    }
}
