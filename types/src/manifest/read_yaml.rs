//! YAML, and JSON, which is YAML too, as a tree with places.

use super::{
    error::{ManifestError, Position},
    tree::{Entry, Item, Node},
};
use serde::{Deserialize, Deserializer, de};
use serde_json::Number;
use serde_saphyr::{Location, MessageFormatter as _, Spanned, UserMessageFormatter};
use std::fmt;

/// What aliases may repeat, in nodes: a few lines of them can stand for gigabytes.
const MAX_REPEATED: usize = 10_000;

/// Reads YAML. Its parser stops at the first thing that breaks the grammar.
pub(super) fn read(text: &str) -> Result<Node, ManifestError> {
    let options = serde_saphyr::options! {
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPEATED },
    };
    let root: Placed = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        let message = UserMessageFormatter.format_message(error);
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        ManifestError::one(error.location().and_then(position), format!("this is not YAML: {message}"))
    })?;
    Ok(root.into_node(text))
}

fn position(at: Location) -> Option<Position> {
    let (line, column) = (usize::try_from(at.line()).ok()?, usize::try_from(at.column()).ok()?);
    (line > 0).then_some(Position { line, column: column.max(1) })
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Placed(Spanned<Raw>);

/// What a YAML node is, before its spelling is looked up in the text.
enum Raw {
    Nothing,
    Bool(bool),
    Number(Option<Number>),
    Text(String),
    List(Vec<Placed>),
    Map(Vec<(Spanned<String>, Placed)>),
}

impl Placed {
    fn into_node(self, text: &str) -> Node {
        let Spanned { value, referenced, defined } = self.0;
        let item = match value {
            Raw::Nothing => Item::Nothing,
            Raw::Bool(value) => Item::Bool(value),
            Raw::Number(Some(number)) => Item::Number(number, spelling(text, defined)),
            Raw::Number(None) => Item::Other("a number that is too large"),
            Raw::Text(value) => Item::Text(value),
            Raw::List(values) => Item::List(values.into_iter().map(|value| value.into_node(text)).collect()),
            Raw::Map(entries) => Item::Table(entries.into_iter().map(|entry| of_entry(entry, text)).collect()),
        };
        Node { at: position(referenced), item }
    }
}

fn of_entry((key, value): (Spanned<String>, Placed), text: &str) -> Entry {
    let at = position(key.referenced).or(position(value.0.referenced));
    Entry::new(key.value, at, value.into_node(text))
}

/// How a scalar is spelt: `1.10` is a number to YAML, and a version to whoever wrote it.
fn spelling(text: &str, at: Location) -> Option<String> {
    let start = usize::try_from(at.span().byte_offset()?).ok()?;
    let length = usize::try_from(at.span().byte_len()?).ok()?;
    let spelt = text.get(start..start.checked_add(length)?)?.trim();
    (!spelt.is_empty()).then(|| spelt.to_owned())
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> de::Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Nothing)
    }
    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Nothing)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(Some(value.into())))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(Some(value.into())))
    }
    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Number(None))
    }
    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Number(None))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Number(Number::from_f64(value)))
    }
    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }
    fn visit_seq<A: de::SeqAccess<'de>>(self, mut values: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(Raw::List(list))
    }
    fn visit_map<A: de::MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}
