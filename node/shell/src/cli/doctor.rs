//! `doctor`: what is well with this node, what is not, and what to do about it.

use super::{
    Target,
    client::Context,
    documents,
    exit::{FAILED, failure},
    inspect::{list, liveness, short},
    output, reachable,
};
use crate::environment;
use anyhow::Result;
use clap::Args;
use holm_types::{
    api::{Held, ListParams, MeshStatus, NodeRow, Reach, RefusedRow},
    cert::Claims,
    view::Liveness,
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf, process::ExitCode};

#[derive(Debug, Args)]
pub struct Doctor {
    /// Also what was counted since the node's start.
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    target: Target,
}

/// What was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    check: &'static str,
    ok: bool,
    detail: String,
    /// What to do; empty if all is well.
    #[serde(skip_serializing_if = "str::is_empty")]
    advice: &'static str,
}

impl Check {
    pub(super) fn new(check: &'static str, ok: bool, detail: impl Into<String>, advice: &'static str) -> Check {
        Check { check, ok, detail: detail.into(), advice: if ok { "" } else { advice } }
    }

    /// For people.
    pub(super) fn line(&self) -> String {
        let mut line = format!("  {:<12} {}", self.check, self.detail);
        if !self.advice.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(line, "\n  {:<12} -> {}", "", self.advice);
        }
        line
    }
}

#[derive(Debug, Default, Serialize)]
struct Report {
    checks: Vec<Check>,
    counters: BTreeMap<String, u64>,
    reach: Option<Reach>,
    /// What is held of each scope.
    held: BTreeMap<String, Held>,
    /// The last changes that this node refused.
    refused: Vec<RefusedRow>,
}

/// `holm doctor`
pub async fn doctor(context: &Context, args: Doctor) -> Result<ExitCode> {
    let settings = context.data_dir.settings()?;
    let chain = settings.chain()?;
    let claims = chain.verify(&settings.mesh)?;
    let mut checks = own(claims, environment::wall().seconds(), crate::daemon::shim_path().is_ok());
    checks.extend(damaged(&crate::daemon::database::aside(&context.data_dir)));
    let mut report = Report { checks, ..Report::default() };
    match context.connect(&args.target).await {
        Ok(client) => {
            let status: MeshStatus = client.call("mesh.status", &serde_json::json!({})).await?;
            let nodes: Vec<NodeRow> = list(&client, "node.list", ListParams::default()).await?;
            report.checks.extend(around(&status, &nodes));
            report.checks.extend(reachable::checks(&status.reach, &nodes, status.node_id));
            report.checks.extend(counted(&status.counters));
            let refused: Vec<RefusedRow> = client.call("mesh.refused", &serde_json::json!({})).await?;
            report.checks.extend(documents::checks(&status, &nodes, &refused, environment::wall()));
            report.refused = refused;
            report.held = status.held;
            report.counters = status.counters;
            report.reach = Some(status.reach);
        }
        Err(error) => {
            report.checks.push(Check::new("node", false, format!("{error:#}"), "start it: holm up"));
        }
    }
    context.output.say(&report, &render(&report, args.verbose));
    match report.checks.iter().filter(|check| !check.ok).count() {
        0 => Ok(ExitCode::SUCCESS),
        1 => Err(failure(FAILED, "one check is not well")),
        n => Err(failure(FAILED, format!("{n} checks are not well"))),
    }
}

/// What needs no running node.
fn own(claims: &Claims, now: u64, shim: bool) -> Vec<Check> {
    const RENEW: &str = "no issuer has renewed it: see that one can be reached (holm node ls shows who is an issuer; only the \
         node with authority.key renews an issuer)";
    let left = std::time::Duration::from_secs(claims.not_after.saturating_sub(now));
    let said = match now {
        _ if now > claims.borne_until() => {
            "has ended: this node only reads until it is renewed; its tasks go on".into()
        }
        _ if now > claims.not_after => "has ended; peers bear with it for a while".into(),
        _ => format!("good for {}", rough(left)),
    };
    // It is renewed when a third of its life is left; a bit later nobody did it.
    let late = now > claims.renew_from() + claims.life() / 30;
    let beside = "put holm-shim into the folder of the holm program: without it no task can start";
    vec![
        Check::new("certificate", !late, said, RENEW),
        Check::new("supervisor", shim, if shim { "holm-shim is in its place" } else { "holm-shim is missing" }, beside),
    ]
}

/// Damaged databases that the node set aside.
fn damaged(aside: &[PathBuf]) -> Option<Check> {
    let last = aside.last()?;
    let said =
        format!("was damaged, and was made again from what could be read: the damaged one is {}", last.display());
    const LOOK: &str = "look whether the disk is failing (dmesg, smartctl); then remove that folder";
    Some(Check::new("database", false, said, LOOK))
}

fn rough(left: std::time::Duration) -> String {
    match left.as_secs() {
        s if s >= 2 * 86_400 => format!("{} more days", s / 86_400),
        s if s >= 2 * 3600 => format!("{} more hours", s / 3600),
        s => format!("{} more minutes", s / 60),
    }
}

/// What the node says of itself and the others.
fn around(status: &MeshStatus, nodes: &[NodeRow]) -> Vec<Check> {
    if nodes.iter().any(|node| node.id == status.node_id && node.revoked) {
        let said = format!("{} was revoked: it is no member of mesh {} any more", status.node, status.mesh);
        let advice = "stop it, and join with a new data folder if this host is to come back; its tasks run until they are ended by hand";
        return vec![Check::new("node", false, said, advice)];
    }
    let others: Vec<&NodeRow> = nodes.iter().filter(|node| node.id != status.node_id && !node.revoked).collect();
    let away: Vec<&&NodeRow> = others.iter().filter(|node| node.state != Liveness::Alive).collect();
    let serves =
        format!("{} serves in mesh {} ({}), site {}", status.node, status.mesh, short(&status.mesh_id), status.site);
    let peers = match (others.len(), status.peers) {
        (0, _) => "this is the only node of its mesh".to_owned(),
        (_, n) => format!("connected to {n}"),
    };
    let members = match (others.len(), away.as_slice()) {
        (0, _) => "no other nodes".to_owned(),
        (1, []) => "the other node is alive".to_owned(),
        (n, []) => format!("all {n} others are alive"),
        (n, away) => {
            let named: Vec<String> = away.iter().take(10).map(|n| format!("{} is {}", n.name, liveness(n))).collect();
            let more = if away.len() > 10 { ", ..." } else { "" };
            format!("{} of {n} others are not there: {}{more}", away.len(), named.join(", "))
        }
    };
    vec![
        Check::new("node", true, serves, ""),
        Check::new(
            "peers",
            others.is_empty() || status.peers > 0,
            peers,
            "see that the others run, and that their port is reachable from here (holm node ls -o json tells their addresses)",
        ),
        Check::new(
            "members",
            away.is_empty(),
            members,
            "start the node there (holm up); the others have taken over what it ran. A node that is never seen was enrolled and never started",
        ),
    ]
}

/// Counters that a healthy node does not have, with what they mean.
fn counted(counters: &BTreeMap<String, u64>) -> Vec<Check> {
    const TELLING: [(&str, &str, &str, &str); 6] = [
        (
            "state_store_errors",
            "storage",
            "reads of the database failed",
            "look at the node's log and the disk: is it full, or failing?",
        ),
        (
            "writes_failed",
            "writes",
            "statuses could not be written",
            "look at the node's log: the reason of each is there",
        ),
        (
            "state_forked",
            "forks",
            "changes were signed twice under one number",
            "a data folder was copied or restored from a backup: run each folder once, and enrol the copy anew",
        ),
        (
            "bad_signatures",
            "signatures",
            "changes had a bad signature",
            "a peer is broken or lies: holm events names it",
        ),
        (
            "state_scope_conflicts",
            "scopes",
            "changes were of another scope",
            "a node with an incompatible version takes part: holm node ls shows the versions",
        ),
        (
            "state_panics_caught",
            "engine",
            "changes made the document engine fail",
            "please report this with the node's log",
        ),
    ];
    let check = |(counter, name, meaning, advice): &(&str, &'static str, &str, &'static str)| {
        let n = counters.get(*counter).copied().filter(|n| *n > 0)?;
        Some(Check::new(name, false, format!("{n} {meaning} since the node's start"), advice))
    };
    TELLING.iter().filter_map(check).collect()
}

fn render(report: &Report, verbose: bool) -> String {
    let (well, ill): (Vec<&Check>, Vec<&Check>) = report.checks.iter().partition(|check| check.ok);
    let mut text = String::new();
    for (title, checks) in [("Well:", well), ("Not well:", ill)] {
        if checks.is_empty() {
            continue;
        }
        let gap = if text.is_empty() { "" } else { "\n" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{gap}{title}");
        for check in checks {
            let _ = writeln!(text, "{}", check.line());
        }
    }
    if let Some(reach) = report.reach.as_ref().filter(|_| verbose) {
        let rows = reach.addresses.iter().map(|own| vec![format!("  {}", own.address), own.state.clone()]).collect();
        let _ = writeln!(text, "\n{}", output::table(&["  own address", "what is known of it"], rows));
        let _ = writeln!(text, "\n  UPnP: {}", reach.upnp);
    }
    if verbose {
        text.push_str(&documents::render(&report.held, &report.refused));
    }
    if verbose && !report.counters.is_empty() {
        let rows = report.counters.iter().map(|(name, n)| vec![format!("  {name}"), n.to_string()]).collect();
        let _ = writeln!(text, "\n{}", output::table(&["  counted since the start", ""], rows));
    }
    text.trim_end().to_owned()
}

/// A node of the tests, alive.
#[cfg(test)]
pub(super) fn row(n: u8, name: &str) -> NodeRow {
    tests::node(n, name, Liveness::Alive, "0.1.0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use holm_types::{NodeId, api::Path, change::SCHEMA};

    pub(super) fn node(n: u8, name: &str, state: Liveness, version: &str) -> NodeRow {
        NodeRow {
            id: NodeId([n; 32]),
            name: name.parse().unwrap(),
            site: "here".parse().unwrap(),
            roles: Vec::new(),
            state,
            revoked: false,
            seen: !version.is_empty(),
            path: Path::Unknown,
            rtt_ms: None,
            labels: BTreeMap::new(),
            addresses: Vec::new(),
            version: version.to_owned(),
            schema: SCHEMA,
            running: 0,
        }
    }

    fn report(nodes: &[NodeRow], peers: u32, counters: &[(&str, u64)], days: u64) -> Report {
        let counters: BTreeMap<String, u64> = counters.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let status = MeshStatus {
            mesh: "acme".parse().unwrap(),
            mesh_id: "ab".repeat(32),
            node: "cloud-1".parse().unwrap(),
            node_id: NodeId([1; 32]),
            site: "cloud".parse().unwrap(),
            ready: true,
            peers,
            documents: 7,
            heads: BTreeMap::new(),
            held: BTreeMap::new(),
            counters: counters.clone(),
            reach: Default::default(),
        };
        // Of ninety days, so many are left.
        let claims = Claims {
            mesh: holm_types::MeshId([1; 32]),
            mesh_name: "acme".parse().unwrap(),
            subject: NodeId([1; 32]),
            name: "cloud-1".parse().unwrap(),
            site: "cloud".parse().unwrap(),
            roles: Vec::new(),
            not_before: 0,
            not_after: 90 * 86_400,
            serial: 1,
        };
        let mut checks = own(&claims, (90 - days) * 86_400, true);
        checks.extend(around(&status, nodes));
        checks.extend(counted(&counters));
        Report { checks, counters, ..Report::default() }
    }

    #[test]
    fn a_healthy_node() {
        let nodes = [node(1, "cloud-1", Liveness::Alive, "0.1.0"), node(2, "gw-1", Liveness::Alive, "0.1.0")];
        let report = report(&nodes, 1, &[("state_refused", 3), ("state_forked", 0)], 64);
        assert!(report.checks.iter().all(|check| check.ok));
        insta::assert_snapshot!(format!("{}\n\n{}", render(&report, false), render(&report, true)));
    }

    #[test]
    fn a_revoked_node_is_told_that_and_nothing_of_peers() {
        let nodes = [
            NodeRow { revoked: true, ..node(1, "cloud-1", Liveness::Alive, "0.1.0") },
            node(2, "gw-1", Liveness::Dead, ""),
        ];
        let told = render(&report(&nodes, 0, &[], 12), false);
        assert!(told.contains("cloud-1 was revoked: it is no member of mesh"), "{told}");
        assert!(!told.contains("gw-1") && !told.contains("port is reachable"), "{told}");
    }

    #[test]
    fn a_node_with_troubles() {
        let nodes = [
            node(1, "cloud-1", Liveness::Alive, "0.1.0"),
            node(2, "gw-1", Liveness::Dead, "0.1.0"),
            node(3, "gw-2", Liveness::Dead, ""),
        ];
        let mut report = report(&nodes, 0, &[("state_forked", 2), ("state_store_errors", 1)], 12);
        report.checks.push(Check::new("node", false, "cannot reach the node", "start it: holm up"));
        insta::assert_snapshot!(render(&report, false));
    }
}
