//! What a network stands on: who carries its bytes, and who runs its tasks. In production the
//! system's sockets and tokio; in the simulator a made-up network in virtual time.

use crate::{
    NetError,
    limits::Limits,
    transport::{self, Link},
};
use futures::{
    AsyncRead, AsyncWrite,
    future::{BoxFuture, Ready, ready},
};
use libp2p::{
    Multiaddr, Transport,
    core::transport::{Boxed, DialOpts, ListenerId, PortUse, TransportError, TransportEvent},
    identity,
    multiaddr::Protocol,
    swarm::Config,
};
use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// Runs a task. Whoever makes it owns the tasks, and may end them without a word: a crash.
pub type Spawn = Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

/// Sockets for reliable, ordered streams of bytes between addresses, as TCP's.
pub trait Sockets: Send + Unpin + 'static {
    /// A connected stream. Dropping it ends the connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Listens at `at`, and gives the address with its real port.
    ///
    /// # Errors
    /// The address is taken or not this host's.
    fn listen(&mut self, at: SocketAddr) -> io::Result<SocketAddr>;

    /// Listens no more at an address that [`Sockets::listen`] gave.
    fn unlisten(&mut self, at: SocketAddr);

    /// Connects to `to`, from the port of the listener `from` if there is one: a NAT then shows
    /// the peer the address at which it can be reached.
    fn connect(&mut self, to: SocketAddr, from: Option<SocketAddr>) -> BoxFuture<'static, io::Result<Self::Stream>>;

    /// The next connection at any listener.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Accepted<Self::Stream>>;
}

/// A connection that came in.
#[derive(Debug)]
pub struct Accepted<S> {
    /// The stream.
    pub stream: S,
    /// The listener's address, as [`Sockets::listen`] gave it.
    pub local: SocketAddr,
    /// Where it comes from.
    pub remote: SocketAddr,
}

type MakeTransport = Box<dyn FnOnce(&identity::Keypair, &Limits) -> Result<Boxed<Link>, NetError> + Send>;

/// See the [module](self).
pub(crate) struct Ground {
    /// Makes the transport below the gate.
    pub(crate) transport: MakeTransport,
    /// The swarm's configuration with its executor, and nothing else.
    pub(crate) executor: Config,
    /// Fails when an address cannot be listened on for a reason that the transport would not see.
    pub(crate) probe: fn(&Multiaddr) -> io::Result<()>,
    /// Makes another one, should this one be beyond repair.
    pub(crate) again: Option<fn() -> Result<Ground, NetError>>,
}

impl Ground {
    /// The system's sockets, tokio's tasks.
    pub(crate) fn system() -> Result<Ground, NetError> {
        transport::refuse_key_log(std::env::var_os("SSLKEYLOGFILE"))?;
        Ok(Ground {
            transport: Box::new(transport::base),
            executor: Config::with_tokio_executor(),
            probe: transport::probe,
            again: Some(Ground::system),
        })
    }

    /// Given sockets, given tasks.
    pub(crate) fn on(sockets: impl Sockets, spawn: Spawn) -> Ground {
        let streams = Streams { sockets, listeners: Vec::new(), opened: VecDeque::new() };
        Ground {
            transport: Box::new(move |key, limits| transport::secured(streams, key, limits)),
            executor: Config::with_executor(move |task| spawn(task)),
            probe: |_| Ok(()),
            again: None,
        }
    }
}

/// Sockets as a transport with addresses of the form `/ip4/A/tcp/P`.
struct Streams<S> {
    sockets: S,
    listeners: Vec<(ListenerId, SocketAddr)>,
    /// Listeners that nobody was told of yet.
    opened: VecDeque<(ListenerId, SocketAddr)>,
}

fn socket_address(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    let Protocol::Tcp(port) = parts.next()? else { return None };
    // A peer id may follow: the gate checks it.
    matches!((parts.next(), parts.next()), (None | Some(Protocol::P2p(_)), None)).then_some(SocketAddr::new(ip, port))
}

fn multiaddress(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Tcp(address.port()))
}

impl<S: Sockets> Transport for Streams<S> {
    type Output = S::Stream;
    type Error = io::Error;
    type ListenerUpgrade = Ready<io::Result<S::Stream>>;
    type Dial = BoxFuture<'static, io::Result<S::Stream>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        let at = socket_address(&address).ok_or(TransportError::MultiaddrNotSupported(address))?;
        let at = self.sockets.listen(at).map_err(TransportError::Other)?;
        self.listeners.push((id, at));
        self.opened.push_back((id, at));
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let Some(index) = self.listeners.iter().position(|(of, _)| *of == id) else { return false };
        let (_, at) = self.listeners.remove(index);
        self.sockets.unlisten(at);
        true
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let to = socket_address(&address).ok_or(TransportError::MultiaddrNotSupported(address))?;
        let from = match options.port_use {
            PortUse::Reuse => self.listeners.iter().map(|(_, at)| *at).find(|at| at.is_ipv4() == to.is_ipv4()),
            PortUse::New => None,
        };
        Ok(self.sockets.connect(to, from))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        if let Some((listener_id, at)) = self.opened.pop_front() {
            return Poll::Ready(TransportEvent::NewAddress { listener_id, listen_addr: multiaddress(at) });
        }
        while let Poll::Ready(Accepted { stream, local, remote }) = self.sockets.poll_accept(cx) {
            // One that came while its listener was closed is dropped, as a closed port does.
            if let Some((listener_id, _)) = self.listeners.iter().find(|(_, at)| *at == local) {
                return Poll::Ready(TransportEvent::Incoming {
                    listener_id: *listener_id,
                    upgrade: ready(Ok(stream)),
                    local_addr: multiaddress(local),
                    send_back_addr: multiaddress(remote),
                });
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::PeerId;

    #[test]
    fn only_an_ip_and_a_tcp_port_are_a_socket_address() {
        let parsed = |text: &str| socket_address(&text.parse().unwrap());
        let at: SocketAddr = "10.0.0.7:4001".parse().unwrap();
        assert_eq!(parsed("/ip4/10.0.0.7/tcp/4001"), Some(at));
        assert_eq!(parsed(&format!("/ip4/10.0.0.7/tcp/4001/p2p/{}", PeerId::random())), Some(at));
        assert_eq!(socket_address(&multiaddress("[::1]:5".parse().unwrap())), Some("[::1]:5".parse().unwrap()));
        for other in
            ["/ip4/10.0.0.7/udp/4001/quic-v1", "/dns4/host/tcp/4001", "/ip4/10.0.0.7/tcp/4001/ws", "/ip4/10.0.0.7"]
        {
            assert_eq!(parsed(other), None, "{other}");
        }
    }
}
