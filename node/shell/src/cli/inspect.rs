//! `ls`, `status`, `result`, `node ls` and `version`.

use super::{Target, client::Context, output};
use anyhow::Result;
use clap::Args;
use holm_rpc::Client;
use holm_types::{
    Label, Slot,
    api::{AppRef, AppRow, AppStatus, ListParams, MeshStatus, NodeRow, Page, ResultParams, ResultRow},
    manifest::AppType,
    view::Liveness,
};
use serde::de::DeserializeOwned;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct List {
    /// Only of this namespace.
    #[arg(short, long)]
    namespace: Option<Label>,
    /// Only of this site.
    #[arg(long)]
    site: Option<Label>,
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
    /// Its site, where there are several apps of this name.
    #[arg(long)]
    site: Option<Label>,
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
    /// Its site, where there are several apps of this name.
    #[arg(long)]
    site: Option<Label>,
    #[command(flatten)]
    target: Target,
}

/// All pages of a list.
pub async fn list<T: DeserializeOwned>(client: &Client, method: &str, mut params: ListParams) -> Result<Vec<T>> {
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

/// A word of the interface.
pub fn word<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// `holm ls`
pub async fn apps(context: &Context, args: List) -> Result<ExitCode> {
    let client = context.connect(&args.target).await?;
    let params = ListParams { namespace: args.namespace, site: args.site, ..ListParams::default() };
    let rows: Vec<AppRow> = list(&client, "app.list", params).await?;
    context.output.print(&rows, &["name", "namespace", "site", "type", "revision", "running", "state"], || {
        let row = |r: &AppRow| {
            let running = format!("{}/{}", r.running, r.desired);
            vec![
                r.name.to_string(),
                r.namespace.to_string(),
                r.site.as_ref().map_or_else(|| "-".into(), ToString::to_string),
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

/// Whether a node is there.
pub fn liveness(node: &NodeRow) -> String {
    match node {
        _ if node.revoked => "revoked".to_owned(),
        _ if !node.seen => "never seen".to_owned(),
        _ => word(&node.state),
    }
}

/// The short form of a mesh's id, which tells two meshes of one name apart.
pub fn short(mesh_id: &str) -> &str {
    mesh_id.get(..16).unwrap_or(mesh_id)
}

/// `holm node ls`
pub async fn nodes(context: &Context, args: List) -> Result<ExitCode> {
    let client = context.connect(&args.target).await?;
    let rows: Vec<NodeRow> =
        list(&client, "node.list", ListParams { site: args.site, ..ListParams::default() }).await?;
    context.output.print(&rows, &["name", "site", "roles", "state", "path", "rtt", "running", "version", "id"], || {
        let row = |r: &NodeRow| {
            let roles = r.roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let id = r.id.to_string()[..12].to_owned();
            vec![
                r.name.to_string(),
                r.site.to_string(),
                roles,
                liveness(r),
                word(&r.path),
                r.rtt_ms.map_or_else(|| "-".into(), |ms| format!("{ms:.1} ms")),
                // What a node that is gone runs is not known: it may go on in its part of the mesh.
                if r.state == Liveness::Dead { "-".to_owned() } else { r.running.to_string() },
                if r.version.is_empty() { "-".to_owned() } else { r.version.clone() },
                id,
            ]
        };
        rows.iter().map(row).collect()
    });
    Ok(ExitCode::SUCCESS)
}

/// `holm result`
pub async fn results(context: &Context, args: Results) -> Result<ExitCode> {
    let client = context.connect(&args.target).await?;
    let params = ResultParams { name: args.app, namespace: args.namespace, site: args.site, slot: args.slot };
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

/// Why a daemon has no slot at all: a slot of its own belongs to each node that its manifest admits.
pub(super) fn nowhere(status: &AppStatus) -> Option<&'static str> {
    let none = status.kind == AppType::Daemon && status.slots.is_empty();
    none.then_some("no node that is known here is one that its [place] admits: holm node ls shows their sites")
}

/// `holm status [APP]`
pub async fn status(context: &Context, args: Status) -> Result<ExitCode> {
    let client = context.connect(&args.target).await?;
    let Some(name) = args.app else { return mesh_status(context, &client).await };
    let status: AppStatus =
        client.call("app.get", &AppRef { name, namespace: args.namespace, site: args.site }).await?;
    context.output.print(&status, &["slot", "state", "node", "reason"], || {
        let row = |s: &holm_types::api::SlotRow| {
            let node = s.node.as_ref().map_or_else(|| "-".into(), ToString::to_string);
            vec![s.slot.to_string(), s.state.to_string(), node, s.reason.clone()]
        };
        status.slots.iter().map(row).collect()
    });
    if context.output == output::Format::Table {
        if let Some(why) = nowhere(&status) {
            output::line(why);
        }
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
            vec!["mesh".into(), format!("{} ({})", status.mesh, short(&status.mesh_id))],
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

/// `holm version`
pub fn version(context: &Context) -> Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    context.output.say(&serde_json::json!({ "version": version }), &format!("holm {version}"));
    Ok(ExitCode::SUCCESS)
}
