//! The manifest that a request of a plan stands for.

use super::runner::{EXIT_CODE, RUN_MS, STOP_MS};
use crate::scenario::{AppKind, Request};
use std::fmt::Write as _;

/// As a user would write it.
pub(super) fn text(app: &str, request: &Request) -> String {
    let Request::Apply { app_kind, count, parallel, runs, exit_code, stops, site } = request else {
        return String::new();
    };
    let mut text = format!("name = \"{app}\"\n");
    // Writing to a String does not fail.
    let _ = match app_kind {
        AppKind::Service => write!(text, "type = \"service\"\nreplicas = {count}\n"),
        AppKind::Daemon => writeln!(text, "type = \"daemon\""),
        AppKind::Job => write!(text, "type = \"job\"\ntasks = {count}\nparallel = {}\n", parallel.unwrap_or(10)),
    };
    text.push_str("[run.process]\ncommand = [\"work\"]\n");
    if let Some(site) = site {
        let _ = write!(text, "[place]\nsite = \"{site}\"\n");
    }
    text.push_str("[env]\n");
    if let Some(runs) = runs {
        let _ = write!(text, "{RUN_MS} = \"{}\"\n{EXIT_CODE} = \"{exit_code}\"\n", runs.0);
    }
    if stops.0 > 0 {
        let _ = writeln!(text, "{STOP_MS} = \"{}\"", stops.0);
    }
    text
}
