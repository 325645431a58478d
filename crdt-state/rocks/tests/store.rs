//! The store keeps what it is given, in order, over a reopening.

use holm_state::{Batch, StoreError, StoreRead, StoreWrite, Table};
use holm_state_rocks::{Options, RocksStore, open_damaged};
use std::collections::BTreeSet;

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

/// A database with rows in files and in its log.
fn filled(dir: &tempfile::TempDir) {
    for round in 0..3 {
        let mut store = open(dir);
        let row = |n| put(Table::Changes, &format!("{round}-{n:03}"), Some(&"x".repeat(1000)));
        store.write(&Batch { puts: (0..300).map(row).collect(), sync: true }).unwrap();
    }
}

fn cut_off(file: &std::path::Path, bytes: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    assert!(file.metadata().unwrap().len() > bytes);
    file.set_len(bytes).unwrap();
}

fn files(dir: &tempfile::TempDir, matching: fn(&str) -> bool) -> Vec<std::path::PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| matching(&path.file_name().unwrap().to_string_lossy()))
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

fn keys(store: &RocksStore) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    let mut after: Option<Vec<u8>> = None;
    while let Ok(page) = store.scan(Table::Changes, b"", after.as_deref(), 1) {
        let Some((key, _)) = page.into_iter().next() else { break };
        found.insert(key.clone());
        after = Some(key);
    }
    found
}

#[test]
fn a_damaged_database_is_said_to_be_corrupt_and_can_be_read() {
    type Damage = fn(&tempfile::TempDir);
    let damages: [(&str, Damage, usize); 8] = [
        ("CURRENT is rubbish", |dir| std::fs::write(dir.path().join("CURRENT"), b"rubbish\n").unwrap(), 900),
        ("CURRENT is empty", |dir| std::fs::write(dir.path().join("CURRENT"), b"").unwrap(), 900),
        ("CURRENT is gone", |dir| std::fs::remove_file(dir.path().join("CURRENT")).unwrap(), 900),
        (
            "a manifest is gone",
            |dir| files(dir, |n| n.starts_with("MANIFEST")).iter().for_each(|f| std::fs::remove_file(f).unwrap()),
            900,
        ),
        (
            "the log is gone",
            |dir| files(dir, |n| n.ends_with(".log")).iter().for_each(|f| std::fs::remove_file(f).unwrap()),
            600,
        ),
        ("the log is empty", |dir| files(dir, |n| n.ends_with(".log")).iter().for_each(|f| cut_off(f, 0)), 600),
        ("the log was cut off", |dir| files(dir, |n| n.ends_with(".log")).iter().for_each(|f| cut_off(f, 50_000)), 600),
        ("a table is gone", |dir| std::fs::remove_file(&files(dir, |n| n.ends_with(".sst"))[0]).unwrap(), 300),
    ];
    for (what, damage, left) in damages {
        let dir = tempfile::tempdir().unwrap();
        filled(&dir);
        damage(&dir);
        let opened = RocksStore::open(dir.path(), Options::default());
        assert!(matches!(opened, Err(StoreError::Corrupt(_))), "{what}: {opened:?}");
        let parts = open_damaged(dir.path()).unwrap_or_else(|e| panic!("{what}: {e}"));
        let found: BTreeSet<Vec<u8>> = parts.iter().flat_map(keys).collect();
        let found = found.len();
        assert!(found >= left, "{what}: {found} rows are left");
    }
}

#[test]
fn a_database_is_read_while_another_handle_writes() {
    let dir = tempfile::tempdir().unwrap();
    filled(&dir);
    let mut writer = open(&dir);
    writer.write(&Batch { puts: vec![put(Table::Heads, "new", Some("1"))], sync: true }).unwrap();
    let reader = RocksStore::open_read_only(dir.path()).unwrap();
    assert_eq!(reader.get(Table::Heads, b"new").unwrap(), Some(b"1".to_vec()));
    assert_eq!(keys(&reader).len(), 900);
    writer.write(&Batch { puts: vec![put(Table::Heads, "newer", Some("1"))], sync: true }).unwrap();
    drop(writer);
    assert_eq!(reader.get(Table::Heads, b"newer").unwrap(), None, "it is read as it was");
    assert_eq!(keys(&reader).len(), 900);
}

#[test]
fn what_was_not_synced_may_be_lost_without_damage() {
    let dir = tempfile::tempdir().unwrap();
    filled(&dir);
    let mut store = open(&dir);
    let log = files(&dir, |n| n.ends_with(".log"));
    let synced = log.last().unwrap().metadata().unwrap().len();
    store.write(&Batch { puts: vec![put(Table::Heads, "new", Some("1"))], sync: false }).unwrap();
    drop(store);
    cut_off(log.last().unwrap(), synced);
    assert_eq!(open(&dir).get(Table::Heads, b"new").unwrap(), None);
    // A mark that was half written says nothing.
    std::fs::write(dir.path().join("SYNCED"), [0xff; 16]).unwrap();
    assert_eq!(keys(&open(&dir)).len(), 900);
}
