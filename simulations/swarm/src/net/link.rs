//! Links between hosts, in each direction: how long a packet takes, whether it is lost, whether
//! the link is cut.
//!
//! Every random choice is a function of the seed, the link and how many were made on it before:
//! what happens on one link does not change the dice of another.

use super::{Host, Micros};
use crate::trace::mix;
use holm_simulations::scenario::Link;
use std::collections::BTreeMap;

/// Bytes of a packet.
const PACKET: usize = 1400;
/// A packet is sent again this often at most; then it counts as arrived.
const MAX_RETRANSMISSIONS: u32 = 6;

/// First time-out before a lost packet is sent again; doubled each time, up to the longest.
const RETRANSMISSION: Micros = 200_000;
const LONGEST_PAUSE: Micros = 120_000_000;

/// What links of one kind have in common. Times in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Profile {
    /// One-way latency: each pair of hosts has its own in this range.
    latency: (Micros, Micros),
    /// Added to each packet, up to this.
    jitter: Micros,
    /// Probability that a packet is lost; it then arrives later.
    loss: f64,
}

impl From<&Link> for Profile {
    fn from(link: &Link) -> Profile {
        let [low, high] = link.latency_ms.map(|ms| ms * 1000);
        Profile { latency: (low, high.max(low)), jitter: link.jitter_ms * 1000, loss: link.loss }
    }
}

/// One host's way to the links.
#[derive(Debug, Clone)]
struct Port {
    site: String,
    /// Bytes a second towards other sites, and inside its own.
    rates: [u64; 2],
    /// When the last byte sent has left, towards other sites and inside its own.
    free_at: [Micros; 2],
    /// What faults add on all of its links.
    extra_loss: f64,
}

/// One direction between two hosts.
#[derive(Debug, Default)]
struct Direction {
    /// How many faults cut it now.
    cuts: u32,
    /// Random choices made so far.
    drawn: u64,
}

/// All links.
pub(crate) struct Links {
    seed: u64,
    /// Between sites, and inside a site.
    profiles: [Profile; 2],
    lan_rate: u64,
    ports: Vec<Port>,
    directions: BTreeMap<(Host, Host), Direction>,
}

/// When something arrives, and how many packets of it had to be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) at: Micros,
    pub(crate) lost: u64,
}

/// Bytes a second.
fn rate(kbps: u64) -> u64 {
    (kbps * 125).max(1)
}

impl Links {
    pub(crate) fn new(seed: u64, wan: &Link, lan: &Link) -> Links {
        let (profiles, lan_rate) = ([wan.into(), lan.into()], rate(lan.kbps));
        Links { seed, profiles, lan_rate, ports: Vec::new(), directions: BTreeMap::new() }
    }

    /// Adds the next host, with its uplink to other sites.
    pub(crate) fn add(&mut self, site: &str, kbps: u64) {
        let rates = [rate(kbps), self.lan_rate];
        self.ports.push(Port { site: site.to_owned(), rates, free_at: [0; 2], extra_loss: 0.0 });
    }

    /// Whether two hosts are at one site.
    pub(crate) fn are_near(&self, a: Host, b: Host) -> bool {
        self.ports[a].site == self.ports[b].site
    }

    pub(crate) fn is_open(&self, from: Host, to: Host) -> bool {
        self.directions.get(&(from, to)).is_none_or(|direction| direction.cuts == 0)
    }

    pub(crate) fn cut(&mut self, from: Host, to: Host) {
        self.directions.entry((from, to)).or_default().cuts += 1;
    }

    pub(crate) fn mend(&mut self, from: Host, to: Host) {
        let direction = self.directions.entry((from, to)).or_default();
        direction.cuts = direction.cuts.saturating_sub(1);
    }

    /// Adds to what faults have a host's links lose; several of them may go on at once.
    pub(crate) fn add_loss(&mut self, host: Host, loss: f64) {
        let extra = &mut self.ports[host].extra_loss;
        *extra = (*extra + loss).clamp(0.0, 1.0);
    }

    /// How long a packet without payload takes now.
    pub(crate) fn latency(&mut self, from: Host, to: Host) -> Micros {
        let Profile { latency: (low, high), jitter, .. } = self.profiles[usize::from(self.are_near(from, to))];
        // Both directions of a pair are equally long.
        let pair = mix(self.seed ^ 0x006c_6174 ^ ((from.min(to) as u64) << 32) ^ from.max(to) as u64);
        low + pair % (high - low + 1) + self.draw(from, to) % (jitter + 1)
    }

    /// When `bytes` sent at `now` have arrived.
    pub(crate) fn send(&mut self, from: Host, to: Host, bytes: usize, now: Micros) -> Arrival {
        let kind = usize::from(self.are_near(from, to));
        let port = &mut self.ports[from];
        port.free_at[kind] = port.free_at[kind].max(now) + bytes as u64 * 1_000_000 / port.rates[kind];
        let left = port.free_at[kind];
        let (delay, lost) = self.retransmit(from, to, bytes);
        Arrival { at: left + self.latency(from, to) + delay, lost }
    }

    /// The delay by the packet that was lost most often, and the losses in all.
    fn retransmit(&mut self, from: Host, to: Host, bytes: usize) -> (Micros, u64) {
        let always = self.profiles[usize::from(self.are_near(from, to))].loss;
        let losses = [always, self.ports[from].extra_loss, self.ports[to].extra_loss];
        let arrives = losses.iter().map(|p| 1.0 - p).product::<f64>();
        if arrives >= 1.0 {
            return (0, 0);
        }
        let (mut worst, mut lost) = (0, 0);
        for _ in 0..bytes.div_ceil(PACKET).max(1) {
            let mut again = 0;
            while again < MAX_RETRANSMISSIONS && unit(self.draw(from, to)) >= arrives {
                again += 1;
            }
            worst = worst.max(again);
            lost += u64::from(again);
        }
        (((1 << worst) - 1) * RETRANSMISSION, lost)
    }

    /// When what is held since then comes through, now that the link is mended: at the next
    /// retransmission, which the sender put off further and further.
    pub(crate) fn resume(&mut self, from: Host, to: Host, since: Micros, now: Micros) -> Micros {
        let (mut at, mut pause) = (since, RETRANSMISSION);
        while at < now {
            at += pause;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
        at + self.latency(from, to)
    }

    fn draw(&mut self, from: Host, to: Host) -> u64 {
        let direction = self.directions.entry((from, to)).or_default();
        direction.drawn += 1;
        mix(mix(self.seed ^ ((from as u64) << 32) ^ to as u64).wrapping_add(direction.drawn))
    }
}

/// A number in `0.0..1.0`.
fn unit(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hosts 0 to 4 at five sites, 5 at the site of 4.
    fn links(seed: u64, loss: f64) -> Links {
        let wan = Link { latency_ms: [1, 1], jitter_ms: 0, loss, kbps: 100_000, ..Link::default() };
        let mut links = Links::new(seed, &wan, &Link { latency_ms: [9, 9], jitter_ms: 0, ..Link::lan() });
        for site in ["a", "b", "c", "d", "e", "e"] {
            links.add(site, 100_000);
        }
        links
    }

    fn arrivals(links: &mut Links, from: Host, to: Host) -> Vec<Arrival> {
        (0..200).map(|n| links.send(from, to, 1000, n * 1_000_000)).collect()
    }

    #[test]
    fn a_link_does_not_change_the_dice_of_another() {
        let (mut alone, mut busy) = (links(7, 0.2), links(7, 0.2));
        arrivals(&mut busy, 1, 2);
        assert_eq!(arrivals(&mut alone, 3, 4), arrivals(&mut busy, 3, 4));
        assert_ne!(arrivals(&mut links(8, 0.2), 3, 4), arrivals(&mut links(7, 0.2), 3, 4));
    }

    #[test]
    fn bandwidth_and_loss_delay_what_is_sent() {
        let mut links = links(1, 0.0);
        assert_eq!(links.send(0, 1, 12_500, 0), Arrival { at: 2000, lost: 0 }, "1 ms on the wire, 1 ms under way");
        assert_eq!(links.send(0, 2, 12_500, 0).at, 3000, "behind the first, on the same uplink");
        assert_eq!(links.send(4, 5, 0, 0).at, 9000, "another kind of link");
        links.add_loss(1, 0.3);
        let lost: u64 = arrivals(&mut links, 0, 1).iter().map(|a| a.lost).sum();
        assert!((40..160).contains(&lost), "about 86 of 200: {lost}");
        links.add_loss(1, -0.3);
        assert_eq!(arrivals(&mut links, 0, 1).iter().map(|a| a.lost).sum::<u64>(), 0);
    }

    #[test]
    fn retransmissions_become_rare() {
        let mut links = links(1, 0.0);
        let mut after = |cut: Micros| links.resume(0, 1, 0, cut) - 1000 - cut;
        assert_eq!(after(1_000_000), 400_000, "0.2, 0.6, 1.4 s");
        assert_eq!(after(20_000_000), 5_400_000, "12.6, 25.4 s");
    }

    #[test]
    fn a_link_is_open_when_every_cut_was_mended() {
        let mut links = links(1, 0.0);
        links.cut(0, 1);
        links.cut(0, 1);
        links.mend(0, 1);
        assert!(!links.is_open(0, 1) && links.is_open(1, 0));
        links.mend(0, 1);
        assert!(links.is_open(0, 1));
    }
}
