//! Identities. All are small values that compare, hash and print.

use crate::{Incarnation, TypeError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt, str::FromStr};

/// A slot of an app: replica 2 of a service, item 17 of a job, or a node of a daemon.
pub type Slot = u32;

/// Order of the decisions about one slot: the higher one wins.
pub type Epoch = u64;

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Reads an id from exactly its number of bytes.
            ///
            /// # Errors
            /// Another number of bytes.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, TypeError> {
                bytes.try_into().map($name).map_err(|_| TypeError::Decode {
                    what: stringify!($name),
                    why: format!("{} bytes instead of {}", bytes.len(), $len),
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({}..)", stringify!($name), hex::encode(&self.0[..4]))
            }
        }

        impl FromStr for $name {
            type Err = TypeError;
            fn from_str(text: &str) -> Result<Self, TypeError> {
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes).map_err(|e| TypeError::Decode {
                    what: stringify!($name),
                    why: e.to_string(),
                })?;
                Ok($name(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() { s.collect_str(self) } else { s.serialize_bytes(&self.0) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                use serde::de::Error;
                if d.is_human_readable() {
                    Cow::<str>::deserialize(d)?.parse().map_err(D::Error::custom)
                } else {
                    let bytes: serde_bytes::ByteArray<$len> = serde_bytes::ByteArray::deserialize(d)?;
                    Ok($name(bytes.into_array()))
                }
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": format!("^[0-9a-f]{{{}}}$", $len * 2) })
            }
        }
    };
}

bytes_id! {
    /// A node: its ed25519 public key, which is its libp2p identity too.
    NodeId, 32
}
bytes_id! {
    /// A mesh: the ed25519 public key of its authority.
    MeshId, 32
}
bytes_id! {
    /// A BLAKE3 digest.
    Digest, 32
}
bytes_id! {
    /// A document. The first byte is its [`DocKind`], the rest a hash of its natural key.
    DocId, 16
}
bytes_id! {
    /// One incarnation of one writer: 8 bytes of the hash of its node id, then the incarnation
    /// (big endian), so that a writer that comes back with old storage never reuses a sequence.
    ActorId, 16
}

impl NodeId {
    /// The first 8 bytes in hexadecimal: the writer's mark in a single-writer key.
    pub fn mark(&self) -> String {
        hex::encode(&self.0[..8])
    }
}

impl Digest {
    /// The BLAKE3 digest of `parts`, each preceded by its length so that no two lists collide.
    pub fn of(domain: &str, parts: &[&[u8]]) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key(domain);
        for part in parts {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        Digest(*hasher.finalize().as_bytes())
    }
}

impl ActorId {
    /// The actor of `node` in its `incarnation`.
    pub fn new(node: &NodeId, incarnation: Incarnation) -> ActorId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&Digest::of("holm actor v2", &[&node.0]).0[..8]);
        bytes[8..].copy_from_slice(&incarnation.0.to_be_bytes());
        ActorId(bytes)
    }

    /// Whether this is an incarnation of `node`.
    pub fn belongs_to(&self, node: &NodeId) -> bool {
        self.0[..8] == ActorId::new(node, Incarnation::default()).0[..8]
    }

    /// The incarnation.
    pub fn incarnation(&self) -> Incarnation {
        let [_, _, _, _, _, _, _, _, rest @ ..] = self.0;
        Incarnation(u64::from_be_bytes(rest))
    }
}

/// What a document is about. Kinds that this version does not know are kept and forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DocKind {
    /// What a node is: its certificate, labels and capacity. Written by that node alone.
    Node,
    /// An app: the fields of its manifest.
    App,
    /// Assignments and statuses of up to [`crate::change::SLOTS_PER_GROUP`] slots of an app.
    Tasks,
    /// Who is no member any more: signed words about one node.
    Revocation,
    /// A kind of a later version.
    Other(u8),
}

impl DocKind {
    fn byte(self) -> u8 {
        match self {
            DocKind::Node => 1,
            DocKind::App => 2,
            DocKind::Tasks => 3,
            DocKind::Revocation => 4,
            DocKind::Other(b) => b,
        }
    }
}

impl DocId {
    /// No document comes before this one.
    pub const FIRST: DocId = DocId([0; 16]);
    /// None comes after this one.
    pub const LAST: DocId = DocId([0xff; 16]);

    fn keyed(kind: DocKind, parts: &[&[u8]]) -> DocId {
        let mut bytes = [0; 16];
        bytes[0] = kind.byte();
        bytes[1..].copy_from_slice(&Digest::of("holm document v1", parts).0[..15]);
        DocId(bytes)
    }

    /// The document of a node.
    pub fn node(node: &NodeId) -> DocId {
        DocId::keyed(DocKind::Node, &[&node.0])
    }

    /// The document of the revocations of a node.
    pub fn revocation(subject: &NodeId) -> DocId {
        DocId::keyed(DocKind::Revocation, &[&subject.0])
    }

    /// The document of an app, the same wherever it is submitted. Two sites may each have an app of one name.
    pub fn app(scope: &Scope, namespace: &Label, name: &Label) -> DocId {
        let scope = scope.to_string();
        let parts = [scope.as_bytes(), namespace.as_str().as_bytes(), name.as_str().as_bytes()];
        DocId::keyed(DocKind::App, &parts)
    }

    /// The document in `scope` of one group of slots of a generation of an app; the first `volume` is 0.
    pub fn tasks(scope: &Scope, app: &DocId, generation: u64, group: u32, volume: u32) -> DocId {
        let scope = scope.to_string();
        let (generation, group, volume) = (generation.to_be_bytes(), group.to_be_bytes(), volume.to_be_bytes());
        let parts: [&[u8]; 5] = [scope.as_bytes(), &app.0, &generation, &group, &volume];
        let all = if volume == [0; 4] { 4 } else { 5 };
        DocId::keyed(DocKind::Tasks, &parts[..all])
    }

    /// What the document is about.
    pub fn kind(&self) -> DocKind {
        match self.0[0] {
            1 => DocKind::Node,
            2 => DocKind::App,
            3 => DocKind::Tasks,
            4 => DocKind::Revocation,
            other => DocKind::Other(other),
        }
    }
}

/// A short name: of a mesh, site, node, app, namespace. 1 to 63 characters of `a-z 0-9 - . _`,
/// beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Label(String);

impl Label {
    /// Checks a name; `what` names the field in the error.
    ///
    /// # Errors
    /// The name breaks the rules above.
    pub fn new(what: &'static str, text: &str) -> Result<Label, TypeError> {
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b));
        if first && rest && text.len() <= 63 {
            Ok(Label(text.to_owned()))
        } else {
            Err(TypeError::Name { what, value: text.chars().take(80).collect() })
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Label {
    type Err = TypeError;
    fn from_str(text: &str) -> Result<Label, TypeError> {
        Label::new("name", text)
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Label::new("value", &text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Label {
    fn schema_name() -> Cow<'static, str> {
        "Label".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "format": "name",
            "pattern": "^[a-z0-9][a-z0-9._-]{0,62}$",
            "description": "1 to 63 characters of a-z, 0-9, '-', '.' and '_', beginning with a letter or digit",
        })
    }
}

/// Where a document is replicated to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Every node of the mesh.
    Mesh,
    /// The nodes of one site, and the keepers of that site.
    Site(Label),
}

impl Scope {
    /// Where an app's document is, by the site that its manifest asks for.
    pub fn of_app(site: Option<&Label>) -> Scope {
        site.map_or(Scope::Mesh, |site| Scope::Site(site.clone()))
    }

    /// The site, of a site's scope.
    pub fn site(&self) -> Option<&Label> {
        match self {
            Scope::Mesh => None,
            Scope::Site(site) => Some(site),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Mesh => f.write_str("mesh"),
            Scope::Site(site) => write!(f, "site/{site}"),
        }
    }
}

impl FromStr for Scope {
    type Err = TypeError;
    fn from_str(text: &str) -> Result<Scope, TypeError> {
        match text.strip_prefix("site/") {
            Some(site) => Ok(Scope::Site(Label::new("site", site)?)),
            None if text == "mesh" => Ok(Scope::Mesh),
            None => Err(TypeError::Decode { what: "Scope", why: "expected \"mesh\" or \"site/NAME\"".into() }),
        }
    }
}

impl Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A task: one unit of an app's work, on one node, in one attempt. Readable, unique in the
/// mesh, and safe as a file name: `APP-SLOT-HASH`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct TaskId(String);

impl TaskId {
    /// The task that an assignment creates.
    pub fn new(name: &Label, app: &DocId, generation: u64, slot: Slot, epoch: Epoch, node: &NodeId) -> TaskId {
        let hash = Digest::of(
            "holm task v1",
            &[&app.0, &generation.to_be_bytes(), &slot.to_be_bytes(), &epoch.to_be_bytes(), &node.0],
        );
        TaskId(format!("{name}-{slot}-{}", hex::encode(&hash.0[..5])))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for TaskId {
    type Err = TypeError;
    fn from_str(text: &str) -> Result<TaskId, TypeError> {
        let safe = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        if safe && !text.starts_with('.') && (1..=128).contains(&text.len()) {
            Ok(TaskId(text.to_owned()))
        } else {
            Err(TypeError::Name { what: "task id", value: text.chars().take(80).collect() })
        }
    }
}

impl<'de> Deserialize<'de> for TaskId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        // It names a folder: what does not fit the rules must not get that far.
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
