//! What can be read of a damaged store makes a good one.

mod common;

use common::*;
use holm_state::{
    Kept, MemStore, Outcome, Rebuild, Rebuilt, State, StoreError, StoreRead, StoreWrite, Table, Unread, salvage,
};
use holm_types::{DocId, Incarnation, Scope, change::keys_of};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A store of which some rows cannot be read, as blocks of a file whose checksum is wrong.
#[derive(Debug)]
struct Damaged {
    store: MemStore,
    bad: BTreeSet<(Table, Vec<u8>)>,
}

impl StoreRead for Damaged {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.bad.contains(&(table, key.to_vec())) {
            true => Err(StoreError::Corrupt("a block".into())),
            false => self.store.get(table, key),
        }
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let rows = self.store.scan(table, prefix, after, limit)?;
        match rows.iter().any(|(key, _)| self.bad.contains(&(table, key.clone()))) {
            true => Err(StoreError::Corrupt("a block".into())),
            false => Ok(rows),
        }
    }
}

fn doc(n: u32) -> DocId {
    let mut id = app_doc();
    id.0[12..].copy_from_slice(&n.to_be_bytes());
    id
}

/// A peer with `docs` documents that two members wrote to in turn, all of it on its disk.
fn filled(docs: u32, rounds: u64) -> Peer {
    let (mut me, mut other) = (Peer::new(0), Peer::new(1));
    for round in 0..rounds {
        for n in 0..docs {
            let change = me.write(doc(n), &[("k", uint(round))]);
            other.receive(&change);
            let change = other.write(doc(n), &[("k", uint(round + 100))]);
            me.receive(&change);
        }
    }
    while let Some(batch) = me.state.take_batch() {
        me.disk.write(&batch).unwrap();
        me.state.persisted();
    }
    me.disk.sync().unwrap();
    me
}

fn rebuild(from: impl StoreRead) -> (MemStore, Rebuilt, Unread) {
    let fresh = MemStore::new();
    let mut rebuild = Rebuild::new(mesh(), key(0), fresh.clone());
    let unread = salvage(&[from], |kept| rebuild.take(kept, NOW)).unwrap();
    (fresh, rebuild.finish().unwrap(), unread)
}

fn open(disk: &MemStore) -> State {
    State::open(mesh(), key(0), Incarnation::new(50, 0), Box::new(disk.clone())).unwrap()
}

#[test]
fn a_store_that_is_whole_is_rebuilt_as_it_was() {
    let me = filled(5, 10);
    let (fresh, rebuilt, unread) = rebuild(me.disk.clone());
    assert_eq!((unread, rebuilt.dropped), (Unread::default(), 0));
    assert_eq!(rebuilt.changes, 100);
    let (before, after) = (open(&me.disk), open(&fresh));
    for n in 0..5 {
        assert_eq!(before.vector(&doc(n)), after.vector(&doc(n)));
        assert_eq!(before.registers(&doc(n)), after.registers(&doc(n)));
    }
}

#[test]
fn damage_to_all_that_names_the_documents_costs_none_of_their_changes() {
    let me = filled(40, 1);
    let own = [Table::Heads, Table::Views, Table::Actors, Table::Local].map(|table| {
        let rows = me.disk.scan(table, b"", None, usize::MAX).unwrap();
        (table, rows[0].0.clone())
    });
    let fresh = MemStore::new();
    let mut rebuild = Rebuild::new(mesh(), key(0), fresh.clone()).knowing(chain(0));
    let damaged = Damaged { store: me.disk.clone(), bad: own.into() };
    let unread = salvage(&[damaged], |kept| rebuild.take(kept, NOW)).unwrap();
    let rebuilt = rebuild.finish().unwrap();
    assert_eq!((unread.places, rebuilt.documents), (4, 40), "{rebuilt:?}");
}

#[test]
fn tasks_of_a_removed_app_are_left_out_and_not_missed() {
    let mut me = Peer::new(0);
    let of = tasks_of(1, 0);
    me.state.write(&Scope::Mesh, app_doc(), apply_ops(1, 1, 1), NOW).unwrap();
    me.state.write(&Scope::Mesh, of.doc(), vec![names_app(&of), assign(0, 1, 0, 0)], NOW).unwrap();
    me.state.write(&Scope::Mesh, of.doc(), vec![assign(1, 1, 0, 0)], NOW).unwrap();
    me.write(app_doc(), &[(keys_of::LIFE, uint(2))]);
    me.persist();
    let (fresh, rebuilt, unread) = rebuild(me.disk.clone());
    assert_eq!((rebuilt.dropped, rebuilt.documents, unread), (0, 1, Unread::default()));
    assert_eq!(open(&fresh).digest(&Scope::Mesh), open(&me.disk).digest(&Scope::Mesh));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is damaged: what is rebuilt opens, holds a beginning of each document, and a peer that has the
    /// rest brings it to where it was; a later life writes on without a fork.
    #[test]
    fn what_is_left_is_a_beginning_that_a_peer_completes(picks in prop::collection::vec((0..5usize, any::<prop::sample::Index>()), 1..12)) {
        let me = filled(4, 6);
        let tables = [Table::Changes, Table::Heads, Table::Views, Table::Actors, Table::Local];
        let mut bad = BTreeSet::new();
        for (table, pick) in picks {
            let rows = me.disk.scan(tables[table], b"", None, usize::MAX).unwrap();
            if !rows.is_empty() {
                bad.insert((tables[table], pick.get(&rows).0.clone()));
            }
        }
        let (fresh, rebuilt, unread) = rebuild(Damaged { store: me.disk.clone(), bad });
        prop_assert!(unread.places > 0);
        prop_assert!(rebuilt.changes <= 48);
        let whole = open(&me.disk);
        let mut again = Peer { n: 0, state: open(&fresh), disk: fresh };
        for member in 0..4 {
            again.state.add_member(chain(member), NOW).unwrap();
        }
        for n in 0..4 {
            let (missing, _) = whole.changes_since(&doc(n), &again.state.vector(&doc(n)), usize::MAX).unwrap();
            for bytes in missing {
                again.receive(&holm_types::change::SignedChange::decode(&bytes).unwrap());
            }
            prop_assert_eq!(again.state.registers(&doc(n)), whole.registers(&doc(n)));
        }
        let change = again.write(doc(0), &[("k", uint(7))]);
        let mut other = open(&me.disk);
        let taken = other.apply(change, NOW);
        prop_assert!(matches!(taken, Outcome::Applied { .. }), "{:?}", taken);
    }
}

#[test]
fn damage_that_is_met_while_it_runs_is_known() {
    let me = filled(1, 3);
    let last = me.disk.scan(Table::Changes, &doc(0).0, None, usize::MAX).unwrap().pop().unwrap().0;
    let bad = BTreeSet::from([(Table::Changes, last)]);
    let store = Damaged { store: me.disk.clone(), bad };
    let mut state = State::open(mesh(), key(0), Incarnation::new(50, 0), Box::new(store)).unwrap();
    assert_eq!(state.damage(), None);
    state.write(&Scope::Mesh, doc(0), ops(&[("k", uint(1))]), NOW).unwrap_err();
    assert!(state.damage().is_some_and(|what| what.contains("a block")), "{:?}", state.damage());
}

#[test]
fn the_small_things_come_first_and_members_before_what_they_wrote() {
    let me = filled(3, 1);
    let mut seen = Vec::new();
    salvage::<_, ()>(&[me.disk], |kept| {
        seen.push(match kept {
            Kept::Local { .. } => 0,
            Kept::Changes(_) => 1,
        });
        Ok(())
    })
    .unwrap();
    assert!(seen.contains(&0) && seen.contains(&1) && seen.is_sorted(), "{seen:?}");
}
