use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

/// A replica of documents that are lists of numbered changes by a few actors.
#[derive(Default, Clone, Debug, PartialEq)]
pub(super) struct Toy(pub(super) BTreeMap<DocId, BTreeMap<ActorId, u64>>);

impl Toy {
    fn entry(&self, doc: &DocId) -> DocDigest {
        let vector = self.vector(doc);
        let flat: Vec<u8> = vector.iter().flat_map(|(a, s)| [&a.0[..], &s.to_be_bytes()].concat()).collect();
        Digest::of("toy", &[&doc.0, &flat]).0[..16].try_into().unwrap()
    }
    fn digest(&self, scope: &Scope, branch: &Branch) -> DocDigest {
        let held: Vec<u8> =
            self.documents(scope, branch, usize::MAX).iter().flat_map(|(doc, d)| [doc.0, *d].concat()).collect();
        let digest = Digest::of("branch", &[&held]).0[..16].try_into().unwrap();
        if held.is_empty() { DocDigest::default() } else { digest }
    }
    pub(super) fn apply(&mut self, bytes: &[u8]) {
        let doc = DocId::from_slice(&bytes[..16]).unwrap();
        let actor = ActorId::from_slice(&bytes[16..32]).unwrap();
        let seq = u64::from_be_bytes(bytes[32..40].try_into().unwrap());
        let last = self.0.entry(doc).or_default().entry(actor).or_default();
        if seq == *last + 1 {
            *last = seq;
        }
    }
}

impl Replica for Toy {
    fn scopes(&self) -> Vec<Scope> {
        vec![Scope::Mesh]
    }
    fn root(&self, scope: &Scope) -> Digest {
        Digest::of("root", &[&self.digest(scope, &Branch::ROOT)])
    }
    fn branches(&self, scope: &Scope, branch: &Branch) -> Option<[DocDigest; FAN_OUT]> {
        let few = self.documents(scope, branch, 5).len() < 5;
        (!few).then(|| std::array::from_fn(|n| self.digest(scope, &branch.child(n))))
    }
    fn documents(&self, _: &Scope, branch: &Branch, limit: usize) -> Vec<(DocId, DocDigest)> {
        let (first, last) = branch.span();
        let held = self.0.keys().filter(|doc| (first..=last).contains(&Branch::key(doc)));
        held.take(limit).map(|doc| (*doc, self.entry(doc))).collect()
    }
    fn vector(&self, doc: &DocId) -> Vec<(ActorId, u64)> {
        self.0.get(doc).map(|v| v.iter().map(|(a, s)| (*a, *s)).collect()).unwrap_or_default()
    }
    fn changes_since(&self, _: &Scope, doc: &DocId, vector: &[(ActorId, u64)], max: usize) -> (Vec<Vec<u8>>, bool) {
        let mut out = Vec::new();
        for (actor, last) in self.vector(doc) {
            let have = vector.iter().find(|(a, _)| *a == actor).map_or(0, |(_, s)| *s);
            out.extend((have + 1..=last).map(|s| [&doc.0[..], &actor.0, &s.to_be_bytes()].concat()));
        }
        let fits = (max / 40).max(1);
        let more = out.len() > fits;
        out.truncate(fits);
        (out, more)
    }
}

/// Runs rounds until both replicas are silent; answers the messages that it took.
fn heal(a: &mut Toy, b: &mut Toy, drop_every: usize) -> usize {
    let (mut count, mut rounds) = (0usize, 0);
    while a.root(&Scope::Mesh) != b.root(&Scope::Mesh) {
        rounds += 1;
        assert!(rounds < 200, "does not converge");
        let mut queue = VecDeque::from([(true, open(a, &Scope::Mesh))]);
        while let Some((to_b, message)) = queue.pop_front() {
            count += 1;
            // By hash, not by count: a period could hit the same step of every round.
            let luck = usize::from(Digest::of("luck", &[&count.to_be_bytes()]).0[0]);
            if drop_every > 0 && luck % drop_every == 0 {
                continue;
            }
            let message = Message::decode(&message.encode().unwrap()).unwrap();
            let target = if to_b { &mut *b } else { &mut *a };
            if let Message::Changes { changes, .. } = &message {
                changes.iter().for_each(|c| target.apply(c));
            }
            queue.extend(answer(target, &message).into_iter().map(|m| (!to_b, m)));
        }
    }
    count
}

fn toy() -> impl Strategy<Value = Toy> {
    proptest::collection::vec((any::<u8>(), 0u8..40, 0u8..3, 1u64..9), 0..60).prop_map(|rows| {
        let mut toy = Toy::default();
        for (bucket, doc, actor, seq) in rows {
            let mut id = [doc; 16];
            id[15] = bucket % 7;
            let last = toy.0.entry(DocId(id)).or_default().entry(ActorId([actor; 16])).or_default();
            *last = seq.max(*last);
        }
        toy
    })
}

proptest! {
    #[test]
    fn any_two_replicas_become_equal(a in toy(), b in toy()) {
        let (mut a, mut b) = (a, b);
        heal(&mut a, &mut b, 0);
        prop_assert_eq!(a.0, b.0);
    }

    #[test]
    fn lost_messages_only_cost_rounds(a in toy(), b in toy(), n in 3usize..9) {
        let (mut a, mut b) = (a, b);
        heal(&mut a, &mut b, n);
        prop_assert_eq!(a.0, b.0);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(&bytes);
    }
}

#[test]
fn equal_replicas_say_nothing() {
    let toy = Toy::default();
    assert!(answer(&toy, &open(&toy, &Scope::Mesh)).is_empty());
}

#[test]
fn thousands_of_documents_heal_in_bounded_messages() {
    let mut a = Toy::default();
    for n in 0..6000u32 {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        id[15] = (n % 256) as u8;
        a.0.entry(DocId(id)).or_default().insert(ActorId([1; 16]), 3);
    }
    let mut b = Toy::default();
    heal(&mut a, &mut b, 0);
    assert_eq!(a.0, b.0);
}

/// Bytes of all messages of a round but the changes themselves, and their number.
fn cost(a: &mut Toy, b: &mut Toy) -> (usize, usize) {
    let (mut bytes, mut count) = (0, 0);
    let mut queue = VecDeque::from([(true, open(a, &Scope::Mesh))]);
    while let Some((to_b, message)) = queue.pop_front() {
        let target = if to_b { &mut *b } else { &mut *a };
        if let Message::Changes { changes, .. } = &message {
            changes.iter().for_each(|c| target.apply(c));
        } else {
            bytes += message.encode().unwrap().len();
        }
        count += 1;
        queue.extend(answer(target, &message).into_iter().map(|m| (!to_b, m)));
    }
    (bytes, count)
}

#[test]
fn few_differences_among_ten_thousand_documents_cost_little() {
    let id = |n: u32| DocId(Digest::of("doc", &[&n.to_be_bytes()]).0[..16].try_into().unwrap());
    let mut a = Toy::default();
    for n in 0..10_000 {
        a.0.entry(id(n)).or_default().insert(ActorId([1; 16]), 3);
    }
    let mut b = a.clone();
    let (bytes, count) = cost(&mut a, &mut b);
    assert!(bytes < 100 && count == 1, "in sync: {bytes} bytes, {count} messages");
    for (differ, most) in [(1, 3_000), (100, 80_000)] {
        let mut b = a.clone();
        for n in 0..differ {
            a.0.entry(id(n * 37)).or_default().insert(ActorId([2; 16]), 1);
        }
        let (bytes, count) = cost(&mut a, &mut b);
        println!("{differ} of 10000 differ: {bytes} bytes beside the changes, {count} messages");
        assert_eq!(a.0, b.0);
        assert!(bytes <= most, "{differ} differ: {bytes} bytes");
    }
}
