//! The reference of the manifest in `docs/manifest.md`, made from the schema, and the test that keeps
//! the two the same. `HOLM_UPDATE_DOCS=1 cargo test -p holm-types` writes it anew.

use super::{
    Format, Manifest,
    schema::{self, Schema},
};
use serde_json::Value;
use std::fmt::Write as _;

const BEGIN: &str = "<!-- The tables from here on are made from the model: see types/src/manifest/reference.rs. -->\n";

/// All tables, each with its keys.
fn reference() -> String {
    let schema = schema::of_manifest();
    let mut text = BEGIN.to_owned();
    table(&mut text, Schema::new(schema), "", "");
    text
}

fn table(text: &mut String, schema: Schema<'_>, path: &str, meaning: &str) {
    let (tables, keys): (Vec<_>, Vec<_>) = schema
        .properties()
        .into_iter()
        .filter(|(_, part)| !part.unavailable())
        .partition(|(_, part)| !part.properties().is_empty() || !part.alternatives().is_empty());
    if !keys.is_empty() {
        let title = if path.is_empty() { "At the top".to_owned() } else { format!("`[{path}]`") };
        let _ = write!(text, "\n## {title}\n\n");
        if !meaning.is_empty() {
            let _ = write!(text, "{meaning}\n\n");
        }
        text.push_str("| key | type | default | meaning | example |\n|---|---|---|---|---|\n");
        let required = schema.required();
        keys.iter().for_each(|(key, part)| row(text, key, *part, required.contains(key)));
        for (key, part) in &keys {
            choices(text, key, *part);
        }
    }
    for (key, part) in tables {
        let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        table(text, part, &path, part.text("description").unwrap_or_default());
        for (choice, variant) in part.alternatives().into_iter().filter(|(choice, _)| choice.available) {
            table(text, variant, &format!("{path}.{}", choice.name), choice.meaning);
        }
    }
}

fn row(text: &mut String, key: &str, part: Schema<'_>, required: bool) {
    let default = match (part.text("x-default"), part.get("default")) {
        _ if required => "required".to_owned(),
        (Some(words), _) => words.to_owned(),
        (None, Some(Value::String(value))) => format!("`\"{value}\"`"),
        (None, Some(value)) => format!("`{value}`"),
        (None, None) => "none".to_owned(),
    };
    let meaning = part.text("description").unwrap_or_default().replace('\n', " ");
    let example = part.text("x-example").unwrap_or_default();
    let _ = writeln!(text, "| `{key}` | {} | {default} | {meaning} | `{example}` |", part.expected());
}

fn choices(text: &mut String, key: &str, part: Schema<'_>) {
    let choices: Vec<_> = part.choices().into_iter().filter(|choice| choice.available).collect();
    if !choices.is_empty() {
        let _ = write!(text, "\n`{key}` is one of\n\n");
        for choice in choices {
            let _ = writeln!(text, "- `\"{}\"`: {}", choice.name, choice.meaning);
        }
    }
}

/// Every key with the table that it is in, and its example.
fn examples(schema: Schema<'_>, path: &str, found: &mut Vec<(String, String)>) {
    let tables = schema.alternatives().into_iter().filter(|(choice, _)| choice.available);
    let tables = tables.map(|(choice, part)| (choice.name, part)).chain(schema.properties());
    for (key, part) in tables.filter(|(_, part)| !part.unavailable()) {
        let inner = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        if let Some(example) = part.text("x-example") {
            found.push((path.to_owned(), example.to_owned()));
        } else {
            assert!(!part.properties().is_empty() || !part.alternatives().is_empty(), "{inner} has no example");
        }
        examples(part, &inner, found);
    }
}

#[test]
fn the_reference_says_what_the_model_is() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/manifest.md");
    let written = std::fs::read_to_string(file).expect("docs/manifest.md");
    let head = written.split(BEGIN).next().expect("the part that people write");
    let wanted = format!("{head}{}", reference());
    if std::env::var_os("HOLM_UPDATE_DOCS").is_some() {
        std::fs::write(file, &wanted).expect("written");
    }
    assert!(written == wanted, "docs/manifest.md is stale: run HOLM_UPDATE_DOCS=1 cargo test -p holm-types");
}

#[test]
fn the_examples_in_the_docs_are_valid() {
    for file in ["docs/manifest.md", "README.md"] {
        let path = format!("{}/../{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).expect(file);
        let mut seen = 0;
        for (language, format) in [("toml", Format::Toml), ("yaml", Format::Yaml)] {
            let fence = format!("```{language}\n");
            let blocks = text.split(&fence).skip(1).filter_map(|rest| rest.split("```").next());
            for block in blocks {
                Manifest::parse(block, format).unwrap_or_else(|e| panic!("{}", e.in_file(file)));
                seen += 1;
            }
        }
        assert!(seen > 0, "{file} has an example");
    }
}

#[test]
fn the_example_of_every_key_is_valid() {
    let schema = schema::of_manifest();
    let mut found = Vec::new();
    examples(Schema::new(schema), "", &mut found);
    assert!(found.len() > 25, "{found:?}");
    for (table, example) in found {
        let key = example.split(' ').next().unwrap_or_default();
        let kind = if ["tasks", "parallel", "retries"].contains(&key) { "job" } else { "service" };
        let mut lines = vec![("name", "name = \"a\"".to_owned()), ("type", format!("type = \"{kind}\""))];
        lines.retain(|(taken, _)| !table.is_empty() || *taken != key);
        let mut text: String = lines.into_iter().map(|(_, line)| line + "\n").collect();
        match table.as_str() {
            "" => text += &format!("{example}\n[run.process]\ncommand = [\"x\"]\n"),
            "run.process" => text += &format!("[run.process]\n{example}\n"),
            // A health question has two keys that are needed.
            "health.http" => {
                let mut keys = vec!["path = \"/\"", "port = 80"];
                keys.retain(|line| !line.starts_with(key));
                text += &format!("[run.process]\ncommand = [\"x\"]\n[health.http]\n{example}\n{}\n", keys.join("\n"));
            }
            table => text += &format!("[run.process]\ncommand = [\"x\"]\n[{table}]\n{example}\n"),
        }
        Manifest::parse(&text, Format::Toml).unwrap_or_else(|e| panic!("{}\n{text}", e.in_file("example")));
    }
}
