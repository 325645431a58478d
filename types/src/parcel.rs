//! Changes that travel together in one gossip message: what a node wrote with one batch. Each message is signed and
//! forwarded for itself, and changes that come together are verified together.

use crate::{
    TypeError, cbor,
    change::{MAX_CHANGE_BYTES, SignedChange},
};
use serde_bytes::ByteBuf;

/// A parcel is never longer than this, in bytes.
pub const MAX_PARCEL_BYTES: usize = MAX_CHANGE_BYTES + 4 * 1024;
/// Of several changes no more are put together than these, in bytes.
const FULL: usize = 16 * 1024;
/// What CBOR puts before each change, at most.
const HEAD: usize = 3;
/// Several changes are an array, and a change by itself is a map.
const ARRAY: u8 = 4;

/// Packs encoded changes in their order into as few parcels as fit. A change by itself travels as it is.
pub fn pack(changes: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let (mut parcels, mut open, mut size) = (Vec::new(), Vec::new(), 0);
    for change in changes {
        if size + change.len() + HEAD > FULL {
            parcels.extend(close(std::mem::take(&mut open)));
            size = 0;
        }
        size += change.len() + HEAD;
        open.push(ByteBuf::from(change));
    }
    parcels.extend(close(open));
    parcels
}

fn close(mut changes: Vec<ByteBuf>) -> Option<Vec<u8>> {
    match changes.len() {
        0 => None,
        1 => changes.pop().map(ByteBuf::into_vec),
        // Byte strings in a list can always be encoded.
        _ => cbor::to_vec("parcel", &changes).ok(),
    }
}

/// Reads the changes of a parcel. Nothing of them is proved yet.
///
/// # Errors
/// Too long, not the one encoding, or one of them is malformed: nobody honest sends that.
pub fn unpack(parcel: &[u8]) -> Result<Vec<SignedChange>, TypeError> {
    if parcel.first().is_none_or(|first| first >> 5 != ARRAY) {
        return Ok(vec![SignedChange::decode(parcel)?]);
    }
    let changes: Vec<ByteBuf> = cbor::from_canonical("parcel", parcel, MAX_PARCEL_BYTES)?;
    if changes.len() < 2 {
        return Err(TypeError::Decode { what: "parcel", why: "one change travels by itself".into() });
    }
    changes.iter().map(|change| SignedChange::decode(change)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ActorId, Digest, DocId, Incarnation, MeshId, Scope,
        change::{Value, WireChange, WireOp},
        keys::KeyPair,
    };
    use proptest::prelude::*;

    fn change(seq: u64, size: usize) -> SignedChange {
        let key = KeyPair::from_secret(&[1; 32]);
        let value = |left: usize| Some(Value::Bytes(vec![7; left.min(4000)]));
        let op = |n: usize| WireOp { key: format!("k{n}"), value: value(size - n * 4000), preds: vec![] };
        let change = WireChange {
            actors: vec![ActorId::new(&key.node_id(), Incarnation(1))],
            seq,
            start_op: 1,
            time: 0,
            deps: vec![],
            ops: (0..size.div_ceil(4000)).map(op).collect(),
        };
        SignedChange::sign(&MeshId([2; 32]), Scope::Mesh, DocId::FIRST, Digest([3; 32]), change, &key)
    }

    proptest! {
        #[test]
        fn what_is_packed_arrives_in_its_order_and_no_parcel_is_too_long(
            sizes in prop::collection::vec(prop_oneof![1..400usize, 1..12_000usize], 0..60)
        ) {
            let changes: Vec<_> = sizes.into_iter().enumerate().map(|(n, size)| change(n as u64 + 1, size)).collect();
            let parcels = pack(changes.iter().map(|change| change.encode().unwrap()).collect());
            prop_assert!(parcels.iter().all(|parcel| parcel.len() <= MAX_PARCEL_BYTES));
            let bytes: usize = changes.iter().map(|change| change.encode().unwrap().len()).sum();
            prop_assert!(parcels.len() <= 2 * bytes.div_ceil(FULL - 2 * HEAD * 60) + 1);
            let arrived: Vec<_> = parcels.iter().flat_map(|parcel| unpack(parcel).unwrap()).collect();
            prop_assert_eq!(arrived, changes);
        }

        #[test]
        fn any_bytes_are_changes_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = unpack(&bytes);
        }
    }

    #[test]
    fn there_is_one_way_to_write_a_parcel() {
        let one = change(1, 10).encode().unwrap();
        assert_eq!(pack(vec![one.clone()]), std::slice::from_ref(&one));
        let alone = cbor::to_vec("parcel", &vec![ByteBuf::from(one.clone())]).unwrap();
        assert!(unpack(&alone).is_err() && unpack(&[0x80]).is_err() && unpack(&[]).is_err());
        let mut two = pack(vec![one.clone(), one]).remove(0);
        assert_eq!(unpack(&two).unwrap().len(), 2);
        two.push(0);
        assert!(unpack(&two).is_err());
    }
}
