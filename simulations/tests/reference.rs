//! `docs/simulation.md` says what the types say: its tables are written from the comments of the types, and its
//! examples are read by the parser.

use holm_simulations::{Scenario, scenario::Check};
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// The tables stand between these lines.
const BEGIN: &str = "<!-- The tables below are written from simulations/src/scenario/model.rs. -->\n";
const END: &str = "<!-- The tables end here. -->";

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/simulation.md")
}

/// What a type is called where a person writes it.
fn place(name: &str) -> &'static str {
    match name {
        "Scenario" => "At the top",
        "Backend" => "`backend`",
        "Mode" => "`mode`",
        "Group" => "`[[group]]`",
        "Nat" => "`nat` of a group",
        "Link" => "`[link]` and `[lan]`",
        "Workload" => "`[workload]`",
        "Submit" => "`[[submit]]`",
        "SubmitKind" => "`kind` of a submission",
        "AppKind" => "`type` of a submission",
        "Fault" => "`[[fault]]`",
        "Pick" => "`pick` of a fault",
        "Clock" => "`clock` of a fault",
        "Disk" => "`disk` of a fault",
        "FaultKind" => "`kind` of a fault",
        "RandomFaults" => "`[random_faults]`",
        "Check" => "`[check]`",
        other => panic!("{other} of model.rs has no place in docs/simulation.md: name it here"),
    }
}

/// A Rust type as a person writes its values.
fn value(kind: &str) -> &'static str {
    let inner = kind.strip_prefix("Option<").and_then(|kind| kind.strip_suffix('>')).unwrap_or(kind);
    match inner {
        "String" => "text",
        "bool" => "`true` or `false`",
        "u64" | "u32" | "i64" | "i32" | "f64" => "number",
        "[u64; 2]" | "[i64; 2]" | "[f64; 2]" => "`[from, to]`",
        "Period" => "time, `\"30s\"`",
        "Vec<String>" => "list of hosts",
        "Vec<Vec<String>>" => "list of lists of hosts",
        "Vec<FaultKind>" => "list of kinds",
        "Backend" | "Mode" | "Nat" | "SubmitKind" | "AppKind" | "FaultKind" | "Disk" => "one of the words below",
        "Vec<Group>" | "Vec<Submit>" | "Vec<Fault>" => "tables",
        "Link" | "Workload" | "RandomFaults" | "Check" | "Pick" | "Clock" => "table",
        other => panic!("values of {other} have no words in the reference: give them some here"),
    }
}

fn snake(word: &str) -> String {
    let mut out = String::new();
    for letter in word.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// The tables, from the source of the types.
fn tables() -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/scenario/model.rs");
    let source = fs::read_to_string(source).expect("the types");
    let mut out = String::new();
    let (mut doc, mut attributes) = (String::new(), String::new());
    // What the lines belong to: a struct (with whether all of it may be left out), an enum, or nothing.
    let mut inside: Option<(bool, bool)> = None;
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            doc += &format!("{}{text}", if doc.is_empty() { "" } else { " " });
        } else if line.starts_with("#[") {
            attributes += line;
        } else if let Some((is_struct, name)) = header(line) {
            let all = attributes.contains("deny_unknown_fields, default");
            inside = Some((is_struct, all));
            let _ = writeln!(out, "\n### {}\n\n{}\n", place(name), linked(&doc));
            let head = if is_struct {
                "| key | value | needed | what |\n|---|---|---|---|"
            } else {
                "| word | what |\n|---|---|"
            };
            let _ = writeln!(out, "{head}");
            (doc, attributes) = Default::default();
        } else if line == "}" {
            inside = None;
        } else {
            if let Some((is_struct, all)) = inside {
                let doc = linked(&doc);
                if is_struct && !attributes.contains("skip") {
                    let (name, kind) =
                        line.trim_start_matches("pub ").trim_end_matches(',').split_once(": ").expect(line);
                    let renamed = attributes.split("rename = \"").nth(1).and_then(|rest| rest.split('"').next());
                    let optional = all || kind.starts_with("Option<") || attributes.contains("default");
                    let needed = if optional { "" } else { "yes" };
                    let _ = writeln!(out, "| `{}` | {} | {needed} | {doc} |", renamed.unwrap_or(name), value(kind));
                } else if !is_struct {
                    let _ = writeln!(out, "| `{}` | {doc} |", snake(line.trim_end_matches(',')));
                }
            }
            (doc, attributes) = Default::default();
        }
    }
    out
}

fn header(line: &str) -> Option<(bool, &str)> {
    let rest = line.strip_prefix("pub ")?.strip_suffix(" {")?;
    rest.strip_prefix("struct ").map(|name| (true, name)).or_else(|| Some((false, rest.strip_prefix("enum ")?)))
}

/// Links of rustdoc as plain words, without what only the authors have.
fn linked(doc: &str) -> String {
    let doc = doc.replace(" (`knowledge/nat-lab.md` measured who reaches whom)", "");
    doc.replace("([`Check::converge_within`])", "(`converge_within` of `[check]`)")
}

#[test]
fn the_reference_says_what_the_types_say() {
    let page = fs::read_to_string(page()).expect("docs/simulation.md");
    let (before, rest) = page.split_once(BEGIN).expect("the line before the tables");
    let (_, after) = rest.split_once(END).expect("the line after the tables");
    let written = format!("{before}{BEGIN}{}\n{END}{after}", tables());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(self::page(), &written).expect("the page can be written");
    } else {
        assert!(page == written, "docs/simulation.md is not what the types say: run this test with UPDATE_DOCS=1");
    }
}

#[test]
fn the_examples_are_read_and_the_usual_values_are_those() {
    let page = fs::read_to_string(page()).expect("docs/simulation.md");
    let examples: Vec<&str> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 2, "a scenario, and the usual values");
    for example in &examples {
        let scenario = Scenario::parse("example", example).unwrap_or_else(|e| panic!("{e}\n{example}"));
        scenario.expand(scenario.seed).unwrap_or_else(|e| panic!("{e}\n{example}"));
    }
    let usual = Scenario::parse("usual", examples[1]).expect("the usual values");
    let bare = "duration = \"60s\"\n[[group]]\nname = \"node\"\ncount = 1\n[workload]\nsubmit_per_s = 1.0\n\
                [random_faults]\ncount = 1\nkinds = [\"pause\"]\n";
    let bare =
        Scenario { about: usual.about.clone(), name: "usual".into(), ..Scenario::parse("bare", bare).expect("bare") };
    assert_eq!(usual, bare, "what is written there is what holds when nothing is");
    assert_eq!(usual.check, Check::default());
}
