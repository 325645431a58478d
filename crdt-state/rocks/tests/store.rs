//! The store keeps what it is given, in order, over a reopening.

use holm_state::{Batch, StoreError, StoreRead, StoreWrite, Table};
use holm_state_rocks::{Options, RocksStore};

fn put(table: Table, key: &str, value: Option<&str>) -> (Table, Vec<u8>, Option<Vec<u8>>) {
    (table, key.into(), value.map(Into::into))
}

fn open(dir: &tempfile::TempDir) -> RocksStore {
    RocksStore::open(dir.path(), Options::default()).expect("opens")
}

#[test]
fn rows_survive_a_reopening_and_tables_are_apart() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    let puts =
        vec![put(Table::Views, "a", Some("1")), put(Table::Heads, "a", Some("2")), put(Table::Views, "b", Some("3"))];
    store.write(&Batch { puts, sync: true }).unwrap();
    store.write(&Batch { puts: vec![put(Table::Views, "a", None)], sync: false }).unwrap();
    store.sync().unwrap();
    drop(store);
    let store = open(&dir).reader();
    assert_eq!(store.get(Table::Views, b"a").unwrap(), None);
    assert_eq!(store.get(Table::Heads, b"a").unwrap(), Some(b"2".to_vec()));
    assert_eq!(store.get(Table::Views, b"b").unwrap(), Some(b"3".to_vec()));
}

#[test]
fn a_scan_is_in_order_from_after_a_key_and_within_a_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    let puts = ["p1", "p2", "p3", "q1"].map(|key| put(Table::Changes, key, Some(key))).to_vec();
    store.write(&Batch { puts, sync: false }).unwrap();
    let keys = |after: Option<&str>, limit| -> Vec<String> {
        let rows = store.scan(Table::Changes, b"p", after.map(str::as_bytes), limit).unwrap();
        rows.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect()
    };
    assert_eq!(keys(None, 10), ["p1", "p2", "p3"]);
    assert_eq!(keys(Some("p1"), 1), ["p2"]);
    assert_eq!(keys(Some("p3"), 9), Vec::<String>::new());
    assert_eq!(keys(Some("a"), 2), ["p1", "p2"], "an earlier key is before the prefix");
}

#[test]
fn a_second_opening_says_that_it_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(&dir);
    assert!(matches!(RocksStore::open(dir.path(), Options::default()), Err(StoreError::Locked(_))));
}

#[test]
fn a_damaged_database_is_said_to_be_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    std::fs::write(dir.path().join("CURRENT"), b"rubbish\n").unwrap();
    assert!(matches!(
        RocksStore::open(dir.path(), Options::default()),
        Err(StoreError::Corrupt(_) | StoreError::Io(_))
    ));
}
