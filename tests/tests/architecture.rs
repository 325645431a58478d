//! The rooms and the arrows between them, as `ARCHITECTURE.md` says them, enforced.
//!
//! When one of these fails, either the change is in the wrong room, or the frame has changed: then change the table
//! here and `ARCHITECTURE.md` together, with the reason.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Each crate, its room, and the crates of this workspace that it may use.
const ROOMS: &[(&str, &str, &[&str])] = &[
    ("holm-types", "types", &[]),
    ("holm-state", "crdt-state", &["holm-types"]),
    ("holm-state-rocks", "crdt-state", &["holm-types", "holm-state"]),
    ("holm-scheduler", "scheduler", &["holm-types"]),
    ("holm-mesh-core", "mesh", &["holm-types"]),
    ("holm-mesh-net", "mesh", &["holm-types", "holm-mesh-core"]),
    ("holm-exec", "exec", &["holm-types"]),
    ("holm-rpc", "rpc", &["holm-types"]),
    ("holm-node-core", "node", &["holm-types", "holm-state", "holm-scheduler", "holm-mesh-core"]),
    ("holm-node-net", "node", &["holm-types", "holm-mesh-net", "holm-node-core"]),
    (
        "holm",
        "node",
        &[
            "holm-types",
            "holm-state",
            "holm-state-rocks",
            "holm-scheduler",
            "holm-mesh-core",
            "holm-mesh-net",
            "holm-exec",
            "holm-rpc",
            "holm-node-core",
            "holm-node-net",
        ],
    ),
    ("holm-bootstrap", "bootstrap", &["holm-types", "holm-mesh-core", "holm-mesh-net"]),
    (
        "holm-simulations",
        "simulations",
        &["holm-types", "holm-state", "holm-scheduler", "holm-mesh-core", "holm-node-core"],
    ),
    ("holm-netlab", "simulations", &[]),
    ("holm-tests", "tests", &["holm-netlab"]),
    (
        "holm-benches",
        "benches",
        &["holm-types", "holm-state", "holm-state-rocks", "holm-mesh-core", "holm-mesh-net", "holm-node-core"],
    ),
];

/// Crates from outside that only some of ours may use, by the beginning of their names.
const GUARDED: &[(&str, &[&str])] = &[
    ("libp2p", &["holm-mesh-net"]),
    ("yamux", &["holm-mesh-net"]),
    ("automerge", &["holm-state"]),
    // A benchmark sets a bare database beside ours.
    ("rocksdb", &["holm-state-rocks", "holm-benches"]),
    ("jsonrpsee", &["holm-rpc"]),
    ("axum", &["holm-rpc"]),
    ("tower", &["holm-rpc"]),
    ("wasmtime", &["holm-exec"]),
    ("bollard", &["holm-exec"]),
    ("clap", &["holm", "holm-bootstrap", "holm-netlab", "holm-simulations", "holm-tests"]),
    ("comfy-table", &["holm"]),
    ("anyhow", &["holm", "holm-bootstrap", "holm-netlab", "holm-simulations", "holm-tests", "holm-benches"]),
    ("libtest-mimic", &["holm-netlab", "holm-tests"]),
];

/// Crates that see no socket, disk, clock, thread or random generator of the system.
const PURE: &[&str] = &["holm-types", "holm-state", "holm-scheduler", "holm-mesh-core", "holm-node-core"];

/// What would let a pure crate see the world, by the beginning of the name.
const WORLDLY: &[&str] =
    &["tokio", "async-std", "smol", "mio", "socket2", "libc", "nix", "rustix", "getrandom", "tempfile", "reqwest"];

/// Lines of a Rust file, at most, and of a `main.rs`.
const MOST_LINES: usize = 600;
const MOST_LINES_OF_MAIN: usize = 130;

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("this crate lies in the workspace's folder").to_owned()
}

/// What a crate uses: the name, and the kind (`normal`, `build` or `dev`).
type Uses = BTreeSet<(String, String)>;

fn workspace() -> BTreeMap<String, Uses> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let kind = |d: &Value| d["kind"].as_str().unwrap_or("normal").to_owned();
            let uses = list(&package["dependencies"]).iter().map(|d| (text(&d["name"]), kind(d))).collect();
            (text(&package["name"]), uses)
        })
        .collect()
}

/// Every file below `folder` whose name ends with `end`, without build output and hidden folders.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of this repository").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(files(&path, end));
        } else if name.ends_with(end) {
            found.push(path);
        }
    }
    found
}

/// A path as people write it.
fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn none(wrong: &[String], what_to_do: &str) {
    assert!(wrong.is_empty(), "\n  {}\n\n{what_to_do}\n", wrong.join("\n  "));
}

#[test]
fn every_crate_has_a_room() {
    let known: BTreeSet<&str> = ROOMS.iter().map(|(name, ..)| *name).collect();
    let there = workspace();
    let there: BTreeSet<&str> = there.keys().map(String::as_str).collect();
    assert_eq!(there, known, "name the crate in ROOMS of tests/tests/architecture.rs, and say what it may use");
}

#[test]
fn arrows_point_one_way() {
    let all: BTreeSet<&str> = ROOMS.iter().map(|(name, ..)| *name).collect();
    let mut wrong = Vec::new();
    for (name, uses) in workspace() {
        let may: &[&str] = ROOMS.iter().find(|(room, ..)| *room == name).map_or(&[], |(_, _, may)| may);
        for (used, kind) in uses.iter().filter(|(used, _)| all.contains(used.as_str())) {
            if !may.contains(&used.as_str()) {
                wrong.push(format!("{name} uses {used} ({kind})"));
            }
        }
    }
    none(
        &wrong,
        "These arrows are not in the frame. Move what is needed to a room that both may use (plain types: `types/`), \
         or hand it in from the composition root (`node/shell`).",
    );
}

#[test]
fn guarded_libraries_stay_in_their_room() {
    let mut wrong = Vec::new();
    for (name, uses) in workspace() {
        for (used, kind) in &uses {
            let guard = GUARDED.iter().find(|(begin, _)| used == begin || used.starts_with(&format!("{begin}-")));
            if guard.is_some_and(|(_, may)| !may.contains(&name.as_str())) {
                wrong.push(format!("{name} uses {used} ({kind})"));
            }
        }
    }
    none(
        &wrong,
        "Each of these libraries is hidden behind one room's own types, so that it can be replaced. Use that room's \
         interface instead.",
    );
}

#[test]
fn pure_crates_see_no_world() {
    let mut wrong = Vec::new();
    for (name, uses) in workspace().into_iter().filter(|(name, _)| PURE.contains(&name.as_str())) {
        for (used, kind) in uses.iter().filter(|(_, kind)| kind != "dev") {
            if WORLDLY.iter().any(|begin| used == begin || used.starts_with(&format!("{begin}-"))) {
                wrong.push(format!("{name} uses {used} ({kind})"));
            }
        }
    }
    none(
        &wrong,
        "A pure core gets time and seeds as input and gives effects as output, or the simulator is not real. Do the \
         work in the shell that carries the effects out.",
    );
    for name in PURE {
        let room = ["types", "crdt-state/core", "scheduler", "mesh/core", "node/core"]
            .into_iter()
            .find(|folder| {
                let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap_or_default();
                manifest.contains(&format!("name = \"{name}\""))
            })
            .unwrap_or_else(|| panic!("{name} has moved: say where in this test"));
        let rules = fs::read_to_string(root().join(room).join("clippy.toml")).unwrap_or_default();
        for banned in ["Instant::now", "SystemTime::now", "thread::spawn", "HashMap", "HashSet"] {
            assert!(rules.contains(banned), "{room}/clippy.toml must disallow {banned}: copy it from types/");
        }
    }
}

#[test]
fn every_manifest_is_filled_in() {
    let mut wrong = Vec::new();
    for path in files(&root(), "Cargo.toml") {
        let text = fs::read_to_string(&path).expect("a manifest");
        let manifest: toml::Table = text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let Some(package) = manifest.get("package") else { continue };
        let description = package.get("description").and_then(|d| d.as_str()).unwrap_or_default();
        if description.len() < 20 {
            wrong.push(format!("{}: the description says nothing", shown(&path)));
        }
        let lints = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(|w| w.as_bool());
        if lints != Some(true) {
            wrong.push(format!("{}: [lints] workspace = true is missing", shown(&path)));
        }
    }
    none(&wrong, "A crate says in one line what it is, and obeys the workspace's lints.");
}

#[test]
fn files_hold_one_idea() {
    let mut wrong = Vec::new();
    for path in files(&root(), ".rs") {
        let lines = fs::read_to_string(&path).expect("a source file").lines().count();
        let is_main = path.file_name().is_some_and(|name| name == "main.rs");
        let most = if is_main { MOST_LINES_OF_MAIN } else { MOST_LINES };
        if lines > most {
            wrong.push(format!("{}: {lines} lines, at most {most}", shown(&path)));
        }
    }
    none(&wrong, "Split the file by idea, not by length; a `main.rs` only tells the story.");
}

#[test]
fn the_map_names_every_room() {
    let path = root().join("ARCHITECTURE.md");
    let map = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}: write it", path.display()));
    let rooms: BTreeSet<&str> = ROOMS.iter().map(|(_, room, _)| *room).collect();
    let missing: Vec<String> =
        rooms.into_iter().filter(|room| !map.contains(&format!("`{room}/"))).map(str::to_owned).collect();
    none(&missing, "ARCHITECTURE.md does not name these rooms (as `room/` in backquotes): say what lives there.");
}
