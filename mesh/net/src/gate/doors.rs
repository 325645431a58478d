//! What the gate serves to those whom it does not let in: enrolment, and the renewal of a certificate.

use super::{GateError, GateShared, REVOKED, Talk};
use crate::{
    EnrolRequest, RenewRequest,
    counters::Count,
    hello::{Answer, NOT_A_MEMBER},
    ids,
    transport::Link,
};
use holm_types::{
    Label, NodeId,
    cert::CertChain,
    token::{Enrolment, Token},
};
use libp2p::PeerId;
use tokio::sync::{mpsc, oneshot};

/// What is said where nobody answers for this node.
const NOT_HERE: &str = "this node does not enrol";
const BUSY: &str = "busy: try again in a moment";

impl GateShared {
    /// Asks the owner of the network about a token and passes its answer on.
    pub(super) async fn enrol(&self, peer: PeerId, talk: Talk, token: &str, name: Label) -> Result<Link, GateError> {
        let answer = self.ask_issuer(peer, token, name).await;
        self.pass_on(talk, answer).await
    }

    /// A member that is let in no more, since its certificate has ended, may have it renewed.
    pub(super) async fn renew(&self, peer: PeerId, talk: Talk, chain: &[u8]) -> Result<Link, GateError> {
        let answer = self.ask_to_renew(peer, chain).await;
        self.pass_on(talk, answer).await
    }

    async fn pass_on(&self, mut talk: Talk, answer: Result<Enrolment, String>) -> Result<Link, GateError> {
        self.counters.bump(if answer.is_ok() { Count::Enrolled } else { Count::EnrolRefused });
        let answer = match answer {
            Ok(enrolment) => Answer::Enrolled { enrolment },
            Err(reason) => Answer::refused(&reason),
        };
        self.answer_and_leave(&mut talk, &answer).await?;
        Err(GateError::Enrolment)
    }

    async fn ask_issuer(&self, peer: PeerId, token: &str, name: Label) -> Result<Enrolment, String> {
        let token = Token::from_text(token).map_err(|e| e.to_string())?;
        let subject = ids::node_of(&peer).ok_or("the key is not ed25519")?;
        let (reply, answer) = oneshot::channel();
        hand_over(&self.enrolments, EnrolRequest { token, subject, name, reply })?;
        answer.await.map_err(|_| NOT_HERE)?
    }

    async fn ask_to_renew(&self, peer: PeerId, chain: &[u8]) -> Result<Enrolment, String> {
        let (node, chain) = self.once_a_member(&peer, chain)?;
        let (reply, answer) = oneshot::channel();
        hand_over(&self.renewals, RenewRequest { node, chain, reply })?;
        let chain = answer.await.map_err(|_| NOT_HERE)??;
        Ok(Enrolment { chain, peers: Vec::new() })
    }

    /// As for a member, but for the end of its certificate.
    fn once_a_member(&self, peer: &PeerId, chain: &[u8]) -> Result<(NodeId, CertChain), String> {
        let stranger = |_| NOT_A_MEMBER.to_owned();
        let chain = CertChain::decode(chain).map_err(stranger)?;
        let node = chain.verify(&self.mesh).map_err(stranger)?.subject;
        if ids::node_of(peer) != Some(node) {
            return Err(NOT_A_MEMBER.to_owned());
        }
        if self.is_denied(&node) || self.is_void(&chain) {
            return Err(REVOKED.to_owned());
        }
        Ok((node, chain))
    }
}

fn hand_over<T>(owner: &mpsc::Sender<T>, request: T) -> Result<(), &'static str> {
    owner.try_send(request).map_err(|e| match e {
        mpsc::error::TrySendError::Full(_) => BUSY,
        mpsc::error::TrySendError::Closed(_) => NOT_HERE,
    })
}
