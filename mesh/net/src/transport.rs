//! TCP with noise and yamux, and QUIC, over names or addresses: what carries the gate.

use crate::{NetError, limits::Limits, muxer::Yamux};
use futures::{AsyncRead, AsyncWrite};
use libp2p::{
    Multiaddr, PeerId, Transport,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, OrTransport},
        upgrade,
    },
    dns, identity,
    multiaddr::Protocol,
    noise, quic, relay, tcp,
};
use socket2::{Domain, Socket, Type};
use std::{
    error::Error,
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// NATs forget what passes over UDP after 30 seconds of silence, hasty ones after 20.
const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// An idle connection on which three of those were not answered is dead.
const QUIC_IDLE_MS: u32 = 50_000;

/// An authenticated, multiplexed connection: what every transport below the gate yields.
pub(crate) type Link = (PeerId, StreamMuxerBox);

/// Refuses to run where a TLS library would write its session keys to a file: rustls honours the
/// variable in release builds too.
pub(crate) fn refuse_key_log(variable: Option<OsString>) -> Result<(), NetError> {
    match variable {
        Some(file) if !file.is_empty() => Err(NetError::KeyLog),
        _ => Ok(()),
    }
}

/// The transport below the gate, on the system's sockets. It proves keys; it does not know who is a member.
pub(crate) fn base(key: &identity::Keypair, limits: &Limits) -> Result<Boxed<Link>, NetError> {
    let tcp = secured(tcp::tokio::Transport::new(tcp::Config::new().nodelay(true)), key, limits)?;
    let quic = quic::tokio::Transport::new(quic_config(key, limits))
        .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)));
    let both = OrTransport::new(quic, tcp).map(|either, _| either.into_inner()).boxed();
    with_names(both)
}

/// The same with connections over relays beside the direct ones: each is secured from end to end, as a
/// TCP connection is, and passes the gate as every other.
pub(crate) fn with_relays(
    direct: Boxed<Link>,
    relays: relay::client::Transport,
    key: &identity::Keypair,
    limits: &Limits,
) -> Result<Boxed<Link>, NetError> {
    // Asked first: the direct ones would take the part of the address before the relay for the whole.
    let relayed = secured(relays, key, limits)?;
    Ok(OrTransport::new(relayed, direct).map(|either, _| either.into_inner()).boxed())
}

/// Makes authenticated, multiplexed connections of a transport's bare streams.
pub(crate) fn secured<T>(streams: T, key: &identity::Keypair, limits: &Limits) -> Result<Boxed<Link>, NetError>
where
    T: Transport<Error: Error + Send + Sync, ListenerUpgrade: Send, Dial: Send> + Send + Unpin + 'static,
    T::Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let noise =
        noise::Config::new(key).map_err(|e| NetError::Setup { what: "the noise handshake", why: e.to_string() })?;
    Ok(streams
        .upgrade(upgrade::Version::V1Lazy)
        .authenticate(noise)
        .multiplex(Yamux::new(limits))
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed())
}

fn quic_config(key: &identity::Keypair, limits: &Limits) -> quic::Config {
    let mut config = quic::Config::new(key);
    let window = u32::try_from(limits.connection_window).unwrap_or(u32::MAX);
    config.handshake_timeout = limits.handshake_timeout;
    // Who is missed is asked; a connection that stands idle needs no more than to be remembered by the NATs on its way.
    config.keep_alive_interval = QUIC_KEEP_ALIVE;
    config.max_idle_timeout = QUIC_IDLE_MS;
    config.max_connection_data = window;
    // One stream cannot use up what its neighbours need.
    config.max_stream_data = window / 4;
    config.max_concurrent_stream_limit = u32::try_from(limits.streams()).unwrap_or(u32::MAX);
    config
}

/// Adds names to the addresses. A host without resolver configuration still reaches addresses.
fn with_names(inner: Boxed<Link>) -> Result<Boxed<Link>, NetError> {
    let transport = match std::fs::metadata("/etc/resolv.conf") {
        Ok(_) => dns::tokio::Transport::system(inner)
            .map_err(|e| NetError::Setup { what: "name resolution", why: e.to_string() })?
            .boxed(),
        Err(error) => {
            tracing::warn!(%error, "no /etc/resolv.conf: only numeric addresses can be dialled");
            inner
        }
    };
    Ok(transport)
}

/// Fails when another process holds the TCP port. libp2p binds with `SO_REUSEPORT`, so two nodes of
/// one user would share the port without a word, and each would get half of the connections.
pub(crate) fn probe(address: &Multiaddr) -> std::io::Result<()> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => hold((ip, port).into()),
        _ => Ok(()),
    }
}

/// Binds as libp2p does, IPv4 and IPv6 apart, but with nobody else on the port.
fn hold(address: SocketAddr) -> std::io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_log_is_refused() {
        assert!(matches!(refuse_key_log(Some("/tmp/keys".into())), Err(NetError::KeyLog)));
        assert!(refuse_key_log(Some("".into())).is_ok());
        assert!(refuse_key_log(None).is_ok());
    }
}
