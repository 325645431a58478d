//! Who may write what. Decided from the change, its author's certificate and the signed revocations alone,
//! never by a clock, so that all nodes agree. Kinds and keys of later versions are kept and forwarded;
//! only a rule named here refuses.

use crate::{error::Refusal, members::Members, revocations::Revocations};
use holm_types::{
    DocId, DocKind, MeshId, NodeId, Scope,
    cert::{CertChain, Claims, Role},
    change::{SignedChange, Value, keys_of},
    revocation::SignedPart,
};

/// An author's standing with regard to one change.
pub(crate) enum Standing {
    /// It may write this, while it is a member.
    Allowed {
        /// A certificate that the change brings along: a verified one of its author.
        brought: Option<CertChain>,
        /// Whether it was a member when it wrote this, or a revocation says that this counts.
        counts: bool,
    },
    /// Its certificate is not known yet.
    Stranger,
}

/// Whether a node with these roles may submit, change and remove apps.
///
/// Every role may: users submit wherever they are, also at an edge gateway that is cut off from
/// all others, and the mesh promises to take that. A node without any role only watches.
pub fn may_deploy(roles: &[Role]) -> bool {
    roles.iter().any(|role| matches!(role, Role::Edge | Role::Keeper | Role::Issuer | Role::Deployer))
}

pub(crate) fn judge(
    mesh: &MeshId,
    members: &Members,
    revocations: &Revocations,
    change: &SignedChange,
) -> Result<Standing, Refusal> {
    let refuse = |why: &str| Err(Refusal::Authority(why.into()));
    let kind = change.doc.kind();
    let brought = match kind {
        DocKind::Node => judge_node(mesh, members, change)?,
        DocKind::App | DocKind::Tasks | DocKind::Revocation => judge_introduction(mesh, members, change)?,
        DocKind::Other(_) => None,
    };
    let author = members.get(&change.author);
    let claims = match (&brought, author) {
        (Some(chain), _) => chain.claims().map_err(|e| Refusal::Authority(e.to_string()))?,
        (None, Some(member)) => &member.claims,
        (None, None) => return Ok(Standing::Stranger),
    };
    if !claims.holds(&change.scope) {
        return refuse("its author belongs to another site");
    }
    match kind {
        DocKind::Node if change.scope != claims.home() => {
            return refuse("a node's document is at its site, a keeper's everywhere");
        }
        DocKind::App if !may_deploy(&claims.roles) => return refuse("its author has no role that may deploy"),
        DocKind::Tasks => judge_tasks(change)?,
        DocKind::Revocation => judge_revocation(mesh, change)?,
        _ => {}
    }
    let actor = change.actor().map_err(|_| Refusal::Form("no actor"))?;
    // A revocation proves itself: it must not fall with who happened to carry it.
    let counts = kind == DocKind::Revocation
        || revocations.counts(author, brought.as_ref(), &change.doc, actor, change.change.seq);
    Ok(Standing::Allowed { brought, counts })
}

/// A document of revocations holds nothing but well-signed parts, each under the key that its own bytes give:
/// nothing takes another's place, and nothing is taken back.
fn judge_revocation(mesh: &MeshId, change: &SignedChange) -> Result<(), Refusal> {
    let refuse = |why: String| Err(Refusal::Authority(why));
    if change.scope != Scope::Mesh {
        return refuse("revocations are for all sites".into());
    }
    for op in change.change.ops.iter().filter(|op| !op.key.starts_with(keys_of::INTRODUCTIONS)) {
        let Some(Value::Bytes(bytes)) = op.value.as_ref().filter(|_| op.key.starts_with(keys_of::REVOCATIONS)) else {
            return refuse("a document of revocations holds nothing else, and they stay".into());
        };
        let part = SignedPart::decode(bytes).map_err(|e| Refusal::Authority(e.to_string()))?;
        if op.key != keys_of::revocation(bytes) || change.doc != DocId::revocation(&part.subject()) {
            return refuse("a revocation stands in another's place".into());
        }
        part.verify(mesh).map_err(|e| Refusal::Authority(e.to_string()))?;
    }
    Ok(())
}

/// Whether a writer has to bring its certificate along with its first change of a document: one that all
/// sites hold, of a writer that only its own site knows.
pub(crate) fn must_introduce_itself(claims: &Claims, scope: &Scope, doc: &DocId) -> bool {
    let shared = matches!(doc.kind(), DocKind::App | DocKind::Tasks | DocKind::Revocation);
    *scope == Scope::Mesh && shared && !claims.is_keeper()
}

/// A writer may put its own certificate into a document, and nobody else's.
fn judge_introduction(mesh: &MeshId, members: &Members, change: &SignedChange) -> Result<Option<CertChain>, Refusal> {
    let own = keys_of::introduction(&change.author);
    let mut found = None;
    for op in change.change.ops.iter().filter(|op| op.key.starts_with(keys_of::INTRODUCTIONS)) {
        match &op.value {
            Some(Value::Bytes(bytes)) if op.key == own => found = Some(bytes),
            _ => {
                return Err(Refusal::Authority(
                    "a document bears the certificates of its writers, each its own".into(),
                ));
            }
        }
    }
    found.map(|bytes| read_chain(mesh, members, &change.author, bytes)).transpose()
}

/// A certificate that a change brings along, of its author.
fn read_chain(mesh: &MeshId, members: &Members, author: &NodeId, bytes: &[u8]) -> Result<CertChain, Refusal> {
    let chain = CertChain::decode(bytes).map_err(|e| Refusal::Authority(e.to_string()))?;
    if members.get(author).is_none_or(|member| member.chain != chain) {
        verify_chain(mesh, &chain, Some(author))?;
    }
    Ok(chain)
}

/// A node's document is written by that node alone, and begins with its certificate.
fn judge_node(mesh: &MeshId, members: &Members, change: &SignedChange) -> Result<Option<CertChain>, Refusal> {
    let refuse = |why: &str| Err(Refusal::Authority(why.into()));
    if change.doc != DocId::node(&change.author) {
        return refuse("a node's document is written by that node alone");
    }
    let Some(op) = change.change.ops.iter().find(|op| op.key == keys_of::CERT) else {
        return match change.change.deps.is_empty() {
            true => refuse("a node's document begins with its certificate"),
            false => Ok(None),
        };
    };
    let Some(Value::Bytes(bytes)) = &op.value else {
        return refuse("a node's certificate is bytes and stays");
    };
    read_chain(mesh, members, &change.author, bytes).map(Some)
}

/// Whether a chain is one of this mesh, and of `subject` if that is given.
pub(crate) fn verify_chain(mesh: &MeshId, chain: &CertChain, subject: Option<&NodeId>) -> Result<(), Refusal> {
    let claims = chain.verify(mesh).map_err(|e| Refusal::Authority(e.to_string()))?;
    match subject {
        Some(subject) if claims.subject != *subject => {
            Err(Refusal::Authority("the certificate is another node's".into()))
        }
        _ => Ok(()),
    }
}

/// A tasks document says whose tasks it holds; assignments and statuses bear their writer's mark.
fn judge_tasks(change: &SignedChange) -> Result<(), Refusal> {
    let refuse = |why: &str| Err(Refusal::Authority(why.into()));
    let mark = change.author.mark();
    let mut named = !change.change.deps.is_empty();
    for op in &change.change.ops {
        if op.key == TASKS_APP {
            let of = op.value.as_ref().and_then(TasksOf::read);
            if of.is_none_or(|of| of.doc() != change.doc || of.scope != change.scope) {
                return refuse("the tasks document is not that of the app that it names");
            }
            named = true;
        } else if marked(&op.key) && op.key.rsplit('/').next() != Some(mark.as_str()) {
            return refuse("an assignment or status bears the mark of another writer");
        }
    }
    if named { Ok(()) } else { refuse("a tasks document begins with the name of its app") }
}

/// Whether a key ends in its only writer's mark.
fn marked(key: &str) -> bool {
    key.starts_with("as/") || key.starts_with("st/")
}

/// Key of a tasks document that says whose tasks it holds.
pub const TASKS_APP: &str = "app";

/// Whose tasks a tasks document holds: the value of [`TASKS_APP`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TasksOf {
    /// Where the document is.
    pub scope: Scope,
    /// The app's document.
    pub app: DocId,
    /// The app's generation.
    pub generation: u64,
    /// The group of slots ([`holm_types::view::AppView::group_of`]).
    pub group: u32,
    /// Counts the documents that went on with it when it had become long, from 0.
    pub volume: u32,
}

impl TasksOf {
    /// The document that holds them.
    pub fn doc(&self) -> DocId {
        DocId::tasks(&self.scope, &self.app, self.generation, self.group, self.volume)
    }

    /// Another volume of the same.
    pub fn at(&self, volume: u32) -> TasksOf {
        TasksOf { volume, ..self.clone() }
    }

    /// As it stands in the document.
    pub fn value(&self) -> Value {
        let mut bytes = self.app.0.to_vec();
        bytes.extend(self.generation.to_be_bytes());
        bytes.extend(self.group.to_be_bytes());
        bytes.extend(self.scope.to_string().into_bytes());
        if self.volume > 0 {
            bytes.push(0);
            bytes.extend(self.volume.to_be_bytes());
        }
        Value::Bytes(bytes)
    }

    /// Reads what [`TasksOf::value`] wrote.
    pub fn read(value: &Value) -> Option<TasksOf> {
        let Value::Bytes(bytes) = value else { return None };
        let (app, rest) = bytes.split_first_chunk::<16>()?;
        let (generation, rest) = rest.split_first_chunk::<8>()?;
        let (group, rest) = rest.split_first_chunk::<4>()?;
        // No scope has a zero in its name.
        let (scope, volume) = match rest.iter().position(|byte| *byte == 0) {
            Some(end) => (&rest[..end], Some(u32::from_be_bytes(rest[end + 1..].try_into().ok()?)).filter(|n| *n > 0)?),
            None => (rest, 0),
        };
        Some(TasksOf {
            scope: std::str::from_utf8(scope).ok()?.parse().ok()?,
            app: DocId(*app),
            generation: u64::from_be_bytes(*generation),
            group: u32::from_be_bytes(*group),
            volume,
        })
    }
}
