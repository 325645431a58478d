//! A manifest's text as a tree in which everything knows its place, whatever it was written in.

use super::error::Position;
use serde_json::Number;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub at: Option<Position>,
    pub item: Item,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Item {
    Nothing,
    Bool(bool),
    /// A number, and how it was spelt where that may stand for a text.
    Number(Number, Option<String>),
    Text(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
    /// Something that no field of a manifest takes, in words.
    Other(&'static str),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub at: Option<Position>,
    pub value: Node,
}

impl Entry {
    /// A key with its value. What is wrong with a table as a whole is told at its key: where a table
    /// itself begins differs from one format to the other.
    pub fn new(key: String, at: Option<Position>, mut value: Node) -> Entry {
        if matches!(value.item, Item::Table(_)) {
            value.at = at;
        }
        Entry { key, at, value }
    }
}

impl Node {
    /// The place of the key at the end of `path`, or of the innermost one of `path` that is there.
    pub fn locate(&self, path: &[&str]) -> Option<Position> {
        let Item::Table(entries) = &self.item else { return None };
        let (first, rest) = path.split_first()?;
        let entry = entries.iter().find(|entry| entry.key == *first)?;
        entry.value.locate(rest).or(entry.at)
    }
}

impl Item {
    /// In words, for `..., not ...`.
    pub fn describe(&self) -> String {
        match self {
            Item::Nothing => "nothing".into(),
            Item::Bool(value) => value.to_string(),
            Item::Number(number, spelt) => format!("the number {}", spelt.clone().unwrap_or(number.to_string())),
            Item::Text(text) => format!("{:?}", cut(text)),
            Item::List(_) => "a list".into(),
            Item::Table(_) => "a table".into(),
            Item::Other(what) => (*what).into(),
        }
    }
}

/// A text short enough for a message.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
