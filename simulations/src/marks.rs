//! The reachability marks of the product ([`holm_types::sometimes!`]): which there are, so that a report can
//! name those that no run has reached.

/// All of them, by room. A test compares them with the product's sources.
pub const ALL: &[&str] = &[
    "a node hears changes of its own that it had lost",
    "a node hears of a life of its own that it had lost",
    "a life that began long after the last leaves a word",
    "an assignment comes before its manifest",
    "a task waits until its predecessor here has ended",
    "the loser of a slot stops itself",
    "a slot ended under a later task while its holder is away",
    "a long wait before a dial is cut short",
    "an old heartbeat is ignored",
    "a dead node is alive again",
    "a repair goes on in another round",
    "two rounds cross",
    "automerge is asked what a writer had seen",
    "a member introduces itself by heartbeat",
    "a change waits for what it follows",
    "a node stood still",
    "a node that is held for dead speaks",
    "a roll call is answered",
    "an overdue node speaks before it is held for dead",
    "changes come together",
    "a found task is not known",
    "a running task is adopted",
    "a found task learns what it was started for",
    "a task is found that was being stopped",
    "the end of a task is found",
    "the host went down while a task was being stopped",
    "decisions wait while parts of the mesh merge",
    "decisions wait for members that were never heard",
    "a slot is held by a node of which nothing is known",
    "an assignment is refused",
    "a host cannot start a task",
    "a task keeps running after crashes",
    "words of a lost life about a task are corrected",
    "a node that comes and goes is waited for",
    "a guard that has just started grants nothing",
    "a guard that is new to an app grants nothing",
    "a lease cannot be kept",
    "a submission waits for the node to know the mesh",
    "a task has ended with its lease",
    "a task that waits for its lease is not wanted any more",
    "the loser of a fenced slot stops before the winner runs",
    "the only guard finds its own task running",
    "two ask for one lease and both let go",
    "a node hears of a revocation",
    "an issuer renews a certificate",
    "a certificate was renewed",
    "a certificate is renewed at a gate",
    "a node only reads, since its certificate has ended",
    "tasks of an app that was removed are collected",
    "the end of a task of an app that was removed is told",
    "tasks that were collected come from a node that was away",
    "a life of an app that had ended goes on",
    "the history of tasks goes on in another volume",
    "a node says again in the next volume what counts of its tasks",
    "a volume takes the place of those before it",
];

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
    };

    fn sources(folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).expect("a folder of the product").flatten() {
            let path = entry.path();
            if path.is_dir() {
                found.extend(sources(&path));
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
        found
    }

    #[test]
    fn every_mark_of_the_product_is_listed_once() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let rooms = ["crdt-state/core/src", "scheduler/src", "mesh/core/src", "node/core/src"];
        let mut there = BTreeSet::new();
        for source in rooms.iter().flat_map(|room| sources(&root.join(room))) {
            let text = fs::read_to_string(&source).expect("a source file");
            for mark in text.split("sometimes!(\"").skip(1) {
                let mark = mark.split('"').next().expect("a literal").to_owned();
                assert!(there.insert(mark.clone()), "{}: {mark:?} is there twice", source.display());
            }
        }
        let listed: BTreeSet<String> = super::ALL.iter().map(|mark| (*mark).to_owned()).collect();
        assert_eq!(listed.len(), super::ALL.len(), "a mark is listed twice");
        assert_eq!(listed, there, "list the marks of the product in simulations/src/marks.rs");
    }
}
