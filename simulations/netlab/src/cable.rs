//! A cable in user space: a TUN device in each of two namespaces, and a thread that carries packets from one to the
//! other, late, some of them never. (The kernel's own `tc netem` is not everywhere.)

mod pipe;
mod tun;

pub use tun::unavailable;

use crate::{error::LabError, link::Link, netns::Netns};
use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::{prctl::set_timerslack, time::TimeSpec},
};
use pipe::{Fate, Pipe};
use std::{
    fs::File,
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    os::fd::AsFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Instant,
};

/// Packets that are read from one end before the other gets its turn.
const BURST: usize = 64;

/// What one direction of a cable has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets that came out at the other end. A bundle counts as one.
    pub carried: u64,
    /// Packets that chance took.
    pub lost: u64,
    /// Packets that found the queue full, or the other end closed.
    pub overflowed: u64,
}

#[derive(Debug, Default)]
struct Counters {
    carried: AtomicU64,
    lost: AtomicU64,
    overflowed: AtomicU64,
}

/// What the owner and the thread share.
#[derive(Debug)]
struct Shared {
    link: Mutex<Link>,
    counters: [Counters; 2],
}

/// A cable. Dropping it takes both devices away.
#[derive(Debug)]
pub struct Cable {
    shared: Arc<Shared>,
    ends: Arc<[File; 2]>,
    /// Closing it ends the thread.
    stop: Option<PipeWriter>,
    carrier: Option<JoinHandle<()>>,
}

impl Cable {
    /// Joins `a` and `b`, where new devices of these names appear.
    ///
    /// # Errors
    /// A device cannot be made.
    pub fn new(a: (&Netns, &str), b: (&Netns, &str), link: Link, seed: u64) -> Result<Cable, LabError> {
        let ends = Arc::new([tun::open(a.0, a.1)?, tun::open(b.0, b.1)?]);
        let shared = Arc::new(Shared { link: Mutex::new(link), counters: Default::default() });
        let (wake, stop) = io::pipe().map_err(LabError::system("make a pipe"))?;
        let mut cable = Cable { shared: Arc::clone(&shared), ends: Arc::clone(&ends), stop: Some(stop), carrier: None };
        cable.set(link)?;
        let now = Instant::now();
        let pipes = [Pipe::new(now, seed), Pipe::new(now, !seed)];
        let mut carrier = Carrier { ends, shared, pipes, wake };
        let thread = std::thread::Builder::new().name(format!("cable-{}", a.1));
        let started = thread.spawn(move || carrier.run());
        cable.carrier = Some(started.map_err(LabError::system("start a cable's thread"))?);
        Ok(cable)
    }

    /// From now on it behaves so. Packets under way are not concerned.
    ///
    /// # Errors
    /// A device refuses.
    pub fn set(&self, link: Link) -> Result<(), LabError> {
        *self.shared.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
        // Where single packets count, they come as single packets.
        let may = link.loss == 0.0 && link.rate.is_none();
        for end in self.ends.iter() {
            tun::bundle(end, may).map_err(LabError::system("set up a TUN device"))?;
        }
        Ok(())
    }

    /// What it has done: from the first end to the second, and back.
    pub fn traffic(&self) -> [Traffic; 2] {
        self.shared.counters.each_ref().map(|c| Traffic {
            carried: c.carried.load(Relaxed),
            lost: c.lost.load(Relaxed),
            overflowed: c.overflowed.load(Relaxed),
        })
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(carrier) = self.carrier.take() {
            // A carrier that panicked has said so, and carries nothing any more.
            let _ = carrier.join();
        }
    }
}

/// The thread.
struct Carrier {
    ends: Arc<[File; 2]>,
    shared: Arc<Shared>,
    pipes: [Pipe; 2],
    wake: PipeReader,
}

impl Carrier {
    fn run(&mut self) {
        be_punctual();
        let mut buffer = vec![0; tun::LARGEST];
        loop {
            let link = *self.shared.link.lock().unwrap_or_else(PoisonError::into_inner);
            for n in 0..2 {
                self.deliver(n);
            }
            let mut read = 0;
            for n in 0..2 {
                read += self.collect(n, &link, &mut buffer);
            }
            if read == 0 && !self.wait() {
                return;
            }
        }
    }

    /// Takes out of a pipe what is due, and hands it to the other end.
    fn deliver(&mut self, n: usize) {
        let counters = &self.shared.counters[n];
        while let Some(packet) = self.pipes[n].take(Instant::now()) {
            // A device that is down takes nothing, as an unplugged cable.
            let count = match (&self.ends[1 - n]).write(&packet) {
                Ok(_) => &counters.carried,
                Err(_) => &counters.overflowed,
            };
            count.fetch_add(1, Relaxed);
        }
    }

    /// Puts into a pipe what its end has to send; how many packets that were.
    fn collect(&mut self, n: usize, link: &Link, buffer: &mut [u8]) -> usize {
        let counters = &self.shared.counters[n];
        for read in 0..BURST {
            let Ok(size) = (&self.ends[n]).read(buffer) else { return read };
            match self.pipes[n].put(Instant::now(), &buffer[..size], size.saturating_sub(tun::HEADER), link) {
                Fate::Carried => continue,
                Fate::Lost => counters.lost.fetch_add(1, Relaxed),
                Fate::Overflowed => counters.overflowed.fetch_add(1, Relaxed),
            };
        }
        BURST
    }

    /// Until a packet comes or is due; false once the cable is dropped.
    fn wait(&self) -> bool {
        let due = self.pipes.iter().filter_map(Pipe::next).min();
        let time = due.map(|due| TimeSpec::from_duration(due.saturating_duration_since(Instant::now())));
        let [a, b] = self.ends.each_ref().map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN));
        let mut watched = [a, b, PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        // A signal ends the wait early, which does no harm.
        let _ = ppoll(&mut watched, time, None);
        // A device in error is gone, with its namespace, and does not come back.
        let over = watched[2].any() == Some(true)
            || watched.iter().any(|end| end.revents().is_some_and(|seen| seen.contains(PollFlags::POLLERR)));
        !over
    }
}

/// A cable does not become longer when this machine is busy, as far as that can be helped.
fn be_punctual() {
    // Both are wishes: without them the cable is only less exact.
    let _ = set_timerslack(1_000);
    let priority = libc::sched_param { sched_priority: 2 };
    // SAFETY: the kernel reads one `sched_param` from the pointer, which outlives the call; 0 is this thread.
    let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const priority) };
}
