//! Deterministic CBOR (RFC 8949, section 4.2): one value, one encoding.

use crate::TypeError;
use cbor4ii::{core::enc::Write, serde::Serializer};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt;

/// Most of what is encoded is not longer than this, in bytes: then the buffer need not grow.
const MOSTLY: usize = 192;

/// Encodes a value. Structs are written as arrays by `cbor4ii` only when asked to, so types that
/// travel use short field names or tuples.
///
/// # Errors
/// The value cannot be expressed in CBOR.
pub fn to_vec<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, TypeError> {
    let encoded = cbor4ii::serde::to_vec(Vec::with_capacity(MOSTLY), value);
    let mut bytes = encoded.map_err(|e| TypeError::Decode { what, why: e.to_string() })?;
    // Some of it is kept for long.
    bytes.shrink_to_fit();
    Ok(bytes)
}

/// Decodes a value of at most `max` bytes and refuses any encoding but the one that
/// [`to_vec`] gives: what was signed or hashed is then exactly what was read.
///
/// # Errors
/// Too large, malformed, trailing bytes, or not the canonical encoding.
pub fn from_canonical<T: Serialize + DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
    max: usize,
) -> Result<T, TypeError> {
    if bytes.len() > max {
        return Err(TypeError::TooLarge { what, got: bytes.len(), max });
    }
    let value: T = cbor4ii::serde::from_slice(bytes).map_err(|e| TypeError::Decode { what, why: e.to_string() })?;
    let mut again = Serializer::new(Expected(bytes));
    match value.serialize(&mut again) {
        Ok(()) if again.into_inner().0.is_empty() => Ok(value),
        _ => Err(TypeError::Decode { what, why: "not the canonical encoding".into() }),
    }
}

/// Takes an encoding as long as it is the one that is expected; what is left of that.
struct Expected<'a>(&'a [u8]);

/// Another encoding than the expected one.
#[derive(Debug)]
struct Differs;

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the expected encoding")
    }
}

impl std::error::Error for Differs {}

impl Write for Expected<'_> {
    type Error = Differs;

    fn push(&mut self, input: &[u8]) -> Result<(), Differs> {
        self.0 = self.0.strip_prefix(input).ok_or(Differs)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Map = BTreeMap<String, Vec<Option<u64>>>;

    proptest! {
        #[test]
        fn only_the_one_encoding_is_read(map in any::<Map>(), at in any::<prop::sample::Index>(), other in any::<u8>()) {
            let bytes = to_vec("map", &map).unwrap();
            prop_assert_eq!(from_canonical::<Map>("map", &bytes, bytes.len()).unwrap(), map);
            let longer = [&bytes[..], &[other]].concat();
            prop_assert!(from_canonical::<Map>("map", &longer, longer.len()).is_err());
            prop_assert!(from_canonical::<Map>("map", &bytes[..bytes.len() - 1], bytes.len()).is_err());
            let mut changed = bytes.clone();
            changed[at.index(bytes.len())] = other;
            // What is read from it is written as it is, or it is refused.
            if let Ok(read) = from_canonical::<Map>("map", &changed, changed.len()) {
                prop_assert_eq!(to_vec("map", &read).unwrap(), changed);
            }
        }
    }

    #[test]
    fn a_number_in_more_bytes_than_it_needs_is_refused() {
        assert_eq!(from_canonical::<u64>("number", &[0x17], 9).unwrap(), 23);
        assert!(from_canonical::<u64>("number", &[0x18, 0x17], 9).is_err());
        assert!(from_canonical::<u64>("number", &[0x17], 0).is_err());
    }
}
