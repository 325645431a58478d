//! The gate: who is not a member does not reach the swarm.
//!
//! The secure channel has proved the peer's key when the gate begins. On the first stream of the
//! connection the side that dialled says [`Hello`]; the other one checks the certificate against
//! the key that was proved, and shows its own; the first acknowledges. Only then does the connection
//! exist for gossip, frames and the rest. A stranger is told "not a member of this mesh" and learns
//! neither the mesh nor its name. Enrolment is the one thing served to strangers, and ends here too.

mod doors;
mod lives;
mod slots;
mod talk;
mod wrap;

use crate::{
    EnrolRequest, RenewRequest,
    counters::{Count, Counters},
    hello::{Answer, Bond, Hello, MAX_HELLO, MAX_WELCOME, NOT_A_MEMBER, clip},
    ids,
    limits::Limits,
    transport::Link,
};
use futures::FutureExt;
use holm_types::{Incarnation, MeshId, NodeId, TypeError, Wall, cert::CertChain, distrust::Distrust};
use libp2p::{PeerId, core::muxing::StreamMuxerBox};
use lives::Lives;
use slots::{Evicted, Slots};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::Future,
    io,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
pub(crate) use talk::Talk;
use tokio::{sync::mpsc, time::timeout};
pub(crate) use wrap::Gate;

/// Forgiven difference between two nodes' clocks.
pub(crate) const CLOCK_SLACK: Duration = Duration::from_secs(600);
/// What somebody is told whose certificate was revoked.
const REVOKED: &str = "the certificate was revoked";
/// Keys that may be denied at once.
const MAX_DENIED: usize = 4096;

/// Why a connection ended at the gate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GateError {
    /// Below the gate.
    #[error("{0}")]
    Transport(#[from] io::Error),
    /// The address does not say whom it leads to, so nothing may be said there.
    #[error("the address names no peer")]
    Unpinned,
    /// Somebody else answered.
    #[error("another node answers there")]
    WrongPeer,
    /// We refused the peer.
    #[error("refused: {0}")]
    Refused(String),
    /// The peer refused us.
    #[error("the peer refused this node: {0}")]
    RefusedBy(String),
    /// The peer is connected to a later life of this node.
    #[error("the peer is connected to another process with this node's identity, which was started later")]
    Superseded,
    /// Not this protocol.
    #[error("the peer does not speak this protocol: {0}")]
    Protocol(String),
    /// Too slow.
    #[error("the peer did not answer in time")]
    Timeout,
    /// Cut to admit newer connections.
    #[error("cut: too many unfinished connections")]
    Busy,
    /// Bytes of the peer made the stack below panic; see [`contained`].
    #[error("the peer broke the connection")]
    Broken,
    /// An enrolment: it was answered, and the connection has served its purpose.
    #[error("the connection was an enrolment")]
    Enrolment,
}

/// Chains of the peers that passed, the oldest pushed out. An entry outlives its connection: a
/// second connection of the same peer may pass while the first one closes.
#[derive(Debug, Default)]
struct Admitted {
    chains: BTreeMap<PeerId, (CertChain, Bond)>,
    order: VecDeque<PeerId>,
}

/// What the gate knows; shared by all pending connections and the swarm task.
pub(crate) struct GateShared {
    pub(crate) mesh: MeshId,
    pub(crate) clock: Arc<dyn Fn() -> Wall + Send + Sync>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) enrolments: mpsc::Sender<EnrolRequest>,
    pub(crate) renewals: mpsc::Sender<RenewRequest>,
    pub(crate) lives: Lives,
    chain: Mutex<Vec<u8>>,
    incarnation: Incarnation,
    admitted: Mutex<Admitted>,
    max_admitted: usize,
    denied: Mutex<BTreeSet<NodeId>>,
    distrust: Mutex<Arc<Distrust>>,
    handshakes: Slots,
    greetings: Slots,
    handshake_timeout: Duration,
    greeting_timeout: Duration,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these locks is held; the values are whole in any case.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GateShared {
    pub(crate) fn new(
        mesh: MeshId,
        chain: &CertChain,
        clock: Arc<dyn Fn() -> Wall + Send + Sync>,
        limits: &Limits,
        counters: Arc<Counters>,
        (enrolments, renewals): (mpsc::Sender<EnrolRequest>, mpsc::Sender<RenewRequest>),
        (incarnation, stale): (Incarnation, mpsc::Sender<PeerId>),
    ) -> Result<GateShared, TypeError> {
        Ok(GateShared {
            mesh,
            clock,
            counters,
            enrolments,
            renewals,
            lives: Lives::new(stale),
            chain: Mutex::new(chain.encode()?),
            incarnation,
            admitted: Mutex::default(),
            max_admitted: 2 * limits.established as usize,
            denied: Mutex::default(),
            distrust: Mutex::default(),
            handshakes: Slots::new(limits.handshakes),
            greetings: Slots::new(limits.greetings),
            handshake_timeout: limits.handshake_timeout,
            greeting_timeout: limits.greeting_timeout,
        })
    }

    /// The chain that this node shows from now on.
    pub(crate) fn present(&self, chain: &CertChain) -> Result<(), TypeError> {
        chain.verify(&self.mesh)?;
        *lock(&self.chain) = chain.encode()?;
        Ok(())
    }

    /// Refuses `node` from now on; false when the list is full.
    pub(crate) fn deny(&self, node: NodeId) -> bool {
        let mut denied = lock(&self.denied);
        denied.contains(&node) || denied.len() < MAX_DENIED && denied.insert(node)
    }

    pub(crate) fn allow(&self, node: &NodeId) {
        lock(&self.denied).remove(node);
    }

    pub(crate) fn is_denied(&self, node: &NodeId) -> bool {
        lock(&self.denied).contains(node)
    }

    /// Whom to let in no more, whatever certificate it shows.
    pub(crate) fn distrust(&self, distrust: Arc<Distrust>) {
        *lock(&self.distrust) = distrust;
    }

    /// Whether a chain was revoked, or its issuer.
    pub(crate) fn is_void(&self, chain: &CertChain) -> bool {
        lock(&self.distrust).voids(chain)
    }

    /// The chain and the bond with which `peer` last passed.
    pub(crate) fn shown_by(&self, peer: &PeerId) -> Option<(CertChain, Bond)> {
        lock(&self.admitted).chains.get(peer).cloned()
    }

    /// The last step: the connection becomes the swarm's.
    async fn admit(&self, peer: PeerId, chain: CertChain, bond: Bond) {
        self.lives.make_way(peer, bond).await;
        self.note_admitted(peer, chain, bond);
        self.counters.bump(Count::GatePassed);
    }

    fn own_bond(&self, peer: &PeerId) -> Bond {
        Bond { incarnation: self.incarnation, losses: self.lives.losses(peer) }
    }

    fn note_admitted(&self, peer: PeerId, chain: CertChain, bond: Bond) {
        let mut admitted = lock(&self.admitted);
        if admitted.chains.insert(peer, (chain, bond)).is_none() {
            admitted.order.push_back(peer);
        }
        while admitted.order.len() > self.max_admitted {
            if let Some(oldest) = admitted.order.pop_front() {
                admitted.chains.remove(&oldest);
            }
        }
    }

    /// Checks that `chain` makes the node with the proved key a member now. The error is what the
    /// peer is told: more than "no" only when the mesh itself once signed for this very key.
    fn check(&self, peer: &PeerId, chain: &[u8]) -> Result<CertChain, String> {
        let stranger = |_| NOT_A_MEMBER.to_owned();
        let chain = CertChain::decode(chain).map_err(stranger)?;
        let subject = chain.verify(&self.mesh).map_err(stranger)?.subject;
        if ids::node_of(peer) != Some(subject) {
            return Err(NOT_A_MEMBER.to_owned());
        }
        if self.is_denied(&subject) || self.is_void(&chain) {
            return Err(REVOKED.to_owned());
        }
        chain.verify_at(&self.mesh, (self.clock)(), CLOCK_SLACK).map_err(|e| e.to_string())?;
        Ok(chain)
    }

    /// The listening side: hears a hello, answers it, and waits until the answer was read.
    async fn receive(&self, peer: PeerId, muxer: StreamMuxerBox) -> Result<Link, GateError> {
        let mut talk = Talk::accept(muxer).await?;
        let hello = match talk.receive(MAX_HELLO).await {
            Ok(bytes) => Hello::decode(&bytes),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(TypeError::Certificate("the hello is too long")),
            Err(e) => return Err(e.into()),
        };
        match hello {
            Ok(Hello::Member { chain, bond }) => match self.check(&peer, &chain) {
                Ok(chain) => self.welcome(peer, talk, chain, bond).await,
                Err(reason) => self.refuse(talk, reason).await,
            },
            Ok(Hello::Enrol { token, name }) => self.enrol(peer, talk, &token, name).await,
            Ok(Hello::Renew { chain }) => self.renew(peer, talk, &chain).await,
            Err(_) => self.refuse(talk, NOT_A_MEMBER.to_owned()).await,
        }
    }

    async fn welcome(&self, peer: PeerId, mut talk: Talk, chain: CertChain, bond: Bond) -> Result<Link, GateError> {
        if self.lives.later_is_connected(&peer, bond.incarnation) {
            self.counters.bump(Count::GateRefused);
            self.answer_and_leave(&mut talk, &Answer::Superseded).await?;
            return Err(GateError::Refused("a later process with its identity is connected".to_owned()));
        }
        // Before our own bond is told: what has to go now is a loss to us, too.
        self.lives.make_way(peer, bond).await;
        let own = lock(&self.chain).clone();
        talk.send(&encoded(&Answer::Welcome { chain: own, bond: self.own_bond(&peer) })?).await?;
        // Without the acknowledgement a peer that refuses us would appear and vanish again.
        talk.receive(0).await?;
        self.admit(peer, chain, bond).await;
        Ok((peer, talk.finish()))
    }

    async fn refuse(&self, mut talk: Talk, reason: String) -> Result<Link, GateError> {
        self.counters.bump(Count::GateRefused);
        self.answer_and_leave(&mut talk, &Answer::refused(&reason)).await?;
        Err(GateError::Refused(reason))
    }

    /// The peer must have read the answer before the connection goes, or it would be lost with it.
    async fn answer_and_leave(&self, talk: &mut Talk, answer: &Answer) -> Result<(), GateError> {
        talk.send(&encoded(answer)?).await?;
        talk.linger().await;
        Ok(())
    }

    /// The dialling side: shows the certificate to the peer that the address names, and no other.
    async fn greet(&self, peer: PeerId, muxer: StreamMuxerBox) -> Result<Link, GateError> {
        let mut talk = Talk::open(muxer).await?;
        let chain = lock(&self.chain).clone();
        let hello = Hello::Member { chain, bond: self.own_bond(&peer) }
            .encode()
            .map_err(|e| GateError::Protocol(e.to_string()))?;
        talk.send(&hello).await?;
        let answer = talk.receive(MAX_WELCOME).await?;
        let outcome = match Answer::decode(&answer) {
            Ok(Answer::Welcome { chain, bond }) => {
                self.check(&peer, &chain).map(|chain| (chain, bond)).map_err(GateError::Refused)
            }
            Ok(Answer::Refused { reason }) => {
                // Best effort: it may have hung up already.
                let _ = talk.send(&[]).await;
                Err(GateError::RefusedBy(clip(&reason)))
            }
            Ok(Answer::Superseded) => {
                let _ = talk.send(&[]).await;
                Err(GateError::Superseded)
            }
            Ok(Answer::Enrolled { .. }) => Err(GateError::Protocol("an enrolment that nobody asked for".to_owned())),
            Err(e) => Err(GateError::Protocol(clip(&e.to_string()))),
        };
        match outcome {
            Ok((chain, bond)) => {
                talk.send(&[]).await?;
                self.admit(peer, chain, bond).await;
                Ok((peer, talk.finish()))
            }
            Err(error) => {
                self.counters.bump(Count::GateRefused);
                talk.hang_up().await;
                Err(error)
            }
        }
    }

    async fn in_time<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, GateError>>,
    ) -> Result<T, GateError> {
        timeout(limit, work).await.unwrap_or_else(|_| {
            self.counters.bump(Count::GateTimeout);
            Err(GateError::Timeout)
        })
    }

    async fn in_slot<T>(
        &self,
        slots: &Slots,
        work: impl Future<Output = Result<T, GateError>>,
    ) -> Result<T, GateError> {
        slots.run(work).await.unwrap_or_else(|Evicted| {
            self.counters.bump(Count::GateBusy);
            Err(GateError::Busy)
        })
    }

    async fn inbound(self: Arc<Self>, link: impl Future<Output = io::Result<Link>>) -> Result<Link, GateError> {
        let proved = async { Ok(link.await?) };
        let (peer, muxer) = self.in_slot(&self.handshakes, self.in_time(self.handshake_timeout, proved)).await?;
        self.in_slot(&self.greetings, self.in_time(self.greeting_timeout, self.receive(peer, muxer))).await
    }

    async fn outbound(
        self: Arc<Self>,
        expected: PeerId,
        as_listener: bool,
        link: impl Future<Output = io::Result<Link>>,
    ) -> Result<Link, GateError> {
        let proved = async { Ok(link.await?) };
        let (peer, muxer) = self.in_time(self.handshake_timeout, proved).await?;
        if peer != expected {
            return Err(GateError::WrongPeer);
        }
        // When both sides dial at once to pass a NAT, one of them plays the listener.
        if as_listener {
            self.in_time(self.greeting_timeout, self.receive(peer, muxer)).await
        } else {
            self.in_time(self.greeting_timeout, self.greet(peer, muxer)).await
        }
    }
}

/// Keeps a panic below the gate, where strangers' bytes are read, from leaving a connection pending
/// for ever: the swarm would count it against its limit. (Yamux 0.13 adds a peer's window credit
/// unchecked, which panics where overflow is checked.)
async fn contained(work: impl Future<Output = Result<Link, GateError>>) -> Result<Link, GateError> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or(Err(GateError::Broken))
}

fn encoded(answer: &Answer) -> Result<Vec<u8>, GateError> {
    answer.encode().map_err(|e| GateError::Protocol(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_below_the_gate_ends_only_that_connection() {
        let outcome = contained(async { panic!("as yamux does on a window that overflows") }).await;
        assert!(matches!(outcome, Err(GateError::Broken)));
    }
}
