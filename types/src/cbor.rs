//! Deterministic CBOR (RFC 8949, section 4.2): one value, one encoding.

use crate::TypeError;
use serde::{Serialize, de::DeserializeOwned};

/// Encodes a value. Structs are written as arrays by `cbor4ii` only when asked to, so types that
/// travel use short field names or tuples.
///
/// # Errors
/// The value cannot be expressed in CBOR.
pub fn to_vec<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, TypeError> {
    cbor4ii::serde::to_vec(Vec::new(), value).map_err(|e| TypeError::Decode { what, why: e.to_string() })
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
    if to_vec(what, &value)? != bytes {
        return Err(TypeError::Decode { what, why: "not the canonical encoding".into() });
    }
    Ok(value)
}
