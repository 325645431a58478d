//! What a revocation does to the documents: the same on every node, in whatever order things arrive.

mod common;

use common::*;
use holm_state::{Outcome, StateError, revocation_ops};
use holm_types::{
    DocId, NodeId, Scope,
    branch::Branch,
    cert::{CertChain, Certificate, Claims, Role},
    change::{SignedChange, keys_of},
    keys::KeyPair,
    revocation::{Cut, Revocation},
    view::TaskState,
};
use proptest::{prelude::*, sample::Index};

/// Node 4 is an issuer of site `s`; 5 and 6 are certified by it.
const ISSUER: u8 = 4;

fn issuing() -> Certificate {
    let claims = chain_with(ISSUER, &[Role::Issuer], 0).claims().unwrap().clone();
    Certificate::sign(claims, &authority()).unwrap()
}

/// The certificate of node `n`, signed by the issuer.
fn by_issuer(n: u8) -> CertChain {
    let claims = chain_with(n, &[Role::Edge], 0).claims().unwrap().clone();
    CertChain::new(vec![Certificate::sign(claims, &key(ISSUER)).unwrap(), issuing()])
}

fn revocation(subject: NodeId, id: u64, cut: Vec<Cut>) -> Revocation {
    let reason = "stolen".to_owned();
    Revocation { mesh: mesh(), subject, id, at: 0, reason, cut, keeps: Vec::new(), upholds: Vec::new() }
}

/// Publishes a revocation at `peer`, in changes of at most three parts.
fn publish(peer: &mut Peer, said: &Revocation, by: Option<&Certificate>, signer: &KeyPair) -> Vec<SignedChange> {
    let parts = said.sign(by, signer).unwrap();
    let doc = DocId::revocation(&said.subject);
    let write = |parts: &[_]| peer.state.write(&Scope::Mesh, doc, revocation_ops(parts).unwrap(), NOW).unwrap();
    parts.chunks(3).map(write).collect()
}

/// The authority revokes `subject` as `peer` knows it.
fn revoke(peer: &mut Peer, subject: u8) -> Vec<SignedChange> {
    let said = revocation(id(subject), 1, peer.state.cut_of(&id(subject)));
    publish(peer, &said, None, &authority())
}

fn refused(outcome: Outcome) {
    assert!(matches!(&outcome, Outcome::Refused(why) if why.contains("revoked")), "{outcome:?}");
}

fn edit(peer: &mut Peer, replicas: u32) -> SignedChange {
    peer.state.write(&Scope::Mesh, app_doc(), apply_ops(1, u64::from(replicas), replicas), NOW).unwrap()
}

#[test]
fn what_came_before_the_cut_stays_and_what_came_later_is_refused() {
    let (mut a, mut thief, mut b) = (Peer::new(0), Peer::new(1), Peer::new(2));
    let before = edit(&mut thief, 2);
    a.receive(&before);
    let after = edit(&mut thief, 9);
    let said = revoke(&mut a, 1);
    assert!(a.state.members()[&id(1)].revoked && !a.state.may_deploy(&id(1)));
    refused(a.receive(&after));
    refused(a.receive(&after));
    assert_eq!(a.state.quarantined().unwrap().len(), 1, "said once");

    // The other way round: both were there when the revocation came.
    b.receive(&before);
    b.receive(&after);
    assert_eq!(b.state.apps()[&app_doc()].manifest.replicas, Some(9));
    for change in &said {
        b.receive(change);
    }
    assert_eq!(b.believes(), a.believes());
    assert_eq!(b.state.apps()[&app_doc()].manifest.replicas, Some(2));
    assert_eq!(b.state.counters()["changes_cut"], 1);
    assert!(b.state.take_distrust().is_some_and(|d| d.voids(&chain(1)) && !d.voids(&chain(0))));
    assert!(b.state.take_distrust().is_none());

    // The thief itself writes no more once it knows, and nobody takes its certificate.
    for change in &said {
        thief.receive(change);
    }
    let more = thief.state.write(&Scope::Mesh, app_doc(), apply_ops(1, 3, 3), NOW);
    assert_eq!(more, Err(StateError::Revoked));
    assert_eq!(Peer::stranger(3).state.add_member(chain(1), NOW), Ok(0), "who does not know cannot tell");
    assert_eq!(a.state.add_member(chain_with(1, &[Role::Edge], 99), NOW), Err(StateError::Revoked));

    // All of it survives a restart.
    b.persist();
    let mut again = b.reopen();
    assert_eq!(again.believes(), a.believes());
    assert!(again.state.members()[&id(1)].revoked);
    assert!(again.state.take_distrust().is_some());
    refused(again.receive(&after));
}

#[test]
fn what_honest_nodes_built_upon_is_accepted_after_all() {
    let (mut a, mut thief, mut unaware) = (Peer::new(0), Peer::new(1), Peer::new(2));
    let one = edit(&mut thief, 5);
    let two = edit(&mut thief, 6);
    let tail = edit(&mut thief, 7);
    for change in [&one, &two] {
        unaware.receive(change);
    }
    let honest = edit(&mut unaware, 3);
    let said = revoke(&mut a, 1);
    for late in [&tail, &two, &one] {
        refused(a.receive(late));
    }
    assert_eq!((a.state.document_count(), a.state.held_count()), (1, 3));
    assert_eq!(a.receive(&honest), Outcome::Applied { released: 0 });
    assert_eq!(a.state.held_count(), 1, "what nothing was built upon is not needed");
    unaware.receive(&tail);
    for change in &said {
        unaware.receive(change);
    }
    assert_eq!(unaware.believes(), a.believes());
    assert_eq!(a.state.apps()[&app_doc()].manifest.replicas, Some(3));

    // The honest change may come first, too.
    let mut late = Peer::new(3);
    for change in &said {
        late.receive(change);
    }
    assert_eq!(late.receive(&honest), Outcome::Orphan);
    for change in [&one, &tail, &two] {
        refused(late.receive(change));
    }
    assert_eq!(late.believes(), a.believes());
    assert_eq!(late.state.orphan_count(), 0);
}

#[test]
fn of_two_revocations_both_have_to_let_a_change_count() {
    let (mut a, mut thief) = (Peer::new(0), Peer::new(1));
    let all: Vec<SignedChange> = (1..5).map(|n| edit(&mut thief, n)).collect();
    for change in &all[..3] {
        a.receive(change);
    }
    let knows_three = revoke(&mut a, 1);
    let mut b = Peer::new(2);
    b.receive(&all[0]);
    let said = revocation(id(1), 2, b.state.cut_of(&id(1)));
    let knows_one = publish(&mut b, &said, None, &authority());
    for order in [[&knows_three, &knows_one], [&knows_one, &knows_three]] {
        let mut peer = Peer::new(3);
        all.iter().for_each(|change| drop(peer.receive(change)));
        order.into_iter().flatten().for_each(|change| drop(peer.receive(change)));
        assert_eq!(peer.state.apps()[&app_doc()].manifest.replicas, Some(1));
    }
}

#[test]
fn a_member_is_revoked_by_an_issuer_of_its_site_and_an_issuer_only_by_the_authority() {
    let mut a = Peer::new(ISSUER);
    a.state.add_member(chain_with(ISSUER, &[Role::Issuer], 0), NOW).unwrap();
    for n in [5, 6] {
        a.state.add_member(by_issuer(n), NOW).unwrap();
    }
    let other = Claims { site: "t".parse().unwrap(), ..(**chain_with(7, &[Role::Edge], 0).claims().unwrap()).clone() };
    a.state.add_member(CertChain::new(vec![Certificate::sign(other, &authority()).unwrap()]), NOW).unwrap();
    for (n, falls) in [(5, true), (0, false), (7, false)] {
        let said = revocation(id(n), u64::from(n), a.state.cut_of(&id(n)));
        publish(&mut a, &said, Some(&issuing()), &key(ISSUER));
        assert_eq!(a.state.members()[&id(n)].revoked, falls, "node {n}: keepers and other sites are not its business");
    }
    // A document of revocations takes nothing else, and nothing goes.
    let doc = DocId::revocation(&id(5));
    let key_of = a.state.registers(&doc).unwrap().keys().next().unwrap().to_string();
    for ops in [vec![(key_of, None)], ops(&[("note", text("x"))]), vec![(keys_of::revocation(b"x"), text("x"))]] {
        assert!(matches!(a.state.write(&Scope::Mesh, doc, ops, NOW), Err(StateError::Invalid { .. })));
    }
    let stolen = revocation(id(0), 9, Vec::new()).sign(None, &key(5)).unwrap();
    let forged = a.state.write(&Scope::Mesh, DocId::revocation(&id(0)), revocation_ops(&stolen).unwrap(), NOW);
    assert!(matches!(forged, Err(StateError::Invalid { .. })), "not signed by the authority: {forged:?}");
}

#[test]
fn with_an_issuer_fall_those_that_nobody_knew_and_not_the_others() {
    let mut a = Peer::new(0);
    a.state.add_member(chain_with(ISSUER, &[Role::Issuer], 0), NOW).unwrap();
    a.state.add_member(by_issuer(5), NOW).unwrap();
    // The thief of the issuer's key revokes a member and enrols an accomplice.
    let mut peers: Vec<Peer> = (1..3).map(Peer::new).collect();
    for peer in &mut peers {
        peer.state.add_member(by_issuer(5), NOW).unwrap();
        peer.state.add_member(by_issuer(6), NOW).unwrap();
    }
    let spite = revocation(id(5), 77, Vec::new());
    let spite = publish(&mut peers[0], &spite, Some(&issuing()), &key(ISSUER));
    assert!(peers[0].state.members()[&id(5)].revoked);
    let mut said = revocation(id(ISSUER), 1, a.state.cut_of(&id(ISSUER)));
    said.keeps = a.state.certified_by(&id(ISSUER));
    said.upholds = a.state.revocations_by(&id(ISSUER));
    assert_eq!((said.keeps.as_slice(), said.upholds.len()), (&[id(5)][..], 0));
    let fall = publish(&mut a, &said, None, &authority());
    for change in spite.iter().chain(&fall) {
        a.receive(change);
        peers[1].receive(change);
    }
    for change in &fall {
        peers[0].receive(change);
    }
    for state in [&a.state, &peers[0].state, &peers[1].state] {
        assert!(!state.members()[&id(5)].revoked, "known to the one who revoked");
    }
    assert!(peers[0].state.members()[&id(6)].revoked, "certified by the thief, for all that anybody knows");
    // Another issuer's certificate makes it a member again.
    let anew = chain_with(6, &[Role::Edge], 0);
    peers[0].state.add_member(anew, NOW).unwrap();
    assert!(!peers[0].state.members()[&id(6)].revoked);
}

#[test]
fn a_long_cut_comes_in_parts_and_holds_when_the_last_is_there() {
    let mut a = Peer::new(0);
    let mut thief = Peer::new(1);
    let first = edit(&mut thief, 2);
    a.receive(&first);
    let mut cut = a.state.cut_of(&id(1));
    cut.extend((0..900).map(|n| Cut { doc: app_doc(), incarnation: holm_types::Incarnation(n + 10), seq: 1 }));
    let changes = publish(&mut a, &revocation(id(1), 3, cut), None, &authority());
    assert!(changes.len() > 2, "{} changes", changes.len());
    let mut b = Peer::new(2);
    for change in changes.iter().rev() {
        assert!(!b.state.members()[&id(1)].revoked);
        b.receive(change);
    }
    assert!(b.state.members()[&id(1)].revoked);
    assert_eq!(b.receive(&first), Outcome::Applied { released: 0 });
    b.persist();
    assert!(b.reopen().state.members()[&id(1)].revoked);
}

/// A step of one of three writers.
#[derive(Debug, Clone)]
enum Step {
    Edit { replicas: u32 },
    Assign { slot: u32, epoch: u64, node: u8 },
    Status { slot: u32, epoch: u64 },
    Hear { from: u8 },
}

fn step() -> impl Strategy<Value = (u8, Step)> {
    let step = prop_oneof![
        2 => (1..5u32).prop_map(|replicas| Step::Edit { replicas }),
        3 => (0..3u32, 1..4u64, 0..3u8).prop_map(|(slot, epoch, node)| Step::Assign { slot, epoch, node }),
        3 => (0..3u32, 1..4u64).prop_map(|(slot, epoch)| Step::Status { slot, epoch }),
        4 => (0..3u8).prop_map(|from| Step::Hear { from }),
    ];
    (0..3u8, step)
}

/// Lets the peers work on, each hearing of the others now and then. Whoever may not write says nothing.
fn work(peers: &mut [Peer], said: &mut [Vec<SignedChange>], steps: &[(u8, Step)]) {
    for (n, step) in steps {
        let i = usize::from(*n);
        let tasks = tasks_of(1, 0);
        let list = match step {
            Step::Edit { replicas } => apply_ops(1, u64::from(*replicas), *replicas),
            Step::Assign { slot, epoch, node } => vec![assign(*slot, *epoch, *n, *node)],
            Step::Status { slot, epoch } => vec![status(*slot, *epoch, *n, TaskState::Running)],
            Step::Hear { from } => {
                for change in said[usize::from(*from)].clone() {
                    peers[i].receive(&change);
                }
                continue;
            }
        };
        let edits = matches!(step, Step::Edit { .. });
        let (doc, mut list) = if edits { (app_doc(), list) } else { (tasks.doc(), list) };
        if !edits && peers[i].state.registers(&doc).is_none() {
            list.push(names_app(&tasks));
        }
        if let Ok(change) = peers[i].state.write(&Scope::Mesh, doc, list, NOW) {
            said[i].push(change);
        }
    }
}

/// Anti-entropy between all, until nobody has anything for anybody.
fn meet(peers: &mut [Peer]) {
    for _ in 0..12 {
        for (to, from) in [(0, 1), (1, 2), (2, 3), (3, 0), (1, 0), (2, 1), (3, 2), (0, 3)] {
            let docs = peers[from].state.documents(&Scope::Mesh, &Branch::ROOT, usize::MAX);
            for (doc, _) in docs {
                let have = peers[to].state.vector(&doc);
                let (sent, _) = peers[from].state.changes_since(&doc, &have, usize::MAX).unwrap();
                for bytes in sent {
                    peers[to].receive(&SignedChange::decode(&bytes).unwrap());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Node 1 is revoked by node 0 in the middle of everybody's work, twice with different knowledge; part of
    /// the mesh works on with it. However the changes reach them, all come to hold the same.
    #[test]
    fn a_revocation_in_the_middle_of_work_converges(
        before in prop::collection::vec(step(), 1..25),
        after in prop::collection::vec(step(), 1..25),
        order in prop::collection::vec(any::<Index>(), 0..120),
        twice in any::<bool>(),
    ) {
        let mut peers: Vec<Peer> = (0..4).map(Peer::new).collect();
        let mut said: Vec<Vec<SignedChange>> = vec![Vec::new(); 4];
        work(&mut peers, &mut said, &before);
        let mut revocations = revoke(&mut peers[0], 1);
        if twice {
            let second = revocation(id(1), 2, peers[2].state.cut_of(&id(1)));
            revocations.extend(publish(&mut peers[2], &second, None, &authority()));
        }
        work(&mut peers, &mut said, &after);
        let all: Vec<SignedChange> = said.concat().into_iter().chain(revocations.clone()).collect();
        for index in &order {
            peers[3].receive(&all[index.index(all.len())]);
        }
        meet(&mut peers);
        let expected = peers[0].believes();
        for peer in &peers[1..] {
            prop_assert_eq!(&peer.believes(), &expected);
            prop_assert!(peer.state.members()[&id(1)].revoked);
        }
        for peer in &mut peers {
            peer.persist();
            prop_assert_eq!(&peer.reopen().believes(), &expected);
        }
        // One that hears the revocation first and everything else in any order.
        let mut late = Peer::new(3);
        for change in revocations.iter().chain(order.iter().map(|index| &all[index.index(all.len())])) {
            late.receive(change);
        }
        peers[3] = late;
        meet(&mut peers);
        prop_assert_eq!(&peers[3].believes(), &expected);
        prop_assert_eq!(&peers[0].believes(), &expected);
    }
}

#[test]
fn a_revoked_members_word_about_others_is_cut_too() {
    let (mut a, mut thief) = (Peer::new(0), Peer::new(1));
    let of = tasks_of(1, 0);
    a.receive(&edit(&mut thief, 1));
    let assigned = thief.state.write(&Scope::Mesh, of.doc(), vec![names_app(&of), assign(0, 1, 1, 2)], NOW).unwrap();
    a.receive(&assigned);
    assert_eq!(a.state.apps()[&app_doc()].slots.len(), 1);
    let said = revocation(id(1), 1, a.state.cut_of(&id(1)).into_iter().filter(|cut| cut.doc == app_doc()).collect());
    publish(&mut a, &said, None, &authority());
    assert!(a.state.apps()[&app_doc()].slots.is_empty(), "an assignment beyond the cut is not there any more");
    assert!(a.state.registers(&of.doc()).is_none());
    let again = a.state.write(&Scope::Mesh, of.doc(), vec![names_app(&of), assign(0, 1, 0, 2)], NOW);
    assert!(again.is_ok() && a.state.apps()[&app_doc()].slots.len() == 1);
}
