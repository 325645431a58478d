//! Links: who hears whom, how late, and what is lost.

use super::queue::At;
use crate::scenario::{HostNo, Link, random::Chance};
use std::collections::BTreeMap;

/// A lost packet of a stream is sent again after this time, then after twice of it, and so on.
const RETRANSMIT: At = 200_000;
/// Retransmissions of one message, at most.
const RETRANSMIT_MAX: u32 = 6;

/// A cut, as long as it lasts: what hosts of one side say does not reach those of another.
#[derive(Debug)]
struct Cut {
    /// The side of each host; 0 is no side.
    side: Vec<u8>,
    /// Only what side 1 says to side 2 is lost.
    oneway: bool,
}

/// All links of the world.
#[derive(Debug)]
pub(crate) struct Links {
    chance: Chance,
    wan: Link,
    lan: Link,
    cuts: BTreeMap<u64, Cut>,
    /// What loss bursts add, by host.
    extra_loss: Vec<f64>,
    /// Numbers and sites, by host.
    places: Vec<(HostNo, u32)>,
}

/// How long a ping on a direct connection is waited for (`mesh/net`'s limits: two of its timeouts).
pub(crate) const PING_PATIENCE: At = 10_000_000;

impl Links {
    pub(crate) fn new(seed: u64, wan: Link, lan: Link) -> Links {
        let (cuts, extra_loss, places) = (BTreeMap::new(), Vec::new(), Vec::new());
        Links { chance: Chance::new(seed, "links"), wan, lan, cuts, extra_loss, places }
    }

    pub(crate) fn add_host(&mut self, no: HostNo, site: u32) {
        self.places.push((no, site));
        self.extra_loss.push(0.0);
        self.cuts.values_mut().for_each(|cut| cut.side.push(0));
    }

    /// Begins a cut; `side` gives each host its side, from 1; 0 is on none.
    pub(crate) fn cut(&mut self, id: u64, side: Vec<u8>, oneway: bool) {
        self.cuts.insert(id, Cut { side, oneway });
    }

    pub(crate) fn mend(&mut self, id: u64) {
        self.cuts.remove(&id);
    }

    pub(crate) fn mend_all(&mut self) {
        self.cuts.clear();
    }

    pub(crate) fn add_loss(&mut self, host: usize, loss: f64) {
        self.extra_loss[host] += loss;
    }

    /// Whether what `from` says can reach `to`.
    pub(crate) fn open(&self, from: usize, to: usize) -> bool {
        self.cuts.values().all(|cut| {
            let (a, b) = (cut.side[from], cut.side[to]);
            if cut.oneway { (a, b) != (1, 2) } else { a == 0 || b == 0 || a == b }
        })
    }

    /// Whether they can talk.
    pub(crate) fn open_both_ways(&self, a: usize, b: usize) -> bool {
        self.open(a, b) && self.open(b, a)
    }

    /// Whether some cut is there at all.
    pub(crate) fn any_cut(&self) -> bool {
        !self.cuts.is_empty()
    }

    pub(crate) fn same_site(&self, a: usize, b: usize) -> bool {
        self.places[a].1 == self.places[b].1
    }

    fn link(&self, a: usize, b: usize) -> &Link {
        if self.same_site(a, b) { &self.lan } else { &self.wan }
    }

    /// What is drawn about one message follows from who says it to whom and when, and from nothing else.
    fn draw(&self, from: usize, to: usize, now: At, salt: u64) -> Chance {
        let (from, to) = (u64::from(self.places[from].0.0), u64::from(self.places[to].0.0));
        self.chance.of(from << 32 | to).of(now).of(salt)
    }

    /// How long a message takes from one host to another, its retransmissions included.
    pub(crate) fn delay(&self, from: usize, to: usize, now: At, salt: u64) -> At {
        let link = self.link(from, to);
        let draw = self.draw(from, to, now, salt);
        let pair = u64::from(self.places[from.min(to)].0.0) << 32 | u64::from(self.places[from.max(to)].0.0);
        let [low, high] = link.latency_ms;
        let base = Chance::of(self.chance.of(1), pair).between(low * 1_000, high * 1_000);
        let jitter = draw.of(2).between(0, link.jitter_ms * 1_000);
        let loss = (link.loss + self.extra_loss[from] + self.extra_loss[to]).min(0.9);
        let lost = (0..RETRANSMIT_MAX).take_while(|n| draw.of(3).of(u64::from(*n)).happens(loss)).count() as u32;
        base.max(50) + jitter + RETRANSMIT * ((1 << lost) - 1)
    }

    /// How often a host hears a gossip message that it should hear: 0, 1 or 2 times.
    pub(crate) fn gossip_copies(&self, from: usize, to: usize, now: At) -> u32 {
        let link = self.link(from, to);
        let draw = self.draw(from, to, now, 7);
        // A host that loses many packets also loses gossip: its queues overflow.
        let missed = link.gossip_miss + 0.2 * (self.extra_loss[from] + self.extra_loss[to]);
        if draw.of(1).happens(missed) {
            return 0;
        }
        1 + u32::from(draw.of(2).happens(link.gossip_twice))
    }

    /// When a host that looks after its connections finds out that one is dead (`mesh/net`'s limits).
    pub(crate) fn ping_timeout(&self, host: usize, peer: usize, relayed: bool, now: At) -> At {
        let (interval, patience) = if relayed { (4_000_000, 3_000_000) } else { (60_000_000, PING_PATIENCE) };
        patience + self.draw(host, peer, now, 9).between(0, interval)
    }

    /// Into how many parts the hosts are split, as far as `up` ones can talk.
    pub(crate) fn parts(&self, up: &[usize]) -> u32 {
        if !self.any_cut() {
            return u32::from(!up.is_empty());
        }
        let mut left: Vec<usize> = up.to_vec();
        let mut parts = 0;
        while let Some(first) = left.pop() {
            parts += 1;
            let mut reached = vec![first];
            while let Some(host) = reached.pop() {
                let (near, far) = left.into_iter().partition(|other| self.open_both_ways(host, *other));
                left = far;
                reached.extend::<Vec<usize>>(near);
            }
        }
        parts
    }
}
