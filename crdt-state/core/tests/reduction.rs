//! From concurrent values to what everyone believes.

mod common;

use common::*;
use holm_state::Outcome;
use holm_types::{
    Scope,
    change::{SignedChange, Value, keys_of},
    fence::{DEFAULT_LEASE, GuardSet},
    view::TaskState,
};

fn write(peer: &mut Peer, doc: holm_types::DocId, list: Vec<(String, Option<Value>)>) -> SignedChange {
    peer.state.write(&Scope::Mesh, doc, list, NOW).unwrap()
}

/// Two nodes that begin with the same app and then do not see each other.
fn pair() -> (Peer, Peer) {
    let (mut a, mut b) = (Peer::new(0), Peer::new(1));
    let first = write(&mut a, app_doc(), apply_ops(1, 1, 2));
    b.receive(&first);
    (a, b)
}

fn meet(a: &mut Peer, b: &mut Peer, of_a: &[SignedChange], of_b: &[SignedChange]) {
    for change in of_b {
        a.receive(change);
    }
    for change in of_a {
        b.receive(change);
    }
    assert_eq!(a.believes(), b.believes());
}

#[test]
fn an_apply_wins_over_a_remove_that_it_did_not_see() {
    let (mut a, mut b) = pair();
    let applied = write(&mut a, app_doc(), apply_ops(1, 2, 3));
    let removed = write(&mut b, app_doc(), ops(&[(keys_of::LIFE, uint(2)), (keys_of::REVISION, uint(2))]));
    assert!(!b.state.apps()[&app_doc()].live);
    assert_eq!(b.state.apps()[&app_doc()].generation, 1, "a removed app keeps the generation it lived in");
    meet(&mut a, &mut b, &[applied], &[removed]);
    let view = &a.state.apps()[&app_doc()];
    assert!(view.live);
    assert_eq!((view.generation, view.revision, view.manifest.replicas), (1, 3, Some(3)));
    let [told] = view.conflicts.as_slice() else { panic!("{:?}", view.conflicts) };
    assert_eq!(
        (told.field.as_str(), told.kept.clone(), told.lost.clone()),
        ("app", "kept".into(), vec!["removed".into()])
    );
    assert_eq!(told.writers, [id(0).to_string(), id(1).to_string()]);

    let settled = write(&mut b, app_doc(), apply_ops(1, 3, 3));
    a.receive(&settled);
    assert_eq!(a.state.apps()[&app_doc()].conflicts, []);
    // Two removals are none, and neither is one that the other side has outlived.
    let (mut a, mut b) = pair();
    let both = [&mut a, &mut b].map(|peer| write(peer, app_doc(), ops(&[(keys_of::LIFE, uint(2))])));
    meet(&mut a, &mut b, &both[..1], &both[1..]);
    let view = &a.state.apps()[&app_doc()];
    assert!(!view.live && view.conflicts.is_empty());
}

#[test]
fn edits_of_different_fields_both_hold_and_edits_of_one_are_told() {
    let (mut a, mut b) = pair();
    let replicas = write(&mut a, app_doc(), ops(&[("rev", uint(2)), ("spec/replicas", text("5"))]));
    let env = write(&mut b, app_doc(), ops(&[("rev", uint(2)), ("spec/env", text("{\"A\":\"b\"}"))]));
    meet(&mut a, &mut b, &[replicas], &[env]);
    let view = &a.state.apps()[&app_doc()];
    assert_eq!((view.manifest.replicas, view.manifest.env["A"].as_str()), (Some(5), "b"));
    assert!(view.conflicts.is_empty());

    let seven = write(&mut a, app_doc(), ops(&[("spec/replicas", text("7")), ("spec/env", text("{}"))]));
    let eight = write(&mut b, app_doc(), ops(&[("spec/replicas", text("8")), ("spec/env", text("{}"))]));
    meet(&mut a, &mut b, &[seven], &[eight]);
    let view = &a.state.apps()[&app_doc()];
    let [conflict] = view.conflicts.as_slice() else { panic!("{:?}", view.conflicts) };
    assert_eq!(conflict.field, "replicas");
    let kept = view.manifest.replicas.unwrap();
    let (winner, loser) = if kept == 7 { (id(0), id(1)) } else { (id(1), id(0)) };
    assert_eq!((conflict.kept.clone(), conflict.lost.clone()), (kept.into(), vec![(15 - kept).into()]));
    assert_eq!(conflict.writers, [winner.to_string(), loser.to_string()]);

    let settled = write(&mut a, app_doc(), ops(&[("spec/replicas", text("9"))]));
    b.receive(&settled);
    assert!(b.state.apps()[&app_doc()].conflicts.is_empty());
}

#[test]
fn fields_that_make_no_manifest_give_no_view_and_are_counted() {
    let (mut a, _) = pair();
    assert_eq!(a.state.counters()["bad_views"], 0);
    write(&mut a, app_doc(), ops(&[("spec/replicas", text("\"many\""))]));
    assert!(a.state.apps().is_empty());
    assert_eq!(a.state.counters()["bad_views"], 1);
    write(&mut a, app_doc(), ops(&[("spec/replicas", text("1"))]));
    assert_eq!(a.state.apps().len(), 1);
    write(&mut a, app_doc(), ops(&[("spec/name", text("\"other\""))]));
    assert!(a.state.apps().is_empty(), "it says that it is another app");
}

#[test]
fn tasks_count_in_any_order_for_the_generation_that_they_name() {
    let (mut a, mut b) = (Peer::new(0), Peer::new(1));
    let of = tasks_of(1, 0);
    let app = write(&mut a, app_doc(), apply_ops(1, 1, 2));
    let assigned = write(&mut a, of.doc(), vec![names_app(&of), assign(0, 1, 0, 1), assign(1, 1, 0, 0)]);
    a.state.drain_changed();
    assert_eq!(b.receive(&assigned), Outcome::Applied { released: 0 });
    let said = write(&mut b, of.doc(), vec![status(0, 1, 1, TaskState::Running)]);
    assert!(b.state.apps().is_empty());
    b.receive(&app);
    a.receive(&said);
    assert_eq!(a.state.drain_changed(), [app_doc(), of.doc()].into());
    assert_eq!(a.believes(), b.believes());
    let view = &b.state.apps()[&app_doc()];
    assert_eq!(view.slots[&0].assignments[0].state(), TaskState::Running);
    assert_eq!(view.slots[&0].assignments[0].writer, id(0));
    assert_eq!(view.slots[&1].assignments[0].state(), TaskState::Assigned);

    // A new life has no tasks; those of the old one are still held, and seen after a restart
    // only if they are of the present generation.
    write(&mut a, app_doc(), apply_ops(3, 2, 2));
    assert!(a.state.apps()[&app_doc()].slots.is_empty());
    write(&mut a, of.doc(), vec![assign(0, 2, 0, 1)]);
    assert!(a.state.apps()[&app_doc()].slots.is_empty());
    a.persist();
    assert_eq!(a.reopen().believes(), a.believes());
}

#[test]
fn concurrent_assignments_are_both_listed_and_only_the_nodes_own_word_counts() {
    let (mut a, mut b) = pair();
    let of = tasks_of(1, 0);
    let by_a = write(&mut a, of.doc(), vec![names_app(&of), assign(0, 1, 0, 1), status(0, 1, 0, TaskState::Failed)]);
    let by_b = write(&mut b, of.doc(), vec![names_app(&of), assign(0, 1, 1, 2), status(0, 1, 1, TaskState::Running)]);
    meet(&mut a, &mut b, &[by_a], &[by_b]);
    let view = &a.state.apps()[&app_doc()];
    let mut seen: Vec<_> = view.slots[&0].assignments.iter().map(|a| (a.writer, a.placement.node, a.state())).collect();
    seen.sort_unstable();
    let mut expected = [(id(0), id(1), TaskState::Running), (id(1), id(2), TaskState::Assigned)];
    expected.sort_unstable();
    assert_eq!(seen, expected);
}

#[test]
fn values_that_make_no_sense_are_left_out_and_counted() {
    let (mut a, _) = pair();
    let of = tasks_of(1, 0);
    let junk = Some(Value::Bytes(vec![0xff]));
    let bad_assignment = (keys_of::assignment(0, 1, &id(0)), junk.clone());
    let bad_status = (keys_of::status(1, 1, &id(0)), junk);
    let later_version = (format!("as/0/1/extra/{}", id(0).mark()), uint(1));
    write(&mut a, of.doc(), vec![names_app(&of), bad_assignment, bad_status, later_version, assign(1, 1, 0, 0)]);
    let view = &a.state.apps()[&app_doc()];
    assert_eq!(view.slots.keys().copied().collect::<Vec<_>>(), [1]);
    assert_eq!(view.slots[&1].assignments[0].state(), TaskState::Assigned);
    assert_eq!(a.state.counters()["bad_views"], 2);
    write(&mut a, of.doc(), vec![(keys_of::assignment(1, 1, &id(0)), None)]);
    assert!(a.state.apps()[&app_doc()].slots.is_empty(), "a slot that is assigned nowhere is none");
}

#[test]
fn slots_are_seen_whatever_type_the_app_had_when_they_were_assigned() {
    let (mut a, _) = pair();
    for group in [1, 130 % 64] {
        let of = tasks_of(1, group);
        write(&mut a, of.doc(), vec![names_app(&of), assign(130, u64::from(group) + 1, 0, 1)]);
    }
    let elsewhere = tasks_of(1, 9);
    write(&mut a, elsewhere.doc(), vec![names_app(&elsewhere), assign(130, 77, 0, 1)]);
    let view = &a.state.apps()[&app_doc()];
    let epochs: Vec<u64> = view.slots[&130].assignments.iter().map(|a| a.epoch).collect();
    assert_eq!(epochs, [2, 3], "in the groups of a service and of a daemon, in no other");
}

#[test]
fn guards_of_two_sides_are_all_kept_and_those_of_another_life_do_not_count() {
    let set = |first: u8| GuardSet::choose(&[id(first), id(first + 1), id(first + 2)], DEFAULT_LEASE).unwrap();
    let guards = |generation: u64, set: &GuardSet| {
        ops(&[(keys_of::guards(generation).as_str(), Some(Value::Bytes(set.encode().unwrap())))])
    };
    let (mut a, mut b) = pair();
    assert!(a.state.apps()[&app_doc()].guards.is_empty());
    let of_a = write(&mut a, app_doc(), guards(1, &set(0)));
    let of_b = write(&mut b, app_doc(), guards(1, &set(1)));
    meet(&mut a, &mut b, &[of_a], &[of_b]);
    let mut both = vec![set(0), set(1)];
    both.sort();
    assert_eq!(a.state.apps()[&app_doc()].guards, both);
    write(&mut a, app_doc(), guards(3, &set(0)));
    assert_eq!(a.state.apps()[&app_doc()].guards, both, "they are of a life to come");

    let bad = a.state.counters()["bad_views"];
    write(&mut a, app_doc(), ops(&[(keys_of::guards(1).as_str(), Some(Value::Bytes(b"nobody".to_vec())))]));
    assert!(a.state.apps()[&app_doc()].guards.is_empty(), "what makes no sense guards nothing");
    assert!(a.state.counters()["bad_views"] > bad);
}
