//! `cert ls` and `cert revoke`.

use super::{Target, client::Context, inspect, output};
use anyhow::Result;
use clap::Args;
use holm_types::{
    Label,
    api::{CertRow, ListParams, RevokeParams, Revoked},
};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct List {
    /// Only of this site.
    #[arg(long)]
    site: Option<Label>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct Revoke {
    /// The node: its name, its certificate's serial number, or the beginning of its id.
    node: String,
    /// Why; it is shown to others.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// `holm cert ls`
pub async fn list(context: &Context, args: List) -> Result<ExitCode> {
    let client = context.connect(&args.target).await?;
    let params = ListParams { site: args.site, ..ListParams::default() };
    let rows: Vec<CertRow> = inspect::list(&client, "cert.list", params).await?;
    context.output.print(&rows, &["name", "site", "roles", "state", "until", "issuer", "serial", "reason"], || {
        let row = |r: &CertRow| {
            let roles = r.roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            vec![
                r.name.to_string(),
                r.site.to_string(),
                roles,
                inspect::word(&r.state),
                output::date_of_seconds(r.not_after),
                r.issuer.clone(),
                r.serial.clone(),
                r.reason.clone(),
            ]
        };
        rows.iter().map(row).collect()
    });
    Ok(ExitCode::SUCCESS)
}

/// `holm cert revoke`
pub async fn revoke(context: &Context, args: Revoke) -> Result<ExitCode> {
    let client = context.connect(&args.target).await?;
    let params = RevokeParams { node: args.node, reason: args.reason };
    let revoked: Revoked = client.call("cert.revoke", &params).await?;
    let text = format!(
        "{} ({}, site {}) is no member any more; its key never becomes one again, its name may",
        revoked.name,
        &revoked.id.to_string()[..12],
        revoked.site
    );
    context.output.say(&revoked, &text);
    Ok(ExitCode::SUCCESS)
}
