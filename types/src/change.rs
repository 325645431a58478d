//! The signed change: what a writer did to one document, in our own bounded wire schema.
//!
//! Automerge's decoders never see a peer's bytes (`knowledge/automerge.md`, trap 1). A change
//! travels as [`WireChange`]; the receiver rebuilds the automerge change from it, compares the
//! hash with the one that was signed, validates, and applies.

use crate::{ActorId, Digest, DocId, MeshId, NodeId, Scope, TypeError, cbor, keys, keys::KeyPair};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// An encoded signed change is never longer than this, in bytes.
pub const MAX_CHANGE_BYTES: usize = 16 * 1024;
/// Operations in one change, at most.
pub const MAX_OPS: usize = 64;
/// A value's bytes, at most.
pub const MAX_VALUE_BYTES: usize = 4 * 1024;
/// A key's bytes, at most.
pub const MAX_KEY_BYTES: usize = 64;
/// Heads that a change may follow, at most: more concurrent writers than this merge in steps.
pub const MAX_DEPS: usize = 64;
/// Values that one operation may replace, at most.
pub const MAX_PREDS: usize = 64;
/// Version of the kinds and keys of documents that this software knows. What a later one adds stands in kinds and keys of
/// its own: an earlier one keeps them, passes them on, and does not act on them.
pub const SCHEMA: u32 = 1;
/// Slots that share a document of assignments and statuses.
pub const SLOTS_PER_GROUP: u32 = 100;

/// A value of a key. Structures are canonical CBOR or JSON in `Bytes`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Value {
    /// An unsigned number.
    #[serde(rename = "u")]
    Uint(u64),
    /// Text.
    #[serde(rename = "s")]
    Text(SmolStr),
    /// Bytes.
    #[serde(rename = "b", with = "serde_bytes")]
    Bytes(Vec<u8>),
}

impl Value {
    /// Size of the payload in bytes.
    pub fn size(&self) -> usize {
        match self {
            Value::Uint(_) => 8,
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
        }
    }
}

/// One operation at the root of a document: `value` is put at `key`, or the key is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireOp {
    /// The key.
    #[serde(rename = "k")]
    pub key: String,
    /// The new value; `None` deletes.
    #[serde(rename = "v")]
    pub value: Option<Value>,
    /// The operations whose values it replaces: counter, and index into
    /// [`WireChange::actors`] (0 is the author).
    #[serde(rename = "p")]
    pub preds: Vec<(u64, u16)>,
}

/// The content of an automerge change, flat and bounded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireChange {
    /// The author's actor first, then the others that [`WireOp::preds`] name.
    #[serde(rename = "a")]
    pub actors: Vec<ActorId>,
    /// Counts the author's changes of this document, from 1.
    #[serde(rename = "q")]
    pub seq: u64,
    /// Lamport number of the first operation.
    #[serde(rename = "o")]
    pub start_op: u64,
    /// The author's date in milliseconds. For people.
    #[serde(rename = "t")]
    pub time: u64,
    /// Hashes of the changes it follows, sorted.
    #[serde(rename = "d")]
    pub deps: Vec<Digest>,
    /// What it does.
    #[serde(rename = "w")]
    pub ops: Vec<WireOp>,
}

/// A change, where it belongs, and its author's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedChange {
    /// Where the document is replicated.
    #[serde(rename = "s")]
    pub scope: Scope,
    /// The document.
    #[serde(rename = "i")]
    pub doc: DocId,
    /// The node that wrote it.
    #[serde(rename = "n")]
    pub author: NodeId,
    /// Automerge's hash of the change (SHA-256 of its canonical bytes).
    #[serde(rename = "h")]
    pub hash: Digest,
    /// The change.
    #[serde(rename = "c")]
    pub change: WireChange,
    #[serde(rename = "g", with = "serde_bytes")]
    signature: [u8; 64],
}

fn signed_bytes(mesh: &MeshId, scope: &Scope, doc: &DocId, hash: &Digest) -> Vec<u8> {
    let mut message = b"holm change v1\0".to_vec();
    message.extend(mesh.0);
    let scope = scope.to_string();
    message.push(scope.len() as u8);
    message.extend(scope.as_bytes());
    message.extend(doc.0);
    message.extend(hash.0);
    message
}

impl SignedChange {
    /// Signs a change whose automerge hash is `hash`.
    pub fn sign(mesh: &MeshId, scope: Scope, doc: DocId, hash: Digest, change: WireChange, author: &KeyPair) -> Self {
        let signature = author.sign(&signed_bytes(mesh, &scope, &doc, &hash));
        SignedChange { scope, doc, author: author.node_id(), hash, change, signature }
    }

    /// Checks that the author signed this hash for this document. That the change really has
    /// this hash is checked where automerge lives.
    ///
    /// # Errors
    /// The signature does not verify.
    pub fn verify(&self, mesh: &MeshId) -> Result<(), TypeError> {
        let message = signed_bytes(mesh, &self.scope, &self.doc, &self.hash);
        keys::verify("change", &self.author.0, &message, &self.signature)
    }

    /// The bytes that the author signed: with [`SignedChange::signature`], what verifying many at once needs.
    pub fn signed_message(&self, mesh: &MeshId) -> Vec<u8> {
        signed_bytes(mesh, &self.scope, &self.doc, &self.hash)
    }

    /// The author's signature over [`SignedChange::signed_message`].
    pub fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// The writer's incarnation.
    ///
    /// # Errors
    /// The change names no actor.
    pub fn actor(&self) -> Result<&ActorId, TypeError> {
        self.change.actors.first().ok_or(TypeError::Decode { what: "change", why: "no actor".into() })
    }

    /// The one encoding.
    ///
    /// # Errors
    /// Longer than [`MAX_CHANGE_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, TypeError> {
        let bytes = cbor::to_vec("change", self)?;
        if bytes.len() > MAX_CHANGE_BYTES {
            return Err(TypeError::TooLarge { what: "change", got: bytes.len(), max: MAX_CHANGE_BYTES });
        }
        Ok(bytes)
    }

    /// Reads a peer's change and checks every bound that needs no other knowledge.
    ///
    /// # Errors
    /// Malformed, or over a bound.
    pub fn decode(bytes: &[u8]) -> Result<SignedChange, TypeError> {
        let change: SignedChange = cbor::from_canonical("change", bytes, MAX_CHANGE_BYTES)?;
        change.check_bounds()?;
        Ok(change)
    }

    fn check_bounds(&self) -> Result<(), TypeError> {
        let refuse = |why: &str| Err(TypeError::Decode { what: "change", why: why.into() });
        let c = &self.change;
        if c.actors.is_empty() || c.actors.len() > MAX_PREDS + 1 {
            return refuse("no actor, or too many");
        }
        if !self.change.actors[0].belongs_to(&self.author) {
            return refuse("the actor is not the author's");
        }
        if c.deps.len() > MAX_DEPS || !c.deps.is_sorted_by(|a, b| a < b) {
            return refuse("dependencies are unsorted, repeated or too many");
        }
        if c.ops.is_empty() || c.ops.len() > MAX_OPS {
            return refuse("no operation, or more than 64");
        }
        if c.seq == 0 || c.start_op == 0 || c.start_op >= 1 << 30 || c.time > i64::MAX as u64 {
            return refuse("a number is out of range");
        }
        for op in &c.ops {
            let value = op.value.as_ref().map_or(0, Value::size);
            if op.key.is_empty() || op.key.len() > MAX_KEY_BYTES || value > MAX_VALUE_BYTES {
                return refuse("a key or value is too long");
            }
            if op.preds.len() > MAX_PREDS || op.preds.iter().any(|(_, actor)| usize::from(*actor) >= c.actors.len()) {
                return refuse("an operation replaces too much, or names an unknown actor");
            }
        }
        Ok(())
    }
}

/// The keys of documents. Each has one place where it is built and one where it is read.
pub mod keys_of {
    use crate::{Digest, Epoch, NodeId, Slot};

    /// Assignment of a slot, by the coordinator that decided it.
    pub fn assignment(slot: Slot, epoch: Epoch, writer: &NodeId) -> String {
        format!("as/{slot}/{epoch}/{}", writer.mark())
    }

    /// Status of an assignment, by the node that it names.
    pub fn status(slot: Slot, epoch: Epoch, node: &NodeId) -> String {
        format!("st/{slot}/{epoch}/{}", node.mark())
    }

    /// In a later volume of a tasks document: no epoch of the slot up to this one is given again.
    pub fn floor(slot: Slot) -> String {
        format!("ep/{slot}")
    }

    /// In a later volume of a tasks document, its number: whatever counts of the earlier ones stands in this one.
    pub const CUT: &str = "cut";

    /// A field of an app's manifest.
    pub fn spec(field: &str) -> String {
        format!("spec/{field}")
    }

    /// The guards of a generation of an app: a [`crate::fence::GuardSet`].
    pub fn guards(generation: u64) -> String {
        format!("{GUARDS}{generation}")
    }

    /// What the keys of guards begin with.
    pub const GUARDS: &str = "guards/";

    /// Odd: the app lives in this generation; even: it was removed.
    pub const LIFE: &str = "life";
    /// Counts the edits of an app.
    pub const REVISION: &str = "rev";
    /// A node's certificate chain.
    pub const CERT: &str = "cert";

    /// What the keys of introductions begin with.
    pub const INTRODUCTIONS: &str = "cert/";

    /// The certificate chain of a writer of another site, in a document that all sites hold.
    pub fn introduction(writer: &NodeId) -> String {
        format!("{INTRODUCTIONS}{}", writer.mark())
    }
    /// A node's description: [`crate::view::NodeInfo`] as JSON.
    pub const INFO: &str = "info";

    /// What the keys of revocations begin with.
    pub const REVOCATIONS: &str = "rv/";

    /// An encoded part of a revocation: its key says what it is, so that nothing else can take its place.
    pub fn revocation(part: &[u8]) -> String {
        let hash = Digest::of("holm revocation key v1", &[part]);
        format!("{REVOCATIONS}{}", hex::encode(&hash.0[..16]))
    }

    /// A parsed slot key: what it is, slot, epoch, the writer's mark.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct SlotKey<'a> {
        /// True for a status, false for an assignment.
        pub status: bool,
        /// The slot.
        pub slot: Slot,
        /// The epoch.
        pub epoch: Epoch,
        /// [`NodeId::mark`] of the only node that may write it.
        pub writer: &'a str,
    }

    /// Reads a key of a tasks document, refusing any spelling but the one built above.
    pub fn parse_slot(key: &str) -> Option<SlotKey<'_>> {
        let mut parts = key.split('/');
        let status = match parts.next()? {
            "as" => false,
            "st" => true,
            _ => return None,
        };
        let slot = canonical::<Slot>(parts.next()?)?;
        let epoch = canonical::<Epoch>(parts.next()?)?;
        let writer = parts.next()?;
        (parts.next().is_none() && writer.len() == 16).then_some(SlotKey { status, slot, epoch, writer })
    }

    /// Reads what [`floor`] built.
    pub fn parse_floor(key: &str) -> Option<Slot> {
        key.strip_prefix("ep/").and_then(canonical)
    }

    fn canonical<T: std::str::FromStr + std::fmt::Display>(text: &str) -> Option<T> {
        text.parse::<T>().ok().filter(|value| value.to_string() == text)
    }
}
