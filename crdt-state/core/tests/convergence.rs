//! Nodes that hold the same changes believe the same, however these reached them.

mod common;

use common::*;
use holm_state::Outcome;
use holm_types::{DocId, DocKind, Scope, branch::Branch, change::SignedChange, view::TaskState};
use proptest::{prelude::*, sample::Index};

/// A step of one of three writers.
#[derive(Debug, Clone)]
enum Step {
    Apply { replicas: u32, remove: bool },
    Assign { slot: u32, epoch: u64, node: u8 },
    Status { slot: u32, epoch: u64, state: TaskState },
    Note { key: u8, value: Option<u64> },
    Hear { from: u8 },
}

fn step() -> impl Strategy<Value = (u8, Step)> {
    let state = prop_oneof![Just(TaskState::Running), Just(TaskState::Failed), Just(TaskState::Succeeded)];
    let step = prop_oneof![
        2 => (1..5u32, any::<bool>()).prop_map(|(replicas, remove)| Step::Apply { replicas, remove }),
        4 => (0..4u32, 1..4u64, 0..3u8).prop_map(|(slot, epoch, node)| Step::Assign { slot, epoch, node }),
        3 => (0..4u32, 1..4u64, state).prop_map(|(slot, epoch, state)| Step::Status { slot, epoch, state }),
        3 => (0..4u8, proptest::option::of(0..9u64)).prop_map(|(key, value)| Step::Note { key, value }),
        4 => (0..3u8).prop_map(|from| Step::Hear { from }),
    ];
    (0..3u8, step)
}

/// A document of a kind that this version does not know.
fn other_doc() -> DocId {
    let mut id = app_doc();
    id.0[0] = 77;
    assert_eq!(id.kind(), DocKind::Other(77));
    id
}

/// Lets three writers work, each hearing of the others now and then; gives all their changes.
fn history(steps: Vec<(u8, Step)>) -> (Vec<Peer>, Vec<SignedChange>) {
    let mut peers: Vec<Peer> = (0..3).map(Peer::new).collect();
    let mut said: Vec<Vec<SignedChange>> = vec![Vec::new(); 3];
    for (n, step) in steps {
        let i = usize::from(n);
        let state = &mut peers[i].state;
        let app = state.apps().get(&app_doc()).map(|app| (app.generation, app.live));
        let tasks = tasks_of(app.map_or(1, |app| app.0), 0);
        let tasks_ops = |list| {
            let mut list: Vec<_> = vec![list];
            if state.registers(&tasks.doc()).is_none() {
                list.push(names_app(&tasks));
            }
            (tasks.doc(), list)
        };
        let (doc, list) = match step {
            Step::Apply { replicas, remove } => {
                let life = match app {
                    Some((generation, true)) => generation + u64::from(remove),
                    Some((generation, false)) => generation + 2,
                    None => 1,
                };
                (app_doc(), apply_ops(life, u64::from(replicas), replicas))
            }
            Step::Assign { slot, epoch, node } => tasks_ops(assign(slot, epoch, n, node)),
            Step::Status { slot, epoch, state } => tasks_ops(status(slot, epoch, n, state)),
            Step::Note { key, value } => (other_doc(), ops(&[(&format!("k{key}"), value.and_then(uint))])),
            Step::Hear { from } => {
                for change in said[usize::from(from)].clone() {
                    peers[i].receive(&change);
                }
                continue;
            }
        };
        // Deleting what is not there is an error that says so.
        if let Ok(change) = peers[i].state.write(&Scope::Mesh, doc, list, NOW) {
            said[i].push(change);
        }
    }
    (peers, said.concat())
}

// Tasks of an app that seems to have been removed are not taken. Should an edit turn up that the removal had not
// seen, they come again, by repair: so what is delivered here is delivered once more.
proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_any_repetition_converge(
        steps in prop::collection::vec(step(), 1..40),
        order in prop::collection::vec(any::<Index>(), 0..150),
    ) {
        let (mut peers, changes) = history(steps);
        for peer in &mut peers {
            for change in changes.iter().rev().chain(&changes) {
                peer.receive(change);
            }
            prop_assert_eq!(peer.state.orphan_count(), 0);
        }
        let expected = peers[0].believes();
        for peer in &peers[1..] {
            prop_assert_eq!(&peer.believes(), &expected);
        }

        // A fourth node hears them in a random order, some often, some only at the end, and
        // learns of the writers in between.
        let mut late = Peer::stranger(3);
        for (at, index) in order.iter().enumerate() {
            if at % 7 == 3 {
                late.state.add_member(chain((at / 7 % 3) as u8), NOW).unwrap();
            }
            if !changes.is_empty() {
                let outcome = late.receive(&changes[index.index(changes.len())]);
                prop_assert!(!matches!(outcome, Outcome::Refused(_)), "{:?}", outcome);
            }
        }
        for n in 0..3 {
            late.state.add_member(chain(n), NOW).unwrap();
        }
        for change in changes.iter().chain(&changes) {
            late.receive(change);
        }
        prop_assert_eq!(late.state.orphan_count(), 0);
        prop_assert_eq!(&late.believes(), &expected);

        // And what is read back from the store is the same, with or without further changes.
        let half = late.reopen();
        late.persist();
        prop_assert!(half.state.document_count() == 0);
        let mut again = late.reopen();
        prop_assert_eq!(&again.believes(), &expected);
        for change in &changes {
            // Of what had ended before it was heard nothing is held, so it may be taken for one that has to wait.
            let held = again.state.registers(&change.doc).is_some();
            let outcome = again.receive(change);
            prop_assert!(outcome == Outcome::Known || (outcome == Outcome::Orphan && !held), "{:?}", outcome);
        }
        again.state.add_member(chain(3), NOW).unwrap();
        again.write(other_doc(), &[("more", uint(1))]);
    }

    #[test]
    fn repair_by_vectors_brings_exactly_what_is_missing(
        steps in prop::collection::vec(step(), 1..40),
        have in prop::collection::vec(any::<bool>(), 40),
        max_bytes in 1..2_000usize,
    ) {
        let (mut peers, changes) = history(steps);
        for change in changes.iter().chain(&changes) {
            peers[0].receive(change);
        }
        if have[0] {
            peers[0].persist();
        }
        let mut behind = Peer::new(3);
        for (change, _) in changes.iter().zip(&have).filter(|(_, have)| **have) {
            behind.receive(change);
        }
        let full = &peers[0].state;
        let docs: Vec<DocId> = full.documents(&Scope::Mesh, &Branch::ROOT, usize::MAX).into_iter().map(|(doc, _)| doc).collect();
        for doc in docs.iter().chain(&docs) {
            loop {
                let before = behind.state.vector(doc);
                let (sent, more) = full.changes_since(doc, &behind.state.vector(doc), max_bytes).unwrap();
                let size: usize = sent.iter().map(Vec::len).sum();
                prop_assert!(sent.len() <= 1 || size <= max_bytes);
                for bytes in &sent {
                    let outcome = behind.receive(&SignedChange::decode(bytes).unwrap());
                    // Known: an orphan that one of these has just released.
                    prop_assert!(!matches!(outcome, Outcome::Orphan | Outcome::Refused(_)), "{:?}", outcome);
                }
                // Of tasks that have ended nothing is taken.
                if !more || behind.state.vector(doc) == before { break }
            }
        }
        prop_assert_eq!(behind.believes(), peers[0].believes());
        prop_assert_eq!(behind.state.digest(&Scope::Mesh), full.digest(&Scope::Mesh));
    }
}
