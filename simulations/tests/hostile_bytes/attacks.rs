//! Messages of a hostile member, to a node that has to go on.

use crate::{
    ALONE, MOST, alloc, busy_mesh,
    mesh::{HONEST, Mesh, VICTIM},
    mutate::hostile,
    number,
};
use rand::{RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use std::{collections::BTreeMap, time::Duration};

/// Messages between two looks at whether the node is well.
const ROUND: u64 = 2_000;
/// Bytes that a node may hold more after many messages than before: quarantine, orphans and the like are bounded.
const GROWTH: usize = 48 << 20;

/// A message of a hostile member: to a topic, or as a frame.
type Attack = (Option<String>, Vec<u8>);

fn draw(frames: &[Vec<u8>], gossip: &[(String, Vec<u8>)], all: &[Vec<u8>], rng: &mut ChaCha8Rng) -> Attack {
    if rng.random_ratio(1, 2) {
        return (None, hostile(frames.choose(rng).expect("some"), all, rng));
    }
    let (topic, honest) = gossip.choose(rng).expect("some");
    let other = &gossip.choose(rng).expect("some").0;
    let topic = if rng.random_ratio(1, 5) { other } else { topic };
    (Some(topic.clone()), hostile(honest, all, rng))
}

#[test]
fn no_bytes_of_a_member_hurt_a_node() {
    let _alone = ALONE.lock();
    let (inputs, seed) = (number("HOLM_HOSTILE", 30_000), number("HOLM_SEED", 1));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut mesh = busy_mesh();
    let (frames, gossip) = (std::mem::take(&mut mesh.frames), std::mem::take(&mut mesh.gossip));
    let all: Vec<Vec<u8>> = frames.iter().cloned().chain(gossip.iter().map(|(_, bytes)| bytes.clone())).collect();
    let begun_with = alloc::held();
    let mut counted = BTreeMap::new();
    for n in 0..inputs {
        let (topic, bytes) = draw(&frames, &gossip, &all, &mut rng);
        let shown = bytes[..bytes.len().min(200)].to_vec();
        let before = alloc::held();
        alloc::begin();
        match topic {
            Some(topic) => mesh.hostile_gossip(&topic, bytes),
            None => mesh.hostile_frame(bytes),
        }
        let (largest, held) = alloc::most(before);
        assert!(
            largest <= MOST && held <= MOST,
            "input {n} of seed {seed}: {largest} bytes in a piece, {held} in all; it begins {shown:02x?}"
        );
        mesh.tick();
        if n % ROUND == ROUND - 1 {
            look_after(&mut mesh, n, &mut counted);
            let grown = alloc::held().saturating_sub(begun_with);
            assert!(grown < GROWTH, "after {n} inputs it holds {grown} bytes more");
        }
    }
    assert_eq!(counted["state_panics_caught"], 0, "{counted:?}");
    assert!(
        counted["state_refused"] > 0 && counted["state_applied"] > 0,
        "the attacks get to the documents: {counted:?}"
    );
    println!("{inputs} inputs of seed {seed}; counted: {counted:?}");
}

/// The node still takes part: what honest nodes write reaches it, also after it was started again.
fn look_after(mesh: &mut Mesh, n: u64, counted: &mut BTreeMap<String, u64>) {
    mesh.submit(&format!(
        "name = 'after'\ntype = 'service'\nreplicas = 1\n[run.process]\ncommand = ['/bin/sleep', '9']\n[env]\nN = '{n}'\n"
    ));
    mesh.pass(Duration::from_secs(3));
    assert_eq!(mesh.apps_of(VICTIM), mesh.apps_of(HONEST), "after input {n}: {}", mesh.counted());
    if n % (ROUND * 5) == ROUND * 5 - 1 {
        for (name, count) in mesh.counted().as_object().into_iter().flatten() {
            *counted.entry(name.clone()).or_default() += count.as_u64().unwrap_or(0);
        }
        mesh.restart_victim();
        assert_eq!(mesh.apps_of(VICTIM), mesh.apps_of(HONEST), "from its disk, after input {n}");
        mesh.pass(Duration::from_secs(3));
    }
}
