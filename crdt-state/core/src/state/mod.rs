//! The state machine: everything that a node holds of the mesh's documents.

mod admit;
mod cut;
mod ended;
mod open;
mod repair;
mod volumes;
mod write;

pub use cut::revocation_ops;

use self::ended::Ended;
use crate::{
    authority::may_deploy,
    cache::Cache,
    counters::Counters,
    digest::Digests,
    entity::Entity,
    error::StateError,
    layout,
    members::{Member, Members},
    orphans::{Orphans, Want},
    overlay::Overlay,
    quarantine::{Quarantine, Quarantined},
    reduce::Views,
    registers::Registers,
    revocations::Revocations,
    store::{Batch, Table},
    usage::Ledger,
};
use holm_types::{
    ActorId, DocId, Incarnation, MeshId, NodeId, Scope, Wall, cert::CertChain, keys::KeyPair, view::AppView,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is part of the document now; [`State::take_batch`] holds its rows.
    Applied {
        /// Orphans that had waited for it and were applied too.
        released: usize,
    },
    /// It was part of the document before.
    Known,
    /// It waits for a change that it depends on, or for its author's certificate.
    Orphan,
    /// There is no room for it within this node's budget of the scope ([`State::set_budget`]); that says nothing about it.
    NoRoom,
    /// It is not valid, and why. Honest nodes all say the same.
    Refused(String),
}

/// All documents that this node holds.
///
/// Nothing here blocks or waits: reads of the store are the only calls that leave the machine,
/// and what must be written leaves it as a [`Batch`].
pub struct State {
    mesh: MeshId,
    key: KeyPair,
    me: NodeId,
    /// The incarnation that this node writes as.
    actor: ActorId,
    overlay: Overlay,
    docs: BTreeMap<DocId, Entity>,
    cache: Cache,
    /// Who stands behind an actor.
    authors: BTreeMap<ActorId, NodeId>,
    members: Members,
    revocations: Revocations,
    orphans: Orphans,
    /// Changes of revoked members that do not count by themselves.
    held: Orphans,
    /// Revocations came that nobody has asked for yet.
    distrust_changed: bool,
    /// A peer has told of a lost life, and this one goes on beyond it.
    reminded: bool,
    digests: Digests,
    views: Views,
    quarantine: Quarantine,
    changed: BTreeSet<DocId>,
    changed_members: BTreeSet<NodeId>,
    counters: Counters,
    damage: Option<String>,
    ended: Ended,
    pub(crate) ledger: Ledger,
}

impl State {
    /// Takes note of a member by the certificate that it showed in a handshake, so that its
    /// changes can be judged before its own document arrives. Gives the number of orphans that
    /// were applied for it.
    ///
    /// # Errors
    /// The chain is not one of this mesh, or makes nobody a member any more.
    pub fn add_member(&mut self, chain: CertChain, now: Wall) -> Result<usize, StateError> {
        let id = chain.claims()?.subject;
        if self.members.get(&id).is_some_and(|member| member.chain == chain) {
            return Ok(0);
        }
        chain.verify(&self.mesh)?;
        if self.revocations.voids(&chain) {
            return Err(StateError::Revoked);
        }
        self.learn(chain)?;
        Ok(self.release(now))
    }

    /// Takes note of a verified chain, and wakes those who waited for it.
    fn learn(&mut self, chain: CertChain) -> Result<(), StateError> {
        let id = chain.claims()?.subject;
        let signer = chain.issuer().map(|issuer| issuer.subject);
        let row = chain.encode()?;
        let was_revoked = self.members.get(&id).is_some_and(|member| member.revoked);
        if self.members.learn(chain, &self.revocations)? {
            self.overlay.put(Table::Local, layout::member_key(&id, signer.as_ref()), Some(row));
            if was_revoked && self.members.get(&id).is_some_and(|member| !member.revoked) {
                for change in self.held.drain() {
                    self.orphans.ready(change);
                }
            }
            self.changed.insert(DocId::node(&id));
            self.changed_members.insert(id);
            self.orphans.wake(&Want::Member(id));
        }
        Ok(())
    }

    /// Everything queued since the last call: log, heads and views of each change are in one
    /// batch. It asks for a sync if it holds a change written here.
    pub fn take_batch(&mut self) -> Option<Arc<Batch>> {
        self.overlay.take()
    }

    /// The oldest batch that was taken is in the store now.
    pub fn persisted(&mut self) {
        self.overlay.persisted();
    }

    /// What a document says, key by key.
    pub fn registers(&self, doc: &DocId) -> Option<&Registers> {
        self.docs.get(doc).map(|entity| &entity.registers)
    }

    /// The apps, removed ones too. An app's tasks are those of its present generation.
    pub fn apps(&self) -> &BTreeMap<DocId, AppView> {
        self.views.apps()
    }

    /// The members whose certificates are known.
    pub fn members(&self) -> &BTreeMap<NodeId, Member> {
        self.members.all()
    }

    /// Takes the apps out for a moment, so that a reader can own them without a copy. They must
    /// be given back with [`State::return_apps`] before anything else is done with the state.
    pub fn lend_apps(&mut self) -> BTreeMap<DocId, AppView> {
        self.views.lend_apps()
    }

    /// Gives back what [`State::lend_apps`] took.
    pub fn return_apps(&mut self, apps: BTreeMap<DocId, AppView>) {
        self.views.return_apps(apps);
    }

    /// Whether a member may submit, change and remove apps.
    pub fn may_deploy(&self, node: &NodeId) -> bool {
        self.members.get(node).is_some_and(|member| !member.revoked && may_deploy(&member.claims.roles))
    }

    /// Where a document belongs.
    pub fn scope_of(&self, doc: &DocId) -> Option<&Scope> {
        self.docs.get(doc).map(|entity| &entity.scope)
    }

    /// The incarnation that this node writes as: the one it was opened with, or a later one if
    /// the store or a peer knows more of this node than it knew itself.
    pub fn incarnation(&self) -> Incarnation {
        self.actor.incarnation()
    }

    /// The last life in which this node wrote into a document, as far as it knows.
    pub fn wrote_as(&self, doc: &DocId) -> Option<Incarnation> {
        let own = |actor: &&ActorId| self.authors.get(*actor) == Some(&self.me);
        self.docs.get(doc)?.tips.keys().filter(own).map(|actor| actor.incarnation()).max()
    }

    /// Keeps or deletes a small thing of this node alone. With `sync` it is durable with the
    /// next batch; otherwise it may be lost in a crash.
    pub fn local_put(&mut self, key: &str, value: Option<Vec<u8>>, sync: bool) {
        self.overlay.put(Table::Local, layout::local_key(key), value);
        if sync {
            self.overlay.need_sync();
        }
    }

    /// Reads what [`State::local_put`] kept.
    ///
    /// # Errors
    /// The store failed.
    pub fn local_get(&self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.overlay.get(Table::Local, &layout::local_key(key))?)
    }

    /// The last refused changes, the oldest first.
    ///
    /// # Errors
    /// The store failed.
    pub fn quarantined(&self) -> Result<Vec<Quarantined>, StateError> {
        Quarantine::read(&self.overlay)
    }

    /// What was refused, dropped or odd since the state was opened, by name.
    pub fn counters(&self) -> &BTreeMap<&'static str, u64> {
        self.counters.all()
    }

    /// What was found damaged in the store since the state was opened. Whatever is read of that document from
    /// now on is in doubt: the store has to be rebuilt ([`crate::salvage`]).
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    fn note_damage(&mut self, error: &StateError) {
        if error.is_damage() {
            self.damage.get_or_insert_with(|| error.to_string());
        }
    }

    /// Documents held.
    pub fn document_count(&self) -> usize {
        self.docs.len()
    }

    /// Documents loaded in memory at the moment.
    pub fn loaded_count(&self) -> usize {
        self.cache.len()
    }

    /// Changes that wait for others.
    pub fn orphan_count(&self) -> usize {
        self.orphans.len()
    }

    /// Documents whose views changed since the last call; for a tasks document its app's too,
    /// for a member learnt by its certificate its node document.
    pub fn drain_changed(&mut self) -> BTreeSet<DocId> {
        std::mem::take(&mut self.changed)
    }

    /// Members whose certificate or description is new since the last call.
    pub fn drain_changed_members(&mut self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.changed_members)
    }
}
