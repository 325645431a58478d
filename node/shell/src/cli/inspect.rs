//! `ls`, `status`, `ps`, `result`, `node ls`, `doctor` and `version`.

use super::{Target, client::Context, exit::failure, output};
use crate::environment;
use anyhow::Result;
use clap::Args;
use holm_rpc::Client;
use holm_types::{
    Label, Slot,
    api::{AppRef, AppRow, AppStatus, ListParams, MeshStatus, NodeRow, Page, ResultParams, ResultRow, TaskRow},
    view::Liveness,
};
use serde::de::DeserializeOwned;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct List {
    /// Only of this namespace.
    #[arg(short, long)]
    namespace: Option<Label>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct Status {
    /// The app; the mesh if absent.
    app: Option<Label>,
    /// Its namespace.
    #[arg(short, long)]
    namespace: Option<Label>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct Ps {
    /// Only of this app.
    app: Option<Label>,
    /// Only of this namespace.
    #[arg(short, long)]
    namespace: Option<Label>,
    /// Also tasks that ended and no longer hold their slot.
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct Results {
    /// The app.
    app: Label,
    /// Only this slot.
    slot: Option<Slot>,
    /// Its namespace.
    #[arg(short, long)]
    namespace: Option<Label>,
    #[command(flatten)]
    target: Target,
}

/// All pages of a list.
async fn list<T: DeserializeOwned>(client: &Client, method: &str, mut params: ListParams) -> Result<Vec<T>> {
    let mut rows = Vec::new();
    loop {
        let page: Page<T> = client.call(method, &params).await?;
        rows.extend(page.items);
        if page.next.is_none() {
            return Ok(rows);
        }
        params.cursor = page.next;
    }
}

fn word<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// `holm ls`
pub async fn apps(context: &Context, args: List) -> Result<ExitCode> {
    let client = context.connect(&args.target).await?;
    let params = ListParams { namespace: args.namespace, ..ListParams::default() };
    let rows: Vec<AppRow> = list(&client, "app.list", params).await?;
    context.output.print(&rows, &["name", "namespace", "type", "revision", "running", "state"], || {
        let row = |r: &AppRow| {
            let running = format!("{}/{}", r.running, r.desired);
            vec![
                r.name.to_string(),
                r.namespace.to_string(),
                word(&r.kind),
                r.revision.to_string(),
                running,
                word(&r.state),
            ]
        };
        rows.iter().map(row).collect()
    });
    Ok(ExitCode::SUCCESS)
}

/// `holm node ls`
pub async fn nodes(context: &Context, args: List) -> Result<ExitCode> {
    let client = context.connect(&args.target).await?;
    let rows: Vec<NodeRow> = list(&client, "node.list", ListParams::default()).await?;
    context.output.print(&rows, &["name", "site", "roles", "state", "path", "running", "version", "id"], || {
        let row = |r: &NodeRow| {
            let roles = r.roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let id = r.id.to_string()[..12].to_owned();
            vec![
                r.name.to_string(),
                r.site.to_string(),
                roles,
                word(&r.state),
                word(&r.path),
                r.running.to_string(),
                r.version.clone(),
                id,
            ]
        };
        rows.iter().map(row).collect()
    });
    Ok(ExitCode::SUCCESS)
}

/// `holm ps`
pub async fn tasks(context: &Context, args: Ps) -> Result<ExitCode> {
    let client = context.connect(&args.target).await?;
    if let Some(name) = &args.app {
        let app = AppRef { name: name.clone(), namespace: args.namespace.clone() };
        client.call::<_, AppStatus>("app.get", &app).await?;
    }
    let params = ListParams { app: args.app, namespace: args.namespace, all: args.all, ..ListParams::default() };
    let mut rows: Vec<TaskRow> = list(&client, "task.list", params).await?;
    rows.sort_by(|a, b| (&a.namespace, &a.app, a.slot, a.epoch).cmp(&(&b.namespace, &b.app, b.slot, b.epoch)));
    let now = environment::wall();
    context.output.print(
        &rows,
        &["id", "app", "slot", "node", "site", "state", "pid", "restarts", "age", "reason"],
        || {
            let row = |r: &TaskRow| {
                vec![
                    r.id.to_string(),
                    r.app.to_string(),
                    r.slot.to_string(),
                    r.node.to_string(),
                    r.site.to_string(),
                    r.state.to_string(),
                    r.pid.map_or_else(|| "-".into(), |pid| pid.to_string()),
                    r.restarts.to_string(),
                    output::age(r.started_at, now),
                    r.reason.clone(),
                ]
            };
            rows.iter().map(row).collect()
        },
    );
    Ok(ExitCode::SUCCESS)
}

/// `holm result`
pub async fn results(context: &Context, args: Results) -> Result<ExitCode> {
    let client = context.connect(&args.target).await?;
    let params = ResultParams { name: args.app, namespace: args.namespace, slot: args.slot };
    let rows: Vec<ResultRow> = client.call("app.result", &params).await?;
    context.output.print(&rows, &["slot", "attempt", "node", "exit", "finished", "output"], || {
        let row = |r: &ResultRow| {
            vec![
                r.slot.to_string(),
                r.attempt.to_string(),
                r.node.to_string(),
                r.exit_code.map_or_else(|| "-".into(), |c| c.to_string()),
                r.finished_at.map_or_else(|| "-".into(), output::date),
                r.output.trim_end().to_owned(),
            ]
        };
        rows.iter().map(row).collect()
    });
    Ok(ExitCode::SUCCESS)
}

/// `holm status [APP]`
pub async fn status(context: &Context, args: Status) -> Result<ExitCode> {
    let client = context.connect(&args.target).await?;
    let Some(name) = args.app else { return mesh_status(context, &client).await };
    let status: AppStatus = client.call("app.get", &AppRef { name, namespace: args.namespace }).await?;
    context.output.print(&status, &["slot", "state", "node", "reason"], || {
        let row = |s: &holm_types::api::SlotRow| {
            let node = s.node.as_ref().map_or_else(|| "-".into(), ToString::to_string);
            vec![s.slot.to_string(), s.state.to_string(), node, s.reason.clone()]
        };
        status.slots.iter().map(row).collect()
    });
    if context.output == output::Format::Table {
        for conflict in &status.conflicts {
            let lost: Vec<_> = conflict.lost.iter().map(ToString::to_string).collect();
            output::line(&format!(
                "conflict: {} is {}, not {} (written by {})",
                conflict.field,
                conflict.kept,
                lost.join(" or "),
                conflict.writers.join(", ")
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn mesh_status(context: &Context, client: &Client) -> Result<ExitCode> {
    let status: MeshStatus = client.call("mesh.status", &serde_json::json!({})).await?;
    context.output.print(&status, &["what", "value"], || {
        let mut rows = vec![
            vec!["mesh".into(), format!("{} ({})", status.mesh, &status.mesh_id[..16.min(status.mesh_id.len())])],
            vec!["node".into(), status.node.to_string()],
            vec!["site".into(), status.site.to_string()],
            vec!["peers".into(), status.peers.to_string()],
            vec!["documents".into(), status.documents.to_string()],
        ];
        rows.extend(
            status
                .heads
                .iter()
                .map(|(scope, digest)| vec![format!("heads {scope}"), digest.to_string()[..16].to_owned()]),
        );
        rows
    });
    Ok(ExitCode::SUCCESS)
}

/// `holm doctor`
pub async fn doctor(context: &Context, target: Target) -> Result<ExitCode> {
    let settings = context.data_dir.settings()?;
    let chain = settings.chain()?;
    let claims = chain.verify(&settings.mesh)?;
    let days = claims.not_after.saturating_sub(environment::wall().seconds()) / 86_400;
    let mut checks = vec![
        check("certificate", days > 30, format!("valid for {days} more days, serial {}", claims.serial)),
        check(
            "shim",
            crate::daemon::shim_path().is_ok(),
            "holm-shim, which keeps tasks alive without the agent".into(),
        ),
    ];
    let mut counters = std::collections::BTreeMap::new();
    match context.connect(&target).await {
        Ok(client) => {
            let status: MeshStatus = client.call("mesh.status", &serde_json::json!({})).await?;
            let nodes: Vec<NodeRow> = list(&client, "node.list", ListParams::default()).await?;
            let others = nodes.len().saturating_sub(1);
            let alive = nodes.iter().filter(|n| n.state == Liveness::Alive).count().saturating_sub(1);
            checks.push(check("node", true, format!("{} serves", status.node)));
            checks.push(check("peers", others == 0 || status.peers > 0, format!("{} connected", status.peers)));
            checks.push(check("members", alive == others, format!("{alive} of {others} others are alive")));
            counters = status.counters;
        }
        Err(error) => checks.push(check("node", false, format!("{error:#}"))),
    }
    let bad = checks.iter().any(|c| c["ok"] == false);
    let report = serde_json::json!({ "checks": checks, "counters": counters });
    context.output.print(&report, &["check", "result", "detail"], || {
        let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
        let row = |c: &serde_json::Value| {
            vec![text(&c["check"]), if c["ok"] == true { "ok" } else { "PROBLEM" }.to_owned(), text(&c["detail"])]
        };
        let counted =
            counters.iter().map(|(name, n)| vec![name.clone(), n.to_string(), "counted since the start".into()]);
        checks.iter().map(row).chain(counted).collect()
    });
    if bad { Err(failure(1, "something is wrong: see above")) } else { Ok(ExitCode::SUCCESS) }
}

fn check(name: &str, ok: bool, detail: String) -> serde_json::Value {
    serde_json::json!({ "check": name, "ok": ok, "detail": detail })
}

/// `holm version`
pub fn version(context: &Context) -> Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    context.output.say(&serde_json::json!({ "version": version }), &format!("holm {version}"));
    Ok(ExitCode::SUCCESS)
}
