//! A member turned hostile: changes that are signed well and made to hurt.

mod common;

use automerge::{
    Change, ChangeHash, ExpandedChange, ScalarValue,
    legacy::{Key, ObjectId, Op, OpId, OpType},
};
use common::*;
use holm_state::Outcome;
use holm_types::{
    ActorId, Digest, DocId, Incarnation, Scope,
    change::{SignedChange, Value, WireChange, WireOp},
    revocation::Revocation,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::num::NonZeroU64;

fn doc() -> DocId {
    let mut doc = app_doc();
    doc.0[0] = 50;
    doc
}

/// What automerge makes of a wire change, checked by nobody: the hash that a hostile author signs.
fn hash_of(wire: &WireChange) -> Option<Digest> {
    let actor = |a: &ActorId| automerge::ActorId::from(&a.0[..]);
    let operation = |op: &WireOp| {
        let preds = op.preds.iter().map(|(n, i)| Some(OpId(*n, actor(wire.actors.get(usize::from(*i))?))));
        Some(Op {
            action: match &op.value {
                None => OpType::Delete,
                Some(Value::Uint(n)) => OpType::Put(ScalarValue::Uint(*n)),
                Some(Value::Text(t)) => OpType::Put(ScalarValue::Str(t.as_str().into())),
                Some(Value::Bytes(b)) => OpType::Put(ScalarValue::Bytes(b.clone())),
            },
            obj: ObjectId::Root,
            key: Key::Map(op.key.as_str().into()),
            pred: preds.collect::<Option<Vec<_>>>()?.into(),
            insert: false,
        })
    };
    let expanded = ExpandedChange {
        operations: wire.ops.iter().map(operation).collect::<Option<_>>()?,
        actor_id: actor(wire.actors.first()?),
        hash: None,
        seq: wire.seq,
        start_op: NonZeroU64::new(wire.start_op)?,
        time: wire.time as i64,
        message: None,
        deps: wire.deps.iter().map(|d| ChangeHash(d.0)).collect(),
        extra_bytes: vec![],
        author: None,
    };
    std::panic::catch_unwind(|| Change::from(expanded)).ok().map(|change| Digest(change.hash().0))
}

fn sign(wire: WireChange, n: u8) -> SignedChange {
    let hash = hash_of(&wire).unwrap_or(Digest([1; 32]));
    SignedChange::sign(&mesh(), Scope::Mesh, doc(), hash, wire, &key(n))
}

/// A document with a common past, two branches and their merge, and what four writers would
/// honestly write next: some on top, some on a branch.
fn corpus() -> (Vec<SignedChange>, Vec<(u8, SignedChange)>) {
    let mut log = Vec::new();
    let mut peers: Vec<Peer> = (0..3).map(Peer::new).collect();
    let tell = |peers: &mut Vec<Peer>, log: &[SignedChange]| {
        for peer in peers {
            for change in log {
                peer.receive(change);
            }
        }
    };
    for n in 0..6u64 {
        let fields =
            [("state", uint(n)), ("node", text(&format!("node-{n}"))), ("raw", Some(Value::Bytes(vec![n as u8; 20])))];
        log.push(peers[n as usize % 3].write(doc(), &fields));
        tell(&mut peers, &log);
    }
    let mut next = Vec::new();
    let branches: Vec<_> = (0..3usize)
        .map(|n| peers[n].write(doc(), &[("state", uint(50 + n as u64)), ("only", uint(n as u64))]))
        .collect();
    let mut on_branch = Peer::new(3);
    for change in log.iter().chain(&branches[..1]) {
        on_branch.receive(change);
    }
    next.push((3, on_branch.write(doc(), &[("state", uint(3)), ("only", None)])));
    log.extend(branches);
    tell(&mut peers, &log);
    for n in 0..3u8 {
        let fields = [("state", uint(9)), ("node", None), ("only", uint(7)), ("new", text("x"))];
        next.push((n, peers[usize::from(n)].write(doc(), &fields)));
    }
    (log, next)
}

fn mutate(rng: &mut ChaCha8Rng, wire: &mut WireChange, log: &[SignedChange]) {
    let some_hash = |rng: &mut ChaCha8Rng| log[rng.random_range(0..log.len())].hash;
    let some_actor =
        |rng: &mut ChaCha8Rng| ActorId::new(&id(rng.random_range(0..5)), Incarnation(rng.random_range(0..2)));
    for _ in 0..rng.random_range(1..3) {
        let op = rng.random_range(0..wire.ops.len());
        match rng.random_range(0..18) {
            0 => {
                wire.seq = [0, 1, 2, 3, wire.seq.wrapping_add(1), wire.seq.wrapping_add(5), u64::MAX, 1 << 32, 1 << 40]
                    [rng.random_range(0..9)]
            }
            1 => {
                wire.start_op = [
                    0,
                    1,
                    2,
                    wire.start_op.wrapping_add(1),
                    wire.start_op.wrapping_add(10),
                    1 << 30,
                    (1 << 30) - 1,
                    1 << 31,
                    u64::from(u32::MAX),
                    1 << 33,
                    u64::MAX - 3,
                ][rng.random_range(0..11)]
            }
            2 => wire.time = rng.random(),
            3 => wire.deps.clear(),
            4 => wire.deps = vec![some_hash(rng)],
            5 => {
                wire.deps.push(some_hash(rng));
                wire.deps.sort_unstable();
            }
            6 => wire.deps.push(some_hash(rng)),
            7 => {
                wire.deps.pop();
            }
            8 => wire.actors[0] = some_actor(rng),
            9 => wire.ops[op].preds.clear(),
            10 => {
                let preds = (0..rng.random_range(1..3)).map(|_| (rng.random_range(0..40), rng.random_range(0..4)));
                wire.ops[op].preds = preds.collect();
            }
            11 => {
                wire.ops[op].value =
                    [None, uint(u64::MAX), text(""), Some(Value::Bytes(vec![])), text("\u{0}\u{10ffff}")]
                        [rng.random_range(0..5)]
                    .clone()
            }
            12 => {
                let twice = wire.ops[op].clone();
                wire.ops.push(twice);
            }
            13 => wire.ops[op].key = ["state", "", "never", "a\u{0}b", &"k".repeat(70)][rng.random_range(0..5)].into(),
            14 => wire.actors.push(some_actor(rng)),
            15 => {
                let at = rng.random_range(0..wire.actors.len());
                let last = wire.actors.len() - 1;
                wire.actors.swap(at, last);
            }
            16 => {
                let last = wire.ops.len() - 1;
                wire.ops.swap(op, last);
            }
            _ => {
                let list = &mut wire.ops[op].preds;
                list.reverse();
                list.extend(list.first().copied());
            }
        }
        if wire.actors.is_empty() || wire.ops.is_empty() {
            return;
        }
    }
}

fn victim(log: &[SignedChange]) -> Peer {
    let mut victim = Peer::new(3);
    for change in log {
        assert_eq!(victim.receive(change), Outcome::Applied { released: 0 });
    }
    victim
}

/// After an accepted change the document must still load from the log, take honest changes, and
/// be the same for another node.
fn check_health(victim: &mut Peer, log: &[SignedChange], accepted: &SignedChange) {
    victim.persist();
    let mut again = victim.reopen();
    let change = again.write(doc(), &[("state", uint(1)), ("after", uint(1))]);
    assert_eq!(victim.receive(&change), Outcome::Applied { released: 0 });
    let mut other = self::victim(log);
    other.state.apply(accepted.clone(), NOW);
    other.receive(&change);
    assert_eq!(other.believes(), victim.believes());
}

#[expect(clippy::disallowed_methods, reason = "how much is tried is no matter of the core")]
fn attacks() -> u64 {
    std::env::var("HOLM_HOSTILE").map_or(6_000, |text| text.parse().unwrap())
}

#[test]
fn structural_attacks_cause_no_panic_and_poison_no_document() {
    let (log, next) = corpus();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut target = victim(&log);
    let (mut accepted, mut refused, mut waiting) = (0, 0, 0);
    for n in 0..attacks() {
        let (author, honest) = &next[rng.random_range(0..next.len())];
        let mut wire = honest.change.clone();
        mutate(&mut rng, &mut wire, &log);
        let attack = sign(wire, *author);
        // Half of them go past the decoder, as if it checked nothing.
        let decoded = attack.encode().ok().and_then(|bytes| SignedChange::decode(&bytes).ok());
        let attack = if rng.random() { decoded.unwrap_or(attack) } else { attack };
        match target.state.apply(attack.clone(), NOW) {
            Outcome::Applied { .. } => {
                accepted += 1;
                check_health(&mut target, &log, &attack);
                target = victim(&log);
            }
            Outcome::Refused(_) => refused += 1,
            Outcome::Orphan => waiting += 1,
            Outcome::Known => {}
            Outcome::NoRoom => panic!("there is no budget"),
        }
        assert_eq!(target.state.counters()["panics_caught"], 0, "attack {n}");
    }
    // Whatever was refused left no trace: what honest writers say is still taken.
    for (_, honest) in &next {
        assert_eq!(target.receive(honest), Outcome::Applied { released: 0 });
    }
    println!("accepted {accepted}, refused {refused}, waiting {waiting}");
    assert!(accepted > 200 && refused > 3_000, "the attacks reach the validator, and some are harmless");
}

#[test]
fn altered_bytes_are_refused_or_mean_what_was_signed() {
    let (log, next) = corpus();
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let mut target = victim(&log);
    let before = target.believes();
    let mut readable = 0;
    for _ in 0..20_000 {
        let mut bytes = next[rng.random_range(0..next.len())].1.encode().unwrap();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..5) {
                0 => bytes[at] ^= 1 << rng.random_range(0..8),
                1 => bytes[at] = rng.random(),
                2 => {
                    bytes.remove(at);
                }
                3 => bytes.insert(at, rng.random()),
                _ => bytes.truncate(at + 1),
            }
        }
        if let Ok(change) = SignedChange::decode(&bytes) {
            readable += 1;
            let honest = next.iter().any(|(_, honest)| honest.hash == change.hash && honest.change == change.change);
            let outcome = target.state.apply(change, NOW);
            assert!(honest || !matches!(outcome, Outcome::Applied { .. }), "content and hash belong together");
        }
    }
    assert!(readable > 500, "{readable}");
    assert_eq!(target.state.counters()["panics_caught"], 0);
    for (_, honest) in &next {
        assert!(!matches!(target.receive(honest), Outcome::Refused(_)));
    }
    assert_ne!(target.believes(), before);
}

#[test]
fn one_change_has_one_spelling() {
    let (log, next) = corpus();
    let mut target = victim(&log);
    let (author, honest) = next.iter().find(|(_, c)| c.change.actors.len() > 2).unwrap();
    let mut wire = honest.change.clone();
    wire.actors.swap(1, 2);
    for (_, index) in wire.ops.iter_mut().flat_map(|op| &mut op.preds) {
        *index = [0, 2, 1][usize::from(*index)];
    }
    let spelled = sign(wire, *author);
    assert_eq!(spelled.hash, honest.hash, "the same change for automerge");
    let Outcome::Refused(why) = target.state.apply(spelled, NOW) else { panic!("two spellings") };
    assert!(why.contains("unsorted"), "{why}");
}

#[test]
fn a_change_that_is_refused_vouches_for_no_change_of_a_revoked_member() {
    let (mut a, mut thief, mut liar) = (Peer::new(0), Peer::new(1), Peer::new(2));
    let late = thief.write(doc(), &[("state", uint(5))]);
    let said = Revocation {
        mesh: mesh(),
        subject: id(1),
        id: 1,
        at: 0,
        reason: String::new(),
        cut: Vec::new(),
        keeps: Vec::new(),
        upholds: Vec::new(),
    };
    let ops = holm_state::revocation_ops(&said.sign(None, &authority()).unwrap()).unwrap();
    a.state.write(&Scope::Mesh, DocId::revocation(&id(1)), ops, NOW).unwrap();
    let before = a.believes();
    assert!(matches!(a.receive(&late), Outcome::Refused(_)));
    liar.receive(&late);
    let honest = liar.write(doc(), &[("state", uint(6))]);
    // Built upon the thief's change, and not what the liar saw.
    let mut wire = honest.change.clone();
    wire.ops[0].preds.clear();
    wire.actors.truncate(1);
    assert!(matches!(a.receive(&sign(wire, 2)), Outcome::Refused(_)));
    assert_eq!(a.believes(), before, "nothing of the thief's got in with it");
    // It comes again with one that is valid.
    assert!(matches!(a.receive(&late), Outcome::Refused(_)));
    assert_eq!(a.receive(&honest), Outcome::Applied { released: 0 });
}
