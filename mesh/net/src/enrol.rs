//! The asking side of an enrolment or a renewal: no swarm, one connection, one question.

use crate::{
    NetError, address,
    gate::Talk,
    hello::{Answer, Hello, MAX_ENROLLED, clip},
    ids,
    limits::Limits,
    transport::{self, Link},
};
use holm_types::{
    Label, MeshId, NodeId,
    cert::CertChain,
    keys::KeyPair,
    token::{Enrolment, Token},
};
use libp2p::{
    Multiaddr, PeerId, Transport,
    core::{
        Endpoint,
        transport::{Boxed, DialOpts, PortUse},
    },
    multiaddr::Protocol,
};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// One address may take this long; a dead one must not use up the time of the others.
const PER_ADDRESS: Duration = Duration::from_secs(10);

/// Shows `token` to the issuer that it names and returns the certificate that comes back. The
/// addresses of the token are tried in turn; nothing is said at one where another key answers.
///
/// # Errors
/// The issuer refused, with its words; another host answers at its addresses; nobody answers in
/// time; or the answer is not a certificate of the token's mesh for this key.
pub async fn enrol(key: &KeyPair, token: &Token, name: &Label, timeout: Duration) -> Result<Enrolment, NetError> {
    let hello = Hello::Enrol { token: token.to_text()?, name: name.clone() }.encode()?;
    let grant = &token.grant;
    let enrolment = ask_issuer(key, &grant.issuer, &grant.addresses, &hello, timeout).await?;
    checked(enrolment, key, &grant.mesh)
}

/// Asks `issuer` for a certificate in the place of `chain`, whose end peers do not bear with any more: a member that
/// is not let in gets this and nothing else. At each of `addresses` nothing is said where another key answers.
///
/// # Errors
/// As [`enrol`].
pub async fn renew(
    key: &KeyPair,
    chain: &CertChain,
    issuer: &NodeId,
    addresses: &[String],
    timeout: Duration,
) -> Result<CertChain, NetError> {
    let mesh = chain.claims()?.mesh;
    let hello = Hello::Renew { chain: chain.encode()? }.encode()?;
    let enrolment = ask_issuer(key, issuer, addresses, &hello, timeout).await?;
    checked(enrolment, key, &mesh).map(|enrolment| enrolment.chain)
}

/// Says `hello` at the gate of the issuer, at the first address where it answers.
async fn ask_issuer(
    key: &KeyPair,
    issuer: &NodeId,
    addresses: &[String],
    hello: &[u8],
    timeout: Duration,
) -> Result<Enrolment, NetError> {
    transport::refuse_key_log(std::env::var_os("SSLKEYLOGFILE"))?;
    let issuer =
        ids::peer_of(issuer).ok_or_else(|| NetError::BadEnrolment("the issuer's key is not valid".to_owned()))?;
    let mut transport = transport::base(&ids::keypair_of(key)?, &Limits::default())?;
    let deadline = Instant::now() + timeout;
    let mut failures = Vec::new();
    // What an address over a relay begins with leads to the relay, which serves no strangers.
    let direct = address::for_dialling(issuer, addresses).into_iter().filter(|address| !address::relayed(address));
    for address in direct {
        let attempt = ask(&mut transport, issuer, address.clone(), hello);
        let limit = deadline.min(Instant::now() + PER_ADDRESS);
        match timeout_at(limit, attempt).await {
            Ok(Ok(enrolment)) => return Ok(enrolment),
            // The issuer itself has spoken: another way to it changes nothing.
            Ok(Err(error @ (NetError::Refused(_) | NetError::BadEnrolment(_)))) => return Err(error),
            Ok(Err(error)) => failures.push((address, error)),
            Err(_) => {
                let why = "no answer in time".to_owned();
                failures.push((address, NetError::Unreachable(why)));
            }
        }
    }
    Err(summary(failures))
}

/// One attempt at one address.
async fn ask(
    transport: &mut Boxed<Link>,
    issuer: PeerId,
    address: Multiaddr,
    hello: &[u8],
) -> Result<Enrolment, NetError> {
    let unreachable = |e: std::io::Error| NetError::Unreachable(clip(&e.to_string()));
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let dial = transport
        .dial(address.clone().with(Protocol::P2p(issuer)), options)
        .map_err(|e| NetError::Unreachable(clip(&e.to_string())))?;
    let (peer, muxer) = dial.await.map_err(unreachable)?;
    if peer != issuer {
        return Err(NetError::NotTheIssuer { address: address.to_string() });
    }
    let mut talk = Talk::open(muxer).await.map_err(unreachable)?;
    talk.send(hello).await.map_err(unreachable)?;
    let answer = talk.receive(MAX_ENROLLED).await.map_err(unreachable)?;
    // Tells the issuer that it may hang up; it will in any case.
    let _ = talk.send(&[]).await;
    talk.hang_up().await;
    match Answer::decode(&answer) {
        Ok(Answer::Enrolled { enrolment }) => Ok(enrolment),
        Ok(Answer::Refused { reason }) => Err(NetError::Refused(clip(&reason))),
        Ok(Answer::Welcome { .. } | Answer::Superseded) => {
            Err(NetError::BadEnrolment("a greeting for a member".to_owned()))
        }
        Err(e) => Err(NetError::BadEnrolment(clip(&e.to_string()))),
    }
}

/// An enrolment is only as good as its certificate: of the right mesh, for this key.
fn checked(enrolment: Enrolment, key: &KeyPair, mesh: &MeshId) -> Result<Enrolment, NetError> {
    let claims = enrolment.chain.verify(mesh).map_err(|e| NetError::BadEnrolment(e.to_string()))?;
    if claims.subject != key.node_id() {
        return Err(NetError::BadEnrolment("the certificate was made for another key".to_owned()));
    }
    Ok(enrolment)
}

/// One error for all addresses. A wrong host is worth more than a dead address: somebody should look.
fn summary(failures: Vec<(Multiaddr, NetError)>) -> NetError {
    if failures.is_empty() {
        return NetError::Unreachable("the token names no usable address".to_owned());
    }
    let mut lines = Vec::new();
    for (address, error) in failures {
        match error {
            NetError::NotTheIssuer { .. } => return error,
            NetError::Unreachable(why) => lines.push(format!("{address}: {why}")),
            other => lines.push(format!("{address}: {other}")),
        }
    }
    NetError::Unreachable(lines.join("; "))
}
