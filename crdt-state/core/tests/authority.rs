//! Who may write what, and what happens to a change whose author nobody knows yet.

mod common;

use common::*;
use holm_state::{MAX_ORPHANS, Outcome, StateError, verify_batch};
use holm_types::{
    DocId, Scope,
    cert::Role,
    change::{MAX_OPS, MAX_VALUE_BYTES, SCHEMA, SignedChange, Value, keys_of},
    manifest::Amounts,
    view::{NodeInfo, TaskState},
};
use std::collections::BTreeMap;

fn cert(n: u8) -> (&'static str, Option<Value>) {
    (keys_of::CERT, Some(Value::Bytes(chain(n).encode().unwrap())))
}

fn refused(outcome: Outcome, why: &str) {
    match outcome {
        Outcome::Refused(said) => assert!(said.contains(why), "{said:?} should mention {why:?}"),
        other => panic!("{other:?} instead of a refusal that mentions {why:?}"),
    }
}

#[test]
fn a_node_introduces_itself_by_its_own_document_and_orphans_follow() {
    let mut new = Peer::stranger(0);
    let other_doc = {
        let mut doc = app_doc();
        doc.0[0] = 50;
        doc
    };
    assert_eq!(new.state.write(&Scope::Mesh, other_doc, ops(&[("k", uint(1))]), NOW), Err(StateError::NotMember));
    let info = NodeInfo {
        labels: BTreeMap::from([("tier".into(), "gateway".into())]),
        capacity: Amounts::default(),
        arch: "x86_64".into(),
        version: "1".into(),
        schema: SCHEMA,
    };
    let json = serde_json::to_string(&info).unwrap();
    let hello = new.write(DocId::node(&id(0)), &[cert(0), (keys_of::INFO, text(&json))]);
    let one = new.write(other_doc, &[("k", uint(1))]);
    let two = new.write(other_doc, &[("k", uint(2))]);

    let mut peer = Peer::stranger(1);
    assert_eq!(peer.receive(&two), Outcome::Orphan);
    assert_eq!(peer.receive(&one), Outcome::Orphan);
    assert_eq!(peer.receive(&one), Outcome::Orphan);
    assert_eq!(peer.state.counters()["orphaned"], 2);
    assert_eq!(peer.state.document_count(), 0);
    assert_eq!(peer.receive(&hello), Outcome::Applied { released: 2 });
    assert_eq!(peer.state.members()[&id(0)].info.as_deref(), Some(&info));
    assert_eq!(peer.state.drain_changed(), [DocId::node(&id(0)), other_doc].into());
    assert_eq!(peer.state.orphan_count(), 0);
    peer.persist();
    assert_eq!(peer.reopen().state.members(), peer.state.members());
}

#[test]
fn of_two_certificates_the_one_that_begins_last_counts_in_any_order() {
    let (old, new) = (chain_with(2, &[Role::Edge], 10), chain_with(2, &[Role::Deployer, Role::Edge][1..], 20));
    for order in [[&old, &new], [&new, &old]] {
        let mut peer = Peer::stranger(0);
        for chain in order {
            peer.state.add_member(chain.clone(), NOW).unwrap();
        }
        assert_eq!(peer.state.members()[&id(2)].chain, new);
        peer.persist();
        assert_eq!(peer.reopen().state.members()[&id(2)].chain, new);
    }
    let mut peer = Peer::stranger(0);
    let foreign = holm_types::cert::CertChain::new(vec![]);
    assert!(peer.state.add_member(foreign, NOW).is_err());
}

#[test]
fn a_nodes_document_is_its_own_and_begins_with_its_own_certificate() {
    let mut peer = Peer::new(1);
    let mut thief = Peer::new(0);
    let write = |peer: &mut Peer, doc, list: &[(&str, Option<Value>)]| match peer.state.write(
        &Scope::Mesh,
        doc,
        ops(list),
        NOW,
    ) {
        Err(StateError::Invalid { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    assert!(write(&mut thief, DocId::node(&id(1)), &[cert(1)]).contains("that node alone"));
    assert!(write(&mut thief, DocId::node(&id(0)), &[cert(1)]).contains("another node's"));
    assert!(write(&mut thief, DocId::node(&id(0)), &[("info", text("{}"))]).contains("begins with its certificate"));
    assert!(write(&mut thief, DocId::node(&id(0)), &[(keys_of::CERT, text("x"))]).contains("bytes"));
    let hello = thief.write(DocId::node(&id(0)), &[cert(0), ("later-version", uint(1))]);
    assert_eq!(peer.receive(&hello), Outcome::Applied { released: 0 });
    assert!(write(&mut thief, DocId::node(&id(0)), &[(keys_of::CERT, None)]).contains("stays"));
}

#[test]
fn assignments_and_statuses_bear_their_writers_mark() {
    let mut a = Peer::new(0);
    let of = tasks_of(1, 0);
    let refusal = |peer: &mut Peer, doc, list| match peer.state.write(&Scope::Mesh, doc, list, NOW) {
        Err(StateError::Invalid { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    let first = assign(0, 1, 0, 1);
    assert!(refusal(&mut a, of.doc(), vec![first.clone()]).contains("begins with the name of its app"));
    let wrong = tasks_of(2, 0);
    assert!(refusal(&mut a, of.doc(), vec![names_app(&wrong), first.clone()]).contains("not that of the app"));
    assert!(refusal(&mut a, of.doc(), vec![names_app(&of), assign(0, 1, 1, 1)]).contains("mark of another"));
    assert!(refusal(&mut a, of.doc(), vec![names_app(&of), status(0, 1, 1, TaskState::Running)]).contains("mark"));
    let change = a.state.write(&Scope::Mesh, of.doc(), vec![names_app(&of), first], NOW).unwrap();
    let mut b = Peer::new(1);
    b.receive(&change);
    b.state.write(&Scope::Mesh, of.doc(), vec![status(0, 1, 1, TaskState::Running)], NOW).unwrap();
    assert!(refusal(&mut b, of.doc(), vec![(holm_state::TASKS_APP.into(), None)]).contains("not that of the app"));
}

#[test]
fn a_node_without_a_role_submits_nothing() {
    let mut peer = Peer::stranger(0);
    peer.state.add_member(chain_with(0, &[], 0), NOW).unwrap();
    assert!(!peer.state.may_deploy(&id(0)));
    let refused = peer.state.write(&Scope::Mesh, app_doc(), apply_ops(1, 1, 1), NOW);
    assert!(matches!(refused, Err(StateError::Invalid { why, .. }) if why.contains("may deploy")));
}

#[test]
fn a_document_stays_in_the_scope_of_its_first_change() {
    let mut a = Peer::new(0);
    let mut b = Peer::new(1);
    let site = Scope::Site("s".parse().unwrap());
    let first = a.state.write(&site, app_doc(), apply_ops(1, 1, 1), NOW).unwrap();
    assert!(a.state.write(&Scope::Mesh, app_doc(), apply_ops(1, 2, 1), NOW).is_err());
    let elsewhere = b.state.write(&Scope::Mesh, app_doc(), apply_ops(1, 1, 1), NOW).unwrap();
    refused(a.receive(&elsewhere), "another scope");
    assert_eq!(a.state.counters()["scope_conflicts"], 1);
    assert_eq!(a.state.scope_of(&app_doc()), Some(&site));
    assert_eq!(a.state.scopes(), [site]);
    let mut c = Peer::new(2);
    assert_eq!(c.receive(&first), Outcome::Applied { released: 0 });
}

#[test]
fn two_changes_with_one_number_are_a_fork_and_the_second_is_refused_and_remembered() {
    let doc = app_doc();
    let (mut a, mut twin) = (Peer::new(0), Peer::new(0));
    let one = a.state.write(&Scope::Mesh, doc, apply_ops(1, 1, 1), NOW).unwrap();
    let other = twin.state.write(&Scope::Mesh, doc, apply_ops(1, 1, 2), NOW).unwrap();
    let mut peer = Peer::new(1);
    peer.receive(&one);
    refused(peer.receive(&other), "one sequence number");
    assert_eq!(peer.state.counters()["forked"], 1);
    let remembered = peer.state.quarantined().unwrap();
    assert_eq!((remembered.len(), remembered[0].hash, remembered[0].at), (1, other.hash, NOW));
    peer.persist();
    let mut peer = peer.reopen();
    peer.state.add_member(chain(0), NOW).unwrap();
    for _ in 0..300 {
        peer.receive(&other);
    }
    let remembered = peer.state.quarantined().unwrap();
    assert_eq!((remembered.len(), remembered[255].number), (256, 300), "the last ones, counted on");
}

#[test]
fn orphans_are_bounded_and_what_was_dropped_comes_back_by_repair() {
    let mut a = Peer::new(0);
    let changes: Vec<SignedChange> = (0..MAX_ORPHANS as u64 + 10)
        .map(|n| a.state.write(&Scope::Mesh, app_doc(), ops(&[("rev", uint(n))]), NOW).unwrap())
        .collect();
    let mut b = Peer::new(1);
    for change in changes.iter().skip(1).rev() {
        assert_eq!(b.receive(change), Outcome::Orphan);
    }
    assert_eq!(b.state.orphan_count(), MAX_ORPHANS);
    assert_eq!(b.state.counters()["orphans_dropped"], 9);
    // The newest were dropped, as they came first; the rest follows from the root.
    assert_eq!(b.receive(&changes[0]), Outcome::Applied { released: MAX_ORPHANS });
    let (rest, more) = a.state.changes_since(&app_doc(), &b.state.vector(&app_doc()), usize::MAX).unwrap();
    assert_eq!((rest.len(), more), (9, false));
    for bytes in rest {
        b.receive(&SignedChange::decode(&bytes).unwrap());
    }
    assert_eq!(a.believes(), b.believes());
}

#[test]
fn a_write_that_breaks_a_bound_says_which() {
    let mut a = Peer::new(0);
    let doc = {
        let mut doc = app_doc();
        doc.0[0] = 50;
        doc
    };
    let mut says = |list: Vec<(String, Option<Value>)>, why: &str| {
        let error = a.state.write(&Scope::Mesh, doc, list, NOW).unwrap_err().to_string();
        assert!(error.contains(why), "{error:?} should mention {why:?}");
    };
    says(vec![], "1 to 64");
    says((0..=MAX_OPS).map(|n| (format!("k{n}"), uint(1))).collect(), "65 keys");
    says(vec![("k".into(), Some(Value::Bytes(vec![0; MAX_VALUE_BYTES + 1])))], "at most 4096");
    says(vec![("k".repeat(65), uint(1))], "1 to 64");
    says(ops(&[("k", uint(1)), ("k", uint(2))]), "written twice");
    says(ops(&[("k", None)]), "none of the keys to delete");
    says((0..5).map(|n| (format!("k{n}"), Some(Value::Bytes(vec![0; MAX_VALUE_BYTES])))).collect(), "at most 16384");
    assert_eq!(a.state.document_count(), 0, "nothing of it was applied");
}

#[test]
fn the_same_value_written_again_is_a_change() {
    let mut a = Peer::new(0);
    let one = a.write(app_doc(), &[("life", uint(1))]);
    let two = a.write(app_doc(), &[("life", uint(1))]);
    assert_ne!(one.hash, two.hash);
    assert_eq!(a.state.registers(&app_doc()).unwrap().get("life").unwrap()[0].counter, 2);
}

#[test]
fn a_hundred_concurrent_writers_are_merged_step_by_step() {
    let doc = {
        let mut doc = app_doc();
        doc.0[0] = 50;
        doc
    };
    let mut hub = Peer::new(0);
    for n in 10..110 {
        let mut peer = Peer::stranger(n);
        peer.state.add_member(chain(n), NOW).unwrap();
        hub.state.add_member(chain(n), NOW).unwrap();
        hub.receive(&peer.write(doc, &[("k", uint(u64::from(n)))]));
    }
    assert_eq!(hub.state.registers(&doc).unwrap().get("k").unwrap().len(), 100);
    let mut left = Vec::new();
    for _ in 0..3 {
        hub.write(doc, &[("k", uint(1))]);
        left.push(hub.state.registers(&doc).unwrap().get("k").unwrap().len());
    }
    assert_eq!(left, [37, 1, 1]);
}

#[test]
fn one_bad_signature_among_many_is_found() {
    let mut a = Peer::new(0);
    let mut changes: Vec<SignedChange> = (0..20).map(|n| a.write(app_doc(), &[("rev", uint(n))])).collect();
    assert_eq!(verify_batch(&mesh(), &changes), [true; 20]);
    changes[7].doc = DocId::node(&id(0));
    let expected: Vec<bool> = (0..20).map(|n| n != 7).collect();
    assert_eq!(verify_batch(&mesh(), &changes), expected);
    assert_eq!(verify_batch(&mesh(), &[]), Vec::<bool>::new());
}
