//! What differs between two manifests, field by field.

use super::{Manifest, Partition, Place, Priority, Resources, Restart, Update};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldChange {
    /// The field, such as `resources.cpu`.
    pub field: String,
    /// What it is; null if it is not there.
    pub old: Value,
    /// What it would be; null if it would not be there.
    pub new: Value,
}

impl Manifest {
    /// What differs in `new`. A field that is absent and one that says the default are the same.
    pub fn changes_to(&self, new: &Manifest) -> Vec<FieldChange> {
        let mut changes = Vec::new();
        compare("", &full(self), &full(new), &mut changes);
        changes
    }
}

/// The manifest with the defaults of its tables, which its usual form leaves out.
fn full(manifest: &Manifest) -> Value {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(manifest) else { return Value::Null };
    let defaults = [
        ("resources", serde_json::to_value(Resources::default())),
        ("place", serde_json::to_value(Place::default())),
        ("priority", serde_json::to_value(Priority::default())),
        ("partition", serde_json::to_value(Partition::default())),
        ("update", serde_json::to_value(Update::default())),
        ("restart", serde_json::to_value(Restart::default())),
    ];
    for (name, default) in defaults {
        if let Ok(default) = default {
            fields.entry(name).or_insert(default);
        }
    }
    Value::Object(fields)
}

fn compare(path: &str, old: &Value, new: &Value, changes: &mut Vec<FieldChange>) {
    if old == new {
        return;
    }
    let nothing = Map::new();
    let (before, after) = match (old, new) {
        (Value::Object(before), Value::Object(after)) => (before, after),
        (Value::Object(before), Value::Null) => (before, &nothing),
        (Value::Null, Value::Object(after)) => (&nothing, after),
        _ => return changes.push(FieldChange { field: path.to_owned(), old: old.clone(), new: new.clone() }),
    };
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let field = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let value = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
        compare(&field, &value(before), &value(after), changes);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::*;

    fn manifest(text: &str) -> Manifest {
        let text = format!("name = \"a\"\ntype = \"service\"\n{text}\n[run.process]\ncommand = [\"x\"]");
        Manifest::parse(&text, Format::Toml).unwrap()
    }

    #[test]
    fn fields_differ_one_by_one_and_defaults_do_not() {
        let old = manifest("replicas = 2\nenv = { A = \"1\", B = \"2\" }");
        let new = manifest("env = { A = \"1\", B = \"3\", C = \"4\" }\nresources = { cpu = \"100m\" }\nupdate = {}");
        let told: Vec<_> =
            old.changes_to(&new).into_iter().map(|c| format!("{}: {} -> {}", c.field, c.old, c.new)).collect();
        assert_eq!(
            told,
            [
                "env.B: \"2\" -> \"3\"",
                "env.C: null -> \"4\"",
                "replicas: 2 -> null",
                "resources.cpu: \"0m\" -> \"100m\"",
            ]
        );
        assert!(new.changes_to(&new).is_empty());
    }
}
