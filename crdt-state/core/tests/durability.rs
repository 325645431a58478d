//! What was said is never lost, and no sequence number is used twice.

mod common;

use common::*;
use holm_state::{MAX_LOADED_DOCUMENTS, Outcome, State, StoreWrite};
use holm_types::{
    DocId, Incarnation, Scope,
    change::{Value, keys_of},
};
use proptest::prelude::*;
use std::time::Duration;

fn doc(n: u32) -> DocId {
    let mut id = app_doc();
    id.0[0] = 99;
    id.0[12..].copy_from_slice(&n.to_be_bytes());
    id
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// A node writes and hears of others; batches reach the disk when they do; it crashes. What it
    /// could have told anyone is there, and it goes on without a fork.
    #[test]
    fn a_crash_never_loses_what_was_written_here_and_persisted(
        steps in prop::collection::vec((any::<bool>(), 0..3u32, 0..4u8), 1..30),
    ) {
        let mut me = Peer::new(0);
        let mut other = Peer::new(1);
        let mut told = Vec::new();
        let mut unsaid = Vec::new();
        for (mine, n, lag) in steps {
            if mine {
                unsaid.push(me.write(doc(n), &[("k", uint(u64::from(lag)))]));
            } else {
                let change = other.write(doc(n), &[("k", uint(1))]);
                me.receive(&change);
            }
            if lag == 0 && let Some(batch) = me.state.take_batch() {
                prop_assert_eq!(batch.sync, !unsaid.is_empty(), "own changes ask for a sync");
                me.disk.write(&batch).unwrap();
                me.state.persisted();
                told.append(&mut unsaid);
            }
        }
        for change in &told {
            other.receive(change);
        }
        me.disk.crash();
        let mut me = me.reopen();
        for change in &told {
            prop_assert_eq!(me.receive(change), Outcome::Known);
        }
        // The other side's changes that were lost come again, in any order; then both write on.
        for n in 0..3 {
            let (missing, _) = other.state.changes_since(&doc(n), &me.state.vector(&doc(n)), usize::MAX).unwrap();
            for bytes in missing {
                me.receive(&holm_types::change::SignedChange::decode(&bytes).unwrap());
            }
            for member in 0..2 {
                me.state.add_member(chain(member), NOW).unwrap();
            }
            let change = me.write(doc(n), &[("k", uint(7))]);
            let applied = matches!(other.receive(&change), Outcome::Applied { .. });
            prop_assert!(applied);
        }
        prop_assert_eq!(me.state.digest(&Scope::Mesh), other.state.digest(&Scope::Mesh));
        prop_assert_eq!(other.state.counters()["forked"], 0);
    }
}

#[test]
fn a_node_whose_disk_was_rolled_back_goes_on_as_another_incarnation() {
    let mut me = Peer::new(0);
    let mut other = Peer::new(1);
    let first = me.write(doc(0), &[("k", uint(1))]);
    let second = me.write(doc(0), &[("k", uint(2))]);
    other.receive(&first);
    other.receive(&second);
    // The disk is lost, nobody told the node, and it starts with the same incarnation.
    let mut me = Peer::new(0);
    let reused = me.state.incarnation();
    me.receive(&first);
    me.receive(&second);
    let fresh = me.state.incarnation();
    assert!(fresh > reused);
    assert_eq!(me.state.counters()["own_actor_returned"], 1, "the second one is no news");
    let third = me.write(doc(0), &[("k", uint(3))]);
    assert_eq!(other.receive(&third), Outcome::Applied { released: 0 });
    me.persist();
    assert!(me.reopen().state.incarnation() > fresh, "and it never goes back");
}

#[test]
fn a_node_goes_beyond_a_life_that_others_have_heard_and_a_liar_cannot_use_up_the_count() {
    let day = Duration::from_secs(86_400);
    let life = |after| Incarnation::begin(None, NOW.after(after), 1).unwrap();
    let open = || State::open(mesh(), key(0), life(day), Box::new(holm_state::MemStore::new())).unwrap();
    let mut me = open();
    assert!(!me.was_heard_as(life(Duration::ZERO)) && !me.was_heard_as(me.incarnation()), "it knows that it is later");
    assert!(!me.was_heard_as(life(day * 9)), "that life would have left a word");
    assert!(!me.was_heard_as(Incarnation(u64::MAX)));
    assert_eq!(me.incarnation(), life(day));
    assert!(me.was_heard_as(life(day * 7)));
    let now = me.incarnation();
    assert!(now > life(day * 8) && now.is_far_beyond(life(day)), "it leaves a word now");
    assert!(!me.was_heard_as(now.well_beyond(now)) && !me.was_heard_as(now.beyond(now)), "once is enough");
    assert_eq!(me.incarnation(), now);
    // What its own document says counts, too: its date may be years behind it.
    let mut me = State::open(mesh(), key(0), life(day * 400), Box::new(holm_state::MemStore::new())).unwrap();
    me.add_member(chain(0), NOW).unwrap();
    let node = DocId::node(&key(0).node_id());
    let cert = Some(Value::Bytes(chain(0).encode().unwrap()));
    let home = chain(0).claims().unwrap().home();
    let said = me.write(&home, node, ops(&[(keys_of::CERT, cert)]), NOW).unwrap();
    let mut me = open();
    me.add_member(chain(0), NOW).unwrap();
    me.apply(said, NOW);
    assert!(me.incarnation() > life(day * 407));
    assert!(!me.was_heard_as(life(day * 406)));
}

#[test]
fn a_node_that_lost_its_disk_goes_beyond_the_lives_of_which_no_word_is_kept() {
    let day = Duration::from_secs(86_400);
    let life = |last, after| Incarnation::begin(last, NOW.after(after), 1).unwrap();
    let first = life(None, Duration::ZERO);
    let open = |incarnation| {
        let mut state = State::open(mesh(), key(0), incarnation, Box::new(holm_state::MemStore::new())).unwrap();
        state.add_member(chain(0), NOW).unwrap();
        state
    };
    let said = open(first).write(&Scope::Mesh, doc(0), ops(&[("k", uint(1))]), NOW).unwrap();
    // Its date was ahead for a life in which it only spoke, and is right again.
    let silent = life(Some(first), day * 6);
    assert!(!silent.is_far_beyond(first));
    let mut me = open(life(None, day));
    assert!(me.incarnation() > first && me.incarnation() < silent);
    assert_eq!(me.wrote_as(&doc(0)), None);
    assert!(matches!(me.apply(said, NOW), Outcome::Applied { .. }));
    assert!(me.incarnation() > silent, "those that heard it hear it again");
    assert_eq!(me.wrote_as(&doc(0)), Some(first));
}

#[test]
fn an_incarnation_is_never_lower_than_one_that_the_store_knows() {
    let disk = holm_state::MemStore::new();
    let mut state = State::open(mesh(), key(0), Incarnation(5), Box::new(disk.clone())).unwrap();
    state.add_member(chain(0), NOW).unwrap();
    state.write(&Scope::Mesh, doc(0), ops(&[("k", uint(1))]), NOW).unwrap();
    let batch = state.take_batch().unwrap();
    disk.clone().write(&batch).unwrap();
    let state = State::open(mesh(), key(0), Incarnation(2), Box::new(disk)).unwrap();
    assert!(state.incarnation() > Incarnation(5));
}

#[test]
fn documents_beyond_the_bound_are_replayed_from_the_log_when_they_are_needed() {
    let mut me = Peer::new(0);
    let count = MAX_LOADED_DOCUMENTS as u32 + 40;
    for round in 0..3 {
        for n in 0..count {
            me.write(doc(n), &[("k", uint(round))]);
        }
        let loaded = if round == 0 { 0 } else { MAX_LOADED_DOCUMENTS };
        assert_eq!(me.state.loaded_count(), loaded, "a document of one change is not worth its memory");
        if round == 0 {
            me.persist();
        }
    }
    assert_eq!(me.state.document_count(), count as usize);
    for n in 0..count {
        assert_eq!(me.state.vector(&doc(n))[0].1, 3);
        assert_eq!(me.state.registers(&doc(n)).unwrap().get("k").unwrap()[0].value, holm_types::change::Value::Uint(2));
    }
}

#[test]
fn local_things_are_kept_apart_and_only_sync_when_asked() {
    let mut me = Peer::stranger(0);
    me.state.local_put("peers", Some(vec![1]), false);
    assert!(!me.state.take_batch().unwrap().sync);
    me.state.local_put("token/1", Some(vec![2]), true);
    let batch = me.state.take_batch().unwrap();
    assert!(batch.sync);
    assert_eq!(me.state.local_get("peers").unwrap(), Some(vec![1]), "not in the store, but read");
    me.disk.write(&batch).unwrap();
    assert_eq!(me.reopen().state.local_get("token/1").unwrap(), Some(vec![2]));
    me.state.local_put("token/1", None, true);
    me.persist();
    assert_eq!(me.state.local_get("token/1").unwrap(), None);
}

#[test]
fn a_corrupt_log_is_reported_and_refuses_nothing_for_good() {
    let mut me = Peer::new(0);
    let mut other = Peer::new(1);
    other.receive(&me.write(doc(0), &[("k", uint(1))]));
    me.persist();
    let row = |value| holm_state::Batch {
        puts: vec![(holm_state::Table::Changes, key_of_first(&me, &doc(0)), value)],
        sync: true,
    };
    let good = holm_state::StoreRead::get(&me.disk, holm_state::Table::Changes, &key_of_first(&me, &doc(0))).unwrap();
    me.disk.clone().write(&row(Some(vec![0, 0, 0, 1, 0xff]))).unwrap();
    let change = other.write(doc(0), &[("k", uint(2))]);
    let mut again = me.reopen();
    again.state.add_member(chain(1), NOW).unwrap();
    let Outcome::Refused(why) = again.receive(&change) else { panic!("it cannot be judged") };
    assert!(why.contains("corrupt"), "{why}");
    assert_eq!((again.state.counters()["store_errors"], again.state.counters()["refused"]), (1, 0));
    me.disk.clone().write(&row(good)).unwrap();
    assert_eq!(again.receive(&change), Outcome::Applied { released: 0 });
}

fn key_of_first(peer: &Peer, doc: &DocId) -> Vec<u8> {
    let actor = peer.state.vector(doc)[0].0;
    [&doc.0[..], &actor.0, &1u64.to_be_bytes()].concat()
}
