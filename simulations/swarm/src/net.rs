//! A made-up network of hosts: streams as TCP gives them, over links that are slow, lose packets,
//! are cut in one direction or both, and lead through NATs.
//!
//! A cut holds what is sent until the sender's next retransmission after the heal, and these become rare
//! as the cut lasts. A side that gets no acknowledgement for [`USER_TIMEOUT`] gives its connection
//! up, on its own: the other side learns of it only when it sends something after the heal. A process that dies has its connections reset by
//! its kernel; a host that loses power says nothing.

mod connection;
mod dial;
mod link;
mod nat;
mod sockets;
mod state;

use holm_simulations::scenario::{Link, Nat};
pub(crate) use sockets::SimSockets;
use state::State;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    task::Waker,
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// A host of the network.
pub(crate) type Host = usize;

/// Microseconds since the network began.
pub(crate) type Micros = u64;

/// A side without acknowledgement for this long gives its connection up: Linux' default (15
/// retransmissions, about 15 minutes), since libp2p does not ask for less.
pub(crate) const USER_TIMEOUT: Micros = 924_000_000;

/// Bytes that may be under way on one connection, in one direction.
pub(crate) const WINDOW: usize = 256 << 10;

/// Where every node listens.
pub(crate) const PORT: u16 = 4001;

/// With nothing to come the pump sleeps this long, or until something is sent.
const IDLE: Duration = Duration::from_secs(86_400);

/// What the network did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Connections that came about.
    pub(crate) connections: u64,
    /// Segments that arrived.
    pub(crate) segments: u64,
    /// Bytes in them.
    pub(crate) bytes: u64,
    /// Segments that a cut or a dead host held back.
    pub(crate) held: u64,
    /// Packets that were lost and sent again.
    pub(crate) lost: u64,
    /// Attempts to connect that nobody heard.
    pub(crate) unheard: u64,
    /// Ends of connections that were reset.
    pub(crate) resets: u64,
    /// Connections that a NAT on the way forgot.
    pub(crate) forgotten: u64,
    /// Connections that both sides opened at once.
    pub(crate) simultaneous: u64,
}

/// See the [module](self).
#[derive(Clone)]
pub(crate) struct Net {
    state: Arc<Mutex<State>>,
    /// Something is due sooner than the pump believes.
    sooner: Arc<Notify>,
    start: Instant,
}

impl Net {
    /// An empty network. Spawn [`Net::pump`] once.
    pub(crate) fn new(seed: u64, wan: &Link, lan: &Link) -> Net {
        let state = Arc::new(Mutex::new(State::new(seed, wan, lan)));
        Net { state, sooner: Arc::default(), start: Instant::now() }
    }

    /// Time since the network began.
    pub(crate) fn elapsed(&self) -> Micros {
        Micros::try_from(self.start.elapsed().as_micros()).unwrap_or(Micros::MAX)
    }

    /// Runs `action` on the state as it is now, then wakes whom it woke.
    fn with<T>(&self, action: impl FnOnce(&mut State) -> T) -> T {
        let now = self.elapsed();
        let (result, wakers, sooner) = {
            // Nothing panics while the lock is held.
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.now = now;
            let before = state.next_due();
            let result = action(&mut state);
            let sooner = state.next_due().is_some_and(|due| before.is_none_or(|before| due < before));
            (result, std::mem::take(&mut state.wakers), sooner)
        };
        wakers.into_iter().for_each(Waker::wake);
        if sooner {
            self.sooner.notify_one();
        }
        result
    }

    /// Lets happen what is due, for ever.
    pub(crate) async fn pump(self) {
        loop {
            let next = self.with(State::run_due);
            let due = next.map_or_else(|| Instant::now() + IDLE, |at| self.start + Duration::from_micros(at));
            tokio::select! {
                biased;
                () = self.sooner.notified() => {}
                () = sleep_until(due) => {}
            }
        }
    }

    /// Adds a host at a site, behind a NAT towards other sites, with its uplink in kilobits a second.
    pub(crate) fn add(&self, site: &str, nat: Nat, kbps: u64) -> Host {
        self.with(|state| state.add(site, nat, kbps))
    }

    /// The address at which a host listens; behind a NAT it means nothing to others.
    pub(crate) fn address(&self, host: Host) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.with(|state| state.hosts[host].ip)), PORT)
    }

    /// The sockets of a host, for one life of its process.
    pub(crate) fn sockets(&self, host: Host) -> SimSockets {
        let (ip, life) = self.with(|state| (state.hosts[host].ip, state.hosts[host].life));
        SimSockets::new(self.clone(), host, life, ip)
    }

    /// Cuts the links from each of `from` to each of `to`, in this direction.
    pub(crate) fn cut(&self, from: &[Host], to: &[Host]) {
        self.with(|state| {
            for (a, b) in from.iter().flat_map(|a| to.iter().map(move |b| (*a, *b))).filter(|(a, b)| a != b) {
                state.links.cut(a, b);
            }
        });
    }

    /// Takes one [`Net::cut`] back. What another one cuts stays cut.
    pub(crate) fn mend(&self, from: &[Host], to: &[Host]) {
        self.with(|state| {
            for (a, b) in from.iter().flat_map(|a| to.iter().map(move |b| (*a, *b))).filter(|(a, b)| a != b) {
                state.links.mend(a, b);
            }
            state.release();
        });
    }

    /// Packets on links of these hosts are lost with this probability besides, until it is taken back.
    pub(crate) fn add_loss(&self, hosts: &[Host], loss: f64) {
        self.with(|state| hosts.iter().for_each(|host| state.links.add_loss(*host, loss)));
    }

    /// The process of a host dies and its kernel resets its connections; on a loss of power
    /// nobody does.
    pub(crate) fn crash(&self, host: Host, power_loss: bool) {
        self.with(|state| state.crash(host, power_loss));
    }

    /// A host is back.
    pub(crate) fn restart(&self, host: Host) {
        self.with(|state| {
            state.hosts[host].up = true;
            state.release();
        });
    }

    /// All connections of a host are reset at both ends.
    pub(crate) fn reset_all(&self, host: Host) {
        self.with(|state| state.reset_all(host));
    }

    /// The NAT of a host forgets its mappings: connections through it are dead, without a word.
    pub(crate) fn rebind(&self, host: Host) {
        self.with(|state| state.rebind(host));
    }

    /// What the network did so far.
    pub(crate) fn counts(&self) -> Counts {
        self.with(|state| state.counts)
    }

    /// Hash over everything that arrived so far, and when.
    pub(crate) fn hash(&self) -> u64 {
        self.with(|state| state.hash.0)
    }
}

/// The address that others see of host `n`.
fn public_ip(n: Host) -> Ipv4Addr {
    let [_, _, a, b] = u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes();
    Ipv4Addr::new(52, 0, a, b)
}

/// The address of host `n` behind its NAT.
fn private_ip(n: Host) -> Ipv4Addr {
    let [_, _, a, b] = u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes();
    Ipv4Addr::new(192, 168, a, b)
}

#[cfg(test)]
mod tests;
