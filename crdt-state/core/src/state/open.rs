//! Opening: what stays in memory is read back from the rows that hold it. No document is
//! loaded and no change is replayed.

use super::{State, ended::Ended};
use crate::{
    cache::Cache,
    counters::Counters,
    digest::Digests,
    entity::Entity,
    error::StateError,
    layout,
    members::Members,
    orphans::Orphans,
    overlay::Overlay,
    quarantine::Quarantine,
    reduce::{self, Source, Views},
    registers::{self, Values},
    revocations::Revocations,
    store::{StoreRead, Table},
    usage::Ledger,
};
use holm_types::{ActorId, DocId, DocKind, Incarnation, MeshId, NodeId, cert::CertChain, keys::KeyPair};
use smol_str::SmolStr;
use std::collections::{BTreeMap, BTreeSet};

impl State {
    /// The state that a store holds; an empty one for an empty store.
    ///
    /// `incarnation` must be a new one at every start. If the store knows of a later one, the node
    /// goes on beyond that.
    ///
    /// # Errors
    /// The store failed or is corrupt.
    pub fn open(
        mesh: MeshId,
        key: KeyPair,
        incarnation: Incarnation,
        store: Box<dyn StoreRead>,
    ) -> Result<State, StateError> {
        let overlay = Overlay::new(store);
        let quarantine = Quarantine::open(&overlay)?;
        let me = key.node_id();
        let mut state = State {
            mesh,
            key,
            me,
            actor: ActorId::new(&me, incarnation),
            overlay,
            docs: BTreeMap::new(),
            cache: Cache::default(),
            authors: BTreeMap::new(),
            members: Members::default(),
            revocations: Revocations::default(),
            orphans: Orphans::default(),
            held: Orphans::default(),
            distrust_changed: false,
            reminded: false,
            digests: Digests::default(),
            views: Views::default(),
            quarantine,
            changed: BTreeSet::new(),
            changed_members: BTreeSet::new(),
            counters: Counters::default(),
            damage: None,
            ended: Ended::default(),
            ledger: Ledger::default(),
        };
        state.read_documents()?;
        state.recall_revocations();
        state.read_members()?;
        state.reduce_everything();
        state.read_incarnation()?;
        Ok(state)
    }

    fn read_documents(&mut self) -> Result<(), StateError> {
        let State { overlay, docs, authors, digests, ledger, .. } = self;
        let mut heads = Vec::new();
        overlay.each(Table::Heads, b"", |key, row| {
            let (doc, _) = layout::split_doc("heads", key)?;
            let entity = layout::read_head(&doc, row)?;
            digests.set(&entity.scope, &doc, entity.digest(&doc));
            ledger.add_document(&entity.scope, entity.bytes);
            heads.push((doc, entity));
            Ok::<(), StateError>(())
        })?;
        // Made at once, the tree has no room to spare.
        *docs = heads.into_iter().collect();
        overlay.each(Table::Actors, b"", |key, row| {
            let (doc, actor, node, tip) = layout::read_actor(key, row)?;
            entity(docs, "actors", &doc)?.tips.insert(actor, tip);
            authors.insert(actor, node);
            Ok::<(), StateError>(())
        })?;
        let (mut of, mut registers) = (DocId::FIRST, Vec::new());
        overlay.each(Table::Views, b"", |key, row| {
            let (doc, name) = layout::read_view_key(key)?;
            let values = registers::decode(row).map_err(|e| layout::corrupt("views", &doc, &e.to_string()))?;
            if doc != of {
                complete(docs, &of, &mut registers)?;
                of = doc;
            }
            registers.push((name.into(), values));
            Ok::<(), StateError>(())
        })?;
        complete(docs, &of, &mut registers)
    }

    fn read_members(&mut self) -> Result<(), StateError> {
        let State { overlay, members, revocations, .. } = self;
        overlay.each(Table::Local, layout::MEMBERS, |_, row| {
            members.learn(CertChain::decode(row)?, revocations)?;
            Ok::<(), StateError>(())
        })
    }

    fn reduce_everything(&mut self) {
        let source = Source { docs: &self.docs, authors: &self.authors };
        let mut bad = 0;
        let ids: Vec<NodeId> = self.members.all().keys().copied().collect();
        for id in ids {
            let info = self.docs.get(&DocId::node(&id)).and_then(|e| reduce::node_info(&e.registers, &mut bad));
            self.members.describe(&id, info);
        }
        for (doc, entity) in &self.docs {
            match doc.kind() {
                DocKind::App => self.views.update_app(source, doc),
                DocKind::Tasks => {
                    self.views.update_tasks(source, doc, entity.registers.keys().map(SmolStr::as_str));
                }
                DocKind::Node | DocKind::Revocation | DocKind::Other(_) => {}
            }
        }
        self.views.settle();
        self.counters.add("bad_views", bad + self.views.take_bad());
        let apps: Vec<DocId> = self.views.apps().keys().copied().collect();
        apps.iter().for_each(|app| self.note_digest(app));
    }

    fn read_incarnation(&mut self) -> Result<(), StateError> {
        let row = self.overlay.get(Table::Local, layout::INCARNATION)?;
        let stored = row.and_then(|row| <[u8; 8]>::try_from(row).ok()).map(|row| Incarnation(u64::from_be_bytes(row)));
        let own = self.authors.iter().filter(|(_, node)| **node == self.me).map(|(actor, _)| actor.incarnation());
        if let Some(latest) = own.chain(stored).max().filter(|latest| *latest > self.actor.incarnation()) {
            self.begin_incarnation(self.actor.incarnation().beyond(latest));
        }
        Ok(())
    }
}

/// What a document says has been read.
fn complete(
    docs: &mut BTreeMap<DocId, Entity>,
    doc: &DocId,
    registers: &mut Vec<(SmolStr, Values)>,
) -> Result<(), StateError> {
    if !registers.is_empty() {
        entity(docs, "views", doc)?.registers = registers.drain(..).collect();
    }
    Ok(())
}

fn entity<'a>(
    docs: &'a mut BTreeMap<DocId, Entity>,
    table: &'static str,
    doc: &DocId,
) -> Result<&'a mut Entity, StateError> {
    docs.get_mut(doc).ok_or_else(|| layout::corrupt(table, doc, "a row of a document without heads"))
}
