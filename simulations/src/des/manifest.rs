//! The request of a client that a submission of a plan stands for.

use super::runner::{EXIT_CODE, RUN_MS, STOP_MS};
use crate::scenario::{AppKind, Request, Submission};
use holm_types::api::{self, AppRef, ApplyParams, ScaleParams};
use std::fmt::Write as _;

/// As a client sends it; none when the app has no valid name.
pub(crate) fn request(submission: &Submission) -> Option<api::Request> {
    let name = submission.app.parse().ok()?;
    Some(match &submission.request {
        Request::Remove => api::Request::AppDelete(AppRef { name, namespace: None, site: None }),
        Request::Scale { count } => {
            let replicas = *count;
            api::Request::AppScale(ScaleParams { name, namespace: None, site: None, replicas, expected_revision: None })
        }
        apply => {
            let text = Some(text(&submission.app, apply));
            let (expected_revision, idempotency_key) = (None, None);
            api::Request::AppApply(ApplyParams { manifest: None, text, expected_revision, idempotency_key })
        }
    })
}

/// The manifest, as a user would write it.
fn text(app: &str, request: &Request) -> String {
    let Request::Apply { app_kind, count, parallel, runs, exit_code, stops, site, fenced } = request else {
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
    if *fenced {
        text.push_str("[partition]\npolicy = \"fence\"\n");
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
