//! What users ask of the fleet, and what was promised to them.

use crate::{
    SwarmError,
    agent::Shared,
    host::{EXIT_CODE, RUNS, STOPS},
    tasks::Tasks,
    world::{World, ask},
};
use holm_simulations::scenario::{AppKind, HostNo, Ms, Request as Wish, Submission};
use holm_types::api::{AppRef, ApplyParams, Request, ScaleParams};
use std::{collections::BTreeMap, fmt::Write as _};

/// What is known of an app's submissions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Promise {
    /// An application of it was acknowledged, by this host at this time.
    pub(crate) applied: Option<(HostNo, Ms)>,
    /// Somebody asked to remove it, at whatever time and with whatever answer.
    pub(crate) removal_asked: bool,
}

/// By app.
pub(crate) type Promises = Shared<BTreeMap<String, Promise>>;

impl World {
    /// Sends a submission on its way; the answer is recorded when it comes.
    pub(crate) fn submit(&self, submission: &Submission, promises: &Promises, tasks: &Tasks) -> Result<(), SwarmError> {
        let (app, on, start) = (submission.app.clone(), submission.on, self.instant(Ms(0)));
        let request = request_of(&app, &submission.request)?;
        let kind = match &submission.request {
            Wish::Apply { .. } => "apply",
            Wish::Scale { .. } => "scale",
            Wish::Remove => {
                promises.lock().entry(app.clone()).or_default().removal_asked = true;
                "remove"
            }
        };
        self.note(Some(on), "submit", format!("{kind} {app}"));
        let Some(agent) = self.agent(on) else {
            self.note(Some(on), "not-asked", format!("{kind} {app}: no agent runs"));
            return Ok(());
        };
        let (record, promises) = (self.record.clone(), promises.clone());
        tasks.spawn(async move {
            let answer = ask(&agent, request).await;
            let now = Ms(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX));
            let (what, detail) = match answer {
                Some(Ok(_)) => ("acknowledged", String::new()),
                Some(Err(error)) => ("refused-request", format!(": {error}")),
                None => ("unanswered", String::new()),
            };
            record.lock().note(now, Some(on), what, format!("{kind} {app}{detail}"));
            if what == "acknowledged" && kind == "apply" {
                promises.lock().entry(app).or_default().applied = Some((on, now));
            }
        });
        Ok(())
    }
}

fn request_of(app: &str, wish: &Wish) -> Result<Request, SwarmError> {
    let name = app.parse().map_err(|e| SwarmError::Plan(format!("app {app:?}: {e}")))?;
    Ok(match wish {
        Wish::Scale { count } => Request::AppScale(ScaleParams {
            name,
            namespace: None,
            site: None,
            replicas: *count,
            expected_revision: None,
        }),
        Wish::Remove => Request::AppDelete(AppRef { name, namespace: None, site: None }),
        Wish::Apply { .. } => Request::AppApply(ApplyParams {
            manifest: None,
            text: Some(manifest(app, wish)),
            expected_revision: None,
            idempotency_key: None,
        }),
    })
}

/// The manifest of a wish; how its tasks behave stands in their environment.
fn manifest(app: &str, wish: &Wish) -> String {
    let Wish::Apply { app_kind, count, parallel, runs, exit_code, stops, site } = wish else { return String::new() };
    let mut text = format!("name = {app:?}\n");
    // Writing to a String cannot fail.
    let _ = match app_kind {
        AppKind::Service => writeln!(text, "type = \"service\"\nreplicas = {count}"),
        AppKind::Daemon => writeln!(text, "type = \"daemon\""),
        AppKind::Job => {
            let parallel = parallel.unwrap_or(*count).max(1);
            writeln!(text, "type = \"job\"\ntasks = {count}\nparallel = {parallel}")
        }
    };
    text.push_str("[run.process]\ncommand = [\"simulated\"]\n[env]\n");
    let _ = writeln!(text, "{EXIT_CODE} = \"{exit_code}\"\n{STOPS} = \"{}\"", stops.0);
    if let Some(Ms(ms)) = runs {
        let _ = writeln!(text, "{RUNS} = \"{ms}\"");
    }
    if let Some(site) = site {
        let _ = writeln!(text, "[place]\nsite = {site:?}");
    }
    text
}
