//! TCP with noise and yamux, and QUIC, over names or addresses: what carries the gate.

use crate::{NetError, limits::Limits, muxer::Yamux};
use libp2p::{
    PeerId, Transport,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, OrTransport},
        upgrade,
    },
    dns, identity, noise, quic, tcp,
};
use std::ffi::OsString;

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

/// The transport below the gate. It proves keys; it does not know who is a member.
pub(crate) fn base(key: &identity::Keypair, limits: &Limits) -> Result<Boxed<Link>, NetError> {
    let noise =
        noise::Config::new(key).map_err(|e| NetError::Setup { what: "the noise handshake", why: e.to_string() })?;
    let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true))
        .upgrade(upgrade::Version::V1Lazy)
        .authenticate(noise)
        .multiplex(Yamux::new(limits))
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let quic = quic::tokio::Transport::new(quic_config(key, limits))
        .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)));
    let both = OrTransport::new(quic, tcp).map(|either, _| either.into_inner()).boxed();
    with_names(both)
}

fn quic_config(key: &identity::Keypair, limits: &Limits) -> quic::Config {
    let mut config = quic::Config::new(key);
    let window = u32::try_from(limits.connection_window).unwrap_or(u32::MAX);
    config.handshake_timeout = limits.handshake_timeout;
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
