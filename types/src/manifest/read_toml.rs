//! TOML as a tree with places.

use super::{
    error::{Fault, ManifestError, Position},
    tree::{Entry, Item, Node},
};
use serde_json::Number;
use toml::de::{DeTable, DeValue};

/// Reads TOML. All that breaks its grammar is told at once.
pub(super) fn read(text: &str) -> Result<Node, ManifestError> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let faults = errors.iter().map(|error| {
        let at = error.span().map(|span| Position::of(text, span.start));
        Fault { at, message: format!("this is not TOML: {}", one_line(error.message())) }
    });
    match ManifestError::all(faults.collect()) {
        Some(error) => Err(error),
        None => Ok(Node { at: Some(Position { line: 1, column: 1 }), item: of_table(text, table.get_ref()) }),
    }
}

fn of_table(text: &str, table: &DeTable<'_>) -> Item {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let name = AsRef::<str>::as_ref(key.get_ref()).to_owned();
        Entry::new(name, Some(Position::of(text, key.span().start)), of_value(text, value))
    };
    Item::Table(table.iter().map(entry).collect())
}

fn of_value(text: &str, value: &toml::Spanned<DeValue<'_>>) -> Node {
    let item = match value.get_ref() {
        DeValue::String(text) => Item::Text(text.to_string()),
        DeValue::Integer(n) => match i64::from_str_radix(n.as_str(), n.radix()) {
            Ok(n) => Item::Number(n.into(), None),
            Err(_) => Item::Other("a number that is too large"),
        },
        DeValue::Float(n) => match n.as_str().parse().ok().and_then(Number::from_f64) {
            Some(n) => Item::Number(n, None),
            None => Item::Other("a number without an end"),
        },
        DeValue::Boolean(value) => Item::Bool(*value),
        DeValue::Datetime(_) => Item::Other("a date"),
        DeValue::Array(values) => Item::List(values.iter().map(|value| of_value(text, value)).collect()),
        DeValue::Table(table) => of_table(text, table),
    };
    Node { at: Some(Position::of(text, value.span().start)), item }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
