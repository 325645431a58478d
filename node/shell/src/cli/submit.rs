//! `apply`, `plan`, `rm` and `scale`.

use super::{
    Target,
    client::Context,
    exit::{self, failure},
    output,
};
use anyhow::{Context as _, Result};
use clap::Args;
use holm_rpc::Client;
use holm_types::{
    Label,
    api::{AppRef, AppState, AppStatus, Applied, ApplyParams, ScaleParams, SlotRow},
    manifest::{AppType, Format, MAX_MANIFEST_BYTES, Manifest},
    view::TaskState,
};
use std::{io::Read as _, path::PathBuf, process::ExitCode, time::Duration};

const POLL: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub struct Apply {
    /// The manifest, TOML or YAML; `-` reads standard input.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Wait until everything runs (service, daemon) or is done (job).
    #[arg(long)]
    wait: bool,
    /// How long to wait.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Fail unless the app is at this revision now (0: it does not exist).
    #[arg(long, value_name = "N")]
    expected_revision: Option<u64>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct Plan {
    /// The manifest, TOML or YAML; `-` reads standard input.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct AppArg {
    /// The app.
    app: Label,
    /// Its namespace.
    #[arg(short, long)]
    namespace: Option<Label>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct Scale {
    /// The app.
    app: Label,
    /// How many.
    replicas: u32,
    /// Its namespace.
    #[arg(short, long)]
    namespace: Option<Label>,
    #[command(flatten)]
    target: Target,
}

/// Reads no more of the file than a manifest may have.
fn read_manifest(file: &PathBuf) -> Result<Manifest> {
    let mut bytes = Vec::new();
    let limit = MAX_MANIFEST_BYTES as u64 + 1;
    let name = file.display().to_string();
    if name == "-" {
        std::io::stdin().take(limit).read_to_end(&mut bytes).context("cannot read standard input")?;
    } else {
        let opened = std::fs::File::open(file).with_context(|| format!("cannot open {name}"))?;
        opened.take(limit).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    }
    if bytes.len() > MAX_MANIFEST_BYTES {
        return Err(failure(3, format!("{name}: larger than {MAX_MANIFEST_BYTES} bytes, which no manifest may be")));
    }
    let text = String::from_utf8(bytes).map_err(|_| failure(3, format!("{name}: not UTF-8 text")))?;
    Manifest::parse(&text, Format::guess(&name, &text)).map_err(|e| failure(3, format!("{name}: {e}")))
}

fn parameters(file: &PathBuf, expected_revision: Option<u64>) -> Result<ApplyParams> {
    let manifest = Some(read_manifest(file)?);
    Ok(ApplyParams { manifest, text: None, expected_revision, idempotency_key: None })
}

/// Submits an app.
pub async fn apply(context: &Context, args: Apply) -> Result<ExitCode> {
    let params = parameters(&args.file, args.expected_revision)?;
    let client = context.connect(&args.target).await?;
    let applied: Applied = client.call("app.apply", &params).await?;
    for warning in &applied.warnings {
        eprintln!("holm: warning: {warning}");
    }
    if args.wait {
        wait(&client, &applied, args.timeout).await?;
    }
    let what = if applied.changed { "applied" } else { "unchanged" };
    context.output.say(&applied, &format!("{} {what}, revision {}", applied.name, applied.revision));
    Ok(ExitCode::SUCCESS)
}

/// Waits until the app is as wanted, and says what is missing when it takes too long.
async fn wait(client: &Client, applied: &Applied, timeout: Duration) -> Result<()> {
    let app = AppRef { name: applied.name.clone(), namespace: Some(applied.namespace.clone()) };
    let mut last: Option<AppStatus> = None;
    let watch = async {
        loop {
            let status: AppStatus = client.call("app.get", &app).await?;
            match status.state {
                AppState::Succeeded => return Ok(()),
                AppState::Running if status.kind != AppType::Job => return Ok(()),
                AppState::Failed => return Err(failure(1, format!("{} failed: {}", app.name, first_reason(&status)))),
                AppState::Running | AppState::Pending | AppState::Removing => last = Some(status),
            }
            tokio::time::sleep(POLL).await;
        }
    };
    match tokio::time::timeout(timeout, watch).await {
        Ok(result) => result,
        Err(_) => {
            let code = if last.as_ref().is_some_and(is_unplaced) { exit::NOT_PLACED } else { exit::TIMED_OUT };
            let why = last.as_ref().map(first_reason).unwrap_or_default();
            Err(failure(code, format!("{} is not there after {timeout:?}: {why}", app.name)))
        }
    }
}

/// A slot waits though nothing of the app is under way: a job's slots wait for their turn, too.
fn is_unplaced(status: &AppStatus) -> bool {
    let pending = |slot: &SlotRow| slot.state == TaskState::Pending;
    let active = |slot: &SlotRow| matches!(slot.state, TaskState::Assigned | TaskState::Starting | TaskState::Running);
    let under_way = status.kind == AppType::Job && status.slots.iter().any(active);
    !under_way && status.slots.iter().any(pending)
}

fn first_reason(status: &AppStatus) -> String {
    let waiting = |state: TaskState| !matches!(state, TaskState::Running | TaskState::Succeeded);
    let slot = status.slots.iter().find(|slot| waiting(slot.state));
    slot.map_or_else(String::new, |s| format!("slot {} is {}: {}", s.slot, s.state, s.reason))
}

/// Says what would be done.
pub async fn plan(context: &Context, args: Plan) -> Result<ExitCode> {
    let params = parameters(&args.file, None)?;
    let client = context.connect(&args.target).await?;
    let plan: Applied = client.call("app.plan", &params).await?;
    let what = if plan.changed { "would change" } else { "would not change" };
    context.output.say(&plan, &format!("{} {what}: revision {}", plan.name, plan.revision));
    plan.warnings.iter().for_each(|warning| eprintln!("holm: warning: {warning}"));
    Ok(ExitCode::SUCCESS)
}

/// Removes an app.
pub async fn remove(context: &Context, args: AppArg) -> Result<ExitCode> {
    let client = context.connect(&args.target).await?;
    let removed: Applied = client.call("app.delete", &AppRef { name: args.app, namespace: args.namespace }).await?;
    context.output.say(&removed, &format!("{} removed", removed.name));
    Ok(ExitCode::SUCCESS)
}

/// Changes how many tasks run.
pub async fn scale(context: &Context, args: Scale) -> Result<ExitCode> {
    let client = context.connect(&args.target).await?;
    let params =
        ScaleParams { name: args.app, namespace: args.namespace, replicas: args.replicas, expected_revision: None };
    let scaled: Applied = client.call("app.scale", &params).await?;
    let text = format!("{} scaled to {}, revision {}", scaled.name, args.replicas, scaled.revision);
    match context.output {
        output::Format::Json => context.output.say(&scaled, ""),
        output::Format::Table => output::line(&text),
    }
    Ok(ExitCode::SUCCESS)
}
