//! The state of the network, and what happens when.

use super::{
    Counts, Host, Link, Micros, Nat, USER_TIMEOUT,
    connection::{Connection, ConnectionId, Half, Segment},
    dial::{DialId, Dialling},
    link::Links,
    nat::Translator,
    private_ip, public_ip,
};
use crate::trace::Hash;
use std::{
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, SocketAddrV4},
    task::Waker,
};

/// Ports for connections that do not go out from a listener's.
pub(crate) const EPHEMERAL: u16 = 32_768;

/// A connection that waits to be accepted.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) half: Half,
    pub(crate) remote: SocketAddrV4,
}

/// An open port.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    pub(crate) waiting: VecDeque<Waiting>,
}

/// One host.
pub(crate) struct HostState {
    pub(crate) ip: Ipv4Addr,
    pub(crate) public: Ipv4Addr,
    pub(crate) nat: Translator,
    /// It has power.
    pub(crate) up: bool,
    /// Counts the processes that ran on it.
    pub(crate) life: u32,
    pub(crate) listeners: BTreeMap<u16, Listener>,
    /// Who accepts.
    pub(crate) acceptor: Option<Waker>,
    pub(crate) next_port: u16,
}

/// What happens later.
pub(crate) enum Event {
    /// An attempt to connect reaches the other host.
    Knock { dial: DialId, attempt: u32 },
    /// The answer to it is back.
    Opened { dial: DialId, half: Half },
    /// Nobody listens there.
    Refused { dial: DialId },
    /// Something reaches an end.
    Arrive { to: Half, segment: Segment },
    /// An end that is stalled since then gives up.
    GiveUp { half: Half, since: Micros },
    /// The other side's kernel says that nobody is there.
    Reset { half: Half },
}

/// See the [module](self).
pub(crate) struct State {
    pub(crate) now: Micros,
    pub(crate) links: Links,
    pub(crate) hosts: Vec<HostState>,
    pub(crate) by_ip: BTreeMap<Ipv4Addr, Host>,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    pub(crate) dials: BTreeMap<DialId, Dialling>,
    pub(crate) counts: Counts,
    pub(crate) hash: Hash,
    /// To be woken when the lock is free again.
    pub(crate) wakers: Vec<Waker>,
    queue: BTreeMap<(Micros, u64), Event>,
    order: u64,
    next_id: u64,
}

impl State {
    pub(crate) fn new(seed: u64, wan: &Link, lan: &Link) -> State {
        State {
            now: 0,
            links: Links::new(seed, wan, lan),
            hosts: Vec::new(),
            by_ip: BTreeMap::new(),
            connections: BTreeMap::new(),
            dials: BTreeMap::new(),
            counts: Counts::default(),
            hash: Hash::default(),
            wakers: Vec::new(),
            queue: BTreeMap::new(),
            order: 0,
            next_id: 0,
        }
    }

    pub(crate) fn add(&mut self, site: &str, nat: Nat, kbps: u64) -> Host {
        let host = self.hosts.len();
        self.links.add(site, kbps);
        let nat = Translator::new(nat);
        let public = public_ip(host);
        let ip = if nat.is_public() { public } else { private_ip(host) };
        self.by_ip.insert(public, host);
        self.by_ip.insert(ip, host);
        let (listeners, next_port) = (BTreeMap::new(), EPHEMERAL);
        self.hosts.push(HostState { ip, public, nat, up: true, life: 0, listeners, acceptor: None, next_port });
        host
    }

    /// When the next thing happens.
    pub(crate) fn next_due(&self) -> Option<Micros> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// Lets happen what is due; when the next thing is.
    pub(crate) fn run_due(&mut self) -> Option<Micros> {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let event = entry.remove();
            self.happen(event);
        }
        self.next_due()
    }

    pub(crate) fn at(&mut self, at: Micros, event: Event) {
        self.order += 1;
        self.queue.insert((at, self.order), event);
    }

    pub(crate) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Knock { dial, attempt } => self.knock(dial, attempt),
            Event::Opened { dial, half } => self.opened(dial, half),
            Event::Refused { dial } => self.refused(dial),
            Event::Arrive { to, segment } => self.arrive(to, segment),
            Event::GiveUp { half, since } => {
                let stalled = self.connections.get(&half.connection).and_then(|c| c.ends[half.end].stalled);
                if stalled == Some(since) {
                    self.reset(half);
                }
            }
            Event::Reset { half } => self.reset(half),
        }
    }

    /// Whether what an end sends arrives, and whether an acknowledgement comes back.
    fn paths(&self, connection: &Connection, from: usize) -> (bool, bool) {
        let (a, b) = (connection.ends[from].host, connection.ends[1 - from].host);
        let usable = !connection.forgotten && self.hosts[b].up;
        (usable && self.links.is_open(a, b), usable && self.links.is_open(b, a))
    }

    /// Sends something from an end.
    pub(crate) fn send(&mut self, from: Half, segment: Segment) {
        let Some(connection) = self.connections.get_mut(&from.connection) else { return };
        let (a, b) = (connection.ends[from.end].host, connection.ends[1 - from.end].host);
        let arrival = self.links.send(a, b, segment.len(), self.now);
        self.counts.lost += arrival.lost;
        let end = &mut connection.ends[from.end];
        end.last_arrival = end.last_arrival.max(arrival.at);
        let (at, to) = (end.last_arrival, Half { connection: from.connection, end: 1 - from.end });
        self.at(at, Event::Arrive { to, segment });
    }

    fn arrive(&mut self, to: Half, segment: Segment) {
        let from = Half { connection: to.connection, end: 1 - to.end };
        let Some(connection) = self.connections.get(&to.connection) else { return };
        let (there, back) = self.paths(connection, from.end);
        let sender = &connection.ends[from.end];
        if sender.reset {
            return;
        }
        if there && sender.held.is_empty() {
            if !back {
                self.stall(from);
            }
            return self.deliver(to, segment);
        }
        // Who died does not send again what was held up.
        let retransmits = self.hosts[sender.host].life == sender.life;
        self.counts.held += 1;
        if let Some(connection) = self.connections.get_mut(&to.connection).filter(|_| retransmits) {
            connection.ends[from.end].held.push_back(segment);
            self.stall(from);
        }
    }

    fn deliver(&mut self, to: Half, segment: Segment) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&to.connection) else { return };
        let (receiver, sender) = (&connection.ends[to.end], &connection.ends[1 - to.end]);
        let (here, there) = (receiver.host, sender.host);
        if !receiver.open || receiver.reset || self.hosts[here].life != receiver.life {
            if self.links.is_open(here, there) {
                let at = now + self.links.latency(here, there);
                self.at(at, Event::Reset { half: Half { connection: to.connection, end: 1 - to.end } });
            }
            return;
        }
        self.counts.segments += 1;
        self.counts.bytes += segment.len() as u64;
        self.hash.add(&[now, to.connection, to.end as u64, segment.len() as u64]);
        let receiver = &mut connection.ends[to.end];
        match segment {
            Segment::Data(bytes) => receiver.arrived.push_back(bytes),
            Segment::End => receiver.ended = true,
        }
        self.wakers.extend(receiver.reader.take());
    }

    /// What an end sent is not acknowledged: it waits for a time, then gives up.
    fn stall(&mut self, half: Half) {
        let since = self.now;
        let Some(connection) = self.connections.get_mut(&half.connection) else { return };
        let end = &mut connection.ends[half.end];
        if end.stalled.is_none() {
            end.stalled = Some(since);
            self.at(since + USER_TIMEOUT, Event::GiveUp { half, since });
        }
    }

    fn reset(&mut self, half: Half) {
        let Some(connection) = self.connections.get_mut(&half.connection) else { return };
        let end = &mut connection.ends[half.end];
        if !end.reset {
            end.reset = true;
            end.held.clear();
            self.counts.resets += 1;
            self.wakers.extend(end.reader.take());
            self.wakers.extend(end.writer.take());
        }
    }

    /// Links were mended, or a host is back: what was held is sent again.
    pub(crate) fn release(&mut self) {
        let halves: Vec<Half> = self
            .connections
            .iter()
            .flat_map(|(id, c)| {
                (0..2).filter(|e| c.ends[*e].stalled.is_some()).map(|end| Half { connection: *id, end })
            })
            .collect();
        for half in halves {
            let Some(connection) = self.connections.get(&half.connection) else { continue };
            let (there, back) = self.paths(connection, half.end);
            let (a, b) = (connection.ends[half.end].host, connection.ends[1 - half.end].host);
            let since = connection.ends[half.end].stalled.unwrap_or(self.now);
            let resumed = if there { self.links.resume(a, b, since, self.now) } else { continue };
            let Some(connection) = self.connections.get_mut(&half.connection) else { continue };
            let end = &mut connection.ends[half.end];
            if back {
                end.stalled = None;
            }
            end.last_arrival = end.last_arrival.max(resumed);
            let (at, held) = (end.last_arrival, std::mem::take(&mut end.held));
            let to = Half { connection: half.connection, end: 1 - half.end };
            held.into_iter().for_each(|segment| self.at(at, Event::Arrive { to, segment }));
        }
    }

    /// A process lets go of an end.
    pub(crate) fn close(&mut self, half: Half) {
        let Some(connection) = self.connections.get_mut(&half.connection) else { return };
        let end = &mut connection.ends[half.end];
        let lives = end.life == self.hosts[end.host].life;
        let says_so = lives && end.open && !end.finished && !end.reset;
        end.open = false;
        end.finished = true;
        if connection.ends.iter().all(|end| !end.open) {
            self.connections.remove(&half.connection);
        } else if says_so {
            self.send(half, Segment::End);
        }
    }

    pub(crate) fn crash(&mut self, host: Host, power_loss: bool) {
        let state = &mut self.hosts[host];
        state.life += 1;
        state.up &= !power_loss;
        state.listeners.clear();
        state.acceptor = None;
        self.dials.retain(|_, dial| dial.host != host);
        for half in self.halves_at(host) {
            let Some(connection) = self.connections.get_mut(&half.connection) else { continue };
            let other = connection.ends[1 - half.end].host;
            let end = &mut connection.ends[half.end];
            end.open = false;
            end.held.clear();
            if !power_loss && !end.reset && self.links.is_open(host, other) {
                let at = self.now + self.links.latency(host, other);
                self.at(at, Event::Reset { half: Half { connection: half.connection, end: 1 - half.end } });
            }
            self.close(half);
        }
    }

    pub(crate) fn reset_all(&mut self, host: Host) {
        for Half { connection, end } in self.halves_at(host) {
            self.reset(Half { connection, end });
            self.reset(Half { connection, end: 1 - end });
        }
    }

    pub(crate) fn rebind(&mut self, host: Host) {
        self.hosts[host].nat.rebind();
        if self.hosts[host].nat.is_public() {
            return;
        }
        for half in self.halves_at(host) {
            let Some(connection) = self.connections.get_mut(&half.connection) else { continue };
            // What stays inside the site does not pass the router.
            if !self.links.are_near(host, connection.ends[1 - half.end].host) {
                self.counts.forgotten += u64::from(!connection.forgotten);
                connection.forgotten = true;
            }
        }
    }

    fn halves_at(&self, host: Host) -> Vec<Half> {
        let of = |(id, c): (&ConnectionId, &Connection)| {
            let ends = (0..2).filter(|end| c.ends[*end].host == host);
            ends.map(|end| Half { connection: *id, end }).collect::<Vec<_>>()
        };
        self.connections.iter().flat_map(of).collect()
    }
}
