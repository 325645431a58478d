//! A hash over everything that happened, in order: two runs of one seed must agree on it.

/// FNV-1a over 64-bit words and bytes. It has no key, so it is the same in every process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hash(pub(crate) u64);

impl Default for Hash {
    fn default() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    const PRIME: u64 = 0x0100_0000_01b3;

    /// Adds numbers.
    pub(crate) fn add(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.bytes(&number.to_be_bytes());
        }
    }

    /// Adds bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(Hash::PRIME);
        }
    }
}

/// Spreads the bits of a counter over all 64 (the finaliser of MurmurHash3).
pub(crate) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ x >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ x >> 33
}
