//! Enrolment: tokens, and the certificates that they buy. Served by issuers, each for those that it may
//! certify, and by the node that holds the authority's key.

use crate::{Effect, Node, RequestId, apply::to_json};
use holm_types::{
    Label, NodeId, Now,
    api::{ApiError, TokenParams},
    cert::{Claims, Role, term},
    event::EventKind,
    token::{Enrolment, Grant, Token},
};
use rand::Rng;

const DEFAULT_TTL_S: u64 = 3600;
const MAX_TTL_S: u64 = 30 * 86_400;
const MAX_USES: u32 = 10_000;
/// Certificates are renewed while anybody who may is there. An issuer's, by nobody but the authority, whose key
/// is offline most of the time.
const VALIDITY_S: u64 = 90 * 86_400;
const ISSUER_VALIDITY_S: u64 = 5 * 365 * 86_400;
const MIN_VALIDITY_S: u64 = 10;
const MAX_VALIDITY_S: u64 = 10 * 365 * 86_400;
/// Members told to a new node, at most.
const MAX_TOLD: usize = 16;

impl Node {
    pub(crate) fn create_token(&mut self, now: Now, params: &TokenParams) -> Result<serde_json::Value, ApiError> {
        let (ttl, uses) = (params.ttl_s.unwrap_or(DEFAULT_TTL_S), params.uses.unwrap_or(1));
        if ttl == 0 || ttl > MAX_TTL_S {
            return Err(ApiError::Invalid("ttl must be 1 second to 30 days".into()));
        }
        if uses == 0 || uses > MAX_USES {
            return Err(ApiError::Invalid(format!("uses must be 1 to {MAX_USES}")));
        }
        let usual = if params.role == Role::Issuer { ISSUER_VALIDITY_S } else { VALIDITY_S };
        let validity_s = params.validity_s.unwrap_or(usual);
        if !(MIN_VALIDITY_S..=MAX_VALIDITY_S).contains(&validity_s) {
            return Err(ApiError::Invalid("validity must be 10 seconds to 10 years".into()));
        }
        self.may_write(now)?;
        let site = params.site.clone().unwrap_or_else(|| self.claims.site.clone());
        let nobody = Claims { subject: NodeId([0; 32]), ..self.claims_for(now, params.role, site.clone(), 0) };
        self.certifier(&nobody).map_err(ApiError::NotAuthorised)?;
        if self.listening.is_empty() {
            return Err(ApiError::Busy("this node does not listen yet: try again in a moment".into()));
        }
        let grant = Grant {
            mesh: self.config.mesh,
            mesh_name: self.config.mesh_name.clone(),
            issuer: self.me,
            addresses: self.listening.iter().take(8).cloned().collect(),
            id: self.rng.next_u64(),
            role: params.role,
            site,
            not_after: now.wall.seconds() + ttl,
            uses,
            validity_s,
        };
        let token = Token::sign(grant, &self.config.key).and_then(|token| token.to_text());
        to_json(&token.map_err(|e| ApiError::Internal(e.to_string()))?)
    }

    pub(crate) fn on_enrol(
        &mut self,
        now: Now,
        id: RequestId,
        token: &Token,
        subject: NodeId,
        name: &str,
        out: &mut Vec<Effect>,
    ) {
        match self.enrol(now, token, subject, name) {
            Ok(enrolment) => {
                let event = self.event(now.wall, EventKind::Enrolled, None, None, name);
                self.journal.after_persist(Effect::Enrolled { id, result: Ok(enrolment) });
                self.journal.after_persist(event);
            }
            Err(why) => {
                out.push(self.event(now.wall, EventKind::Rejected, None, None, format!("enrolment: {why}")));
                out.push(Effect::Enrolled { id, result: Err(why) });
            }
        }
    }

    fn enrol(&mut self, now: Now, token: &Token, subject: NodeId, name: &str) -> Result<Enrolment, String> {
        self.may_write(now).map_err(|e| e.to_string())?;
        let grant = token.verify(&self.config.mesh, &self.me, now.wall).map_err(|e| e.to_string())?.clone();
        let name = Label::new("node name", name).map_err(|e| e.to_string())?;
        let taken = self.state.members().iter().any(|(id, m)| m.claims.name == name && *id != subject && !m.revoked);
        if taken {
            return Err(format!("a node is already called {name:?}: choose another with --name", name = name.as_str()));
        }
        if !self.state.revocations_of(&subject).is_empty() {
            return Err("this key was revoked: remove its data folder, and join with a new one".to_owned());
        }
        let moved = self
            .state
            .members()
            .get(&subject)
            .filter(|m| m.claims.site != grant.site || !m.claims.roles.contains(&grant.role));
        if let Some(known) = moved {
            return Err(format!(
                "this node's key is already that of {} at site {}: a node keeps its site and role; join with a new data folder",
                known.claims.name, known.claims.site
            ));
        }
        let claims = Claims { subject, name, ..self.claims_for(now, grant.role, grant.site.clone(), grant.validity_s) };
        let chain = self.certify(claims)?;
        self.count_use(&grant, &subject)?;
        self.state.add_member(chain.clone(), now.wall).map_err(|e| e.to_string())?;
        self.note_members(now.mono);
        Ok(Enrolment { chain, peers: self.told_peers(&grant.site) })
    }

    /// Durable before the answer, as any write: a crash gives no use back. The same node may
    /// come again with its token, since the answer may have been lost on the way.
    fn count_use(&mut self, grant: &Grant, subject: &NodeId) -> Result<(), String> {
        let key = format!("token/{:016x}", grant.id);
        let used: Vec<NodeId> = self.used_by(&key)?;
        if used.contains(subject) {
            return Ok(());
        }
        if used.len() >= grant.uses as usize {
            return Err("token refused: it has been used up: make a new one with `holm token create`".into());
        }
        let used: Vec<NodeId> = used.into_iter().chain([*subject]).collect();
        let bytes = serde_json::to_vec(&used).map_err(|e| e.to_string())?;
        self.state.local_put(&key, Some(bytes), true);
        Ok(())
    }

    fn used_by(&self, key: &str) -> Result<Vec<NodeId>, String> {
        let unreadable = |e: &dyn std::fmt::Display| format!("this node cannot read what tokens were used: {e}");
        match self.state.local_get(key).map_err(|e| unreadable(&e))? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|e| unreadable(&e)),
            None => Ok(Vec::new()),
        }
    }

    /// The claims of a node that joins, without its key and name.
    fn claims_for(&self, now: Now, role: Role, site: Label, validity_s: u64) -> Claims {
        let (not_before, not_after) = term(now.wall.seconds(), validity_s);
        Claims { site, roles: vec![role], not_before, not_after, ..(*self.claims).clone() }
    }

    /// Whom a new node at `site` may ask: first those of its site, and the keepers.
    fn told_peers(&self, site: &Label) -> Vec<(NodeId, Vec<String>)> {
        let near = |node: &NodeId| {
            self.state.members().get(node).is_some_and(|m| m.claims.site == *site || m.claims.is_keeper())
        };
        let mut others = self.healer.known();
        others.retain(|(_, addresses)| !addresses.is_empty());
        others.sort_by_key(|(node, _)| !near(node));
        std::iter::once((self.me, self.listening.clone())).chain(others).take(MAX_TOLD).collect()
    }
}
