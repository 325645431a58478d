//! Tasks of removed apps are collected by each node when it likes, and nothing comes of it: no difference between
//! nodes, no app that is back, no number that is used twice.

mod common;

use common::*;
use holm_state::{Outcome, State, TasksOf};
use holm_types::{
    DocId, Incarnation, Scope,
    branch::Branch,
    change::{SignedChange, keys_of},
    view::TaskState,
};
use proptest::prelude::*;

fn edit(peer: &mut Peer, life: u64, replicas: u32) -> SignedChange {
    peer.state.write(&Scope::Mesh, app_doc(), apply_ops(life, 1, replicas), NOW).unwrap()
}

fn remove(peer: &mut Peer, life: u64) -> SignedChange {
    peer.write(app_doc(), &[(keys_of::LIFE, uint(life))])
}

fn say(peer: &mut Peer, of: &TasksOf, slot: u32, epoch: u64, state: TaskState) -> SignedChange {
    let mut ops = vec![names_app(of), status(slot, epoch, peer.n, state)];
    if peer.state.registers(&of.doc()).is_none() {
        ops.push(assign(slot, epoch, peer.n, peer.n));
    }
    peer.state.write(&of.scope, of.doc(), ops, NOW).unwrap()
}

fn collect_all(peer: &mut Peer) -> usize {
    let ended: Vec<DocId> = peer.state.ended().iter().copied().collect();
    ended.iter().filter(|doc| peer.state.collect(doc).unwrap()).count()
}

/// Brings two nodes together as repair does: documents in which their digests differ, both ways, until they do not.
fn repair(a: &mut Peer, b: &mut Peer) {
    for _ in 0..4 {
        if a.state.digest(&Scope::Mesh) == b.state.digest(&Scope::Mesh) {
            return;
        }
        give(a, b);
        give(b, a);
    }
    assert_eq!(a.state.digest(&Scope::Mesh), b.state.digest(&Scope::Mesh), "repair does not end");
}

fn give(from: &mut Peer, to: &mut Peer) {
    for (doc, _) in from.state.documents(&Scope::Mesh, &Branch::ROOT, usize::MAX) {
        let (changes, _) = from.state.changes_since(&doc, &to.state.vector(&doc), usize::MAX).unwrap();
        for bytes in changes {
            let outcome = to.receive(&SignedChange::decode(&bytes).unwrap());
            assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        }
    }
}

#[test]
fn what_has_ended_is_in_no_digest_and_can_be_deleted() {
    let (mut a, mut b) = (Peer::new(0), Peer::new(1));
    let of = tasks_of(1, 0);
    for change in [edit(&mut a, 1, 3), say(&mut a, &of, 0, 1, TaskState::Running)] {
        b.receive(&change);
    }
    assert!(!a.state.collect(&of.doc()).unwrap(), "it lives");
    let gone = remove(&mut a, 2);
    b.receive(&gone);
    assert_eq!(a.state.ended().len(), 1);
    assert_eq!(a.state.apps()[&app_doc()].slots.len(), 1, "what ran can be seen until it is collected");
    assert_eq!(collect_all(&mut a), 1);
    assert!(a.state.registers(&of.doc()).is_none() && a.state.apps()[&app_doc()].slots.is_empty());
    assert_eq!(a.state.digest(&Scope::Mesh), b.state.digest(&Scope::Mesh), "whoever collected holds the same");
    a.persist();
    let reopened = a.reopen();
    assert_eq!(reopened.state.digest(&Scope::Mesh), b.state.digest(&Scope::Mesh));
    b.persist();
    let reopened = b.reopen();
    assert_eq!(reopened.state.digest(&Scope::Mesh), b.state.digest(&Scope::Mesh));
    assert_eq!(reopened.state.ended().len(), 1, "it is known after a restart");
    // Of the tasks nothing is left on disk.
    let fresh = Peer::new(0);
    assert!(a.disk.len() < fresh.disk.len() + 60, "{}", a.disk.len());
}

#[test]
fn a_late_node_brings_nothing_back() {
    let (mut a, mut late) = (Peer::new(0), Peer::new(1));
    let of = tasks_of(1, 0);
    for change in [edit(&mut a, 1, 3), say(&mut a, &of, 0, 1, TaskState::Running)] {
        late.receive(&change);
    }
    remove(&mut a, 2);
    collect_all(&mut a);
    // Weeks later: it still ran its task, and says so.
    let late_word = say(&mut late, &of, 1, 1, TaskState::Running);
    let more = say(&mut late, &of, 1, 1, TaskState::Failed);
    assert_eq!(a.receive(&late_word), Outcome::Known);
    assert_eq!(a.receive(&more), Outcome::Known, "what follows does not wait for it either");
    assert!(a.state.is_over(&of.doc()), "it is not asked for again");
    repair(&mut a, &mut late);
    assert!(!late.state.apps()[&app_doc()].live && a.state.registers(&of.doc()).is_none());
    assert_eq!(collect_all(&mut late), 1);
    // The next life of the app is another one.
    let again = edit(&mut late, 3, 1);
    a.receive(&again);
    let of = tasks_of(3, 0);
    let runs = say(&mut a, &of, 0, 1, TaskState::Running);
    assert!(matches!(late.receive(&runs), Outcome::Applied { .. }));
    assert_eq!(late.state.apps()[&app_doc()].slots.len(), 1);
}

#[test]
fn a_life_that_goes_on_elsewhere_comes_back_and_no_number_is_used_twice() {
    let (mut a, mut b) = (Peer::new(0), Peer::new(1));
    let of = tasks_of(1, 0);
    for change in [edit(&mut a, 1, 3), say(&mut a, &of, 0, 1, TaskState::Running)] {
        b.receive(&change);
    }
    // A cut: one side removes it and collects, the other one works on.
    remove(&mut a, 2);
    collect_all(&mut a);
    let said = say(&mut a, &of, 0, 1, TaskState::Failed);
    let kept = edit(&mut b, 1, 5);
    assert!(matches!(b.receive(&said), Outcome::Applied { .. }), "{:?}", b.state.counters());
    assert!(matches!(a.receive(&kept), Outcome::Applied { .. }));
    repair(&mut a, &mut b);
    assert_eq!(a.believes(), b.believes());
    assert!(a.state.apps()[&app_doc()].live);
    assert_eq!(a.state.registers(&of.doc()), b.state.registers(&of.doc()));
}

/// Each start is a new life, which is all that it knows of what it had written before.
fn start_again(peer: &Peer, start: u64) -> Peer {
    let life = Incarnation::new(start, 0);
    let state = State::open(mesh(), key(peer.n), life, Box::new(peer.disk.clone())).unwrap();
    Peer { n: peer.n, state, disk: peer.disk.clone() }
}

#[derive(Debug, Clone)]
enum Step {
    Edit(usize, u32),
    Remove(usize),
    Say(usize, u32),
    Collect(usize),
    Restart(usize),
    Meet(usize, usize),
    /// The last changes reach another, in another order.
    Gossip(usize, Vec<prop::sample::Index>),
}

fn step() -> impl Strategy<Value = Step> {
    let peer = 0..4usize;
    prop_oneof![
        3 => (peer.clone(), 1..4u32).prop_map(|(p, n)| Step::Edit(p, n)),
        2 => peer.clone().prop_map(Step::Remove),
        4 => (peer.clone(), 0..3u32).prop_map(|(p, slot)| Step::Say(p, slot)),
        3 => peer.clone().prop_map(Step::Collect),
        1 => peer.clone().prop_map(Step::Restart),
        2 => (peer.clone(), peer.clone()).prop_map(|(a, b)| Step::Meet(a, b)),
        3 => (peer, prop::collection::vec(any::<prop::sample::Index>(), 1..4)).prop_map(|(p, c)| Step::Gossip(p, c)),
    ]
}

/// The life that a peer sees, as `apply` and `rm` do.
fn life(peer: &Peer) -> u64 {
    peer.state.registers(&app_doc()).and_then(holm_state::life_of).unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Four nodes edit, remove, run and collect as they like, up to three of them late, and meet at last.
    #[test]
    fn whoever_collects_when_all_agree_in_the_end(steps in prop::collection::vec(step(), 1..60)) {
        let mut peers: Vec<Peer> = (0..4).map(Peer::new).collect();
        let mut said: Vec<SignedChange> = Vec::new();
        let mut starts = 0;
        for step in steps {
            match step {
                Step::Edit(p, n) => {
                    let life = life(&peers[p]);
                    let life = if life % 2 == 1 { life } else { life + 1 };
                    said.push(edit(&mut peers[p], life, n));
                }
                Step::Remove(p) => {
                    let life = life(&peers[p]);
                    if life % 2 == 1 {
                        said.push(remove(&mut peers[p], life + 1));
                    }
                }
                Step::Say(p, slot) => {
                    // Of a life that it knows; it may have ended, as of a task that is being stopped.
                    let generation = peers[p].state.apps().get(&app_doc()).map_or(1, |app| app.generation);
                    said.push(say(&mut peers[p], &tasks_of(generation, 0), slot, 1, TaskState::Running));
                }
                Step::Collect(p) => drop(collect_all(&mut peers[p])),
                Step::Restart(p) => {
                    peers[p].persist();
                    starts += 1;
                    peers[p] = start_again(&peers[p], starts);
                }
                Step::Meet(a, b) if a != b => {
                    let (low, high) = peers.split_at_mut(a.max(b));
                    repair(&mut low[a.min(b)], &mut high[0]);
                }
                Step::Meet(..) => {}
                Step::Gossip(p, picks) => {
                    for pick in picks {
                        if !said.is_empty() {
                            let outcome = peers[p].receive(pick.get(&said));
                            prop_assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
                        }
                    }
                }
            }
        }
        // What came to life again at the last meeting of a round goes around in the next.
        for _ in 0..4 {
            for n in 1..4 {
                let (first, rest) = peers.split_at_mut(1);
                repair(&mut first[0], &mut rest[n - 1]);
            }
        }
        for peer in &mut peers {
            peer.persist();
        }
        let digest = peers[0].state.digest(&Scope::Mesh);
        let view = |peer: &Peer| peer.state.apps().get(&app_doc()).filter(|app| app.live).cloned();
        let first = view(&peers[0]);
        for peer in &peers {
            prop_assert_eq!(peer.state.digest(&Scope::Mesh), digest);
            prop_assert_eq!(&view(peer), &first);
            let reopened = peer.reopen();
            prop_assert_eq!(reopened.state.digest(&Scope::Mesh), digest, "the same after a restart");
            prop_assert_eq!(&view(&reopened), &first);
            prop_assert_eq!(peer.state.counters().get("forked").copied().unwrap_or(0), 0);
        }
    }
}
