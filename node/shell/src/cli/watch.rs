//! `events`.

use super::{Target, client::Context, output};
use anyhow::Result;
use clap::Args;
use futures::{StreamExt as _, pin_mut};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct Events {
    /// Go on with what happens from now.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    target: Target,
}

/// `holm events`
pub async fn events(context: &Context, args: Events) -> Result<ExitCode> {
    let client = context.connect(&args.target).await?;
    let events = client.subscribe_events(true, args.follow).await?;
    pin_mut!(events);
    while let Some(event) = events.next().await {
        let event = event?;
        let subject = event.task.as_ref().map(ToString::to_string).or(event.app.clone()).unwrap_or_default();
        let kind = serde_json::to_value(event.kind)?;
        let kind = kind.as_str().unwrap_or_default();
        let text = format!("{} {:<12} {:<13} {subject} {}", output::date(event.at), event.node, kind, event.detail);
        context.output.say(&event, text.trim_end());
    }
    Ok(ExitCode::SUCCESS)
}
