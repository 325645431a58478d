//! Who is no member any more. The server holds no documents, so it asks: for everyone who is connected, and for
//! the issuer of each, some member whether it knows of a revocation. What it hears proves itself.

use holm_mesh_core::repair::{MAX_WANTED, Message};
use holm_types::{
    DocId, DocKind, MeshId, NodeId, Scope,
    cert::CertChain,
    change::{SignedChange, Value},
    distrust::Distrust,
    revocation::{Revocation, SignedPart, Signer},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How often somebody is asked.
pub const ASK: Duration = Duration::from_secs(2);
/// Revocations that are remembered, and parts of such that are not whole yet, at most.
const MAX_HELD: usize = 4096;

/// Which revocation: its subject, its issuer, its id.
type Which = (NodeId, Option<NodeId>, u64);

/// See the [module](self).
#[derive(Debug)]
pub struct Revocations {
    mesh: MeshId,
    connected: BTreeMap<NodeId, CertChain>,
    parts: BTreeMap<Which, Vec<SignedPart>>,
    whole: BTreeMap<Which, (Signer, Revocation)>,
    asked: usize,
    distrust: Arc<Distrust>,
}

impl Revocations {
    pub fn new(mesh: MeshId) -> Revocations {
        Revocations {
            mesh,
            connected: BTreeMap::new(),
            parts: BTreeMap::new(),
            whole: BTreeMap::new(),
            asked: 0,
            distrust: Arc::default(),
        }
    }

    pub fn up(&mut self, node: NodeId, chain: CertChain) {
        self.connected.insert(node, chain);
    }

    pub fn down(&mut self, node: &NodeId) {
        self.connected.remove(node);
    }

    /// Whom to ask now, and what: everybody in turn, so that nobody can keep a revocation from this server.
    pub fn ask(&mut self) -> Option<(NodeId, Vec<Vec<u8>>)> {
        self.asked += 1;
        let member = *self.connected.keys().nth(self.asked % self.connected.len().max(1))?;
        let issuers = self.connected.values().filter_map(|chain| chain.issuer()).map(|issuer| issuer.subject);
        let subjects: BTreeSet<NodeId> = self.connected.keys().copied().chain(issuers).collect();
        let docs: Vec<_> = subjects.iter().map(|subject| (DocId::revocation(subject), Vec::new())).collect();
        let want = |docs: &[(DocId, Vec<_>)]| {
            Message::Want { scope: Scope::Mesh, docs: docs.to_vec(), more: false }.encode().ok()
        };
        Some((member, docs.chunks(MAX_WANTED).filter_map(want).collect()))
    }

    /// Whom to distrust.
    pub fn distrust(&self) -> Arc<Distrust> {
        self.distrust.clone()
    }

    /// A frame of a member. True if there are more to distrust than before.
    pub fn hear(&mut self, frame: &[u8]) -> bool {
        let Ok(Message::Changes { changes, .. }) = Message::decode(frame) else { return false };
        let mut news = false;
        for change in changes.iter().filter_map(|bytes| SignedChange::decode(bytes).ok()) {
            if change.doc.kind() == DocKind::Revocation {
                for value in change.change.ops.iter().filter_map(|op| op.value.as_ref()) {
                    news |= self.take(value);
                }
            }
        }
        if news {
            let words: Vec<_> = self.whole.values().map(|(signer, said)| (signer, said)).collect();
            self.distrust = Arc::new(Distrust::of(&words));
        }
        news
    }

    /// True if a revocation is whole now that was not.
    fn take(&mut self, value: &Value) -> bool {
        let Value::Bytes(bytes) = value else { return false };
        let Ok(part) = SignedPart::decode(bytes) else { return false };
        let Ok(signer) = part.verify(&self.mesh) else { return false };
        let which = (part.subject(), signer.issuer(), part.id());
        if self.whole.contains_key(&which) || self.whole.len() + self.parts.len() >= MAX_HELD {
            return false;
        }
        let parts = self.parts.entry(which).or_default();
        if !parts.contains(&part) {
            parts.push(part);
        }
        let Some(said) = Revocation::join(parts.iter()) else { return false };
        self.parts.remove(&which);
        self.whole.insert(which, (signer, said));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holm_types::{
        ActorId, Digest, Incarnation,
        cert::{Certificate, Claims, Role},
        change::{WireChange, WireOp, keys_of},
        keys::KeyPair,
    };

    fn key(n: u8) -> KeyPair {
        KeyPair::from_secret(&[n; 32])
    }

    fn chain(n: u8) -> CertChain {
        let claims = Claims {
            mesh: MeshId(key(1).node_id().0),
            mesh_name: "m".parse().unwrap(),
            subject: key(n).node_id(),
            name: "n".parse().unwrap(),
            site: "s".parse().unwrap(),
            roles: vec![Role::Edge],
            not_before: 0,
            not_after: 9,
            serial: 1,
        };
        CertChain::new(vec![Certificate::sign(claims, &key(1)).unwrap()])
    }

    /// The answer of a member that knows that node `n` was revoked, by whoever has key `signer`.
    fn answer(n: u8, signer: u8) -> Vec<u8> {
        let said = Revocation {
            mesh: MeshId(key(1).node_id().0),
            subject: key(n).node_id(),
            id: 1,
            at: 0,
            reason: String::new(),
            cut: Vec::new(),
            keeps: Vec::new(),
            upholds: Vec::new(),
        };
        let bytes = said.sign(None, &key(signer)).unwrap()[0].encode().unwrap();
        let wire = WireChange {
            actors: vec![ActorId::new(&key(5).node_id(), Incarnation(1))],
            seq: 1,
            start_op: 1,
            time: 0,
            deps: Vec::new(),
            ops: vec![WireOp { key: keys_of::revocation(&bytes), value: Some(Value::Bytes(bytes)), preds: Vec::new() }],
        };
        let doc = DocId::revocation(&said.subject);
        let change = SignedChange::sign(&said.mesh, Scope::Mesh, doc, Digest([0; 32]), wire, &key(5));
        let changes = vec![change.encode().unwrap().into()];
        Message::Changes { scope: Scope::Mesh, changes, more: false }.encode().unwrap()
    }

    #[test]
    fn it_asks_about_those_who_are_there_and_believes_what_the_authority_said() {
        let mut revocations = Revocations::new(MeshId(key(1).node_id().0));
        assert!(revocations.ask().is_none());
        for n in [2, 3] {
            revocations.up(key(n).node_id(), chain(n));
        }
        let asked: BTreeSet<NodeId> = (0..2).map(|_| revocations.ask().unwrap().0).collect();
        assert_eq!(asked.len(), 2, "one after the other");
        let (_, frames) = revocations.ask().unwrap();
        let Ok(Message::Want { docs, .. }) = Message::decode(&frames[0]) else { panic!("a question") };
        assert!(docs.iter().any(|(doc, _)| *doc == DocId::revocation(&key(3).node_id())));
        assert!(!revocations.hear(&answer(3, 7)), "not the authority's word");
        assert!(revocations.hear(&answer(3, 1)));
        let distrust = revocations.distrust();
        assert!(distrust.voids(&chain(3)) && !distrust.voids(&chain(2)));
        assert!(!revocations.hear(&answer(3, 1)), "nothing new");
        assert!(!revocations.hear(b"garbage"));
        revocations.down(&key(3).node_id());
        revocations.down(&key(2).node_id());
        assert!(revocations.ask().is_none());
    }
}
