//! Certificates: who signs them here, for whom, and how a node keeps its own from ending.
//!
//! A node asks for a new one when a third of its life is left: an issuer that it is connected to, by a frame; or,
//! when peers let it in no more, the gate of an issuer, where a renewal is all that it gets. A node whose
//! certificate is past what peers bear with writes nothing: no verdict on a change depends on a clock, so it is
//! for the node itself to be silent, and for its peers not to let it in. What it runs goes on.

use crate::{Effect, Node, RequestId, queries::page};
use holm_mesh_core::renewal::Renewal;
use holm_types::{
    Mono, NodeId, Now, TypeError,
    api::{ApiError, CertRow, CertState, ListParams},
    cert::{CertChain, Certificate, Claims, term, validity_of},
    event::EventKind,
    keys::KeyPair,
    sometimes,
    token::Enrolment,
};
use rand::{Rng, RngExt, seq::IteratorRandom};
use std::time::Duration;

/// Time between two tries to have the own certificate renewed.
const SOONEST_RETRY: Duration = Duration::from_secs(1);
const LATEST_RETRY: Duration = Duration::from_secs(600);
/// A name on a list of certificates, for what the authority signed.
const AUTHORITY: &str = "authority";

/// Who signs certificates on this node.
pub(crate) enum Certifier {
    /// The mesh's authority.
    Authority(KeyPair),
    /// This node as an issuer, by its certificate.
    Issuer(Certificate),
}

impl Node {
    /// Whether this node signs a certificate with these claims, and as whom: as an issuer if it may, since
    /// the authority's key should be needed for little.
    pub(crate) fn certifier(&self, claims: &Claims) -> Result<Certifier, String> {
        if let Some(authority) = &self.config.authority {
            return Ok(Certifier::Authority(authority.clone()));
        }
        match self.config.chain.signed_by_authority() {
            Some(own) if own.claims.is_issuer() && !self.is_revoked() => {
                own.claims.may_certify(claims).map(|()| Certifier::Issuer(own.clone())).map_err(|e| match e {
                    TypeError::Certificate(why) => format!("this node may not certify that: {why}"),
                    other => other.to_string(),
                })
            }
            _ => Err("this node enrols nobody: it is no issuer and does not hold the mesh's authority key \
                      (holm node ls shows who is an issuer)"
                .to_owned()),
        }
    }

    /// Signs, for no longer than the own certificate lasts.
    pub(crate) fn certify(&mut self, claims: Claims) -> Result<CertChain, String> {
        let last = match (&self.config.authority, self.config.chain.signed_by_authority()) {
            (None, Some(own)) => own.claims.not_after,
            _ => u64::MAX,
        };
        let claims = Claims { not_after: claims.not_after.min(last), serial: self.rng.next_u64(), ..claims };
        let signed = match self.certifier(&claims)? {
            Certifier::Authority(key) => Certificate::sign(claims, &key).map(|own| vec![own]),
            Certifier::Issuer(by) => Certificate::sign(claims, &self.config.key).map(|own| vec![own, by]),
        };
        let chain = CertChain::new(signed.map_err(|e| e.to_string())?);
        chain.verify(&self.config.mesh).map_err(|e| e.to_string())?;
        Ok(chain)
    }

    /// Whether this node was revoked, for all that it knows.
    pub(crate) fn is_revoked(&self) -> bool {
        self.state.members().get(&self.me).is_some_and(|own| own.revoked)
    }

    /// Whether this node may write anything now.
    pub(crate) fn may_write(&self, now: Now) -> Result<(), ApiError> {
        if self.is_revoked() {
            return Err(ApiError::NotAuthorised("this node was revoked: it is no member of its mesh any more".into()));
        }
        if now.wall.seconds() > self.config.chain.borne_until() {
            return Err(ApiError::NotAuthorised(
                "this node's certificate has ended: it only reads until an issuer that it can reach renews it \
                 (holm doctor says more)"
                    .into(),
            ));
        }
        Ok(())
    }

    /// Asks for a new certificate when it is time.
    pub(crate) fn renew(&mut self, now: Now, out: &mut Vec<Effect>) {
        if now.wall.seconds() < self.renewal_due() || now.mono < self.renew_at || self.is_revoked() {
            return;
        }
        let pace = Duration::from_secs(self.claims.life() / 100).clamp(SOONEST_RETRY, LATEST_RETRY);
        self.renew_at = now.mono.after(pace.mul_f64(self.rng.random_range(0.75..1.25)));
        if self.config.authority.is_some() {
            match self.renewed(now, &self.claims.clone()) {
                Ok(chain) => self.adopt_chain(now, chain, out),
                Err(_) => self.count("renewals_refused"),
            }
            return;
        }
        let may = |claims: &Claims| {
            claims.is_issuer() && (self.claims.is_issuer() || claims.may_govern(&self.claims).is_ok())
        };
        let issuers: Vec<NodeId> = self
            .state
            .members()
            .iter()
            .filter(|(id, m)| **id != self.me && !m.revoked && may(&m.claims))
            .map(|(id, _)| *id)
            .collect();
        let connected = issuers.iter().filter(|id| self.peers.contains_key(*id)).copied().choose(&mut self.rng);
        if let Some(peer) = connected {
            return self.send_renewal(peer, &Renewal::Ask, out);
        }
        // Those of which no certificate is known here may be issuers, too: whoever enrolled this node is.
        let told =
            self.config.peers.iter().map(|(node, _)| *node).filter(|node| !self.state.members().contains_key(node));
        let known = issuers.into_iter().chain(told).filter(|node| *node != self.me && !self.peers.contains_key(node));
        let reachable: Vec<NodeId> = known.filter(|node| !self.healer.addresses(node).is_empty()).collect();
        if let Some(issuer) = reachable.into_iter().choose(&mut self.rng) {
            sometimes!("a certificate is renewed at a gate");
            let addresses = self.healer.addresses(&issuer).to_vec();
            out.push(Effect::Renew { issuer, addresses, chain: self.config.chain.clone() });
        }
    }

    fn renewal_due(&self) -> u64 {
        self.config.chain.claims().map_or(0, |claims| claims.renew_from())
    }

    /// When the clock should be looked at again for the own certificate's sake.
    pub(crate) fn renewal_deadline(&self) -> Option<Mono> {
        self.awaits_renewal.then_some(self.renew_at)
    }

    /// The date is no timer: it is looked at with every heartbeat.
    pub(crate) fn watch_certificate(&mut self, now: Now, out: &mut Vec<Effect>) {
        let due = now.wall.seconds() >= self.renewal_due() && !self.is_revoked();
        self.awaits_renewal = due;
        if due {
            self.renew(now, out);
        }
        let reads_only = self.may_write(now).is_err();
        if reads_only && !std::mem::replace(&mut self.reads_only, reads_only) {
            sometimes!("a node only reads, since its certificate has ended");
            out.push(self.event(now.wall, EventKind::CertificateEnded, None, None, "this node only reads"));
        }
        self.reads_only = reads_only;
    }

    /// A member that holds such a certificate gets another: the same in all but its dates.
    fn renewed(&mut self, now: Now, old: &Claims) -> Result<CertChain, String> {
        let (not_before, not_after) = term(now.wall.seconds(), validity_of(old.life()));
        if not_after <= old.not_after {
            return Err("its certificate is good for longer than a new one would be".to_owned());
        }
        self.certify(Claims { not_before, not_after, ..old.clone() })
    }

    /// A member asks, and its key was proved.
    pub(crate) fn renew_for(&mut self, now: Now, node: &NodeId, shown: &CertChain) -> Result<CertChain, String> {
        let shown = shown.verify(&self.config.mesh).map_err(|e| e.to_string())?.clone();
        let known = self.state.members().get(node);
        if shown.subject != *node || self.is_revoked() || known.is_some_and(|m| m.revoked) {
            return Err("its certificate was revoked, or is another node's".to_owned());
        }
        // The latest that is known: an answer may have been lost on the way.
        let old = known.map_or(shown, |member| member.claims.clone());
        if now.wall.seconds() + old.life() / 6 < old.renew_from() {
            return Err("it is not time yet to renew it".to_owned());
        }
        let chain = self.renewed(now, &old)?;
        self.state.add_member(chain.clone(), now.wall).map_err(|e| e.to_string())?;
        sometimes!("an issuer renews a certificate");
        Ok(chain)
    }

    /// A member asks at the gate.
    pub(crate) fn on_renew(&mut self, now: Now, id: RequestId, node: NodeId, chain: &CertChain, out: &mut Vec<Effect>) {
        let void = self.state.is_void(chain);
        let result =
            if void { Err("the certificate was revoked".to_owned()) } else { self.renew_for(now, &node, chain) };
        match result {
            Ok(chain) => {
                let enrolment = Enrolment { chain, peers: Vec::new() };
                out.push(Effect::Enrolled { id, result: Ok(enrolment) });
            }
            Err(why) => {
                out.push(self.event(now.wall, EventKind::Rejected, None, None, format!("renewal: {why}")));
                out.push(Effect::Enrolled { id, result: Err(why) });
            }
        }
    }

    /// A frame about certificates. True if it was one.
    pub(crate) fn on_renewal(&mut self, now: Now, from: NodeId, bytes: &[u8], out: &mut Vec<Effect>) -> bool {
        let Ok(message) = Renewal::decode(bytes) else { return false };
        match message {
            Renewal::Ask => {
                let shown = self.state.members().get(&from).map(|member| member.chain.clone());
                let answer = match shown.ok_or_else(String::new).and_then(|chain| self.renew_for(now, &from, &chain)) {
                    Ok(chain) => Renewal::Given { chain },
                    Err(why) => Renewal::Refused { why },
                };
                self.send_renewal(from, &answer, out);
            }
            Renewal::Given { chain } => self.adopt_chain(now, chain, out),
            Renewal::Refused { .. } => self.count("renewals_refused"),
        }
        true
    }

    fn send_renewal(&mut self, peer: NodeId, message: &Renewal, out: &mut Vec<Effect>) {
        match message.encode() {
            Ok(bytes) => out.push(Effect::Send { peer, bytes }),
            Err(_) => self.count("renewal_unencodable"),
        }
    }

    /// A certificate for this node came: it is taken if it is the same but for its dates, and ends later.
    pub(crate) fn adopt_chain(&mut self, now: Now, chain: CertChain, out: &mut Vec<Effect>) {
        let Ok(claims) = chain.verify(&self.config.mesh).cloned() else { return self.count("renewals_refused") };
        let own = &self.claims;
        let same = claims.subject == self.me
            && (&claims.name, &claims.site, &claims.roles) == (&own.name, &own.site, &own.roles);
        if !same || claims.not_after <= own.not_after || self.state.is_void(&chain) {
            return self.count("renewals_refused");
        }
        sometimes!("a certificate was renewed");
        let by = chain.issuer().map_or_else(|| AUTHORITY.to_owned(), |issuer| issuer.name.to_string());
        self.config.chain = chain.clone();
        self.claims = claims;
        self.awaits_renewal = false;
        self.reads_only = false;
        if self.describe_self(now).is_err() {
            self.count("writes_failed");
        }
        out.push(self.event(now.wall, EventKind::Renewed, None, None, format!("by {by}")));
        out.push(Effect::Present(chain));
        // What had to wait is written now.
        self.look_at_all(now.mono);
        self.status_flush.request(now.mono);
    }

    /// At the start: a certificate that was renewed in an earlier life counts.
    pub(crate) fn recall_chain(&mut self, out: &mut Vec<Effect>) {
        let Some(kept) = self.state.members().get(&self.me).map(|own| own.chain.clone()) else { return };
        let Ok(claims) = kept.verify(&self.config.mesh).cloned() else { return };
        if claims.not_after > self.claims.not_after {
            self.claims = claims;
            self.config.chain = kept.clone();
            out.push(Effect::Present(kept));
        }
    }

    /// `cert.list`
    pub(crate) fn cert_list(&self, now: Now, params: &ListParams) -> Result<serde_json::Value, ApiError> {
        let seconds = now.wall.seconds();
        let rows = self.state.members().iter().map(|(id, member)| {
            let claims = &member.claims;
            let state = match () {
                () if member.revoked => CertState::Revoked,
                () if seconds > member.chain.borne_until() => CertState::Ended,
                () if seconds > claims.not_after => CertState::Grace,
                () if seconds >= claims.renew_from() => CertState::Renewing,
                () => CertState::Valid,
            };
            CertRow {
                id: *id,
                name: claims.name.clone(),
                site: claims.site.clone(),
                roles: claims.roles.clone(),
                serial: format!("{:016x}", claims.serial),
                issuer: member.chain.issuer().map_or_else(|| AUTHORITY.to_owned(), |by| by.name.to_string()),
                not_before: claims.not_before,
                not_after: claims.not_after,
                state,
                reason: self.state.revocations_of(id).first().map(|(_, said)| said.reason.clone()).unwrap_or_default(),
            }
        });
        let in_site = |row: &CertRow| params.site.as_ref().is_none_or(|site| *site == row.site);
        page(rows.filter(in_site).collect(), params, |row| row.id.to_string())
    }
}
