//! What was decided but is not in the store yet, and reads that see through it.

use crate::store::{self, Batch, StoreError, StoreRead, Table};
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

/// What was put to a table: `None` deletes.
type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Rows of one batch, in order.
type Waiting<'a> = Box<dyn Iterator<Item = (&'a [u8], &'a Option<Vec<u8>>)> + 'a>;

/// The read side of the store below the rows that still have to reach it.
pub(crate) struct Overlay {
    store: Box<dyn StoreRead>,
    /// The batch that is being filled.
    filling: BTreeMap<Table, Rows>,
    sync: bool,
    /// The batches that were taken and are not in the store yet, the oldest first. Their rows are in order.
    taken: VecDeque<Arc<Batch>>,
}

impl Overlay {
    pub(crate) fn new(store: Box<dyn StoreRead>) -> Overlay {
        Overlay { store, filling: BTreeMap::new(), sync: false, taken: VecDeque::new() }
    }

    /// Queues a row; `None` deletes.
    pub(crate) fn put(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.filling.entry(table).or_default().insert(key, value);
    }

    /// The batch that is being filled must be synced.
    pub(crate) fn need_sync(&mut self) {
        self.sync = true;
    }

    /// Everything queued since the last call, shared with whoever writes it.
    pub(crate) fn take(&mut self) -> Option<Arc<Batch>> {
        if self.filling.is_empty() {
            return None;
        }
        let mut puts = Vec::with_capacity(self.filling.values().map(BTreeMap::len).sum());
        for (table, rows) in std::mem::take(&mut self.filling) {
            puts.extend(rows.into_iter().map(|(key, value)| (table, key, value)));
        }
        let batch = Arc::new(Batch { puts, sync: std::mem::take(&mut self.sync) });
        self.taken.push_back(batch.clone());
        Some(batch)
    }

    /// The oldest taken batch is in the store.
    pub(crate) fn persisted(&mut self) {
        self.taken.pop_front();
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(value) = self.filling.get(&table).and_then(|rows| rows.get(key)) {
            return Ok(value.clone());
        }
        for batch in self.taken.iter().rev() {
            if let Ok(at) = batch.puts.binary_search_by(|(t, k, _)| (*t, k.as_slice()).cmp(&(table, key))) {
                return Ok(batch.puts[at].2.clone());
            }
        }
        self.store.get(table, key)
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
                Some(cursor) if cursor.as_slice() >= prefix => Bound::Excluded(cursor.as_slice()),
                _ => Bound::Included(prefix),
            };
            let within = |key: &[u8]| key.starts_with(prefix) && end.as_ref().is_none_or(|end| key <= end.as_slice());
            for rows in self.waiting(table, start) {
                for (key, value) in rows.take_while(|(key, _)| within(key)) {
                    match value {
                        Some(value) => merged.insert(key.to_vec(), value.clone()),
                        None => merged.remove(key),
                    };
                }
            }
            found.extend(merged);
            found.truncate(limit);
            if found.len() == limit || end.is_none() {
                return Ok(found);
            }
            cursor = end;
        }
    }

    /// What waits for a table from a key on, batch after batch, the oldest first: a later row takes the place of an earlier one.
    fn waiting<'a>(&'a self, table: Table, start: Bound<&'a [u8]>) -> impl Iterator<Item = Waiting<'a>> {
        let precedes = move |row: &store::Put| match start {
            Bound::Excluded(key) => (row.0, row.1.as_slice()) <= (table, key),
            Bound::Included(key) => (row.0, row.1.as_slice()) < (table, key),
            Bound::Unbounded => row.0 < table,
        };
        let taken = self.taken.iter().map(move |batch| {
            let rows = batch.puts[batch.puts.partition_point(precedes)..].iter();
            let rows = rows.take_while(move |row| row.0 == table).map(|(_, key, value)| (key.as_slice(), value));
            Box::new(rows) as Waiting<'a>
        });
        let filling = self.filling.get(&table).into_iter().map(move |rows| {
            let rows = rows.range::<[u8], _>((start, Bound::Unbounded));
            Box::new(rows.map(|(key, value)| (key.as_slice(), value))) as Waiting<'a>
        });
        taken.chain(filling)
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
            prop_assert!(overlay.filling.is_empty() && overlay.taken.is_empty(), "everything left the overlay");
        }
    }
}
