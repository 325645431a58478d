//! Whatever bytes a member sends, a node neither panics, nor takes more than a few megabytes for them, nor forgets how to
//! work with the others. The messages are made from those that honest nodes have sent, so that they get past the first check.
//!
//! `HOLM_HOSTILE=1000000` says how many (`make fuzz`), `HOLM_SEED=7` which. Changes that a member has signed well and whose
//! structure is wrong are the matter of `crdt-state/core/tests/hostile.rs`.

mod alloc;
mod mesh;
mod mutate;

use holm_mesh_core::repair::Message;
use holm_types::{
    cert::CertChain, change::SignedChange, keys::KeyPair, manifest::Format, manifest::Manifest, presence::Presence,
    token::Token, view::TaskStatus,
};
use mesh::{HONEST, Mesh, VICTIM};
use mutate::hostile;
use rand::{RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use std::{collections::BTreeMap, sync::Mutex, time::Duration};

#[global_allocator]
static ALLOCATOR: alloc::Counted = alloc::Counted;

/// The allocator counts for all threads: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());
/// What one message may make a node allocate, in one piece and in all.
const MOST: usize = 4 << 20;
/// Messages between two looks at whether the node is well.
const ROUND: u64 = 2_000;
/// Bytes that a node may hold more after many messages than before: quarantine, orphans and the like are bounded.
const GROWTH: usize = 48 << 20;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

fn busy_mesh() -> Mesh {
    let mut mesh = Mesh::new();
    mesh.pass(Duration::from_secs(3));
    mesh.submit("name = 'web'\ntype = 'service'\nreplicas = 4\n[run.process]\ncommand = ['/bin/sleep', '9']\n");
    mesh.pass(Duration::from_secs(5));
    mesh.submit("name = 'count'\ntype = 'job'\ntasks = 40\nparallel = 10\n[run.process]\ncommand = ['/bin/true']\n");
    mesh.pass(Duration::from_secs(15));
    mesh.stop_recording();
    assert!(mesh.frames.len() > 10 && mesh.gossip.len() > 100, "{} {}", mesh.frames.len(), mesh.gossip.len());
    mesh
}

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

/// The decoders one by one, also those that strangers reach.
#[test]
fn no_decoder_panics_or_asks_for_much() {
    let _alone = ALONE.lock();
    let inputs = number("HOLM_HOSTILE", 30_000);
    let mut rng = ChaCha8Rng::seed_from_u64(number("HOLM_SEED", 1));
    let mesh = busy_mesh();
    let mut honest: Vec<Vec<u8>> =
        mesh.frames.iter().cloned().chain(mesh.gossip.iter().map(|(_, b)| b.clone())).collect();
    let statuses: Vec<Vec<u8>> =
        honest.iter().filter_map(|bytes| SignedChange::decode(bytes).ok()).flat_map(values).collect();
    honest.extend(statuses);
    honest.push(chain());
    let manifest =
        "name = 'web'\ntype = 'service'\nreplicas = 4\n[run.process]\ncommand = ['/bin/sleep', '9']\n[env]\nA = 'b'\n";
    for n in 0..inputs {
        let bytes = hostile(honest.choose(&mut rng).expect("some"), &honest, &mut rng);
        let text = hostile(manifest.as_bytes(), &honest, &mut rng);
        let before = alloc::held();
        alloc::begin();
        let _ = SignedChange::decode(&bytes);
        let _ = CertChain::decode(&bytes);
        let _ = Presence::decode(&bytes);
        let _ = TaskStatus::decode(&bytes);
        let _ = Message::decode(&bytes);
        let text = String::from_utf8_lossy(&text);
        let _ = Token::from_text(&text);
        if n % 16 == 0 {
            let _ = Manifest::parse(&text, Format::Toml);
            let _ = Manifest::parse(&text, Format::Yaml);
        }
        let (largest, held) = alloc::most(before);
        // Manifests come from clients with a credential, and the libraries that read TOML and YAML make a tree of them
        // first: some hundred bytes for a byte, of which there are a megabyte at most.
        let most = MOST + if n % 16 == 0 { 512 * text.len() } else { 0 };
        assert!(largest <= most && held <= most, "input {n}: {largest} bytes in a piece, {held} in all");
    }
}

fn values(change: SignedChange) -> Vec<Vec<u8>> {
    let bytes = |op: holm_types::change::WireOp| match op.value {
        Some(holm_types::change::Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    };
    change.change.ops.into_iter().filter_map(bytes).collect()
}

fn chain() -> Vec<u8> {
    let authority = KeyPair::from_secret(&[0xA0; 32]);
    let claims = holm_types::cert::Claims {
        mesh: holm_types::MeshId(authority.node_id().0),
        mesh_name: "acme".parse().unwrap(),
        subject: KeyPair::from_secret(&[1; 32]).node_id(),
        name: "gw-1".parse().unwrap(),
        site: "plant".parse().unwrap(),
        roles: vec![holm_types::cert::Role::Edge],
        not_before: 0,
        not_after: 1 << 40,
        serial: 7,
    };
    CertChain::new(vec![holm_types::cert::Certificate::sign(claims, &authority).unwrap()]).encode().unwrap()
}
