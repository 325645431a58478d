//! `ps`.

use super::{Target, client::Context, inspect::list, output};
use crate::environment;
use anyhow::Result;
use clap::Args;
use holm_types::{
    Label, Wall,
    api::{AppRef, AppStatus, ListParams, TaskRow},
    view::TaskState,
};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct Ps {
    /// Only of this app.
    app: Option<Label>,
    /// Only of this namespace.
    #[arg(short, long)]
    namespace: Option<Label>,
    /// Only of this site.
    #[arg(long)]
    site: Option<Label>,
    /// Also what is not present: tasks that finished, were replaced, refused or cancelled, were lost with their node and
    /// replaced, or whose app was removed.
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    target: Target,
}

/// `holm ps`
pub async fn tasks(context: &Context, args: Ps) -> Result<ExitCode> {
    let client = context.connect(&args.target).await?;
    if let Some(name) = &args.app {
        let app = AppRef { name: name.clone(), namespace: args.namespace.clone(), site: args.site.clone() };
        client.call::<_, AppStatus>("app.get", &app).await?;
    }
    let params = ListParams {
        app: args.app,
        namespace: args.namespace,
        site: args.site,
        all: args.all,
        ..ListParams::default()
    };
    let mut rows: Vec<TaskRow> = list(&client, "task.list", params).await?;
    rows.sort_by(|a, b| (&a.namespace, &a.app, a.slot, a.epoch).cmp(&(&b.namespace, &b.app, b.slot, b.epoch)));
    match context.output {
        output::Format::Json => context.output.say(&rows, ""),
        output::Format::Table => output::line(&render(&rows, args.all, environment::wall())),
    }
    Ok(ExitCode::SUCCESS)
}

/// The tasks as a table; of those that ended well only the number, unless all are wanted.
fn render(rows: &[TaskRow], all: bool, now: Wall) -> String {
    let shown = |row: &&TaskRow| all || row.state != TaskState::Succeeded;
    let header = ["id", "app", "slot", "node", "site", "state", "pid", "restarts", "age", "reason"];
    let table = output::table(&header, rows.iter().filter(shown).map(|row| columns(row, now)).collect());
    match rows.iter().filter(|row| !shown(row)).count() {
        0 => table,
        finished => format!("{table}\n({finished} finished; -a shows them)"),
    }
}

fn columns(row: &TaskRow, now: Wall) -> Vec<String> {
    vec![
        row.id.to_string(),
        output::app_name(&row.namespace, &row.app),
        row.slot.to_string(),
        row.node.to_string(),
        row.site.to_string(),
        row.state.to_string(),
        row.pid.map_or_else(|| "-".into(), |pid| pid.to_string()),
        row.restarts.to_string(),
        output::age(row.started_at, now),
        row.reason.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use holm_types::NodeId;

    fn row(slot: u32, state: TaskState, reason: &str) -> TaskRow {
        TaskRow {
            id: format!("count-{slot}-0123456789").parse().unwrap(),
            app: "count".parse().unwrap(),
            namespace: "default".parse().unwrap(),
            slot,
            attempt: 1,
            epoch: 1,
            node: "gw-1".parse().unwrap(),
            node_id: NodeId([1; 32]),
            site: "shop-7".parse().unwrap(),
            state,
            pid: (state == TaskState::Running).then_some(4711),
            restarts: 0,
            started_at: Some(Wall(1_000)),
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn finished_tasks_are_counted_and_all_of_them_shown_on_demand() {
        let mut rows: Vec<TaskRow> = (0..4).map(|slot| row(slot, TaskState::Succeeded, "")).collect();
        rows.push(row(4, TaskState::Running, ""));
        rows.push(row(5, TaskState::Failed, "exit code 7"));
        let told = [render(&rows, false, Wall(61_000)), render(&rows, true, Wall(61_000)), render(&[], false, Wall(0))];
        insta::assert_snapshot!(told.join("\n\n"));
    }
}
