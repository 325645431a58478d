//! What was decided but is not in the store yet, and reads that see through it.

use crate::store::{self, Batch, StoreError, StoreRead, Table};
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
};

type Key = (Table, Vec<u8>);

struct Row {
    value: Option<Vec<u8>>,
    /// The batch that writes this value.
    batch: u64,
}

/// The read side of the store below the rows that still have to reach it.
pub(crate) struct Overlay {
    store: Box<dyn StoreRead>,
    rows: BTreeMap<Key, Row>,
    /// Keys of the batch that is being filled.
    queue: Vec<Key>,
    sync: bool,
    /// Keys of the batches that were taken and are not in the store yet, the oldest first.
    taken: VecDeque<Vec<Key>>,
    /// Number of the batch that is being filled.
    current: u64,
}

impl Overlay {
    pub(crate) fn new(store: Box<dyn StoreRead>) -> Overlay {
        Overlay { store, rows: BTreeMap::new(), queue: Vec::new(), sync: false, taken: VecDeque::new(), current: 0 }
    }

    /// Queues a row; `None` deletes.
    pub(crate) fn put(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) {
        let key = (table, key);
        let row = Row { value, batch: self.current };
        if self.rows.insert(key.clone(), row).is_none_or(|old| old.batch != self.current) {
            self.queue.push(key);
        }
    }

    /// The batch that is being filled must be synced.
    pub(crate) fn need_sync(&mut self) {
        self.sync = true;
    }

    /// Everything queued since the last call.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        if self.queue.is_empty() {
            return None;
        }
        let keys = std::mem::take(&mut self.queue);
        let value_of = |key: &Key| self.rows.get(key).and_then(|row| row.value.clone());
        let puts = keys.iter().map(|key| (key.0, key.1.clone(), value_of(key))).collect();
        self.taken.push_back(keys);
        self.current += 1;
        Some(Batch { puts, sync: std::mem::take(&mut self.sync) })
    }

    /// The oldest taken batch is in the store.
    pub(crate) fn persisted(&mut self) {
        let Some(keys) = self.taken.pop_front() else { return };
        let done = self.current - 1 - self.taken.len() as u64;
        for key in keys {
            if self.rows.get(&key).is_some_and(|row| row.batch == done) {
                self.rows.remove(&key);
            }
        }
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.rows.get(&(table, key.to_vec())) {
            Some(row) => Ok(row.value.clone()),
            None => self.store.get(table, key),
        }
    }

    /// As [`StoreRead::scan`].
    pub(crate) fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<store::Row>, StoreError> {
        let mut found = Vec::new();
        let mut cursor = after.map(<[u8]>::to_vec);
        loop {
            let page = self.store.scan(table, prefix, cursor.as_deref(), limit)?;
            // Beyond the end of a full page the store may hold rows that belong before ours.
            let end = if page.len() < limit { None } else { page.last().map(|(key, _)| key.clone()) };
            let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = page.into_iter().collect();
            let start = match &cursor {
                Some(cursor) if cursor.as_slice() >= prefix => Bound::Excluded((table, cursor.clone())),
                _ => Bound::Included((table, prefix.to_vec())),
            };
            let ours = self.rows.range((start, Bound::Unbounded));
            for ((_, key), row) in ours
                .take_while(|((t, key), _)| *t == table && key.starts_with(prefix))
                .take_while(|((_, key), _)| end.as_ref().is_none_or(|end| key <= end))
            {
                match &row.value {
                    Some(value) => merged.insert(key.clone(), value.clone()),
                    None => merged.remove(key),
                };
            }
            found.extend(merged);
            found.truncate(limit);
            if found.len() == limit || end.is_none() {
                return Ok(found);
            }
            cursor = end;
        }
    }

    /// All rows whose keys begin with `prefix`, handed over one by one.
    pub(crate) fn each<E: From<StoreError>>(
        &self,
        table: Table,
        prefix: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        const PAGE: usize = 256;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.scan(table, prefix, after.as_deref(), PAGE)?;
            for (key, value) in &page {
                visit(key, value)?;
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => after = Some(key.clone()),
                _ => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemStore, store::StoreWrite};
    use proptest::prelude::*;

    /// A step of the property below.
    #[derive(Debug, Clone)]
    enum Step {
        Put(u8, Option<u8>),
        Take,
        Store,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..12u8, proptest::option::weighted(0.7, any::<u8>())).prop_map(|(k, v)| Step::Put(k, v)),
            1 => Just(Step::Take),
            1 => Just(Step::Store),
        ]
    }

    proptest! {
        /// Whatever of it has reached the store, what is read is what was put.
        #[test]
        fn reads_never_depend_on_how_far_the_store_is(steps in prop::collection::vec(step(), 0..60), limit in 1..5usize) {
            let mut disk = MemStore::new();
            let mut overlay = Overlay::new(Box::new(disk.clone()));
            let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            let mut batches = VecDeque::new();
            for step in steps {
                match step {
                    Step::Put(key, value) => {
                        let value = value.map(|v| vec![v]);
                        overlay.put(Table::Views, vec![1, key], value.clone());
                        match value {
                            Some(v) => model.insert(vec![1, key], v),
                            None => model.remove(&vec![1, key]),
                        };
                    }
                    Step::Take => batches.extend(overlay.take()),
                    Step::Store => if let Some(batch) = batches.pop_front() {
                        disk.write(&batch).unwrap();
                        overlay.persisted();
                    }
                }
                let mut seen = BTreeMap::new();
                let mut after: Option<Vec<u8>> = None;
                loop {
                    let page = overlay.scan(Table::Views, &[1], after.as_deref(), limit).unwrap();
                    let full = page.len() == limit;
                    after = page.last().map(|(k, _)| k.clone());
                    seen.extend(page);
                    if !full { break }
                }
                prop_assert_eq!(&seen, &model);
                for key in 0..12u8 {
                    prop_assert_eq!(overlay.get(Table::Views, &[1, key]).unwrap(), model.get(&vec![1, key]).cloned());
                }
            }
            while let Some(batch) = batches.pop_front().or_else(|| overlay.take()) {
                disk.write(&batch).unwrap();
                overlay.persisted();
            }
            prop_assert!(overlay.rows.is_empty(), "everything left the overlay");
        }
    }
}
