//! The members of a bench's mesh, and documents like those that a mesh really holds.

use anyhow::{Result, ensure};
use holm_state::{Batch, State, StoreWrite, TASKS_APP, TasksOf};
use holm_types::{
    DocId, MeshId, NodeId, Scope, Slot, Wall,
    cert::{CertChain, Certificate, Claims, Role},
    change::{SLOTS_PER_GROUP, Value, keys_of},
    keys::KeyPair,
    manifest::{Format, Manifest},
    view::{Placement, TaskState, TaskStatus},
};
use std::sync::OnceLock;

/// When all of it happens.
pub const NOW: Wall = Wall(1_790_000_000_000);

fn authority() -> KeyPair {
    KeyPair::from_secret(&[0xAA; 32])
}

/// The mesh.
pub fn mesh() -> MeshId {
    // A key takes a third of the time of a verification to derive, and this is asked beside each.
    static MESH: OnceLock<MeshId> = OnceLock::new();
    *MESH.get_or_init(|| MeshId(authority().node_id().0))
}

/// The key of a member.
pub fn key(number: u8) -> KeyPair {
    KeyPair::from_secret(&[number + 1; 32])
}

/// Where the members are, and the documents.
pub fn site() -> Result<Scope> {
    Ok(Scope::Site("plant".parse()?))
}

/// The certificate of a member.
pub fn chain(number: u8) -> Result<CertChain> {
    let claims = Claims {
        mesh: mesh(),
        mesh_name: "bench".parse()?,
        subject: key(number).node_id(),
        name: format!("n{number}").parse()?,
        site: "plant".parse()?,
        roles: vec![Role::Edge],
        not_before: 0,
        not_after: u64::MAX,
        serial: u64::from(number),
    };
    Ok(CertChain::new(vec![Certificate::sign(claims, &authority())?]))
}

/// An operation on a key.
pub type Op = (String, Option<Value>);

/// The manifest of a service that rests.
fn manifest(scope: &Scope, name: &str) -> Result<Manifest> {
    let place = scope.site().map(|site| format!("[place]\nsite = \"{site}\"\n")).unwrap_or_default();
    let text = format!(
        "name = \"{name}\"\ntype = \"service\"\nreplicas = 0\n[run.process]\ncommand = [\"/usr/bin/reader\", \"--device\", \"/dev/ttyUSB0\"]\n{place}"
    );
    Ok(Manifest::parse(&text, Format::Toml)?)
}

/// A service by its number: the document, and what the submission writes.
pub fn app(scope: &Scope, number: usize) -> Result<(DocId, Vec<Op>)> {
    let name = format!("reader-{number}");
    let doc = DocId::app(scope, &"default".parse()?, &name.parse()?);
    let mut ops =
        vec![(keys_of::LIFE.to_owned(), Some(Value::Uint(1))), (keys_of::REVISION.to_owned(), Some(Value::Uint(1)))];
    let fields = manifest(scope, &name)?.to_fields();
    ops.extend(fields.into_iter().map(|(field, json)| (keys_of::spec(&field), Some(Value::Text(json.into())))));
    Ok((doc, ops))
}

/// An edit of a service.
pub fn edit(revision: u64) -> Vec<Op> {
    vec![
        (keys_of::spec("env"), Some(Value::Text(format!("{{\"EDIT\":\"{revision}\"}}").into()))),
        (keys_of::LIFE.to_owned(), Some(Value::Uint(1))),
        (keys_of::REVISION.to_owned(), Some(Value::Uint(revision))),
    ]
}

/// Which tasks document a slot is in.
pub fn tasks_of(scope: &Scope, app: DocId, slot: Slot) -> TasksOf {
    TasksOf { scope: scope.clone(), app, generation: 1, group: slot / SLOTS_PER_GROUP, volume: 0 }
}

/// What the document begins with.
pub fn names_app(of: &TasksOf) -> Op {
    (TASKS_APP.to_owned(), Some(of.value()))
}

/// A slot is given to a node.
pub fn assigned(slot: Slot, node: &NodeId) -> Result<Op> {
    let placement = Placement {
        node: *node,
        attempt: 1,
        template: manifest(&Scope::Mesh, "template")?.template(),
        stands_in: None,
    };
    let bytes = holm_types::cbor::to_vec("placement", &placement)?;
    Ok((keys_of::assignment(slot, 1, node), Some(Value::Bytes(bytes))))
}

/// What the node says of it: of its process, and in the end of its success.
pub fn status(slot: Slot, node: &NodeId, state: TaskState) -> Result<Op> {
    let mut status = TaskStatus::new(state);
    status.started_at = Some(NOW);
    match state.is_terminal() {
        true => (status.finished_at, status.exit_code, status.reason) = (Some(NOW), Some(0), "exit code 0".to_owned()),
        false => status.pid = Some(20_000 + slot),
    }
    Ok((keys_of::status(slot, 1, node), Some(Value::Bytes(status.encode()?))))
}

/// So many documents: half of them services that rest, half the end of a task of each.
pub fn documents(
    state: &mut State,
    store: &mut impl StoreWrite,
    writer: &NodeId,
    scope: &Scope,
    count: usize,
) -> Result<()> {
    let me = *writer;
    for number in 0..count / 2 {
        let (doc, ops) = app(scope, number)?;
        state.write(scope, doc, ops, NOW)?;
        let of = tasks_of(scope, doc, 0);
        state.write(scope, of.doc(), vec![names_app(&of), assigned(0, &me)?], NOW)?;
        state.write(scope, of.doc(), vec![status(0, &me, TaskState::Running)?], NOW)?;
        state.write(scope, of.doc(), vec![status(0, &me, TaskState::Succeeded)?], NOW)?;
        persist_unsynced(state, store)?;
    }
    ensure!(state.apps().len() == count / 2, "{} of {} documents are valid apps", state.apps().len(), count / 2);
    Ok(())
}

/// Writes what is queued, without waiting for the disk: what is measured comes later.
pub fn persist_unsynced(state: &mut State, store: &mut impl StoreWrite) -> Result<()> {
    while let Some(batch) = state.take_batch() {
        store.write(&Batch { puts: batch.puts.clone(), sync: false })?;
        state.persisted();
    }
    Ok(())
}
