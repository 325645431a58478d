//! How a connection comes about.

use super::{
    Host, Net,
    connection::{Connection, Half},
    sockets::Stream,
    state::{Event, State, Waiting},
};
use crate::trace::mix;
use std::{
    future::Future,
    io,
    net::SocketAddrV4,
    pin::Pin,
    task::{Context, Poll, Waker},
};

/// Counts attempts to connect.
pub(crate) type DialId = u64;

/// How often the first packet is sent again when nobody answers; the pause doubles from a second on.
const MAX_RETRIES: u32 = 5;
const FIRST_RETRY: u64 = 1_000_000;
/// Connections that wait to be accepted at one port; beyond, knocks are not heard.
const BACKLOG: usize = 1024;

/// An attempt to connect.
pub(crate) struct Dialling {
    pub(crate) host: Host,
    life: u32,
    port: u16,
    /// What the remote sees of us.
    outside: SocketAddrV4,
    remote: SocketAddrV4,
    /// The connection stands, though the answer is under way.
    decided: bool,
    result: Option<Result<Half, io::ErrorKind>>,
    waker: Option<Waker>,
}

impl State {
    pub(crate) fn dial(&mut self, (host, life): (Host, u32), from: Option<u16>, remote: SocketAddrV4) -> DialId {
        let id = self.id();
        let draw = mix(id ^ (host as u64) << 32);
        let state = &mut self.hosts[host];
        if state.life != life {
            // The process is dead: nobody will ask for the outcome.
            return id;
        }
        let port = from.unwrap_or_else(|| {
            state.next_port = state.next_port.checked_add(1).unwrap_or(super::state::EPHEMERAL);
            state.next_port
        });
        let target = self.by_ip.get(remote.ip()).copied().unwrap_or(host);
        // A NAT stands between sites only.
        let outside = if self.links.are_near(host, target) {
            SocketAddrV4::new(state.ip, port)
        } else {
            SocketAddrV4::new(state.public, state.nat.outbound(port, remote, draw))
        };
        let at = self.now + self.links.latency(host, target);
        let (decided, result, waker) = (false, None, None);
        self.dials.insert(id, Dialling { host, life, port, outside, remote, decided, result, waker });
        self.at(at, Event::Knock { dial: id, attempt: 0 });
        id
    }

    pub(crate) fn knock(&mut self, id: DialId, attempt: u32) {
        let Some(dial) = self.dials.get(&id).filter(|dial| !dial.decided) else { return };
        let (host, life, outside, remote) = (dial.host, dial.life, dial.outside, dial.remote);
        let Some((target, port)) = self.hears(host, outside, remote) else {
            self.counts.unheard += 1;
            if attempt < MAX_RETRIES {
                self.at(self.now + (FIRST_RETRY << attempt), Event::Knock { dial: id, attempt: attempt + 1 });
            }
            return;
        };
        let answered = self.now + self.links.latency(target, host);
        let target_life = self.hosts[target].life;
        let counterpart = self.counterpart(target, port, outside);
        if counterpart.is_none() && !self.hosts[target].listeners.contains_key(&port) {
            return self.at(answered, Event::Refused { dial: id });
        }
        let connection = self.id();
        self.connections.insert(connection, Connection::new((host, life), (target, target_life)));
        self.counts.connections += 1;
        let [near, far] = [0, 1].map(|end| Half { connection, end });
        self.at(answered, Event::Opened { dial: id, half: near });
        self.decide(id);
        match counterpart {
            Some(other) => {
                self.counts.simultaneous += 1;
                self.decide(other);
                self.opened(other, far);
            }
            None => {
                let state = &mut self.hosts[target];
                if let Some(listener) = state.listeners.get_mut(&port) {
                    listener.waiting.push_back(Waiting { half: far, remote: outside });
                }
                self.wakers.extend(state.acceptor.take());
            }
        }
    }

    /// The host and port inside that hear a knock, if any do.
    fn hears(&self, host: Host, outside: SocketAddrV4, remote: SocketAddrV4) -> Option<(Host, u16)> {
        let target = *self.by_ip.get(remote.ip())?;
        let state = &self.hosts[target];
        let near = self.links.are_near(host, target);
        let is_open = self.links.is_open(host, target) && self.links.is_open(target, host);
        if !state.up || !is_open {
            return None;
        }
        if near {
            return (*remote.ip() == state.ip).then_some((target, remote.port()));
        }
        // The address behind a NAT means nothing elsewhere.
        let port = state.nat.inbound(remote.port(), outside).filter(|_| *remote.ip() == state.public)?;
        let waiting = state.listeners.get(&port).map(|listener| listener.waiting.len());
        // A closed port behind a NAT says nothing, unless its host is dialling us as well.
        let expected = || self.counterpart(target, port, outside).is_some();
        let answers = waiting.is_some() || state.nat.is_public() || expected();
        (answers && waiting.is_none_or(|waiting| waiting < BACKLOG)).then_some((target, port))
    }

    /// The attempt of `target` to reach, from its port `port`, the one who knocks there.
    fn counterpart(&self, target: Host, port: u16, outside: SocketAddrV4) -> Option<DialId> {
        let is = |d: &Dialling| d.host == target && !d.decided && d.port == port && d.remote == outside;
        self.dials.iter().find(|(_, dial)| is(dial)).map(|(id, _)| *id)
    }

    fn decide(&mut self, id: DialId) {
        if let Some(dial) = self.dials.get_mut(&id) {
            dial.decided = true;
        }
    }

    pub(crate) fn opened(&mut self, id: DialId, half: Half) {
        match self.dials.get_mut(&id) {
            Some(dial) => {
                dial.result = Some(Ok(half));
                self.wakers.extend(dial.waker.take());
            }
            // Nobody waits for it any more.
            None => self.close(half),
        }
    }

    pub(crate) fn refused(&mut self, id: DialId) {
        if let Some(dial) = self.dials.get_mut(&id).filter(|dial| !dial.decided) {
            dial.decided = true;
            dial.result = Some(Err(io::ErrorKind::ConnectionRefused));
            self.wakers.extend(dial.waker.take());
        }
    }

    /// Nobody waits for the outcome any more.
    fn forget(&mut self, id: DialId) {
        if let Some(Ok(half)) = self.dials.remove(&id).and_then(|dial| dial.result) {
            self.close(half);
        }
    }
}

/// Ready when the connection stands or was refused; for ever pending when nobody answers.
pub(crate) struct Dial {
    pub(crate) net: Net,
    pub(crate) id: DialId,
}

impl Future for Dial {
    type Output = io::Result<Stream>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = self.net.with(|state| {
            let dial = state.dials.get_mut(&self.id)?;
            dial.waker = Some(cx.waker().clone());
            dial.result.take()
        });
        match outcome {
            Some(Ok(half)) => Poll::Ready(Ok(Stream::new(self.net.clone(), half))),
            Some(Err(kind)) => Poll::Ready(Err(kind.into())),
            None => Poll::Pending,
        }
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        self.net.with(|state| state.forget(self.id));
    }
}
