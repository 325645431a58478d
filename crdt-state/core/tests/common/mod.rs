//! A mesh of writers in memory, for tests that read like prose.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use holm_state::{MemStore, Outcome, State, StoreWrite, TasksOf};
use holm_types::{
    DocId, Epoch, Incarnation, MeshId, NodeId, Scope, Slot, Wall,
    branch::Branch,
    cert::{CertChain, Certificate, Claims, Role},
    change::{SignedChange, Value, keys_of},
    keys::KeyPair,
    manifest::{Format, Manifest},
    view::{AppView, Placement, TaskState, TaskStatus},
};

pub const NOW: Wall = Wall(1_790_000_000_000);

pub fn authority() -> KeyPair {
    KeyPair::from_secret(&[0xAA; 32])
}

pub fn mesh() -> MeshId {
    MeshId(authority().node_id().0)
}

pub fn key(n: u8) -> KeyPair {
    KeyPair::from_secret(&[n + 1; 32])
}

pub fn id(n: u8) -> NodeId {
    key(n).node_id()
}

pub fn chain_with(n: u8, roles: &[Role], not_before: u64) -> CertChain {
    let claims = Claims {
        mesh: mesh(),
        mesh_name: "m".parse().unwrap(),
        subject: id(n),
        name: format!("n{n}").parse().unwrap(),
        site: "s".parse().unwrap(),
        roles: roles.to_vec(),
        not_before,
        not_after: u64::MAX,
        serial: u64::from(n),
    };
    CertChain::new(vec![Certificate::sign(claims, &authority()).unwrap()])
}

pub fn chain(n: u8) -> CertChain {
    chain_with(n, &[Role::Keeper], 0)
}

pub fn text(t: &str) -> Option<Value> {
    Some(Value::Text(t.into()))
}

pub fn uint(n: u64) -> Option<Value> {
    Some(Value::Uint(n))
}

pub fn ops(list: &[(&str, Option<Value>)]) -> Vec<(String, Option<Value>)> {
    list.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect()
}

/// A node: its state and its disk.
pub struct Peer {
    pub n: u8,
    pub state: State,
    pub disk: MemStore,
}

impl Peer {
    /// A node that knows itself and members 0 to 3, and whose disk is empty.
    pub fn new(n: u8) -> Peer {
        let mut peer = Peer::stranger(n);
        for other in 0..4 {
            peer.state.add_member(chain(other), NOW).unwrap();
        }
        peer
    }

    /// A node that knows nobody.
    pub fn stranger(n: u8) -> Peer {
        let disk = MemStore::new();
        Peer { n, state: State::open(mesh(), key(n), Incarnation(0), Box::new(disk.clone())).unwrap(), disk }
    }

    /// The node after a restart.
    pub fn reopen(&self) -> Peer {
        let state = State::open(mesh(), key(self.n), Incarnation(0), Box::new(self.disk.clone())).unwrap();
        Peer { n: self.n, state, disk: self.disk.clone() }
    }

    pub fn write(&mut self, doc: DocId, list: &[(&str, Option<Value>)]) -> SignedChange {
        self.state.write(&Scope::Mesh, doc, ops(list), NOW).unwrap()
    }

    /// Receives a change as it travels: encoded, decoded, verified.
    pub fn receive(&mut self, change: &SignedChange) -> Outcome {
        let change = SignedChange::decode(&change.encode().unwrap()).unwrap();
        assert_eq!(holm_state::verify_batch(&mesh(), std::slice::from_ref(&change)), [true]);
        self.state.apply(change, NOW)
    }

    /// Writes every queued batch to the disk.
    pub fn persist(&mut self) {
        while let Some(batch) = self.state.take_batch() {
            self.disk.write(&batch).unwrap();
            self.state.persisted();
        }
    }

    /// Everything that must be equal on two nodes that hold the same, and on automerge's own replica of each document.
    pub fn believes(&self) -> Beliefs {
        let s = &self.state;
        let scopes = s.scopes();
        let docs: Vec<DocId> =
            scopes.iter().flat_map(|scope| s.documents(scope, &Branch::ROOT, usize::MAX)).map(|(doc, _)| doc).collect();
        docs.iter().for_each(|doc| s.audit(doc).unwrap());
        Beliefs {
            digests: scopes.iter().map(|scope| s.digest(scope)).collect(),
            registers: docs.iter().map(|doc| (*doc, s.registers(doc).unwrap().clone())).collect(),
            vectors: docs.iter().map(|doc| s.vector(doc)).collect(),
            // What is known of tasks that have ended is each node's own business.
            apps: format!(
                "{:?}",
                s.apps()
                    .values()
                    .map(|app| if app.live {
                        app.clone()
                    } else {
                        AppView { slots: Default::default(), ..app.clone() }
                    })
                    .collect::<Vec<_>>()
            ),
        }
    }
}

#[derive(Debug, PartialEq)]
pub struct Beliefs {
    digests: Vec<holm_types::Digest>,
    registers: Vec<(DocId, holm_state::Registers)>,
    vectors: Vec<Vec<(holm_types::ActorId, u64)>>,
    apps: String,
}

pub fn app_doc() -> DocId {
    DocId::app(&Scope::Mesh, &"default".parse().unwrap(), &"hello".parse().unwrap())
}

pub fn manifest(replicas: u32) -> Manifest {
    let toml = format!(
        "name = \"hello\"\ntype = \"service\"\nreplicas = {replicas}\n[run.process]\ncommand = [\"/bin/sleep\", \"60\"]\n"
    );
    Manifest::parse(&toml, Format::Toml).unwrap()
}

/// The keys of an apply.
pub fn apply_ops(life: u64, revision: u64, replicas: u32) -> Vec<(String, Option<Value>)> {
    let mut list = vec![(keys_of::LIFE.to_owned(), uint(life)), (keys_of::REVISION.to_owned(), uint(revision))];
    list.extend(manifest(replicas).to_fields().into_iter().map(|(k, v)| (keys_of::spec(&k), text(&v))));
    list
}

pub fn tasks_of(generation: u64, group: u32) -> TasksOf {
    TasksOf { scope: Scope::Mesh, app: app_doc(), generation, group, volume: 0 }
}

pub fn placement(node: u8) -> Value {
    let placement = Placement { node: id(node), attempt: 1, template: manifest(1).template(), stands_in: None };
    Value::Bytes(holm_types::cbor::to_vec("placement", &placement).unwrap())
}

pub fn assign(slot: Slot, epoch: Epoch, writer: u8, node: u8) -> (String, Option<Value>) {
    (keys_of::assignment(slot, epoch, &id(writer)), Some(placement(node)))
}

pub fn status(slot: Slot, epoch: Epoch, node: u8, state: TaskState) -> (String, Option<Value>) {
    (keys_of::status(slot, epoch, &id(node)), Some(Value::Bytes(TaskStatus::new(state).encode().unwrap())))
}

/// The key that a tasks document begins with.
pub fn names_app(of: &TasksOf) -> (String, Option<Value>) {
    (holm_state::TASKS_APP.to_owned(), Some(of.value()))
}
