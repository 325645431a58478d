//! Prints what applying and writing a change costs: `cargo run -p holm-state --example apply_cost`.
#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use holm_state::{MemStore, Outcome, State, StoreWrite, TasksOf, verify_batch};
use holm_types::{
    DocId, Incarnation, MeshId, Scope, Wall,
    cert::{CertChain, Certificate, Claims, Role},
    change::{SignedChange, Value, keys_of},
    keys::KeyPair,
    view::{TaskState, TaskStatus},
};
use std::time::Instant;

type Failure = Box<dyn std::error::Error>;

const SLOTS: u32 = 100;
const UPDATES: u32 = 10;

fn main() -> Result<(), Failure> {
    let (authority, key) = (KeyPair::from_secret(&[1; 32]), KeyPair::from_secret(&[2; 32]));
    let mesh = MeshId(authority.node_id().0);
    let claims = Claims {
        mesh,
        mesh_name: "m".parse()?,
        subject: key.node_id(),
        name: "n".parse()?,
        site: "s".parse()?,
        roles: vec![Role::Edge],
        not_before: 0,
        not_after: 1,
        serial: 1,
    };
    let chain = CertChain::new(vec![Certificate::sign(claims, &authority)?]);
    let mut disk = MemStore::new();
    let mut writer = State::open(mesh, key.clone(), Incarnation(1), Box::new(disk.clone()))?;
    let mut reader = State::open(mesh, KeyPair::from_secret(&[3; 32]), Incarnation(1), Box::new(MemStore::new()))?;
    for state in [&mut writer, &mut reader] {
        state.add_member(chain.clone(), Wall(0))?;
    }
    let of = TasksOf {
        scope: Scope::Mesh,
        app: DocId::app(&Scope::Mesh, &"default".parse()?, &"a".parse()?),
        generation: 1,
        group: 0,
        volume: 0,
    };
    let start = Instant::now();
    let changes = write_history(&mut writer, &of, &key)?;
    report("write (sign, validate, apply)", start, changes.len());

    let start = Instant::now();
    let verdicts = verify_batch(&mesh, &changes);
    report("verify, in one batch", start, verdicts.iter().filter(|ok| **ok).count());

    let start = Instant::now();
    let applied = changes.iter().cloned().map(|change| reader.apply(change, Wall(0)));
    let applied = applied.filter(|outcome| matches!(outcome, Outcome::Applied { .. })).count();
    report("apply", start, applied);

    let start = Instant::now();
    let known = changes.iter().cloned().map(|change| reader.apply(change, Wall(0))).filter(|o| *o == Outcome::Known);
    report("apply what is known", start, known.count());

    while let Some(batch) = writer.take_batch() {
        disk.write(&batch)?;
        writer.persisted();
    }
    let start = Instant::now();
    let mut again = State::open(mesh, key.clone(), Incarnation(1), Box::new(disk))?;
    report("open", start, again.document_count());
    let start = Instant::now();
    let status = (keys_of::status(0, 1, &key.node_id()), Some(Value::Bytes(vec![1])));
    again.write(&Scope::Mesh, of.doc(), vec![status], Wall(0))?;
    report("load a document of that many changes", start, 1);
    Ok(())
}

/// A tasks document: every slot is assigned once, then its status changes some times.
fn write_history(state: &mut State, of: &TasksOf, key: &KeyPair) -> Result<Vec<SignedChange>, Failure> {
    let name = (holm_state::TASKS_APP.to_owned(), Some(of.value()));
    let mut changes = vec![state.write(&Scope::Mesh, of.doc(), vec![name], Wall(0))?];
    for update in 0..UPDATES {
        for slot in 0..SLOTS {
            let mut status = TaskStatus::new(TaskState::Running);
            status.restarts = update;
            let op = (keys_of::status(slot, 1, &key.node_id()), Some(Value::Bytes(status.encode()?)));
            changes.push(state.write(&Scope::Mesh, of.doc(), vec![op], Wall(u64::from(update)))?);
        }
    }
    Ok(changes)
}

fn report(what: &str, start: Instant, count: usize) {
    let each = start.elapsed().as_secs_f64() * 1e6 / count.max(1) as f64;
    println!("{what:<40} {each:>10.1} us  x {count}");
}
