//! What a fleet owner watches of a node, in numbers: what is there now, and what was counted since the start.

use crate::Node;
use holm_types::view::{Liveness, TaskState};
use std::fmt::Write as _;

/// Liveness of members, as it is told.
const LIVENESS: [(Liveness, &str); 4] =
    [(Liveness::Alive, "alive"), (Liveness::Suspect, "suspect"), (Liveness::Dead, "dead"), (Liveness::Left, "left")];

impl Node {
    /// The numbers as Prometheus text: a fixed number of lines, whatever the mesh holds. No name and no id is among them.
    pub fn gauges(&self) -> String {
        let mut text = String::new();
        self.tell_members(&mut text);
        let running = self.tasks.running_count().into();
        let lasting = self.tasks.running.values().filter(|task| task.state != TaskState::Running).count();
        let live = || self.state.apps().values().filter(|app| app.live);
        let in_conflict = live().filter(|app| !app.conflicts.is_empty()).count();
        let fullest = self.state.usage().values().map(|usage| usage.bytes).max().unwrap_or(0);
        let end = self.config.chain.claims().map_or(0, |claims| claims.not_after);
        for (name, help, value) in [
            ("tasks_running", "Tasks that run here.", running),
            ("tasks_waiting", "Tasks here that start, stop or wait to be started again.", number(lasting)),
            ("apps", "Apps that this node knows of and that were not removed.", number(live().count())),
            (
                "apps_in_conflict",
                "Apps of which concurrent edits wait for a word (`holm status`).",
                number(in_conflict),
            ),
            ("documents", "Documents held.", number(self.state.document_count())),
            ("scope_bytes", "Bytes held of the scope of which most is held.", fullest),
            ("scope_budget_bytes", "Bytes that may be held of one scope (`--disk-budget`).", self.state.budget()),
            ("certificate_end_seconds", "When this node's certificate ends, in seconds since 1970.", end),
            ("reads_only", "1 while this node writes nothing: its certificate has ended.", self.reads_only.into()),
            ("revoked", "1 once this node was revoked, as far as it knows.", self.is_revoked().into()),
        ] {
            gauge(&mut text, name, help, value);
        }
        let state = self.state.counters().iter().map(|(name, n)| (format!("state_{name}"), *n));
        for (name, n) in self.counters.iter().map(|(name, n)| ((*name).to_owned(), *n)).chain(state) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# TYPE holm_{name}_total counter\nholm_{name}_total {n}");
        }
        text
    }

    fn tell_members(&self, text: &mut String) {
        let _ = writeln!(text, "# HELP holm_nodes Members, by what this node holds them for.\n# TYPE holm_nodes gauge");
        for (liveness, name) in LIVENESS {
            let count = self.nodes.values().filter(|node| node.liveness == liveness).count();
            let _ = writeln!(text, "holm_nodes{{state=\"{name}\"}} {count}");
        }
        let relayed = self.peers.values().filter(|peer| peer.relayed).count();
        gauge(text, "peers", "Members that this node is connected with.", number(self.peers.len()));
        gauge(text, "peers_relayed", "Those of them that a relay carries.", number(relayed));
    }
}

fn gauge(text: &mut String, name: &str, help: &str, value: u64) {
    let _ = writeln!(text, "# HELP holm_{name} {help}\n# TYPE holm_{name} gauge\nholm_{name} {value}");
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
