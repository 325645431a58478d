//! TOML as a tree with places.

use super::{
    error::{Fault, Lines, ManifestError, Position},
    tree::{Entry, Item, Node},
};
use serde_json::Number;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Longest text of which all mistakes are told at once, in bytes: the parser notes each, and may find one in each byte.
const MAX_RECOVERED: usize = 16 * 1024;

/// Reads TOML. All that breaks its grammar is told at once, of a long text the first thing.
pub(super) fn read(text: &str) -> Result<Node, ManifestError> {
    let lines = Lines::of(text);
    let (table, errors) = match text.len() <= MAX_RECOVERED {
        true => DeTable::parse_recoverable(text),
        false => match DeTable::parse(text) {
            Ok(table) => (table, Vec::new()),
            Err(error) => (Spanned::new(0..0, DeTable::new()), vec![error]),
        },
    };
    let faults = errors.iter().map(|error| {
        let at = error.span().map(|span| lines.place(span.start));
        Fault { at, message: format!("this is not TOML: {}", one_line(error.message())) }
    });
    match ManifestError::all(faults.collect()) {
        Some(error) => Err(error),
        None => Ok(Node { at: Some(Position { line: 1, column: 1 }), item: of_table(&lines, table.get_ref()) }),
    }
}

fn of_table(lines: &Lines<'_>, table: &DeTable<'_>) -> Item {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let name = AsRef::<str>::as_ref(key.get_ref()).to_owned();
        Entry::new(name, Some(lines.place(key.span().start)), of_value(lines, value))
    };
    Item::Table(table.iter().map(entry).collect())
}

fn of_value(lines: &Lines<'_>, value: &Spanned<DeValue<'_>>) -> Node {
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
        DeValue::Array(values) => Item::List(values.iter().map(|value| of_value(lines, value)).collect()),
        DeValue::Table(table) => of_table(lines, table),
    };
    Node { at: Some(lines.place(value.span().start)), item }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
