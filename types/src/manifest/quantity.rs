//! Amounts of things: processor time, bytes, durations, each with one spelling for people.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, collections::BTreeMap, fmt, time::Duration};

/// What a node has, or what a task takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Amounts {
    /// Thousandths of a processor core.
    pub cpu: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of disk.
    pub disk: u64,
    /// Anything else, by name.
    #[serde(default)]
    pub extended: BTreeMap<String, u64>,
}

impl Amounts {
    /// The name of the first thing of which `self` has less than `wanted`, if any.
    pub fn lacks(&self, wanted: &Amounts) -> Option<String> {
        let plain =
            [("cpu", self.cpu, wanted.cpu), ("memory", self.memory, wanted.memory), ("disk", self.disk, wanted.disk)];
        if let Some((name, _, _)) = plain.iter().find(|(_, have, want)| have < want) {
            return Some((*name).to_owned());
        }
        let have = |name: &String| self.extended.get(name).copied().unwrap_or(0);
        wanted.extended.iter().find(|(name, want)| have(name) < **want).map(|(name, _)| name.clone())
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Amounts) {
        self.cpu = self.cpu.saturating_add(other.cpu);
        self.memory = self.memory.saturating_add(other.memory);
        self.disk = self.disk.saturating_add(other.disk);
        for (name, amount) in &other.extended {
            let entry = self.extended.entry(name.clone()).or_default();
            *entry = entry.saturating_add(*amount);
        }
    }

    /// Takes `other` away, not below zero.
    pub fn subtract(&mut self, other: &Amounts) {
        self.cpu = self.cpu.saturating_sub(other.cpu);
        self.memory = self.memory.saturating_sub(other.memory);
        self.disk = self.disk.saturating_sub(other.disk);
        for (name, amount) in &other.extended {
            if let Some(entry) = self.extended.get_mut(name) {
                *entry = entry.saturating_sub(*amount);
            }
        }
    }
}

struct TextOrNumber<T>(&'static str, fn(&str) -> Option<T>, fn(f64) -> Option<T>);

impl<'de, T> de::Visitor<'de> for TextOrNumber<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text.trim()).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
    fn visit_u64<E: de::Error>(self, n: u64) -> Result<T, E> {
        (self.2)(n as f64).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(n), &self))
    }
    fn visit_i64<E: de::Error>(self, n: i64) -> Result<T, E> {
        (self.2)(n as f64).ok_or_else(|| E::invalid_value(de::Unexpected::Signed(n), &self))
    }
    fn visit_f64<E: de::Error>(self, n: f64) -> Result<T, E> {
        (self.2)(n).ok_or_else(|| E::invalid_value(de::Unexpected::Float(n), &self))
    }
}

fn whole(n: f64) -> Option<u64> {
    (0.0..=9e15).contains(&n).then_some(n.round() as u64)
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident($inner:ty), $format:literal, $expected:literal, $parse:expr, $number:expr, $show:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let show: fn($inner) -> String = $show;
                f.pad(&show(self.0))
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_any(TextOrNumber($expected, $parse, $number)).map($name)
            }
        }
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": ["string", "number"], "format": $format, "description": $expected })
            }
        }
    };
}

quantity! {
    /// Thousandths of a processor core.
    MilliCpu(u64), "cpu", "processor time such as \"200m\", 0.5 or 2 (cores)",
    |text| match text.strip_suffix('m') {
        Some(milli) => milli.parse().ok(),
        None => text.parse::<f64>().ok().and_then(|n| whole(n * 1000.0)),
    },
    |n| whole(n * 1000.0),
    |n| format!("{n}m")
}

quantity! {
    /// Bytes.
    Bytes(u64), "bytes", "an amount of bytes such as \"64Mi\", \"1Gi\", \"500k\" or 1048576",
    |text| {
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let factor: f64 = match unit.trim_end_matches('B') {
            "" => 1.0,
            "k" | "K" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            "T" => 1e12,
            "Ki" => 1024.0,
            "Mi" => 1_048_576.0,
            "Gi" => 1_073_741_824.0,
            "Ti" => 1_099_511_627_776.0,
            _ => return None,
        };
        number.parse::<f64>().ok().and_then(|n| whole(n * factor))
    },
    whole,
    |n| match n {
        0 => "0".into(),
        n if n % (1 << 30) == 0 => format!("{}Gi", n >> 30),
        n if n % (1 << 20) == 0 => format!("{}Mi", n >> 20),
        n if n % (1 << 10) == 0 => format!("{}Ki", n >> 10),
        n => n.to_string(),
    }
}

quantity! {
    /// A duration.
    Period(Duration), "period", "a duration such as \"30s\", \"5m\" or \"1h 30m\"",
    |text| humantime::parse_duration(text).ok().filter(|d| d.as_secs() <= 366 * 86_400),
    |n| (0.0..=366.0 * 86_400.0).contains(&n).then(|| Duration::from_secs_f64(n)),
    |d| humantime::format_duration(d).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json<T: de::DeserializeOwned>(text: &str) -> Option<T> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn people_spell_quantities_in_many_ways() {
        for (text, milli) in [("\"200m\"", 200), ("0.5", 500), ("2", 2000), ("\"1.5\"", 1500)] {
            assert_eq!(json::<MilliCpu>(text), Some(MilliCpu(milli)), "{text}");
        }
        for (text, bytes) in [("\"64Mi\"", 64 << 20), ("\"1GiB\"", 1 << 30), ("\"500k\"", 500_000), ("7", 7)] {
            assert_eq!(json::<Bytes>(text), Some(Bytes(bytes)), "{text}");
        }
        assert_eq!(json::<Period>("\"1m 30s\""), Some(Period(Duration::from_secs(90))));
        for bad in ["\"\"", "\"x\"", "\"-1\"", "-1", "1e300", "\"10Qi\"", "null", "[]"] {
            assert_eq!(json::<Bytes>(bad), None, "{bad}");
            assert_eq!(json::<MilliCpu>(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_as_the_same(n in 0u64..1 << 50) {
            prop_assert_eq!(json::<Bytes>(&format!("\"{}\"", Bytes(n))), Some(Bytes(n)));
            prop_assert_eq!(json::<MilliCpu>(&format!("\"{}\"", MilliCpu(n))), Some(MilliCpu(n)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let quoted = serde_json::to_string(&text).unwrap();
            let _ = (json::<Bytes>(&quoted), json::<MilliCpu>(&quoted), json::<Period>(&quoted));
        }
    }
}
