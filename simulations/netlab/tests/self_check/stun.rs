//! What a NAT does, found out from inside as by RFC 5780: a server with two addresses and two ports tells who it sees,
//! and answers from whichever of its four sockets it is asked to.

use anyhow::{Context as _, Result, ensure};
use holm_netlab::Host;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io::Read as _,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::Arc,
    time::Duration,
};

/// How long an answer may take that must come.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Long enough that a packet between namespaces would have come many times over.
pub const SILENCE: Duration = Duration::from_millis(300);
const PORTS: [u16; 2] = [3478, 3479];
/// Packets with a small time to live, for counting routers.
const MOST_ROUTERS: u8 = 4;

/// Which outside endpoint a host's packets get (RFC 4787, section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// Its own.
    None,
    /// The same for all destinations.
    EndpointIndependent,
    /// One a destination address.
    AddressDependent,
    /// One a destination address and port.
    AddressAndPortDependent,
}

/// Who may answer (RFC 4787, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filtering {
    /// Anybody.
    EndpointIndependent,
    /// Whose address was spoken to.
    AddressDependent,
    /// Whose address and port were spoken to.
    AddressAndPortDependent,
}

/// What a stranger's connection meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// The host.
    LetIn,
    /// A router that says no.
    Refused,
    /// Nothing.
    Silence,
}

/// What was found out about UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udp {
    pub mapping: Mapping,
    pub filtering: Filtering,
    /// Whether the outside port is the inside port.
    pub keeps_port: bool,
    /// Routers on the way to the server, the core among them.
    pub routers: u8,
}

/// What was found out about TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp {
    pub mapping: Mapping,
    pub keeps_port: bool,
    /// What a stranger meets at the port that the host has just used, and on which it listens.
    pub stranger: Stranger,
}

/// The server: sockets 0 and 1 have the first address, 2 and 3 the second; 0 and 2 the first port.
pub struct Server {
    addresses: [SocketAddr; 4],
    sockets: Arc<[UdpSocket; 4]>,
    second: Host,
}

impl Server {
    /// Serves until the test's process ends, on two hosts in the cloud.
    pub fn start(hosts: [&Host; 2], address: fn(&Host) -> Option<IpAddr>) -> Result<Server> {
        let mut sockets = Vec::new();
        for host in hosts {
            let ip = address(host).context("a server needs an address")?;
            for port in PORTS {
                let at = SocketAddr::new(ip, port);
                sockets.push(host.run(|| UdpSocket::bind(at))??);
                let listener = host.run(|| TcpListener::bind(at))??;
                std::thread::spawn(move || tell_tcp(&listener));
            }
        }
        let sockets: [UdpSocket; 4] = sockets.try_into().map_err(|_| anyhow::anyhow!("four sockets"))?;
        let sockets = Arc::new(sockets);
        for n in 0..4 {
            let sockets = Arc::clone(&sockets);
            std::thread::spawn(move || tell_udp(&sockets, n));
        }
        let mut addresses = [SocketAddr::new(IpAddr::from([0; 4]), 0); 4];
        for (address, socket) in addresses.iter_mut().zip(sockets.iter()) {
            *address = socket.local_addr()?;
        }
        Ok(Server { addresses, sockets, second: hosts[1].clone() })
    }

    /// Address of socket `n`.
    pub fn address(&self, n: usize) -> SocketAddr {
        self.addresses[n]
    }

    /// Says something to somebody that has not asked.
    pub fn say(&self, n: usize, to: SocketAddr, id: u8) -> Result<()> {
        self.sockets[n].send_to(&[id], to)?;
        Ok(())
    }
}

/// A question is an id, then the numbers of the sockets that shall answer, in this order.
fn tell_udp(sockets: &[UdpSocket; 4], n: usize) {
    let mut question = [0; 64];
    while let Ok((size, from)) = sockets[n].recv_from(&mut question) {
        let Some((id, who)) = question[..size].split_first() else { continue };
        for w in who.iter().filter(|w| **w < 4) {
            let answer = [&[*id, *w], from.to_string().as_bytes()].concat();
            // A host that is gone needs no answer.
            let _ = sockets[usize::from(*w)].send_to(&answer, from);
        }
    }
}

/// Tells everybody who they are.
fn tell_tcp(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        if let Ok(from) = stream.peer_addr() {
            use std::io::Write as _;
            // As above.
            let _ = (&stream).write_all(from.to_string().as_bytes());
        }
    }
}

/// A host's UDP socket that asks.
pub struct Asker(pub UdpSocket);

impl Asker {
    /// Bound to `port`; 0 picks one.
    pub fn new(host: &Host, port: u16) -> Result<Asker> {
        let at = SocketAddr::new(host.address(), port);
        let socket = host.run(|| UdpSocket::bind(at))??;
        Ok(Asker(socket))
    }

    /// Asks socket `to` that the sockets `who` answer, the last of which must be heard; gives all answers. None: that
    /// last one did not come.
    pub fn ask(&self, server: &Server, to: usize, id: u8, who: &[u8]) -> Result<Option<Vec<Answer>>> {
        self.0.send_to(&[&[id], who].concat(), server.address(to))?;
        self.hear(id, who.last().copied().unwrap_or_default())
    }

    /// Answers until that of socket `last` to question `id`, and for a moment longer. None: that one did not come.
    pub fn hear(&self, id: u8, last: u8) -> Result<Option<Vec<Answer>>> {
        let (mut heard, mut bytes) = (Vec::new(), [0; 128]);
        let mut complete = false;
        loop {
            self.0.set_read_timeout(Some(if complete { SILENCE / 3 } else { 3 * SILENCE }))?;
            let Ok((size, _)) = self.0.recv_from(&mut bytes) else {
                return Ok(complete.then_some(heard));
            };
            let [id_heard, who, seen @ ..] = &bytes[..size] else { continue };
            complete |= (*id_heard, *who) == (id, last);
            heard.push(Answer { id: *id_heard, who: *who, seen: std::str::from_utf8(seen)?.parse()? });
        }
    }
}

/// What the server said.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// The question.
    pub id: u8,
    /// The socket that answered.
    pub who: u8,
    /// Whom the server saw ask.
    pub seen: SocketAddr,
}

/// Finds out what UDP meets between `host` and the server; none if nothing passes.
pub fn udp(host: &Host, server: &Server) -> Result<Option<Udp>> {
    // A fresh socket first: asking the second address would open the filter for it.
    let Some(heard) = Asker::new(host, 0)?.ask(server, 0, 1, &[3, 1, 0])? else { return Ok(None) };
    let filtering = match heard.iter().map(|answer| answer.who).collect::<Vec<_>>()[..] {
        [3, 1, 0] => Filtering::EndpointIndependent,
        [1, 0] => Filtering::AddressDependent,
        [0] => Filtering::AddressAndPortDependent,
        ref other => anyhow::bail!("answers from {other:?}: no filter does that"),
    };
    let asker = Asker::new(host, 0)?;
    let mut seen = Vec::new();
    for (id, to) in [(2, 0), (3, 2), (4, 3)] {
        let heard = asker.ask(server, usize::from(to), id, &[to])?.context("asked once more, nobody answers")?;
        seen.push(heard[0].seen);
    }
    let own = asker.0.local_addr()?;
    let routers = routers(host, server)?;
    Ok(Some(Udp { mapping: mapping(own, &seen), filtering, keeps_port: seen[0].port() == own.port(), routers }))
}

fn mapping(own: SocketAddr, seen: &[SocketAddr]) -> Mapping {
    match seen {
        [a, b, c] if a == b && b == c && *a == own => Mapping::None,
        [a, b, c] if a == b && b == c => Mapping::EndpointIndependent,
        [_, b, c] if b == c => Mapping::AddressDependent,
        _ => Mapping::AddressAndPortDependent,
    }
}

/// How many routers a packet passes on its way: of packets that may pass 0, 1, 2 and so on, those that are not heard.
fn routers(host: &Host, server: &Server) -> Result<u8> {
    let asker = Asker::new(host, 0)?;
    let last = MOST_ROUTERS + 1;
    for hops in 1..=last {
        let socket = socket2::SockRef::from(&asker.0);
        match server.address(0) {
            SocketAddr::V4(_) => socket.set_ttl_v4(u32::from(hops))?,
            SocketAddr::V6(_) => socket.set_unicast_hops_v6(u32::from(hops))?,
        }
        asker.0.send_to(&[hops, 0], server.address(0))?;
    }
    let heard = asker.hear(last, 0)?.context("the server is too far away")?;
    let least = heard.iter().map(|answer| answer.id).min().unwrap_or(last);
    ensure!(heard.len() == usize::from(last - least + 1), "gaps: {heard:?}");
    Ok(least - 1)
}

/// Finds out what TCP meets between `host` and the server.
pub fn tcp(host: &Host, server: &Server, port: u16) -> Result<Tcp> {
    let own = SocketAddr::new(host.address(), port);
    // All are bound before any listens: a port that is listened on cannot be shared any more.
    let sockets = host.run(|| [(); 4].map(|()| reusable(own)))?;
    let [listener, first, second, third] = sockets;
    let (mut seen, mut open) = (Vec::new(), Vec::new());
    for (n, socket) in [(0, first), (2, second), (3, third)] {
        let socket = socket?;
        socket.connect_timeout(&server.address(n).into(), PATIENCE)?;
        let mut stream = TcpStream::from(socket);
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        seen.push(text.parse()?);
        open.push(stream);
    }
    let listener = listener?;
    listener.listen(8)?;
    let outside: SocketAddr = seen[0];
    let met = server.second.connect(outside, SILENCE)?;
    let stranger = match met {
        Ok(_) => Stranger::LetIn,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Stranger::Refused,
        Err(_) => Stranger::Silence,
    };
    drop((listener, open));
    Ok(Tcp { mapping: mapping(own, &seen), keeps_port: outside.port() == port, stranger })
}

/// A TCP socket at an address that others may have, too: connections from the port one listens on.
fn reusable(at: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    Ok(socket)
}
