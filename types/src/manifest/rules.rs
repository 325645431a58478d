//! The rules that concern more than one field, or more than a field's type.

use super::{AppType, MAX_SLOTS, Manifest, Run};
use std::fmt;

const MAX_ENV: usize = 128;
const MAX_RETRIES: u32 = 100;

/// A rule that a manifest breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken {
    path: Vec<String>,
    why: String,
}

impl Broken {
    fn new(path: &[&str], why: impl Into<String>) -> Broken {
        Broken { path: path.iter().map(|key| (*key).to_owned()).collect(), why: why.into() }
    }

    /// The keys that lead to the field.
    pub fn path(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.join("."), self.why)
    }
}

/// All rules that `manifest` breaks.
pub(super) fn broken(manifest: &Manifest) -> Vec<Broken> {
    let mut broken = Vec::new();
    types(manifest, &mut broken);
    counts(manifest, &mut broken);
    env(manifest, &mut broken);
    run(manifest, &mut broken);
    if manifest.place.prefer.iter().any(|label| !label.contains('=')) {
        broken.push(Broken::new(&["place", "prefer"], "is a list of labels written key=value, such as [\"disk=ssd\"]"));
    }
    broken
}

fn types(manifest: &Manifest, broken: &mut Vec<Broken>) {
    let job = matches!(manifest.kind, AppType::Job | AppType::Cron);
    let service = manifest.kind == AppType::Service;
    let fields = [
        ("replicas", manifest.replicas.is_some(), service, "is only for an app of type \"service\""),
        ("tasks", manifest.tasks.is_some(), job, "is only for an app of type \"job\""),
        ("parallel", manifest.parallel.is_some(), job, "is only for an app of type \"job\""),
        ("retries", manifest.retries.is_some(), job, "is only for an app of type \"job\""),
    ];
    for (name, set, fitting, why) in fields {
        if set && !fitting {
            broken.push(Broken::new(&[name], why));
        }
    }
    let cron = manifest.kind == AppType::Cron;
    match manifest.schedule.is_some() {
        true if !cron => broken.push(Broken::new(&["schedule"], "is only for an app of type \"cron\"")),
        false if cron => broken.push(Broken::new(&["schedule"], "is needed by an app of type \"cron\"")),
        _ => {}
    }
}

fn counts(manifest: &Manifest, broken: &mut Vec<Broken>) {
    let counts = [
        ("replicas", manifest.replicas, 0, MAX_SLOTS),
        ("tasks", manifest.tasks, 1, MAX_SLOTS),
        ("parallel", manifest.parallel, 1, MAX_SLOTS),
        ("retries", manifest.retries, 0, MAX_RETRIES),
    ];
    for (name, count, least, most) in counts {
        if count.is_some_and(|n| n < least || n > most) {
            broken.push(Broken::new(&[name], format!("must be a whole number from {least} to {most}")));
        }
    }
}

fn env(manifest: &Manifest, broken: &mut Vec<Broken>) {
    if manifest.env.len() > MAX_ENV {
        broken
            .push(Broken::new(&["env"], format!("has {} entries, at most {MAX_ENV} are allowed", manifest.env.len())));
    }
    for (key, value) in &manifest.env {
        let path = ["env", key];
        if key.is_empty() || key.contains(['=', '\0']) {
            broken.push(Broken::new(&path, "is no name of a variable: it is empty, or has a '=' or a NUL"));
        }
        if value.contains('\0') {
            broken.push(Broken::new(&path, "has a NUL byte, which no environment can hold"));
        }
        if key.starts_with("HOLM_") {
            broken.push(Broken::new(&path, "begins with HOLM_: these names are Holm's own"));
        }
    }
}

fn run(manifest: &Manifest, broken: &mut Vec<Broken>) {
    let Run::Process(run) = &manifest.run else { return };
    let path = ["run", "process", "command"];
    if run.command.first().is_none_or(String::is_empty) {
        let why = "needs at least the program, such as [\"/usr/bin/env\", \"python3\", \"app.py\"]";
        broken.push(Broken::new(&path, why));
    }
    if run.command.iter().any(|arg| arg.contains('\0')) {
        broken.push(Broken::new(&path, "has an argument with a NUL byte"));
    }
}
