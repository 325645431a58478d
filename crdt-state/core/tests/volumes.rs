//! A history that goes on in another volume: what counts is the same, what came before can be deleted by each node when
//! it likes, and a node that was away brings none of it back.

mod common;

use common::*;
use holm_state::{Outcome, TasksOf};
use holm_types::{
    Scope,
    change::{SignedChange, Value, keys_of},
    view::{AppView, TaskState},
};

fn submit(peer: &mut Peer) -> SignedChange {
    peer.state.write(&Scope::Mesh, app_doc(), apply_ops(1, 1, 2), NOW).unwrap()
}

fn say(peer: &mut Peer, of: &TasksOf, ops: Vec<(String, Option<Value>)>) -> SignedChange {
    let name = peer.state.registers(&of.doc()).is_none().then(|| names_app(of));
    let ops = name.into_iter().chain(ops).collect();
    peer.state.write(&of.scope, of.doc(), ops, NOW).unwrap()
}

fn cut(peer: &mut Peer, of: &TasksOf) -> SignedChange {
    say(peer, of, vec![(keys_of::CUT.to_owned(), uint(of.volume.into()))])
}

fn app(peer: &Peer) -> &AppView {
    &peer.state.apps()[&app_doc()]
}

/// Node 0 runs slot 0 at epoch 3, after two runs before; the next volume says so too. Gives the changes of both.
fn moved_on(peer: &mut Peer) -> (Vec<SignedChange>, Vec<SignedChange>) {
    let (first, next) = (tasks_of(1, 0), tasks_of(1, 0).at(1));
    let mut old = vec![submit(peer)];
    for epoch in 1..=3 {
        let state = if epoch == 3 { TaskState::Running } else { TaskState::Superseded };
        old.push(say(peer, &first, vec![assign(0, epoch, 0, 0), status(0, epoch, 0, state)]));
    }
    let new = vec![
        say(peer, &next, vec![(keys_of::floor(0), uint(3))]),
        say(peer, &next, vec![assign(0, 3, 0, 0), status(0, 3, 0, TaskState::Running)]),
    ];
    (old, new)
}

#[test]
fn both_volumes_are_read_until_the_later_is_marked_and_then_it_alone_is_needed() {
    let mut a = Peer::new(0);
    let (first, next) = (tasks_of(1, 0), tasks_of(1, 0).at(1));
    moved_on(&mut a);
    assert_eq!(a.state.latest_volume(&first), next);
    assert_eq!(a.state.long_volumes(1_000), std::slice::from_ref(&next), "it has not taken the place of the first yet");
    assert!(a.state.ended().is_empty());
    assert_eq!((app(&a).slots[&0].assignments.len(), app(&a).slots[&0].floor), (3, 3));

    // The later one has the last word.
    say(&mut a, &next, vec![status(0, 3, 0, TaskState::Stopping)]);
    say(&mut a, &first, vec![status(0, 3, 0, TaskState::Running)]);
    let held = app(&a).slots[&0].assignments.iter().find(|held| held.epoch == 3).unwrap().clone();
    assert_eq!(held.state(), TaskState::Stopping);

    cut(&mut a, &next);
    assert_eq!(a.state.ended().iter().copied().collect::<Vec<_>>(), [first.doc()]);
    assert_eq!(a.state.long_volumes(1_000), []);
    a.persist();
    let mut a = a.reopen();
    assert_eq!(a.state.ended().len(), 1, "that is known after a restart too");
    assert!(a.state.collect(&first.doc()).unwrap());
    assert_eq!(app(&a).slots[&0].assignments, [held], "what does not count any more is gone");
    assert_eq!(app(&a).slots[&0].floor, 3, "and its epochs are not given again");
    a.persist();
    assert_eq!(a.reopen().believes(), a.believes());
    assert_eq!(a.state.long_volumes(3), [next], "it goes on when it has become long");
}

#[test]
fn late_words_of_an_earlier_volume_are_needed_by_nobody_and_the_late_node_learns_so() {
    let (mut a, mut late, mut third) = (Peer::new(0), Peer::new(1), Peer::new(2));
    let (old, new) = moved_on(&mut a);
    let (first, next) = (tasks_of(1, 0), tasks_of(1, 0).at(1));
    old.iter().for_each(|change| assert_eq!(late.receive(change), Outcome::Applied { released: 0 }));
    // Away, it goes on in the first volume.
    let alone = say(&mut late, &first, vec![assign(1, 1, 1, 1), status(1, 1, 1, TaskState::Running)]);

    let mark = cut(&mut a, &next);
    a.state.collect(&first.doc()).unwrap();
    assert_eq!(a.receive(&alone), Outcome::Known, "nobody waits for what it follows");
    assert!(a.state.registers(&first.doc()).is_none());
    assert!(a.state.is_over(&first.doc()));

    for change in new.iter().chain([&mark]) {
        assert_eq!(late.receive(change), Outcome::Applied { released: 0 });
    }
    assert_eq!(late.state.digest(&Scope::Mesh), a.state.digest(&Scope::Mesh));
    // It still knows what it runs, and says so where the others read it.
    assert_eq!(app(&late).slots[&1].assignments.len(), 1);
    assert_eq!(late.state.latest_volume(&first), next);
    let again = say(&mut late, &next, vec![assign(1, 1, 1, 1), status(1, 1, 1, TaskState::Running)]);
    assert_eq!(a.receive(&again), Outcome::Applied { released: 0 });
    late.state.collect(&first.doc()).unwrap();
    assert_eq!(late.believes(), a.believes());
    assert_eq!(app(&a).slots[&1].assignments[0].state(), TaskState::Running);

    // Who joins has to read the last volume alone.
    for doc in [app_doc(), next.doc()] {
        for bytes in a.state.changes_since(&doc, &[], usize::MAX).unwrap().0 {
            third.receive(&SignedChange::decode(&bytes).unwrap());
        }
    }
    assert_eq!(third.believes(), a.believes());
}

#[test]
fn volumes_that_two_sides_open_are_one_and_the_highest_mark_counts() {
    let (mut a, mut b) = (Peer::new(0), Peer::new(1));
    let (old, _) = moved_on(&mut a);
    let of = |volume| tasks_of(1, 0).at(volume);
    old.iter().for_each(|change| assert!(matches!(b.receive(change), Outcome::Applied { .. })));
    let mut of_b = Vec::new();
    for volume in 1..=3 {
        of_b.push(say(&mut b, &of(volume), vec![assign(0, 3, 1, 0), (keys_of::floor(0), uint(9))]));
        of_b.push(cut(&mut b, &of(volume)));
    }
    let of_a = cut(&mut a, &of(1));
    b.receive(&of_a);
    of_b.iter().rev().for_each(|change| {
        a.receive(change);
    });
    assert_eq!(a.state.digest(&Scope::Mesh), b.state.digest(&Scope::Mesh));
    for peer in [&mut a, &mut b] {
        let ended: Vec<_> = peer.state.ended().iter().copied().collect();
        assert!(!ended.contains(&of(3).doc()) && ended.contains(&of(0).doc()) && ended.contains(&of(1).doc()));
        ended.iter().for_each(|doc| assert!(peer.state.collect(doc).unwrap()));
        assert_eq!(peer.state.latest_volume(&of(0)), of(3));
        assert_eq!(app(peer).slots[&0].floor, 9);
    }
    assert_eq!(a.believes(), b.believes());
    // A number that is not its own marks nothing.
    let lie = say(&mut b, &of(4), vec![(keys_of::CUT.to_owned(), uint(9))]);
    a.receive(&lie);
    assert!(a.state.ended().is_empty());
}

#[test]
fn the_name_of_a_volume_is_read_as_it_was_written() {
    for volume in [0, 1, 255, 256, u32::MAX] {
        let of = TasksOf { scope: Scope::Site("plant-1".parse().unwrap()), ..tasks_of(7, 3).at(volume) };
        assert_eq!(TasksOf::read(&of.value()), Some(of.clone()));
    }
    let Value::Bytes(mut bytes) = tasks_of(1, 0).at(1).value() else { panic!("bytes") };
    bytes.push(0);
    assert_eq!(TasksOf::read(&Value::Bytes(bytes)), None);
    let Value::Bytes(mut bytes) = tasks_of(1, 0).value() else { panic!("bytes") };
    bytes.extend([0, 0, 0, 0, 0]);
    assert_eq!(TasksOf::read(&Value::Bytes(bytes)), None, "one name, one spelling");
}
