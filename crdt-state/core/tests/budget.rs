//! A budget bounds what is held, says nothing about a change, and loses nothing for good.

mod common;

use common::*;
use holm_state::Outcome;
use holm_types::{
    DocId, Scope,
    api::Room,
    branch::Branch,
    change::{SignedChange, keys_of},
    manifest::{Format, Manifest},
};

/// An app of its own, of about `size` bytes.
fn submit(peer: &mut Peer, n: usize, size: usize) -> SignedChange {
    let toml = format!(
        "name = 'app-{n}'\ntype = 'service'\nenv = {{ FILL = '{}' }}\n[run.process]\ncommand = ['/bin/sleep']\n",
        "x".repeat(size)
    );
    let manifest = Manifest::parse(&toml, Format::Toml).unwrap();
    let mut list = vec![(keys_of::LIFE.to_owned(), uint(1)), (keys_of::REVISION.to_owned(), uint(1))];
    list.extend(manifest.to_fields().into_iter().map(|(field, json)| (keys_of::spec(&field), text(&json))));
    peer.state.write(&Scope::Mesh, doc(n), list, NOW).unwrap()
}

fn doc(n: usize) -> DocId {
    DocId::app(&Scope::Mesh, &"default".parse().unwrap(), &format!("app-{n}").parse().unwrap())
}

fn held(peer: &Peer) -> u64 {
    peer.state.usage().get(&Scope::Mesh).map_or(0, |usage| usage.bytes)
}

#[test]
fn what_is_held_is_counted_as_it_travels_and_after_a_restart_too() {
    let mut a = Peer::new(0);
    let mut sent = 0;
    for n in 0..20 {
        sent += submit(&mut a, n, 100 * n).encode().unwrap().len() as u64;
    }
    assert_eq!(held(&a), sent);
    assert_eq!(a.state.usage()[&Scope::Mesh].documents, 20);
    a.persist();
    assert_eq!(a.reopen().state.usage(), a.state.usage());
}

#[test]
fn beyond_its_budget_a_node_takes_only_what_ends_something_and_the_rest_later() {
    let (mut a, mut b) = (Peer::new(0), Peer::new(1));
    b.state.set_budget(20_000);
    let mut taken = 0;
    let mut rooms = vec![b.state.room(&Scope::Mesh)];
    for n in 0..100 {
        let change = submit(&mut a, n, 900);
        let room = b.state.room(&Scope::Mesh);
        let outcome = b.receive(&change);
        assert_eq!(outcome == Outcome::NoRoom, room == Room::Over, "{n}: {outcome:?}");
        taken += usize::from(outcome == Outcome::Applied { released: 0 });
        rooms.push(b.state.room(&Scope::Mesh));
    }
    rooms.dedup();
    assert_eq!(rooms, [Room::Free, Room::Full, Room::Over]);
    assert!((15..40).contains(&taken), "{taken} of 100");
    assert!((25_000..27_000).contains(&held(&b)), "a quarter more, and the change that passed it: {}", held(&b));
    assert_eq!(b.state.quarantined().unwrap(), [], "nothing is wrong with them");
    assert_eq!(b.state.orphan_count(), 0);

    let removal = |peer: &mut Peer, n| peer.write(doc(n), &[(keys_of::LIFE, uint(2)), (keys_of::REVISION, uint(2))]);
    assert_eq!(b.receive(&removal(&mut a, 0)), Outcome::Applied { released: 0 });
    assert!(!b.state.apps()[&doc(0)].live);
    assert_eq!(b.receive(&removal(&mut a, 99)), Outcome::NoRoom, "nothing is known of it that could end");
    let itself = [(keys_of::CERT, Some(holm_types::change::Value::Bytes(chain(0).encode().unwrap())))];
    let described = a.write(DocId::node(&id(0)), &itself);
    assert_eq!(b.receive(&described), Outcome::Applied { released: 0 }, "who is a member is always heard");
    assert!(!b.state.has_room_for(&Scope::Mesh, &doc(99)));
    assert!(b.state.has_room_for(&Scope::Site("s".parse().unwrap()), &doc(99)), "each scope has its own");

    b.state.set_budget(1 << 20);
    for (doc, _) in a.state.documents(&Scope::Mesh, &Branch::ROOT, usize::MAX) {
        for bytes in a.state.changes_since(&doc, &b.state.vector(&doc), usize::MAX).unwrap().0 {
            assert_eq!(b.receive(&SignedChange::decode(&bytes).unwrap()), Outcome::Applied { released: 0 });
        }
    }
    assert_eq!(a.believes(), b.believes());
    assert_eq!(held(&a), held(&b));
}
