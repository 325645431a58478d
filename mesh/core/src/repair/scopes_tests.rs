use super::{
    super::{answer, tests::Toy},
    *,
};
use crate::repair::DocDigest;
use holm_types::{
    ActorId, DocId,
    branch::{Branch, FAN_OUT},
};
use proptest::prelude::*;
use std::collections::VecDeque;

/// A keeper: a toy replica for each scope, whose documents name it.
#[derive(Default, Clone, Debug, PartialEq)]
struct Keeper(BTreeMap<Scope, Toy>);

impl Keeper {
    fn of(&self, scope: &Scope) -> Toy {
        self.0.get(scope).cloned().unwrap_or_default()
    }
    fn write(&mut self, site: u16, doc: u8, seq: u64) {
        let id = DocId(Digest::of("doc", &[&site.to_be_bytes(), &[doc]]).0[..16].try_into().unwrap());
        let last = self.0.entry(scope(site)).or_default().0.entry(id).or_default().entry(ActorId([1; 16])).or_default();
        *last = seq.max(*last);
    }
}

impl Replica for Keeper {
    fn scopes(&self) -> Vec<Scope> {
        self.0.keys().cloned().collect()
    }
    fn root(&self, scope: &Scope) -> Digest {
        self.of(scope).root(scope)
    }
    fn branches(&self, scope: &Scope, branch: &Branch) -> Option<[DocDigest; FAN_OUT]> {
        self.of(scope).branches(scope, branch)
    }
    fn documents(&self, scope: &Scope, branch: &Branch, limit: usize) -> Vec<(DocId, DocDigest)> {
        self.of(scope).documents(scope, branch, limit)
    }
    fn vector(&self, doc: &DocId) -> Vec<(ActorId, u64)> {
        self.0.values().map(|toy| toy.vector(doc)).find(|vector| !vector.is_empty()).unwrap_or_default()
    }
    fn changes_since(&self, scope: &Scope, doc: &DocId, vector: &[(ActorId, u64)], max: usize) -> (Vec<Vec<u8>>, bool) {
        self.of(scope).changes_since(scope, doc, vector, max)
    }
}

fn scope(site: u16) -> Scope {
    Scope::Site(format!("plant-{site}").parse().unwrap())
}

/// One round; answers the bytes of all messages but the changes themselves, and the number of messages.
fn round(a: &mut Keeper, b: &mut Keeper) -> (usize, usize) {
    let (mut bytes, mut count) = (0, 0);
    let mut queue = VecDeque::from([(true, open_all(a))]);
    while let Some((to_b, message)) = queue.pop_front() {
        let encoded = message.encode().unwrap();
        let message = Message::decode(&encoded).unwrap();
        let target = if to_b { &mut *b } else { &mut *a };
        match &message {
            Message::Changes { scope, changes, .. } => {
                changes.iter().for_each(|change| target.0.entry(scope.clone()).or_default().apply(change));
            }
            _ => bytes += encoded.len(),
        }
        count += 1;
        queue.extend(answer(target, &message).into_iter().map(|m| (!to_b, m)));
    }
    (bytes, count)
}

fn keeper() -> impl Strategy<Value = Keeper> {
    proptest::collection::vec((0u16..60, 0u8..12, 1u64..4), 0..200).prop_map(|rows| {
        let mut keeper = Keeper::default();
        rows.into_iter().for_each(|(site, doc, seq)| keeper.write(site, doc, seq));
        keeper
    })
}

proptest! {
    #[test]
    fn any_two_keepers_become_equal_in_every_scope(a in keeper(), b in keeper()) {
        let (mut a, mut b) = (a, b);
        for _ in 0..20 {
            round(&mut a, &mut b);
        }
        prop_assert_eq!(a, b);
    }
}

#[test]
fn a_thousand_sites_in_sync_cost_one_message_and_one_that_differs_little() {
    let mut a = Keeper::default();
    (0..1000).for_each(|site| (0..10).for_each(|doc| a.write(site, doc, 2)));
    let mut b = a.clone();
    let (bytes, count) = round(&mut a, &mut b);
    assert!(bytes < 60 && count == 1, "in sync: {bytes} bytes, {count} messages");
    b.write(184, 3, 3);
    let (bytes, count) = round(&mut a, &mut b);
    assert_eq!(a, b);
    assert!(bytes < 6_000, "one site differs: {bytes} bytes, {count} messages");
    b.0.remove(&scope(17));
    round(&mut a, &mut b);
    assert_eq!(a, b, "a site of which one of them knows nothing");
    round(&mut Keeper::default(), &mut a.clone());
}

#[test]
fn more_scopes_than_a_message_holds_take_some_rounds() {
    let mut a = Keeper::default();
    (0..5_000).for_each(|site| a.write(site, 0, 1));
    let mut b = Keeper::default();
    let rounds = (1..20).find(|_| {
        round(&mut b, &mut a);
        a == b
    });
    assert!(rounds.is_some_and(|n| n <= 3), "{rounds:?} rounds");
}
