//! Revocation: the end of a membership, said here, and what this node does when it hears of one.

use crate::{Effect, Node};
use holm_state::revocation_ops;
use holm_types::{
    DocId, Mono, NodeId, Now, Scope,
    api::{ApiError, RevokeParams, Revoked},
    cert::Certificate,
    event::EventKind,
    keys::KeyPair,
    revocation::Revocation,
    sometimes,
};
use rand::Rng;

/// Parts of a revocation in one change: they are up to 4 kB each.
const PARTS_PER_CHANGE: usize = 3;
/// Digits of a node's id that name it, at least.
const MIN_ID_DIGITS: usize = 8;

impl Node {
    /// `cert.revoke`: answered when it is durable here; the others hear of it at once.
    pub(crate) fn revoke(&mut self, now: Now, params: &RevokeParams) -> Result<(Revoked, Vec<Effect>), ApiError> {
        self.may_write(now)?;
        let subject = self.find_member(&params.node)?;
        if subject == self.me {
            return Err(ApiError::Invalid("a node does not revoke itself: ask another issuer".into()));
        }
        let (by, key) = self.revoker(&subject)?;
        let Some(member) = self.state.members().get(&subject) else {
            return Err(ApiError::NotFound(format!("no member {}", params.node)));
        };
        let (name, site) = (member.claims.name.clone(), member.claims.site.clone());
        let said = Revocation {
            mesh: self.config.mesh,
            subject,
            id: self.rng.next_u64(),
            at: now.wall.seconds(),
            reason: params.reason.clone().unwrap_or_default(),
            cut: self.state.cut_of(&subject),
            keeps: self.state.certified_by(&subject),
            upholds: self.state.revocations_by(&subject),
        };
        let internal = |e: &dyn std::fmt::Display| ApiError::Internal(e.to_string());
        let parts = said.sign(by.as_ref(), &key).map_err(|e| internal(&e))?;
        for parts in parts.chunks(PARTS_PER_CHANGE) {
            let ops = revocation_ops(parts).map_err(|e| internal(&e))?;
            self.write(&Scope::Mesh, DocId::revocation(&subject), ops, now).map_err(|e| internal(&e))?;
        }
        let event = self.event(now.wall, EventKind::Revoked, None, None, name.as_str());
        Ok((Revoked { id: subject, name, site }, vec![event]))
    }

    /// With which key this node may revoke somebody, and the certificate that says so.
    fn revoker(&self, subject: &NodeId) -> Result<(Option<Certificate>, KeyPair), ApiError> {
        if let Some(authority) = &self.config.authority {
            return Ok((None, authority.clone()));
        }
        let refuse = |why: &str| Err(ApiError::NotAuthorised(format!("this node may not revoke that: {why}")));
        let Some(own) = self.config.chain.signed_by_authority().filter(|own| own.claims.is_issuer()) else {
            return refuse("it is no issuer and does not hold the mesh's authority key");
        };
        let Some(member) = self.state.members().get(subject) else { return refuse("it does not know it") };
        if member.claims.is_issuer() {
            return refuse("only the authority, whose key authority.key is, revokes issuers");
        }
        match own.claims.may_govern(&member.claims) {
            Ok(()) => Ok((Some(own.clone()), self.config.key.clone())),
            Err(_) => refuse("it is an issuer of another site, or no keeper"),
        }
    }

    /// A member by its name, its serial number, or the beginning of its id.
    fn find_member(&self, text: &str) -> Result<NodeId, ApiError> {
        if text.is_empty() {
            return Err(ApiError::Invalid(format!(
                "say which node: its name, its serial number, or at least {MIN_ID_DIGITS} digits of its id"
            )));
        }
        let members = self.state.members();
        let matches = |id: &NodeId, member: &holm_state::Member| {
            let by_id = text.len() >= MIN_ID_DIGITS && id.to_string().starts_with(text);
            member.claims.name.as_str() == text || by_id || format!("{:016x}", member.claims.serial) == text
        };
        let found: Vec<(&NodeId, bool)> =
            members.iter().filter(|(id, m)| matches(id, m)).map(|(id, m)| (id, m.revoked)).collect();
        let present: Vec<&NodeId> = found.iter().filter(|(_, revoked)| !revoked).map(|(id, _)| *id).collect();
        match (present.as_slice(), found.as_slice()) {
            ([one], _) => Ok(**one),
            ([], []) => Err(ApiError::NotFound(format!(
                "no node {text} is known here: `holm cert ls` lists them; a keeper knows those of all sites"
            ))),
            ([], _) => Err(ApiError::Invalid(format!("{text} is revoked already"))),
            (several, _) => Err(ApiError::Invalid(format!(
                "{} nodes are called {text}: give the beginning of an id (holm cert ls -o json)",
                several.len()
            ))),
        }
    }

    /// There may be new revocations: whoever is no member is cut off and counts as gone.
    pub(crate) fn follow_revocations(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(distrust) = self.state.take_distrust() else { return };
        sometimes!("a node hears of a revocation");
        // Whoever fell or came back with it is among the members that changed.
        self.note_members(now.mono);
        self.reconciling.request(now.mono);
        self.look_at_all(now.mono);
        if self.is_revoked() && !self.reads_only {
            out.push(self.event(now.wall, EventKind::Revoked, None, None, "this node itself: it only reads"));
        }
        out.push(Effect::Distrust(distrust));
    }

    /// A node is no member any more: it is neither spoken to nor waited for.
    pub(crate) fn forget_peer(&mut self, node: &NodeId, now: Mono) {
        self.peers.remove(node);
        self.partners.lost(node);
        self.members.forget(node);
        let known = self.healer.forget(node);
        self.save_peers_if(known, now);
        self.resume.retain(|(peer, _), _| peer != node);
    }
}
