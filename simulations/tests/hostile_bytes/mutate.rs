//! What a hostile peer makes of honest messages: bits and pieces, and CBOR whose structure is wrong in one place.

use rand::{RngExt, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use std::ops::Range;

/// Bytes of a message that the transport lets through, at most.
const MOST: usize = 1 << 20;

/// A CBOR item: where its head is, where all of it is.
#[derive(Debug, Clone)]
struct Item {
    head: Range<usize>,
    whole: Range<usize>,
}

/// All items of a message, the outer before the inner ones. What follows the first that makes no sense is left out.
fn items(bytes: &[u8]) -> Vec<Item> {
    let mut found = Vec::new();
    walk(bytes, 0, 0, &mut found);
    found
}

fn walk(bytes: &[u8], at: usize, depth: usize, found: &mut Vec<Item>) -> Option<usize> {
    let first = *bytes.get(at)?;
    let wide = match first & 31 {
        small @ 0..=23 => (0, u64::from(small)),
        n @ 24..=27 => {
            let width = 1 << (n - 24);
            let digits = bytes.get(at + 1..at + 1 + width)?;
            (width, digits.iter().fold(0, |sum, digit| sum << 8 | u64::from(*digit)))
        }
        _ => return None,
    };
    let head = at..at + 1 + wide.0;
    let place = found.len();
    found.push(Item { head: head.clone(), whole: head.clone() });
    let mut end = head.end;
    match first >> 5 {
        2 | 3 => end = end.checked_add(usize::try_from(wide.1).ok()?).filter(|end| *end <= bytes.len())?,
        4..=6 if depth < 64 => {
            let inner = match first >> 5 {
                4 => wide.1,
                5 => wide.1.checked_mul(2)?,
                _ => 1,
            };
            for _ in 0..inner {
                end = walk(bytes, end, depth + 1, found)?;
            }
        }
        _ => {}
    }
    found[place].whole.end = end;
    Some(end)
}

/// A head of a major type with the shortest encoding of its number, or a longer one than needed.
fn head(major: u8, number: u64, longest: bool) -> Vec<u8> {
    let major = major << 5;
    let mut bytes = match number {
        0..=23 if !longest => return vec![major | number as u8],
        0..=0xff if !longest => vec![major | 24],
        0..=0xffff if !longest => vec![major | 25],
        0..=0xffff_ffff if !longest => vec![major | 26],
        _ => vec![major | 27],
    };
    let width = 1 << ((bytes[0] & 31) - 24);
    bytes.extend(&number.to_be_bytes()[8 - width..]);
    bytes
}

const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    23,
    24,
    255,
    256,
    1 << 16,
    (1 << 24) + 1,
    1 << 30,
    (1 << 31) - 1,
    1 << 32,
    1 << 53,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// One lie about the structure.
fn bend(bytes: &[u8], others: &[Vec<u8>], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mine = items(bytes);
    let Some(item) = mine.choose(rng) else { return tear(bytes, rng) };
    let first = bytes[item.head.start];
    let (place, with): (Range<usize>, Vec<u8>) = match rng.random_range(0..10) {
        0 => (item.head.clone(), head(first >> 5, *NUMBERS.choose(rng).unwrap_or(&0), rng.random_ratio(1, 8))),
        1 => (item.head.clone(), head(rng.random_range(0..8), u64::from(first & 31), false)),
        2 => (item.whole.clone(), Vec::new()),
        3 => (item.whole.end..item.whole.end, bytes[item.whole.clone()].to_vec()),
        4 => (
            item.whole.clone(),
            vec![*[0xf6, 0xf5, 0xf7, 0xff, 0x5f, 0x9f, 0xbf, 0x80, 0xa0, 0x60].choose(rng).unwrap_or(&0)],
        ),
        5 => (
            item.whole.clone(),
            [vec![*[0x81, 0xc1, 0xa1].choose(rng).unwrap_or(&0x81); rng.random_range(1..5_000)], vec![0x80]].concat(),
        ),
        6 | 7 => {
            let other = others.choose(rng).map_or(bytes, Vec::as_slice);
            let theirs = items(other);
            let piece = theirs.choose(rng).map_or(0..0, |item| item.whole.clone());
            (item.whole.clone(), other[piece].to_vec())
        }
        8 => {
            let length = rng.random_range(0..70_000_usize);
            let fill: u8 = rng.random();
            (item.whole.clone(), [head(rng.random_range(2..4), length as u64, false), vec![fill; length]].concat())
        }
        _ => {
            let count = rng.random_range(0..20_000_usize);
            (item.whole.clone(), [head(4, count as u64, false), vec![0xf6; count]].concat())
        }
    };
    [&bytes[..place.start], &with, &bytes[place.end..]].concat()
}

/// Damage that knows nothing of the structure.
fn tear(bytes: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut torn = bytes.to_vec();
    let at = rng.random_range(0..=torn.len());
    match rng.random_range(0..5) {
        0 => torn.truncate(at),
        1 => drop(torn.drain(..at)),
        2 => {
            let noise: Vec<u8> = (0..rng.random_range(1..40)).map(|_| rng.random()).collect();
            torn.splice(at..at, noise);
        }
        3 => torn = (0..rng.random_range(0..300)).map(|_| rng.random()).collect(),
        _ => {
            for _ in 0..rng.random_range(1..5) {
                let bit: u8 = rng.random_range(0..8);
                let length = torn.len();
                if let Some(byte) = torn.get_mut(rng.random_range(0..length.max(1))) {
                    *byte ^= 1 << bit;
                }
            }
        }
    }
    torn
}

/// A message that no honest node would send, made from those that honest ones have sent.
pub fn hostile(honest: &[u8], others: &[Vec<u8>], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = honest.to_vec();
    for _ in 0..rng.random_range(1..4) {
        bytes = if rng.random_ratio(1, 4) { tear(&bytes, rng) } else { bend(&bytes, others, rng) };
    }
    bytes.truncate(MOST);
    bytes
}
