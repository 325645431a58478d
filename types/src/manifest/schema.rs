//! The schema of the model in plain words.
//!
//! It is the one that is derived from the model, so that what is offered in a message is what is
//! read, and what the reference in `docs/` says.

use serde_json::Value;
use std::sync::LazyLock;

/// Marks what the model has and this version refuses.
pub(super) const UNAVAILABLE: &str = "x-unavailable";

/// The schema of a manifest.
pub(super) fn of_manifest() -> &'static Value {
    // To derive it takes ten times as long as to check a manifest against it.
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(super::Manifest).to_value());
    &SCHEMA
}

/// A part of the schema. References are resolved on the way.
#[derive(Clone, Copy)]
pub(super) struct Schema<'a> {
    root: &'a Value,
    here: &'a Value,
}

/// One of a fixed number of values, or of tables.
pub(super) struct Choice<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether this version takes it.
    pub available: bool,
    /// What it means, for the reference.
    #[cfg(test)]
    pub meaning: &'a str,
}

impl<'a> Choice<'a> {
    fn new(name: &'a str, variant: &'a Value) -> Choice<'a> {
        Choice {
            name,
            available: variant.get(UNAVAILABLE).is_none(),
            #[cfg(test)]
            meaning: variant.get("description").and_then(Value::as_str).unwrap_or_default(),
        }
    }
}

impl<'a> Schema<'a> {
    /// The whole.
    pub fn new(root: &'a Value) -> Schema<'a> {
        Schema { root, here: root }
    }

    /// The part that describes a value: references are followed, and what is optional is looked through.
    fn resolved(self) -> Schema<'a> {
        let mut at = self;
        while let Some(next) = at.referenced().or_else(|| at.not_null()) {
            at = Schema { here: next, ..at };
        }
        at
    }

    fn referenced(self) -> Option<&'a Value> {
        self.root.pointer(self.here.get("$ref")?.as_str()?.strip_prefix('#')?)
    }

    fn not_null(self) -> Option<&'a Value> {
        let choices = self.here.get("anyOf")?.as_array()?;
        choices.iter().find(|choice| choice.get("type").and_then(Value::as_str) != Some("null"))
    }

    /// Whether `what` is one of its types.
    pub fn is(self, what: &str) -> bool {
        match self.resolved().here.get("type") {
            Some(Value::String(kind)) => kind == what,
            Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == what),
            _ => false,
        }
    }

    /// A text of the schema where it is used, or else where it is defined.
    pub fn text(self, key: &str) -> Option<&'a str> {
        self.here.get(key).or_else(|| self.resolved().here.get(key)).and_then(Value::as_str)
    }

    /// A value of the schema where it is used, for the reference.
    #[cfg(test)]
    pub fn get(self, key: &str) -> Option<&'a Value> {
        self.here.get(key)
    }

    /// Whether this version refuses it.
    pub fn unavailable(self) -> bool {
        self.here.get(UNAVAILABLE).is_some()
    }

    /// How a text is to be read, where it is not free.
    pub fn format(self) -> &'a str {
        self.resolved().here.get("format").and_then(Value::as_str).unwrap_or_default()
    }

    /// A bound of a number.
    pub fn bound(self, key: &str) -> Option<u64> {
        self.resolved().here.get(key).and_then(|bound| bound.as_u64().or_else(|| bound.as_f64().map(|n| n as u64)))
    }

    /// The values of an enumeration.
    pub fn choices(self) -> Vec<Choice<'a>> {
        let variants = self.resolved().here.get("oneOf").and_then(Value::as_array);
        let choice = |variant: &'a Value| {
            let name = variant.get("const")?.as_str()?;
            Some(Choice::new(name, variant))
        };
        variants.into_iter().flatten().filter_map(choice).collect()
    }

    /// The tables of which exactly one is to be given, with their schemas.
    pub fn alternatives(self) -> Vec<(Choice<'a>, Schema<'a>)> {
        let variants = self.resolved().here.get("oneOf").and_then(Value::as_array);
        let alternative = |variant: &'a Value| {
            let (name, here) = variant.get("properties")?.as_object()?.iter().next()?;
            Some((Choice::new(name, variant), Schema { here, ..self }))
        };
        variants.into_iter().flatten().filter_map(alternative).collect()
    }

    /// The keys of a table, with their schemas.
    pub fn properties(self) -> Vec<(&'a str, Schema<'a>)> {
        let properties = self.resolved().here.get("properties").and_then(Value::as_object);
        properties.into_iter().flatten().map(|(key, here)| (key.as_str(), Schema { here, ..self })).collect()
    }

    /// The keys that a table must have.
    pub fn required(self) -> Vec<&'a str> {
        let required = self.resolved().here.get("required").and_then(Value::as_array);
        required.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// What the values of a table with free keys are.
    pub fn values(self) -> Option<Schema<'a>> {
        let here = self.resolved().here.get("additionalProperties").filter(|schema| schema.is_object())?;
        Some(Schema { here, ..self })
    }

    /// What the values of a list are.
    pub fn items(self) -> Option<Schema<'a>> {
        Some(Schema { here: self.resolved().here.get("items")?, ..self })
    }

    /// What is expected, in words.
    pub fn expected(self) -> String {
        let choices = self.choices();
        if !choices.is_empty() {
            return one_of(choices.iter().filter(|choice| choice.available).map(|choice| choice.name));
        }
        match self.format() {
            "cpu" | "bytes" | "period" | "name" => {
                return self.resolved().text("description").unwrap_or_default().into();
            }
            _ => {}
        }
        if self.is("integer") {
            return match (self.bound("minimum").unwrap_or(0), self.bound("maximum")) {
                (least, Some(most)) => format!("a whole number from {least} to {most}"),
                (least, None) => format!("a whole number, at least {least}"),
            };
        }
        match () {
            () if self.is("boolean") => "true or false".into(),
            () if self.is("string") => "a text in quotes".into(),
            () if self.is("array") => "a list of texts, such as [\"a\", \"b\"]".into(),
            () => match self.values() {
                Some(values) if values.is("integer") => "a table of whole numbers, such as { gpu = 1 }".into(),
                Some(_) => "a table of texts, such as { key = \"value\" }".into(),
                None => format!("a table with {}", self.keys()),
            },
        }
    }

    /// The keys that may be given, in words.
    pub fn keys(self) -> String {
        let alternatives = self.alternatives();
        let names: Vec<&str> = if alternatives.is_empty() {
            self.properties().into_iter().filter(|(_, schema)| !schema.unavailable()).map(|(key, _)| key).collect()
        } else {
            alternatives.iter().filter(|(choice, _)| choice.available).map(|(choice, _)| choice.name).collect()
        };
        names.join(", ")
    }

    /// The table in which `key` belongs, if it is not this one: its path.
    pub fn home_of(self, key: &str, path: &str) -> Option<String> {
        let tables = self.alternatives().into_iter().filter(|(choice, _)| choice.available);
        let tables = tables.map(|(choice, schema)| (choice.name, schema)).chain(self.properties());
        let tables: Vec<_> = tables.filter(|(_, schema)| !schema.unavailable()).collect();
        if tables.iter().any(|(name, _)| *name == key) {
            return Some(path.to_owned());
        }
        tables.into_iter().find_map(|(name, schema)| schema.home_of(key, &join(path, name)))
    }
}

fn one_of<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<String> = names.map(|name| format!("{name:?}")).collect();
    match names.as_slice() {
        [only] => only.clone(),
        [first, second] => format!("{first} or {second}"),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
        [] => String::new(),
    }
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
