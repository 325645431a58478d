//! Checks a tree against the schema of the model, and says in plain words what does not fit.

use super::{
    Bytes, MilliCpu, Period,
    error::{Fault, Position},
    schema::{self, Schema, join},
    suggest,
    tree::{Entry, Item, Node, cut},
};
use crate::Label;
use serde_json::{Map, Value};

/// What was found.
pub(super) struct Checked {
    /// The part that fits, as JSON.
    pub value: Value,
    /// The rest.
    pub faults: Vec<Fault>,
}

/// Checks a whole manifest.
pub(super) fn check(root: &Node) -> Checked {
    let mut checker = Checker { root: Schema::new(schema::of_manifest()), faults: Vec::new() };
    let value = checker.node(checker.root, "", root).unwrap_or(Value::Null);
    Checked { value, faults: checker.faults }
}

struct Checker<'a> {
    root: Schema<'a>,
    faults: Vec<Fault>,
}

impl<'a> Checker<'a> {
    fn fault(&mut self, at: Option<Position>, message: String) {
        self.faults.push(Fault { at, message });
    }

    /// The part of `node` that fits, as JSON.
    fn node(&mut self, schema: Schema<'a>, path: &str, node: &Node) -> Option<Value> {
        match &node.item {
            Item::Table(entries) if !schema.alternatives().is_empty() => self.variant(schema, path, node, entries),
            Item::Table(entries) if !schema.properties().is_empty() => self.table(schema, path, node, entries),
            Item::Table(entries) if schema.values().is_some() => self.map(schema, path, entries),
            Item::List(nodes) if schema.is("array") => self.list(schema, path, nodes),
            _ => self.scalar(schema, path, node),
        }
    }

    fn table(&mut self, schema: Schema<'a>, path: &str, node: &Node, entries: &[Entry]) -> Option<Value> {
        let properties = schema.properties();
        let mut fitting = Map::new();
        for entry in entries {
            match properties.iter().find(|(key, _)| *key == entry.key) {
                Some((key, part)) if part.unavailable() => {
                    self.fault(entry.at, format!("{} is not available in this version", join(path, key)));
                }
                Some((key, part)) => {
                    if let Some(value) = self.node(*part, &join(path, key), &entry.value) {
                        fitting.insert((*key).to_owned(), value);
                    }
                }
                None => self.unknown(schema, path, entry),
            }
        }
        for key in schema.required() {
            if !entries.iter().any(|entry| entry.key == key) {
                let part = properties.iter().find(|(name, _)| *name == key);
                let expected = part.map_or_else(String::new, |(_, part)| match part.alternatives().is_empty() {
                    true => part.expected(),
                    false => format!("a table [{}.{}]", join(path, key), part.keys()),
                });
                self.fault(node.at, format!("{} is missing: {expected} is needed", join(path, key)));
            }
        }
        Some(Value::Object(fitting))
    }

    fn unknown(&mut self, schema: Schema<'a>, path: &str, entry: &Entry) {
        let key = cut(&entry.key);
        let alternatives = schema.alternatives();
        let known = schema.properties().into_iter().filter(|(_, part)| !part.unavailable()).map(|(key, _)| key);
        let known =
            known.chain(alternatives.iter().filter(|(choice, _)| choice.available).map(|(choice, _)| choice.name));
        let hint = match (suggest::nearest(&entry.key, known), self.root.home_of(&entry.key, "")) {
            (Some(near), _) => format!("; did you mean {near:?}?"),
            (None, Some(home)) if home.is_empty() => {
                "; it belongs at the top of the manifest, outside of every table".into()
            }
            (None, Some(home)) => format!("; it belongs in {home}"),
            (None, None) => format!("; allowed here: {}", schema.keys()),
        };
        let place = if path.is_empty() { String::new() } else { format!(" in {path}") };
        self.fault(entry.at, format!("unknown key {key:?}{place}{hint}"));
    }

    /// Exactly one of several tables.
    fn variant(&mut self, schema: Schema<'a>, path: &str, node: &Node, entries: &[Entry]) -> Option<Value> {
        let alternatives = schema.alternatives();
        let mut fitting = Map::new();
        for entry in entries {
            let found = alternatives.iter().find(|(choice, _)| choice.name == entry.key);
            match found {
                Some((choice, part)) if choice.available && fitting.is_empty() => {
                    let value = self.node(*part, &join(path, choice.name), &entry.value)?;
                    fitting.insert(choice.name.to_owned(), value);
                }
                Some((choice, _)) if choice.available => {
                    self.fault(entry.at, format!("{path} has more than one of {}", schema.keys()));
                }
                Some((choice, _)) => {
                    let message = format!(
                        "{} is not available in this version; possible: {}",
                        join(path, choice.name),
                        schema.keys()
                    );
                    self.fault(entry.at, message);
                }
                None => self.unknown(schema, path, entry),
            }
        }
        if entries.is_empty() {
            self.fault(node.at, format!("{path} is empty: {} is needed in it", schema.keys()));
        }
        (!fitting.is_empty()).then_some(Value::Object(fitting))
    }

    fn map(&mut self, schema: Schema<'a>, path: &str, entries: &[Entry]) -> Option<Value> {
        let values = schema.values()?;
        let mut fitting = Map::new();
        for entry in entries {
            if let Some(value) = self.node(values, &join(path, &entry.key), &entry.value) {
                fitting.insert(entry.key.clone(), value);
            }
        }
        Some(Value::Object(fitting))
    }

    fn list(&mut self, schema: Schema<'a>, path: &str, nodes: &[Node]) -> Option<Value> {
        let items = schema.items()?;
        let values = nodes.iter().enumerate().map(|(i, node)| self.node(items, &format!("{path}[{i}]"), node));
        Some(Value::Array(values.collect::<Vec<_>>().into_iter().flatten().collect()))
    }

    fn scalar(&mut self, schema: Schema<'a>, path: &str, node: &Node) -> Option<Value> {
        let value = match &node.item {
            Item::Text(text) => Some(Value::String(text.clone())),
            // A number where YAML's writer meant a text (`PORT: 8080`) is taken as it is spelt.
            Item::Number(_, Some(spelt)) if schema.is("string") && !schema.is("number") => {
                Some(Value::String(spelt.clone()))
            }
            Item::Number(number, _) => Some(Value::Number(number.clone())),
            Item::Bool(value) => Some(Value::Bool(*value)),
            Item::Nothing | Item::List(_) | Item::Table(_) | Item::Other(_) => None,
        };
        let value = value.filter(|value| fits(schema, value));
        if value.is_none() {
            self.misfit(schema, path, node);
        }
        value
    }

    fn misfit(&mut self, schema: Schema<'a>, path: &str, node: &Node) {
        let path = if path.is_empty() { "a manifest" } else { path };
        let choices = schema.choices();
        let chosen = match &node.item {
            Item::Text(text) => choices.iter().find(|choice| choice.name == text),
            _ => None,
        };
        let message = match (chosen, &node.item) {
            (Some(choice), _) => {
                format!("{path} = {:?} is not available in this version; possible: {}", choice.name, schema.expected())
            }
            (None, Item::Text(text)) if !choices.is_empty() => {
                let possible = choices.iter().filter(|choice| choice.available).map(|choice| choice.name);
                let hint = suggest::nearest(text, possible).map(|near| format!("; did you mean {near:?}?"));
                let hint = hint.unwrap_or_default();
                format!("{path} cannot be {:?}{hint} (possible: {})", cut(text), schema.expected())
            }
            (None, item) => format!("{path} must be {}, not {}", schema.expected(), item.describe()),
        };
        self.fault(node.at, message);
    }
}

/// Whether a scalar is one that the schema takes.
fn fits(schema: Schema<'_>, value: &Value) -> bool {
    let choices = schema.choices();
    if !choices.is_empty() {
        return choices.iter().any(|choice| choice.available && value == choice.name);
    }
    let read = match schema.format() {
        "cpu" => Some(serde_json::from_value::<MilliCpu>(value.clone()).is_ok()),
        "bytes" => Some(serde_json::from_value::<Bytes>(value.clone()).is_ok()),
        "period" => Some(serde_json::from_value::<Period>(value.clone()).is_ok()),
        "name" => Some(serde_json::from_value::<Label>(value.clone()).is_ok()),
        _ => None,
    };
    if let Some(fits) = read {
        return fits;
    }
    match value {
        Value::String(_) => schema.is("string"),
        Value::Bool(_) => schema.is("boolean"),
        Value::Number(number) => {
            let most = schema.bound("maximum").unwrap_or(u64::MAX);
            schema.is("integer")
                && number.as_u64().is_some_and(|n| (schema.bound("minimum").unwrap_or(0)..=most).contains(&n))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}
