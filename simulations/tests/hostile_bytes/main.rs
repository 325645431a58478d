//! Whatever bytes a member sends, a node neither panics, nor takes more than a few megabytes for them, nor forgets how to
//! work with the others. The messages are made from those that honest nodes have sent, so that they get past the first check.
//!
//! `HOLM_HOSTILE=1000000` says how many (`make fuzz`), `HOLM_SEED=7` which. Changes that a member has signed well and whose
//! structure is wrong are the matter of `crdt-state/core/tests/hostile.rs`.

mod alloc;
mod attacks;
mod decoders;
mod mesh;
mod mutate;

use mesh::Mesh;
use std::{sync::Mutex, time::Duration};

#[global_allocator]
static ALLOCATOR: alloc::Counted = alloc::Counted;

/// The allocator counts for all threads: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());
/// What one message may make a node allocate, in one piece and in all.
const MOST: usize = 4 << 20;

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
    assert!(mesh.frames.len() > 10 && mesh.gossip.len() > 50, "{} {}", mesh.frames.len(), mesh.gossip.len());
    mesh
}
