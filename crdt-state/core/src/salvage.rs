//! Reading what a store holds, whatever of it can be read: for a backup, and for a database that is damaged.
//!
//! Changes prove themselves, and everything else follows from them: heads, registers and views are made
//! again by applying the changes to an empty store ([`Rebuild`]). So a damaged block costs the changes that
//! were in it, and what builds upon them, and no more.

use crate::{
    error::StateError,
    layout,
    state::State,
    store::{Batch, StoreError, StoreRead, StoreWrite, Table},
    verdict::verify_batch,
};
use holm_types::{DocId, DocKind, Incarnation, MeshId, Wall, cert::CertChain, change::SignedChange, keys::KeyPair};
use std::collections::{BTreeMap, BTreeSet};

/// Rows asked for at once.
const PAGE: usize = 256;

/// Something that a store holds and that follows from nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// A small thing of the node's own, or a member's certificate.
    Local {
        /// Its name.
        key: Vec<u8>,
        /// What it is.
        value: Vec<u8>,
    },
    /// The changes of a document, or some of them, in causal order.
    Changes(Vec<SignedChange>),
}

/// What could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unread {
    /// Places where a table could not be read on, and rows that make no sense.
    pub places: u64,
    /// What was wrong at the first of them.
    pub first: Option<String>,
}

impl Unread {
    fn add(&mut self, why: &impl ToString) {
        self.places += 1;
        self.first.get_or_insert_with(|| why.to_string());
    }
}

/// Hands over what a store holds: small things first, then documents, those that others are judged by before
/// the rest. What cannot be read is passed over. Of a damaged store there may be several parts, which can hold
/// the same; the first one is believed.
///
/// # Errors
/// Those of `visit`.
pub fn salvage<S: StoreRead, E>(parts: &[S], mut visit: impl FnMut(Kept) -> Result<(), E>) -> Result<Unread, E> {
    let mut unread = Unread::default();
    for (key, value) in rows(parts, Table::Local, b"", &mut unread) {
        visit(Kept::Local { key, value })?;
    }
    let mut docs: Vec<DocId> = documents(parts, &mut unread).into_iter().collect();
    docs.sort_by_key(|doc| !matches!(doc.kind(), DocKind::Node | DocKind::Revocation));
    for doc in docs {
        let mut log = Vec::new();
        for row in rows(parts, Table::Changes, &doc.0, &mut unread).into_values() {
            match layout::decode_change(&doc, &row) {
                Ok(change) => log.push(change),
                Err(error) => unread.add(&error),
            }
        }
        log.sort_by_key(|signed| signed.change.start_op);
        if !log.is_empty() {
            visit(Kept::Changes(log))?;
        }
    }
    Ok(unread)
}

/// The documents that any table knows of.
fn documents<S: StoreRead>(parts: &[S], unread: &mut Unread) -> BTreeSet<DocId> {
    let mut docs = BTreeSet::new();
    for table in [Table::Heads, Table::Actors, Table::Views, Table::Changes] {
        for part in parts {
            each_row(part, table, b"", unread, |key, _| docs.extend(layout::split_doc("", &key).map(|(doc, _)| doc)));
        }
    }
    docs
}

fn rows<S: StoreRead>(parts: &[S], table: Table, prefix: &[u8], unread: &mut Unread) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut found = BTreeMap::new();
    for part in parts {
        each_row(part, table, prefix, unread, |key, value| {
            found.entry(key).or_insert(value);
        });
    }
    found
}

/// The rows that can be read. Where a page cannot, its rows are asked for one by one. Behind one that cannot, a whole table goes on
/// with the next keys that begin otherwise; what belongs to one document ends there.
fn each_row(
    part: &dyn StoreRead,
    table: Table,
    prefix: &[u8],
    unread: &mut Unread,
    mut visit: impl FnMut(Vec<u8>, Vec<u8>),
) {
    let mut after: Option<Vec<u8>> = None;
    let mut limit = PAGE;
    let mut broken = false;
    loop {
        match part.scan(table, prefix, after.as_deref(), limit) {
            Ok(page) => {
                let full = page.len() == limit;
                broken &= page.is_empty();
                for (key, value) in page {
                    after = Some(key.clone());
                    visit(key, value);
                }
                if !full {
                    return;
                }
            }
            Err(_) if limit > 1 => limit = 1,
            Err(error) => {
                if !broken {
                    unread.add(&error);
                }
                broken = true;
                after = after.as_deref().or(Some(b"")).filter(|_| prefix.is_empty()).and_then(next_beginning);
                if after.is_none() {
                    return;
                }
                limit = PAGE;
            }
        }
    }
}

/// The least key that begins with other two bytes than this one; ids are hashes, so few rows begin alike.
fn next_beginning(key: &[u8]) -> Option<Vec<u8>> {
    let at = |n: usize| key.get(n).copied().unwrap_or(0);
    Some(u16::from_be_bytes([at(0), at(1)]).checked_add(1)?.to_be_bytes().to_vec())
}

/// What a rebuilt store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Changes that are in it.
    pub changes: u64,
    /// Documents that are in it.
    pub documents: usize,
    /// Changes that could be read and are not in it: what they build upon is missing, or they are damaged. Tasks of
    /// apps that were removed are not counted: nobody needs them.
    pub dropped: u64,
}

/// Makes a store from what [`salvage`] hands over, in that order.
pub struct Rebuild<S> {
    mesh: MeshId,
    key: KeyPair,
    store: S,
    state: Option<State>,
    own: Option<CertChain>,
    read: u64,
}

impl<S: StoreRead + StoreWrite + Clone + 'static> Rebuild<S> {
    /// Into an empty `store`, for the node of `key`.
    pub fn new(mesh: MeshId, key: KeyPair, store: S) -> Rebuild<S> {
        Rebuild { mesh, key, store, state: None, own: None, read: 0 }
    }

    /// With the node's own certificate, which is kept elsewhere as well: without any, nothing that it wrote would count.
    #[must_use]
    pub fn knowing(self, own: CertChain) -> Rebuild<S> {
        Rebuild { own: Some(own), ..self }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// The store failed.
    pub fn take(&mut self, kept: Kept, now: Wall) -> Result<(), StateError> {
        match kept {
            Kept::Local { key, value } => {
                let batch = Batch { puts: vec![(Table::Local, key, Some(value))], sync: false };
                Ok(self.store.write(&batch)?)
            }
            Kept::Changes(changes) => self.admit(changes, now),
        }
    }

    fn admit(&mut self, changes: Vec<SignedChange>, now: Wall) -> Result<(), StateError> {
        self.read += changes.len() as u64;
        let mut state = self.opened()?;
        if let Some(own) = self.own.take() {
            // One that was revoked, or has been renewed since, is none that counts.
            let _ = state.add_member(own, now);
        }
        let verdicts = verify_batch(&self.mesh, &changes);
        for (change, _) in changes.into_iter().zip(verdicts).filter(|(_, good)| *good) {
            state.apply(change, now);
        }
        while let Some(batch) = state.take_batch() {
            self.store.write(&batch)?;
            state.persisted();
        }
        self.state = Some(state);
        Ok(())
    }

    /// Opened late: the members' certificates are among the small things.
    fn opened(&mut self) -> Result<State, StateError> {
        match self.state.take() {
            Some(state) => Ok(state),
            None => {
                let reader = Box::new(self.store.clone());
                State::open(self.mesh, self.key.clone(), Incarnation::default(), reader)
            }
        }
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// The store failed.
    pub fn finish(mut self) -> Result<Rebuilt, StateError> {
        self.store.sync()?;
        let state = self.opened()?;
        let counted = |name| state.counters().get(name).copied().unwrap_or(0);
        let changes = counted("applied");
        let dropped = self.read.saturating_sub(changes + counted("late_tasks"));
        Ok(Rebuilt { changes, documents: state.document_count(), dropped })
    }
}

impl StateError {
    /// Whether it means that what is on disk is not what was written: then the store can be rebuilt ([`salvage`]).
    pub fn is_damage(&self) -> bool {
        matches!(self, StateError::Corrupt { .. } | StateError::Store(StoreError::Corrupt(_)))
    }
}
