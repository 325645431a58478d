//! Reading manifests, as users see it.

use super::*;

/// The example of `INTERFACE.md`.
const EXAMPLE: &str = r#"
name = "hello"
namespace = "default"
type = "service"
replicas = 3
env = { GREETING = "hi" }

[run.process]
command = ["/usr/bin/env", "python3", "-m", "http.server", "8080"]

[resources]
cpu = "200m"
memory = "64Mi"

[place]
site = "plant-7"
labels = { tier = "gateway" }

[priority]
class = "normal"

[partition]
policy = "keep-running"
after = "30s"

[update]
max_surge = 1
max_unavailable = 0
rollback = true

[health]
http = { path = "/", port = 8080, every = "5s" }

[restart]
policy = "always"
"#;

#[test]
fn toml_yaml_and_fields_are_one_model() {
    let toml = Manifest::parse(EXAMPLE, Format::Toml).unwrap();
    let yaml = serde_json::to_string_pretty(&toml).unwrap();
    assert_eq!(Manifest::parse(&yaml, Format::Yaml).unwrap(), toml);
    let fields = toml.to_fields();
    let back = Manifest::from_fields(fields.iter().map(|(k, v)| (k.as_str(), v.as_str()))).unwrap();
    assert_eq!(back, toml);
    assert_eq!(toml.resources.cpu.0, 200);
    let mut names: Vec<_> = FIELDS.to_vec();
    names.sort_unstable();
    let known = schemars::schema_for!(Manifest);
    let mut said: Vec<_> = known.get("properties").unwrap().as_object().unwrap().keys().cloned().collect();
    said.sort_unstable();
    assert_eq!(names, said, "FIELDS names every field of the model");
}

#[test]
fn an_unknown_field_of_a_later_version_is_left_out() {
    let mut fields = Manifest::parse(EXAMPLE, Format::Toml).unwrap().to_fields();
    fields.insert("colour".into(), "\"red\"".into());
    assert!(Manifest::from_fields(fields.iter().map(|(k, v)| (k.as_str(), v.as_str()))).is_ok());
}

/// What a user reads of a manifest that is wrong.
fn told(name: &str, text: &str) -> String {
    Manifest::parse(text, Format::guess(name, text)).expect_err("a wrong manifest").in_file(name)
}

#[test]
fn mistakes_in_toml_are_told_at_once() {
    insta::assert_snapshot!(told("hello.toml", MISTAKES));
}

#[test]
fn mistakes_in_yaml_are_told_in_the_same_words() {
    insta::assert_snapshot!(told("hello.yaml", MISTAKES_IN_YAML));
    let words = |text: String| -> Vec<String> {
        let mut words: Vec<_> = text.lines().map(|line| line.splitn(4, ':').last().unwrap().to_owned()).collect();
        words.sort();
        words
    };
    assert_eq!(words(told("hello.toml", MISTAKES)), words(told("hello.yaml", MISTAKES_IN_YAML)));
}

const MISTAKES: &str = r#"name = "Hello World"
type = "servise"
replcas = 3
colour = "red"
memory = "64Mi"

[run.process]
comand = ["x"]
replicas = 3

[resources]
cpu = "200x"
memory = "64Qi"
disk = true

[place]
labels = "tier=gateway"
spread = "sites"

[update]
max_surge = -1
rollback = "yes"

[partition]
policy = "reschedul"
after = "soon"

[health.http]
path = "/"
port = 80800
"#;

const MISTAKES_IN_YAML: &str = r#"name: Hello World
type: servise
replcas: 3
colour: red
memory: 64Mi
run:
  process:
    comand: [x]
    replicas: 3
resources:
  cpu: 200x
  memory: 64Qi
  disk: true
place:
  labels: "tier=gateway"
  spread: sites
update:
  max_surge: -1
  rollback: "yes"
partition:
  policy: reschedul
  after: soon
health:
  http:
    path: /
    port: 80800
"#;

#[test]
fn what_this_version_lacks_is_said_plainly_and_never_offered() {
    let cron = "name = \"a\"\ntype = \"cron\"\nschedule = \"* * * * *\"\n[run.wasm]\ncomponent = \"x\"";
    let container = "name: a\ntype: daemon\nrun: {container: {image: x}}";
    insta::assert_snapshot!(format!("{}\n\n{}", told("a.toml", cron), told("a.yaml", container)));
    let odd =
        told("a.yaml", "name: a\ntype: corn\nschedul: x\nrun: {wasn: {command: [x]}}\npartition: {policy: fenced}");
    for lacking in ["cron", "\"schedule\"", "wasm", "container"] {
        assert!(!odd.contains(lacking), "{odd}");
    }
}

#[test]
fn what_is_missing_or_contradicts_itself() {
    let cases = [
        "",
        "name = \"a\"",
        "name = \"a\"\ntype = \"job\"\nrun = {}",
        "name = \"a\"\ntype = \"job\"\nrun = \"sleep 5\"",
        "name = \"a\"\ntype = \"job\"\nreplicas = 3\n[run.process]\ncommand = []",
        "name = \"a\"\ntype = \"job\"\ntasks = 0\n[run.process]\ncommand = \"sleep 5\"",
        "name = \"a\"\ntype = \"job\"\ntasks = 4294967296\n[run.process]\ncommand = [\"x\", 5]",
        "name = \"a\"\ntype = \"service\"\nreplicas = \"3\"\n[run.process]\ncommand = [\"x\"]\n\
         [env]\nHOLM_X = \"1\"\nPORT = 8080\n\"A=B\" = \"c\"",
        "name = \"a\"\ntype = \"service\"\n[run]\nprocess = { command = [\"x\"] }\nwasm = { component = \"y\" }",
    ];
    let told: Vec<String> = cases.iter().map(|text| told("a.toml", text)).collect();
    insta::assert_snapshot!(told.join("\n\n"));
}

#[test]
fn broken_grammar_has_one_place_and_no_words_of_the_parser() {
    let cases = [
        ("a.toml", "name = \"a\ntype = \"job\"\n[run.process\ncommand = [\"x\"]"),
        ("a.toml", "name = \"a\"\nname = \"b\""),
        ("a.yaml", "name: a\n\ttype: job"),
        ("a.yaml", "name: a\nname: b\ntype: job"),
        ("a.yaml", "- name: a\n- type: job"),
        ("a.yaml", "name: [a"),
        ("a.yaml", "? [a, b]\n: c"),
        ("a.yaml", "name: a\n---\nname: b"),
        ("a.yaml", "name: *nobody"),
        ("a.yaml", ""),
        ("a.json", "{\"name\": \"a\", }}"),
    ];
    let told: Vec<String> = cases.iter().map(|(name, text)| told(name, text)).collect();
    insta::assert_snapshot!(told.join("\n\n"));
    for word in ["struct", "enum", "variant", "map", "sequence", "deserialize"] {
        assert!(!told.join(" ").split(|c: char| !c.is_alphanumeric()).any(|w| w == word), "{word}: {told:?}");
    }
}

#[test]
fn of_a_long_text_the_first_mistake_is_told_and_places_cost_little() {
    let garbage = "\u{fffd}".repeat(300_000);
    assert_eq!(Manifest::parse(&garbage, Format::Toml).unwrap_err().faults.len(), 1);
    let head = "name = 'web'\ntype = 'service'\n[run.process]\ncommand = ['/bin/true']\n[env]\n";
    // To look for each place from the beginning of the text would take minutes.
    let many: String = (0..60_000).map(|n| format!("A{n} = 'b'\n")).collect();
    assert!(Manifest::parse(&format!("{head}{many}A0 = 'c'\n"), Format::Toml).is_err());
    let in_line: String = (0..60_000).map(|n| format!("A{n} = 'b',")).collect();
    let head = head.replace("[env]\n", "").replace("[run", &format!("env = {{ {in_line} A0 = 'c' }}\n[run"));
    assert!(Manifest::parse(&head, Format::Toml).is_err());
}

#[test]
fn many_mistakes_are_cut() {
    let text: String = (0..50).map(|i| format!("colour{i} = 1\n")).collect();
    let error = Manifest::parse(&text, Format::Toml).unwrap_err();
    assert_eq!(error.faults.len(), MAX_FAULTS);
    assert!(error.to_string().ends_with(&format!("and {} more mistakes", error.more)), "{error}");
}

#[test]
fn numbers_of_yaml_may_stand_for_texts_as_they_are_spelt() {
    let text = "name: a\ntype: job\nenv: {PORT: 8080, VERSION: 1.10, HEX: 0x10}\nrun: {process: {command: [sleep, 5]}}";
    let manifest = Manifest::parse(text, Format::Yaml).unwrap();
    assert_eq!(manifest.env["PORT"], "8080");
    assert_eq!(manifest.env["VERSION"], "1.10");
    assert_eq!(manifest.env["HEX"], "0x10");
    let Run::Process(run) = manifest.run else { panic!("a process") };
    assert_eq!(run.command, ["sleep", "5"]);
}

#[test]
fn what_a_later_version_does_is_read_from_documents() {
    let fields = [
        ("name", "\"a\""),
        ("type", "\"cron\""),
        ("schedule", "\"* * * * *\""),
        ("run", r#"{"wasm":{"component":"x"}}"#),
    ];
    assert_eq!(Manifest::from_fields(fields).unwrap().kind, AppType::Cron);
}

proptest::proptest! {
    /// Whatever is written, the answer is a manifest or faults with words in them.
    #[test]
    fn any_text_is_read_or_refused(text in "(name|type|run|env|[a-z]{1,9}|\\[|\\]|=|:|\\{|\\}|\"|\n| |-|[0-9]|é){0,60}") {
        for format in [Format::Toml, Format::Yaml] {
            if let Err(error) = Manifest::parse(&text, format) {
                proptest::prop_assert!(!error.faults.is_empty());
                proptest::prop_assert!(error.faults.iter().all(|fault| !fault.message.is_empty()));
            }
        }
    }
}

#[test]
fn hostile_sizes_and_depths_are_refused() {
    let deep = format!("name: {}1{}", "[".repeat(1000), "]".repeat(1000));
    assert!(Manifest::parse(&deep, Format::Yaml).is_err());
    let deep = format!("name = {}1{}", "[".repeat(1000), "]".repeat(1000));
    assert!(Manifest::parse(&deep, Format::Toml).is_err());
    let bomb = "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nname: *c";
    assert!(Manifest::parse(bomb, Format::Yaml).is_err());
    assert!(Manifest::parse(&"#".repeat(MAX_MANIFEST_BYTES + 1), Format::Toml).is_err());
}

#[test]
fn the_format_is_guessed_from_the_name_or_the_text() {
    assert_eq!(Format::guess("a.yml", ""), Format::Yaml);
    assert_eq!(Format::guess("-", "# c\nname: x"), Format::Yaml);
    assert_eq!(Format::guess("-", "{\"name\": 1}"), Format::Yaml);
    assert_eq!(Format::guess("-", "name = \"a:b\""), Format::Toml);
}
