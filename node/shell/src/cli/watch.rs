//! `logs` and `events`.

use super::{
    Target,
    client::Context,
    exit::{self, failure},
    output,
};
use anyhow::Result;
use clap::Args;
use futures::{StreamExt as _, pin_mut};
use holm_rpc::{Client, LogStream, LogsItem, LogsParams, RpcError};
use holm_types::{
    Label, TaskId,
    api::{TaskRef, TaskRow},
};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct Logs {
    /// A task's id, or an app.
    name: String,
    /// Go on until the task ends.
    #[arg(short, long)]
    follow: bool,
    /// Standard error instead of standard output.
    #[arg(long)]
    stderr: bool,
    /// The app's namespace.
    #[arg(short, long)]
    namespace: Option<Label>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct Events {
    /// Go on with what happens from now.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    target: Target,
}

/// `holm logs`
pub async fn logs(context: &Context, args: Logs) -> Result<ExitCode> {
    let client = context.connect(&args.target).await?;
    let stream = if args.stderr { LogStream::Stderr } else { LogStream::Stdout };
    let mut params = LogsParams { id: None, app: None, namespace: None, stream: Some(stream), follow: args.follow };
    match find_task(&client, &args.name).await? {
        Some(task) => params.id = Some(task),
        None => {
            let not_found = |_| failure(exit::NOT_FOUND, format!("there is no task or app {:?}", args.name));
            params.app = Some(args.name.parse().map_err(not_found)?);
            params.namespace = args.namespace;
        }
    }
    let items = client.subscribe_logs(&params).await?;
    pin_mut!(items);
    let mut several = Several::default();
    while let Some(item) = items.next().await {
        several.print(context, item?);
    }
    Ok(ExitCode::SUCCESS)
}

async fn find_task(client: &Client, name: &str) -> Result<Option<TaskId>> {
    let Ok(id) = name.parse::<TaskId>() else { return Ok(None) };
    match client.call::<_, TaskRow>("task.get", &TaskRef { id: id.clone() }).await {
        Ok(_) => Ok(Some(id)),
        Err(RpcError::Remote { code: 1004, .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Lines of one task are printed as they are; as soon as there are two, each says whose it is.
#[derive(Default)]
struct Several {
    first: Option<TaskId>,
    more: bool,
}

impl Several {
    fn print(&mut self, context: &Context, item: LogsItem) {
        self.more |= *self.first.get_or_insert_with(|| item.task.clone()) != item.task;
        if context.output == output::Format::Json {
            output::line(
                &serde_json::json!({ "task": item.task, "stream": item.stream, "lines": item.lines }).to_string(),
            );
            return;
        }
        for text in &item.lines {
            if self.more { output::line(&format!("{}: {text}", item.task)) } else { output::line(text) }
        }
        if let Some(error) = item.error {
            eprintln!("holm: {}: {}", item.task, error.message);
        }
    }
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
