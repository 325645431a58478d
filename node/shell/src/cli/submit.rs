//! `apply`, `rm` and `scale`, and reading a manifest's file.

use super::{
    Target,
    client::Context,
    exit::{USAGE, failure},
    output, read,
    wait::{Patience, wait},
};
use anyhow::Result;
use clap::Args;
use holm_types::{
    Label,
    api::{AppRef, Applied, ApplyParams, ScaleParams},
    manifest::{Format, MAX_MANIFEST_BYTES, MAX_SLOTS, Manifest},
};
use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

#[derive(Debug, Args)]
pub struct Apply {
    /// The manifest, TOML or YAML; `-` reads standard input.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Wait until everything runs and keeps running for the time of --settle (service, daemon), or is done (job).
    #[arg(long)]
    wait: bool,
    /// With --wait: how long every task must have run without a restart.
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = read::duration)]
    settle: Duration,
    /// With --wait: how long to wait.
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = read::duration)]
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
    pub file: PathBuf,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct AppArg {
    /// The app.
    app: Label,
    /// Its namespace.
    #[arg(short, long)]
    namespace: Option<Label>,
    /// Its site, where there are several apps of this name.
    #[arg(long)]
    site: Option<Label>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct Scale {
    /// The app.
    app: Label,
    /// How many.
    #[arg(allow_negative_numbers = true, value_name = "N", value_parser = count)]
    replicas: u32,
    /// Its namespace.
    #[arg(short, long)]
    namespace: Option<Label>,
    /// Its site, where there are several apps of this name.
    #[arg(long)]
    site: Option<Label>,
    #[command(flatten)]
    target: Target,
}

fn count(text: &str) -> Result<u32, String> {
    let wrong = || format!("a whole number from 0 to {MAX_SLOTS} is needed");
    text.parse().ok().filter(|n| *n <= MAX_SLOTS).ok_or_else(wrong)
}

/// Reads no more of the file than a manifest may have.
fn read_manifest(file: &Path) -> Result<Manifest> {
    let limit = MAX_MANIFEST_BYTES as u64 + 1;
    let stdin = file == Path::new("-");
    let name = if stdin { "standard input".to_owned() } else { file.display().to_string() };
    let wrong = |why: String| failure(USAGE, format!("{name}: {why}"));
    let mut bytes = Vec::new();
    let read = match stdin {
        true => std::io::stdin().take(limit).read_to_end(&mut bytes),
        false => std::fs::File::open(file).and_then(|opened| opened.take(limit).read_to_end(&mut bytes)),
    };
    read.map_err(|e| wrong(format!("cannot be read: {e}")))?;
    if bytes.len() > MAX_MANIFEST_BYTES {
        return Err(wrong(format!("larger than {MAX_MANIFEST_BYTES} bytes, which no manifest may be")));
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("not UTF-8 text".to_owned()))?;
    Manifest::parse(&text, Format::guess(&name, &text)).map_err(|e| failure(USAGE, e.in_file(&name)))
}

/// The parameters of `app.apply` and `app.plan`.
pub fn parameters(file: &Path, expected_revision: Option<u64>) -> Result<ApplyParams> {
    let manifest = Some(read_manifest(file)?);
    Ok(ApplyParams { manifest, text: None, expected_revision, idempotency_key: None })
}

/// Submits an app.
pub async fn apply(context: &Context, args: Apply) -> Result<ExitCode> {
    let params = parameters(&args.file, args.expected_revision)?;
    let client = context.connect(&args.target).await?;
    let applied: Applied = client.call("app.apply", &params).await?;
    warn(&applied);
    if args.wait {
        wait(&client, &applied, Patience { timeout: args.timeout, settle: args.settle }).await?;
    }
    let what = if applied.changed { "applied" } else { "unchanged" };
    context.output.say(&applied, &format!("{} {what}, revision {}", name(&applied), applied.revision));
    Ok(ExitCode::SUCCESS)
}

fn warn(applied: &Applied) {
    applied.warnings.iter().for_each(|warning| output::complain(&format!("holm: warning: {warning}")));
}

fn name(applied: &Applied) -> String {
    output::app_name(&applied.namespace, &applied.name)
}

/// Removes an app.
pub async fn remove(context: &Context, args: AppArg) -> Result<ExitCode> {
    let client = context.connect(&args.target).await?;
    let removed: Applied =
        client.call("app.delete", &AppRef { name: args.app, namespace: args.namespace, site: args.site }).await?;
    warn(&removed);
    context.output.say(&removed, &format!("{} removed", name(&removed)));
    Ok(ExitCode::SUCCESS)
}

/// Changes how many tasks run.
pub async fn scale(context: &Context, args: Scale) -> Result<ExitCode> {
    let client = context.connect(&args.target).await?;
    let params = ScaleParams {
        name: args.app,
        namespace: args.namespace,
        site: args.site,
        replicas: args.replicas,
        expected_revision: None,
    };
    let scaled: Applied = client.call("app.scale", &params).await?;
    let text = format!("{} scaled to {}, revision {}", name(&scaled), args.replicas, scaled.revision);
    match context.output {
        output::Format::Json => context.output.say(&scaled, ""),
        output::Format::Table => output::line(&text),
    }
    Ok(ExitCode::SUCCESS)
}
