//! One direction of a cable: which packet comes out when. Pure: the time is given.

use crate::link::Link;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Bytes under way, at most: a cable of any length holds no more, whatever is asked of it.
const MOST_UNDER_WAY: usize = 64 << 20;

/// What became of a packet that was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It will come out.
    Carried,
    /// Chance took it.
    Lost,
    /// The queue was full.
    Overflowed,
}

/// One direction.
#[derive(Debug)]
pub struct Pipe {
    under_way: VecDeque<(Instant, Box<[u8]>)>,
    bytes: usize,
    /// When the last bit that was put in will have left the sender.
    sent: Instant,
    chance: Chance,
}

impl Pipe {
    /// An empty one. What chance does follows from the seed.
    pub fn new(now: Instant, seed: u64) -> Pipe {
        Pipe { under_way: VecDeque::new(), bytes: 0, sent: now, chance: Chance(seed) }
    }

    /// Puts `packet` in, of which `size` bytes count on the wire.
    pub fn put(&mut self, now: Instant, packet: &[u8], size: usize, link: &Link) -> Fate {
        if self.chance.happens(link.loss) {
            return Fate::Lost;
        }
        if self.bytes + packet.len() > MOST_UNDER_WAY {
            return Fate::Overflowed;
        }
        self.sent = self.sent.max(now);
        if let Some(rate) = link.rate {
            // What waits is what the sender has not sent: the time until then, in bytes.
            let waiting = (self.sent - now).as_secs_f64() * rate as f64 / 8.0;
            if waiting + size as f64 > link.queue as f64 && self.sent > now {
                return Fate::Overflowed;
            }
            self.sent += Duration::from_secs_f64(size as f64 * 8.0 / rate as f64);
        }
        let due = self.sent + self.chance.about(link.delay, link.jitter);
        // Packets stay in order.
        let due = self.under_way.back().map_or(due, |(last, _)| due.max(*last));
        self.bytes += packet.len();
        self.under_way.push_back((due, packet.into()));
        Fate::Carried
    }

    /// When the next packet comes out.
    pub fn next(&self) -> Option<Instant> {
        self.under_way.front().map(|(due, _)| *due)
    }

    /// The next packet, if it is due.
    pub fn take(&mut self, now: Instant) -> Option<Box<[u8]>> {
        let (_, packet) = self.under_way.pop_front_if(|(due, _)| *due <= now)?;
        self.bytes -= packet.len();
        Some(packet)
    }
}

/// A small generator (SplitMix64): what is lost follows from the seed and the number of packets.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    /// A number from 0 to below 1.
    fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.draw() < probability
    }

    /// `middle`, up to `spread` more or less, never below nothing.
    fn about(&mut self, middle: Duration, spread: Duration) -> Duration {
        if spread.is_zero() {
            return middle;
        }
        (middle + (2 * spread).mul_f64(self.draw())).saturating_sub(spread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn link(delay: Duration) -> Link {
        Link { delay, ..Link::default() }
    }

    #[test]
    fn a_packet_comes_out_after_the_delay_and_not_before() {
        let now = Instant::now();
        let mut pipe = Pipe::new(now, 1);
        assert_eq!(pipe.put(now, b"hello", 5, &link(20 * MS)), Fate::Carried);
        assert_eq!(pipe.next(), Some(now + 20 * MS));
        assert_eq!(pipe.take(now + 19 * MS), None);
        assert_eq!(pipe.take(now + 20 * MS).as_deref(), Some(b"hello".as_slice()));
        assert_eq!((pipe.next(), pipe.bytes), (None, 0));
    }

    #[test]
    fn jitter_stays_in_its_bounds_and_keeps_the_order() {
        let now = Instant::now();
        let mut pipe = Pipe::new(now, 7);
        let link = Link { jitter: 10 * MS, ..link(20 * MS) };
        let mut dues = Vec::new();
        for _ in 0..1000 {
            let mut alone = Pipe::new(now, pipe.chance.0);
            alone.put(now, b"x", 1, &link);
            dues.push(alone.next().unwrap() - now);
            pipe.put(now, b"x", 1, &link);
        }
        let (least, most) = (dues.iter().min().unwrap(), dues.iter().max().unwrap());
        assert!(*least >= 10 * MS && *least < 11 * MS && *most <= 30 * MS && *most > 29 * MS, "{least:?} {most:?}");
        let order: Vec<Instant> = pipe.under_way.iter().map(|(due, _)| *due).collect();
        assert!(order.is_sorted());
    }

    #[test]
    fn of_many_packets_the_share_is_lost_and_the_same_ones_with_the_same_seed() {
        let now = Instant::now();
        let link = Link { loss: 0.05, ..Link::default() };
        let fates = |seed| {
            let mut pipe = Pipe::new(now, seed);
            (0..10_000).map(|_| pipe.put(now, b"x", 1, &link)).collect::<Vec<_>>()
        };
        let lost = fates(3).iter().filter(|fate| **fate == Fate::Lost).count();
        assert!((400..600).contains(&lost), "{lost} of 10000");
        assert_eq!(fates(3), fates(3));
        assert_ne!(fates(3), fates(4));
    }

    #[test]
    fn a_rate_spaces_packets_and_its_queue_is_bounded() {
        let now = Instant::now();
        let mut pipe = Pipe::new(now, 1);
        // A packet of 1000 bytes takes 1 ms; 3000 bytes may wait.
        let link = Link { rate: Some(8_000_000), queue: 3_000, ..link(5 * MS) };
        let fates: Vec<Fate> = (0..6).map(|_| pipe.put(now, &[0; 1010], 1000, &link)).collect();
        assert_eq!(fates[..3], [Fate::Carried; 3]);
        assert_eq!(fates[3..], [Fate::Overflowed; 3]);
        for n in 1..=3 {
            assert_eq!(pipe.next(), Some(now + (5 + n) * MS));
            pipe.take(now + (5 + n) * MS).unwrap();
        }
        assert_eq!(pipe.put(now + 3 * MS, &[0; 1010], 1000, &link), Fate::Carried, "the queue has drained");
    }

    #[test]
    fn a_packet_that_is_larger_than_the_queue_passes_alone() {
        let now = Instant::now();
        let mut pipe = Pipe::new(now, 1);
        let link = Link { rate: Some(8_000_000), queue: 100, ..Link::default() };
        assert_eq!(pipe.put(now, &[0; 1000], 1000, &link), Fate::Carried);
        assert_eq!(pipe.put(now, &[0; 1000], 1000, &link), Fate::Overflowed);
    }

    #[test]
    fn what_is_under_way_is_bounded_without_a_rate_too() {
        let now = Instant::now();
        let mut pipe = Pipe::new(now, 1);
        let packet = vec![0; 1 << 20];
        let fates = (0..65).map(|_| pipe.put(now, &packet, packet.len(), &link(MS))).collect::<Vec<_>>();
        assert_eq!(fates.iter().filter(|fate| **fate == Fate::Overflowed).count(), 1);
    }
}
