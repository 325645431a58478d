//! Chance without state. A draw is a function of the seed and of what it is for, never of the
//! draws before it: when a fault, a host or a message is taken away, all other draws stay.

/// A stream of chance: where a draw comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The stream of a seed for one purpose.
    pub(crate) fn new(seed: u64, purpose: &str) -> Chance {
        let of_text = purpose.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Chance(mix(seed ^ mix(of_text)))
    }

    /// The part of it that belongs to `key`.
    pub(crate) fn of(self, key: u64) -> Chance {
        Chance(mix(self.0 ^ mix(key.wrapping_add(0x9e37_79b9_7f4a_7c15))))
    }

    /// 64 bits.
    pub(crate) fn bits(self) -> u64 {
        mix(self.0)
    }

    /// From 0 up to but not including 1.
    pub(crate) fn unit(self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// From `low` to `high`, both included; `low` when they are the wrong way round.
    pub(crate) fn between(self, low: u64, high: u64) -> u64 {
        match high.checked_sub(low) {
            Some(u64::MAX) => self.bits(),
            Some(span) => low + self.bits() % (span + 1),
            None => low,
        }
    }

    /// True so often.
    pub(crate) fn happens(self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    /// `n` of `items`, in their order.
    pub(crate) fn choose<T: Copy>(self, items: &[T], n: usize) -> Vec<T> {
        let mut ranked: Vec<(u64, usize)> = (0..items.len()).map(|i| (self.of(i as u64).bits(), i)).collect();
        ranked.sort_unstable();
        ranked.truncate(n);
        let mut chosen: Vec<usize> = ranked.into_iter().map(|(_, i)| i).collect();
        chosen.sort_unstable();
        chosen.into_iter().map(|i| items[i]).collect()
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_even_and_know_nothing_of_each_other() {
        let chance = Chance::new(1, "test");
        let heads = (0..10_000).filter(|n| chance.of(*n).happens(0.3)).count();
        assert!((2_700..3_300).contains(&heads), "{heads}");
        let mean = (0..10_000).map(|n| chance.of(n).between(10, 20)).sum::<u64>() as f64 / 10_000.0;
        assert!((14.8..15.2).contains(&mean), "{mean}");
        assert_ne!(chance.of(1).of(2).bits(), chance.of(2).of(1).bits());
        assert_ne!(Chance::new(1, "a").bits(), Chance::new(1, "b").bits());
        assert_eq!(chance.choose(&[5, 6, 7], 9), [5, 6, 7]);
        assert_eq!(chance.choose(&[5, 6, 7], 2).len(), 2);
    }
}
