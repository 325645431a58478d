//! Certificates with real nodes: who enrols, renews and revokes while the cloud is gone, and what becomes of whom.

use anyhow::{Context, Result, ensure};
use holm_tests::{
    cluster::{Cluster, join},
    eventually,
    node::{Node, SOON},
    process,
    suite::{Scene, Suite},
};
use serde::Deserialize;
use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// From a revocation to disconnected everywhere.
const CUT_WITHIN: Duration = Duration::from_secs(5);

fn main() {
    Suite::new()
        .test("a stolen gateway is cut off within seconds, replaced, and its name is free again", stolen)
        .test("an issuer enrols and revokes at its site while the cloud is gone", issuer_alone)
        .test("without the authority's key everything works but making issuers", authority_offline)
        .test("a certificate is renewed in time, and after its end an app goes on until it is", renewal)
        .run()
}

/// A row of `holm cert ls`.
#[derive(Debug, Deserialize)]
struct Cert {
    id: String,
    name: String,
    issuer: String,
    not_after: u64,
    state: String,
}

/// A row of `holm node ls`.
#[derive(Debug, Deserialize)]
struct Row {
    id: String,
    state: String,
    path: String,
    revoked: bool,
}

fn cert(node: &Node, name: &str) -> Result<Cert> {
    let rows: Vec<Cert> = node.json(&["cert", "ls"])?;
    rows.into_iter().find(|row| row.name == name).with_context(|| format!("{} knows no {name}", node.name()))
}

fn row(node: &Node, id: &str) -> Result<Row> {
    let rows: Vec<Row> = node.json(&["node", "ls"])?;
    rows.into_iter().find(|row| row.id == id).with_context(|| format!("{} knows no {id}", node.name()))
}

fn service(name: &str, site: &str, replicas: u32) -> String {
    format!(
        "name = '{name}'\ntype = 'service'\nreplicas = {replicas}\n[run.process]\ncommand = ['/bin/sleep', '100000']\n\
         [place]\nsite = '{site}'\n"
    )
}

/// `holm` must refuse this with exit code 6, for a reason that mentions `why`.
fn refused(node: &Node, arguments: &[&str], why: &str) -> Result<()> {
    let output = node.holm(arguments)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(6) && said.contains(why), "{arguments:?}: {}: {said}", output.status);
    Ok(())
}

fn wait_alive(node: &Node, name: &str) -> Result<()> {
    eventually(&format!("{} sees {name} alive", node.name()), SOON, || {
        let members = node.members()?;
        let state = members.iter().find(|m| m.name == name && m.state == "alive");
        ensure!(state.is_some(), "{members:?}");
        Ok(())
    })
}

fn stolen(scene: &Scene) -> Result<()> {
    let mut mesh = Cluster::of(scene)
        .node("cloud-1", "cloud")
        .node("gw-1", "shop")
        .node("gw-2", "shop")
        .node("gw-3", "shop")
        .start()?;
    mesh.node("gw-1").apply(&service("till", "shop", 3))?;
    mesh.node("cloud-1").wait_running("till", 3)?;
    mesh.wait_converged()?;
    let id = cert(mesh.node("cloud-1"), "gw-2")?.id;
    mesh.node("cloud-1").ok(&["cert", "revoke", "gw-2", "--reason", "stolen"])?;
    eventually("nobody is connected with the stolen gateway", CUT_WITHIN, || {
        for name in ["cloud-1", "gw-1", "gw-3"] {
            let seen = row(mesh.node(name), &id)?;
            ensure!(seen.revoked && seen.state == "left" && seen.path == "unknown", "{name} says {seen:?}");
        }
        Ok(())
    })?;
    eventually("the stolen gateway is alone", CUT_WITHIN, || {
        let peers = mesh.node("gw-2").call("mesh.status", serde_json::json!({}))?["peers"].clone();
        ensure!(peers == 0, "it has {peers} peers");
        Ok(())
    })?;
    for name in ["cloud-1", "gw-1", "gw-3"] {
        eventually("its task runs elsewhere", SOON, || {
            let running = mesh.node(name).running("till")?;
            ensure!(running.len() == 3 && running.iter().all(|t| t.node != "gw-2"), "{name} says {running:?}");
            Ok(())
        })?;
    }
    ensure!(cert(mesh.node("gw-3"), "gw-2")?.state == "revoked", "the others say so");

    // Whoever has the old key does not get in again, not even with a token.
    let token = mesh.token("shop", &["--uses", "2"])?;
    let old = mesh.node("gw-2").data().join("identity.key");
    let thief = mesh.new_node("gw-9", "shop")?;
    fs::copy(old, thief.data().join("identity.key"))?;
    refused(&thief, &["join", &token, "--name", "gw-9"], "revoked")?;
    let table = mesh.node("cloud-1").ok(&["node", "ls"])?;
    ensure!(table.lines().any(|line| line.trim_start().starts_with("gw-2 ") && line.contains("revoked")), "{table}");

    mesh.node("gw-2").power_off()?;
    let folder = thief.data().with_file_name("gw-2-new");
    fs::create_dir_all(&folder)?;
    let anew = Node::new("gw-2", "shop", thief.host().clone(), 4002, folder, scene.folder("logs-new")?);
    join(&anew, &token)?;
    anew.up()?;
    for name in ["cloud-1", "gw-1"] {
        wait_alive(mesh.node(name), "gw-2")?;
    }
    // By its name the new one is meant, as the old one is gone.
    mesh.node("cloud-1").ok(&["cert", "revoke", "gw-2"])?;
    let said = mesh.node("cloud-1").holm(&["cert", "revoke", "gw-2"])?;
    ensure!(String::from_utf8_lossy(&said.stderr).contains("revoked already"), "{said:?}");
    Ok(())
}

fn issuer_alone(scene: &Scene) -> Result<()> {
    let mut mesh = Cluster::of(scene).node("cloud-1", "cloud").node("gw-1", "shop").start()?;
    let token = mesh.token_for("issuer", "shop", &[])?;
    let issuer = mesh.new_node("desk", "shop")?;
    join(&issuer, &token)?;
    issuer.up()?;
    wait_alive(&issuer, "gw-1")?;
    wait_alive(mesh.node("gw-1"), "desk")?;
    mesh.node("cloud-1").kill9()?;

    refused(&issuer, &["token", "create", "--site", "plant"], "its own site only")?;
    refused(&issuer, &["token", "create", "--role", "keeper"], "keepers")?;
    refused(&issuer, &["token", "create", "--role", "issuer"], "only the authority")?;
    refused(mesh.node("gw-1"), &["token", "create"], "no issuer")?;
    let token = issuer.ok(&["token", "create", "--uses", "1"])?.trim().to_owned();
    let newcomer = mesh.new_node("gw-2", "shop")?;
    join(&newcomer, &token)?;
    newcomer.up()?;
    wait_alive(mesh.node("gw-1"), "gw-2")?;
    ensure!(cert(&issuer, "gw-2")?.issuer == "desk");

    // What was used stays used.
    issuer.kill9()?;
    issuer.up()?;
    let late = mesh.new_node("gw-3", "shop")?;
    refused(&late, &["join", &token, "--name", "gw-3"], "used up")?;

    // It revokes one of its site; an edge node does not.
    refused(mesh.node("gw-1"), &["cert", "revoke", "gw-2"], "no issuer")?;
    wait_alive(&issuer, "gw-1")?;
    issuer.ok(&["cert", "revoke", "gw-1"])?;
    eventually("the newcomer has cut it off", CUT_WITHIN, || {
        let state = cert(&newcomer, "gw-1")?.state;
        ensure!(state == "revoked", "it says {state}");
        Ok(())
    })?;
    refused(&issuer, &["cert", "revoke", "cloud-1"], "only the authority")?;

    // The cloud comes back, and learns both.
    mesh.node("cloud-1").up()?;
    wait_alive(mesh.node("cloud-1"), "gw-2")?;
    eventually("the cloud has heard of the revocation", SOON, || {
        let state = cert(mesh.node("cloud-1"), "gw-1")?.state;
        ensure!(state == "revoked", "it says {state}");
        Ok(())
    })
}

fn authority_offline(scene: &Scene) -> Result<()> {
    let mut mesh = Cluster::of(scene).node("cloud-1", "cloud").node("gw-1", "shop").start()?;
    let key = mesh.node("cloud-1").data().join("authority.key");
    let safe = scene.folder("safe")?.join("authority.key");
    fs::rename(&key, &safe)?;
    mesh.node("cloud-1").kill9()?;
    mesh.node("cloud-1").up()?;
    let token = mesh.token("plant", &[])?;
    let newcomer = mesh.new_node("pump", "plant")?;
    join(&newcomer, &token)?;
    newcomer.up()?;
    wait_alive(mesh.node("cloud-1"), "pump")?;
    ensure!(cert(mesh.node("cloud-1"), "pump")?.issuer == "cloud-1");
    refused(mesh.node("cloud-1"), &["token", "create", "--role", "issuer"], "only the authority")?;
    mesh.node("cloud-1").ok(&["cert", "revoke", "pump"])?;

    fs::rename(&safe, &key)?;
    mesh.node("cloud-1").kill9()?;
    mesh.node("cloud-1").up()?;
    mesh.token_for("issuer", "shop", &[]).map(drop)
}

fn renewal(scene: &Scene) -> Result<()> {
    let mut mesh = Cluster::of(scene).node("cloud-1", "cloud").start()?;
    let token = mesh.token("shop", &["--validity", "15s"])?;
    let gateway = mesh.new_node("gw-1", "shop")?;
    join(&gateway, &token)?;
    gateway.up()?;
    wait_alive(mesh.node("cloud-1"), "gw-1")?;
    gateway.apply(&service("till", "shop", 1))?;
    let pid = gateway.wait_running("till", 1)?[0].pid.context("it runs")?;
    let first = cert(&gateway, "gw-1")?.not_after;
    eventually("the certificate is renewed", SOON, || {
        for node in [&gateway, mesh.node("cloud-1")] {
            let now = cert(node, "gw-1")?;
            ensure!(now.not_after > first, "{} says {now:?}", node.name());
        }
        Ok(())
    })?;
    ensure!(process::runs(pid));

    // Nobody is there to renew it until it has ended, and the time that peers bear with it is over, too.
    mesh.node("cloud-1").kill9()?;
    eventually("the gateway only reads", SOON, || {
        let answer = gateway.holm_with(&["apply", "-f", "-"], &service("late", "shop", 1))?;
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        ensure!(answer.status.code() == Some(6) && said.contains("has ended"), "{answer:?}");
        Ok(())
    })?;
    let ended = cert(&gateway, "gw-1")?;
    ensure!(ended.state == "ended" && seconds() > ended.not_after, "{ended:?}");
    ensure!(process::runs(pid) && gateway.running("till")?.len() == 1, "its app goes on");
    // It starts so, too, and takes over what runs.
    gateway.kill9()?;
    gateway.up()?;
    ensure!(gateway.wait_running("till", 1)?[0].pid == Some(pid));

    mesh.node("cloud-1").up()?;
    eventually("it is renewed, let in, and writes again", SOON, || {
        gateway.apply(&service("late", "shop", 1))?;
        let state = cert(mesh.node("cloud-1"), "gw-1")?.state;
        ensure!(state == "valid" || state == "renewing", "{state}");
        Ok(())
    })?;
    wait_alive(mesh.node("cloud-1"), "gw-1")?;
    gateway.wait_running("late", 1)?;
    ensure!(gateway.wait_running("till", 1)?[0].pid == Some(pid), "and nothing was restarted for it");
    Ok(())
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
