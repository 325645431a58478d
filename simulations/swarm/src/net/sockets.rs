//! The network as one process sees it.

use super::{
    Host, Net, WINDOW,
    connection::{Half, Segment},
    dial::Dial,
};
use futures::{AsyncRead, AsyncWrite, FutureExt, future::BoxFuture};
use holm_mesh_net::{Accepted, Sockets};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    pin::Pin,
    task::{Context, Poll},
};

/// The sockets of one life of a host's process.
pub(crate) struct SimSockets {
    net: Net,
    host: Host,
    life: u32,
    ip: Ipv4Addr,
}

impl SimSockets {
    pub(crate) fn new(net: Net, host: Host, life: u32, ip: Ipv4Addr) -> SimSockets {
        SimSockets { net, host, life, ip }
    }
}

impl Sockets for SimSockets {
    type Stream = Stream;

    fn listen(&mut self, at: SocketAddr) -> io::Result<SocketAddr> {
        let (host, life, port) = (self.host, self.life, at.port());
        self.net.with(|state| {
            let state = &mut state.hosts[host];
            if state.life != life {
                return Err(io::ErrorKind::NetworkDown.into());
            }
            if port == 0 || state.listeners.contains_key(&port) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            state.listeners.insert(port, Default::default());
            Ok(SocketAddr::new(IpAddr::V4(self.ip), port))
        })
    }

    fn unlisten(&mut self, at: SocketAddr) {
        let (host, life) = (self.host, self.life);
        self.net.with(|state| {
            let waiting = match &mut state.hosts[host] {
                state if state.life == life => state.listeners.remove(&at.port()),
                _ => None,
            };
            waiting.into_iter().flat_map(|listener| listener.waiting).for_each(|waiting| state.close(waiting.half));
        });
    }

    fn connect(&mut self, to: SocketAddr, from: Option<SocketAddr>) -> BoxFuture<'static, io::Result<Stream>> {
        let SocketAddr::V4(to) = to else {
            return futures::future::ready(Err(io::ErrorKind::Unsupported.into())).boxed();
        };
        let (host, life) = (self.host, self.life);
        let id = self.net.with(|state| state.dial((host, life), from.map(|at| at.port()), to));
        Dial { net: self.net.clone(), id }.boxed()
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Accepted<Stream>> {
        let (host, life) = (self.host, self.life);
        let next = self.net.with(|state| {
            let state = &mut state.hosts[host];
            if state.life != life {
                return None;
            }
            state.acceptor = Some(cx.waker().clone());
            let next =
                |(port, listener): (&u16, &mut super::state::Listener)| Some((*port, listener.waiting.pop_front()?));
            state.listeners.iter_mut().find_map(next)
        });
        let Some((port, waiting)) = next else { return Poll::Pending };
        Poll::Ready(Accepted {
            stream: Stream::new(self.net.clone(), waiting.half),
            local: SocketAddrV4::new(self.ip, port).into(),
            remote: waiting.remote.into(),
        })
    }
}

/// A connected stream.
pub(crate) struct Stream {
    net: Net,
    half: Half,
}

impl Stream {
    pub(crate) fn new(net: Net, half: Half) -> Stream {
        Stream { net, half }
    }
}

/// What a read or write finds at an end that is no more.
fn gone<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let Half { connection, end } = self.half;
        self.net.with(|state| {
            let Some(connection) = state.connections.get_mut(&connection) else { return gone() };
            let own = &mut connection.ends[end];
            if own.reset {
                return gone();
            }
            let count = own.take(buffer);
            if count == 0 && !own.ended && !buffer.is_empty() {
                own.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let other = &mut connection.ends[1 - end];
            other.in_flight = other.in_flight.saturating_sub(count);
            if count > 0 {
                state.wakers.extend(other.writer.take());
            }
            Poll::Ready(Ok(count))
        })
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.net.with(|state| {
            let Some(connection) = state.connections.get_mut(&self.half.connection) else { return gone() };
            let own = &mut connection.ends[self.half.end];
            if own.reset {
                return gone();
            }
            if own.finished {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let count = WINDOW.saturating_sub(own.in_flight).min(bytes.len());
            if count == 0 && !bytes.is_empty() {
                own.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            own.in_flight += count;
            state.send(self.half, Segment::Data(bytes[..count].to_vec()));
            Poll::Ready(Ok(count))
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.net.with(|state| {
            let Some(connection) = state.connections.get_mut(&self.half.connection) else { return };
            let own = &mut connection.ends[self.half.end];
            if !own.finished && !own.reset {
                own.finished = true;
                state.send(self.half, Segment::End);
            }
        });
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.net.with(|state| state.close(self.half));
    }
}
