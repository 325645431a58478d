//! `logs`.

use super::{
    Target,
    client::Context,
    exit::{FAILED, NOT_FOUND, USAGE, failure},
    inspect::list,
    output,
};
use anyhow::Result;
use clap::Args;
use futures::{StreamExt as _, pin_mut};
use holm_rpc::{Client, LogStream, LogsItem, LogsParams, RpcError};
use holm_types::{
    Label, TaskId,
    api::{AppRow, ListParams, TaskRef, TaskRow},
};
use std::{collections::BTreeSet, process::ExitCode};

/// Names that an error lists, at most.
const MAX_NAMES: usize = 10;

#[derive(Debug, Args)]
pub struct Logs {
    /// A task's id, or an app: then all its tasks, one after the other.
    name: String,
    /// Go on until the task ends.
    #[arg(short, long)]
    follow: bool,
    /// Only what the task wrote to standard output.
    #[arg(long, conflicts_with = "stderr")]
    stdout: bool,
    /// Only what the task wrote to standard error.
    #[arg(long)]
    stderr: bool,
    /// The app's namespace.
    #[arg(short, long)]
    namespace: Option<Label>,
    /// Its site, where there are several apps of this name.
    #[arg(long)]
    site: Option<Label>,
    #[command(flatten)]
    target: Target,
}

/// `holm logs`
pub async fn logs(context: &Context, args: Logs) -> Result<ExitCode> {
    let client = context.connect(&args.target).await?;
    let tasks = find_tasks(&client, &args).await?;
    let several = tasks.len() > 1;
    let stream = match (args.stdout, args.stderr) {
        (true, _) => Some(LogStream::Stdout),
        (_, true) => Some(LogStream::Stderr),
        _ => None,
    };
    let params = |id| LogsParams { id, stream, follow: args.follow, ..LogsParams::default() };
    if args.follow && several {
        let app = LogsParams {
            app: args.name.parse().ok(),
            namespace: args.namespace.clone(),
            site: args.site.clone(),
            ..params(None)
        };
        return match print_all(context, &client, &app, true).await? {
            0 => Ok(ExitCode::SUCCESS),
            missing => Err(incomplete(missing, tasks.len())),
        };
    }
    // A line has no time of its own, so the lines of several tasks stay together, task by task.
    let mut missing = 0;
    for task in &tasks {
        match print_all(context, &client, &params(Some(task.clone())), several).await {
            Ok(errors) => missing += errors,
            Err(error) if several => {
                output::complain(&format!("holm: {task}: {error}"));
                missing += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    match missing {
        0 => Ok(ExitCode::SUCCESS),
        missing => Err(incomplete(missing, tasks.len())),
    }
}

/// Some logs were not read, or not to their end; what can be read is printed all the same.
fn incomplete(missing: usize, of: usize) -> anyhow::Error {
    let tasks = if of == 1 { "task" } else { "tasks" };
    failure(FAILED, format!("the log is not complete: {} of {of} {tasks} could not be read", missing.min(of)))
}

/// Prints what comes. Gives the number of the logs that could not be read to their end.
async fn print_all(context: &Context, client: &Client, params: &LogsParams, several: bool) -> Result<usize, RpcError> {
    let items = client.subscribe_logs(params).await?;
    pin_mut!(items);
    let mut failed = BTreeSet::new();
    while let Some(item) = items.next().await {
        let item = item?;
        print(context, &item, several);
        if item.error.is_some() {
            failed.insert(item.task);
        }
    }
    Ok(failed.len())
}

fn print(context: &Context, item: &LogsItem, several: bool) {
    match context.output {
        output::Format::Json => output::line(&json(item)),
        output::Format::Table => {
            // As with the task itself: what it said aside goes aside, where it can be told apart.
            let say = if item.stream == LogStream::Stderr { output::complain } else { output::line };
            item.lines.iter().for_each(|text| say(&line(&item.task, text, several)));
            if let Some(error) = &item.error {
                output::complain(&format!("holm: {}: {}", item.task, error.message));
            }
        }
    }
}

fn json(item: &LogsItem) -> String {
    let mut value = serde_json::json!({ "task": item.task, "stream": item.stream, "lines": item.lines });
    if let Some(error) = &item.error {
        value["error"] = error.message.clone().into();
    }
    value.to_string()
}

/// A line of one task is printed as it is; where there are several, each says whose it is.
fn line(task: &TaskId, text: &str, several: bool) -> String {
    if several { format!("{task} | {text}") } else { text.to_owned() }
}

/// The task that is named, or the tasks of the app that is, in the order of their slots.
async fn find_tasks(client: &Client, args: &Logs) -> Result<Vec<TaskId>> {
    if let Ok(id) = args.name.parse::<TaskId>() {
        match client.call::<_, TaskRow>("task.get", &TaskRef { id: id.clone() }).await {
            Ok(_) => return Ok(vec![id]),
            Err(RpcError::Remote { code: 1004, .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let namespace: Option<Label> = match &args.namespace {
        Some(namespace) => Some(namespace.clone()),
        None => "default".parse().ok(),
    };
    let apps: Vec<AppRow> = list(
        client,
        "app.list",
        ListParams { namespace: namespace.clone(), site: args.site.clone(), ..Default::default() },
    )
    .await?;
    let app = args.name.parse::<Label>().ok();
    let sites: Vec<&Label> =
        apps.iter().filter(|row| Some(&row.name) == app.as_ref()).filter_map(|row| row.site.as_ref()).collect();
    if sites.len() > 1 {
        return Err(failure(USAGE, several_there(&args.name, &sites)));
    }
    for all in [false, true] {
        let Some(app) = app.clone() else { break };
        let site = args.site.clone();
        let params = ListParams { app: Some(app), namespace: namespace.clone(), site, all, ..Default::default() };
        let mut rows: Vec<TaskRow> = list(client, "task.list", params).await?;
        rows.sort_by_key(|row| (row.slot, row.epoch));
        if !rows.is_empty() {
            return Ok(rows.into_iter().map(|row| row.id).collect());
        }
    }
    let names: Vec<String> = apps.iter().map(|app| app.name.to_string()).collect();
    Err(failure(NOT_FOUND, nothing_there(&args.name, &names)))
}

/// That a name is the name of several apps.
fn several_there(name: &str, sites: &[&Label]) -> String {
    let named = sites.iter().take(MAX_NAMES).map(|site| site.as_str()).collect::<Vec<_>>().join(", ");
    let more = if sites.len() > MAX_NAMES { ", ..." } else { "" };
    format!("there are several apps {name}, at the sites {named}{more}; say which one with --site")
}

/// Why there is no log, and what there is.
fn nothing_there(name: &str, apps: &[String]) -> String {
    if apps.iter().any(|app| app == name) {
        return format!("the app {name} has no task yet: `holm status {name}` says why");
    }
    let known = match apps {
        [] => "there are no apps".to_owned(),
        apps if apps.len() > MAX_NAMES => format!("apps: {}, ...", apps[..MAX_NAMES].join(", ")),
        apps => format!("apps: {}", apps.join(", ")),
    };
    format!("{name:?} is neither a task nor an app ({known}); `holm ps -a` lists the tasks, `holm ls` the apps")
}

#[cfg(test)]
mod tests {
    use super::*;
    use holm_rpc::ErrorBody;
    use holm_types::api::ApiError;

    #[test]
    fn a_name_that_is_nothing_is_answered_with_what_there_is() {
        let many: Vec<String> = (0..12).map(|i| format!("app-{i}")).collect();
        let told = [
            nothing_there("nope", &["hello".into(), "count".into()]),
            nothing_there("nope", &[]),
            nothing_there("nope", &many),
            nothing_there("hello", &["hello".into()]),
            several_there("hello", &[&"shop-1".parse().unwrap(), &"shop-2".parse().unwrap()]),
        ];
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn lines_of_several_tasks_say_whose_they_are() {
        let task: TaskId = "hello-0-0123456789".parse().unwrap();
        assert_eq!(line(&task, "hi", false), "hi");
        assert_eq!(line(&task, "hi", true), "hello-0-0123456789 | hi");
        let elsewhere = ApiError::NotFound("the log of hello-0-0123456789 is not on this node: it ran on gw-1".into());
        let error = Some(ErrorBody::from(elsewhere));
        let item = LogsItem { task, stream: LogStream::Stdout, lines: Vec::new(), error };
        insta::assert_snapshot!(json(&item));
    }
}
