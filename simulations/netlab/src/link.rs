//! What a cable does to packets, in the words of a person.

use serde::{Deserialize, Deserializer, de::Error as _};
use std::time::Duration;

/// What a cable does to each packet, in each direction alike.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Link {
    /// One way.
    #[serde(deserialize_with = "duration")]
    pub delay: Duration,
    /// The delay varies by at most so much, up and down. Packets stay in order.
    #[serde(deserialize_with = "duration")]
    pub jitter: Duration,
    /// Of the packets, those that are lost: 0 to 1. Each on its own, by chance.
    #[serde(deserialize_with = "fraction")]
    pub loss: f64,
    /// Bits a second; none: no bound.
    #[serde(deserialize_with = "rate")]
    pub rate: Option<u64>,
    /// Bytes that wait for the rate; one more packet is dropped. Nothing waits where there is no rate.
    #[serde(deserialize_with = "bytes")]
    pub queue: usize,
}

impl Default for Link {
    /// A wire: no delay, no loss, no bound; a queue of 256 kB once there is a rate.
    fn default() -> Link {
        Link { delay: Duration::ZERO, jitter: Duration::ZERO, loss: 0.0, rate: None, queue: 256_000 }
    }
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text).map_err(|e| D::Error::custom(format!("{e}: write a time such as 40ms")))
}

fn fraction<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    // TOML tells 0 from 0.0, people do not.
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a loss is a number from 0 to 1")]
    enum Number {
        Whole(u8),
        Real(f64),
    }
    let value = match Number::deserialize(from)? {
        Number::Whole(whole) => f64::from(whole),
        Number::Real(real) => real,
    };
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(D::Error::custom("a loss is a number from 0 to 1")) }
}

fn rate<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(from)?;
    let units = [("kbit", 1_000), ("mbit", 1_000_000), ("gbit", 1_000_000_000)];
    match with_unit(&text, &units) {
        Some(rate) if rate > 0 => Ok(Some(rate)),
        _ => Err(D::Error::custom(format!("{text:?} is not a rate: write 800kbit, 20mbit or 1gbit"))),
    }
}

fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    let text = String::deserialize(from)?;
    let bytes = with_unit(&text, &[("kB", 1_000), ("MB", 1_000_000)]).and_then(|bytes| usize::try_from(bytes).ok());
    bytes.ok_or_else(|| D::Error::custom(format!("{text:?} is not a size: write 64kB or 4MB")))
}

/// A whole number with one of these units behind it, times what the unit stands for.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    units.iter().find_map(|(unit, times)| text.strip_suffix(unit)?.trim().parse::<u64>().ok()?.checked_mul(*times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_as_people_write_it() {
        let text = "delay = '40ms'\njitter = '500us'\nloss = 0.05\nrate = '20mbit'\nqueue = '64kB'";
        let link: Link = toml::from_str(text).unwrap();
        let expected = Link {
            delay: Duration::from_millis(40),
            jitter: Duration::from_micros(500),
            loss: 0.05,
            rate: Some(20_000_000),
            queue: 64_000,
        };
        assert_eq!(link, expected);
        assert_eq!(toml::from_str::<Link>("").unwrap(), Link::default());
    }

    #[test]
    fn a_wrong_link_is_refused_with_what_to_write() {
        for (text, hint) in [
            ("delay = 'soon'", "40ms"),
            ("loss = 5.0", "from 0 to 1"),
            ("rate = '20'", "20mbit"),
            ("rate = '0kbit'", "20mbit"),
            ("rate = '99999999999999999999gbit'", "20mbit"),
            ("queue = '-1kB'", "64kB"),
            ("latency = '1ms'", "latency"),
        ] {
            let said = toml::from_str::<Link>(text).unwrap_err().to_string();
            assert!(said.contains(hint), "{text}: {said}");
        }
    }
}
