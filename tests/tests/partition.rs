//! The link between two sites is cut, both go on and take new work; it is mended, and nothing is disturbed.

use anyhow::{Result, ensure};
use holm_tests::{
    cluster::Cluster,
    eventually, holds,
    node::SOON,
    rows::Task,
    suite::{Scene, Suite},
};
use std::{collections::BTreeSet, time::Duration};

fn main() {
    Suite::new()
        .lab("both sides of a cut work on and a heal disturbs nothing", both_sides_work_on)
        .lab("two edits of one app on two sides both hold", two_edits_both_hold)
        .lab("two edits of one field on two sides are told as a conflict", a_collision_is_told)
        .run()
}

/// A service of `replicas`, at `site` or anywhere.
fn service(name: &str, replicas: u32, site: Option<&str>) -> String {
    let place = site.map(|site| format!("[place]\nsite = \"{site}\"\n")).unwrap_or_default();
    format!(
        "name = \"{name}\"\ntype = \"service\"\nreplicas = {replicas}\n{place}\
         [run.process]\ncommand = [\"/bin/sleep\", \"100000\"]\n"
    )
}

fn five_nodes(scene: &Scene) -> Result<Cluster> {
    Cluster::of(scene)
        .node("cloud-1", "cloud")
        .keeper("cloud-2", "cloud")
        .node("till-1", "shop")
        .node("till-2", "shop")
        .node("till-3", "shop")
        .start()
}

fn both_sides_work_on(scene: &Scene) -> Result<()> {
    let mesh = five_nodes(scene)?;
    let (cloud, till) = (mesh.node("cloud-1"), mesh.node("till-1"));
    cloud.apply(&service("archive", 2, Some("cloud")))?;
    till.apply(&service("checkout", 2, Some("shop")))?;
    cloud.apply(&service("roaming", 3, None))?;
    let archive = cloud.wait_running("archive", 2)?;
    let checkout = cloud.wait_running("checkout", 2)?;
    let roaming = cloud.wait_running("roaming", 3)?;

    mesh.lab()?.cut("cloud", "shop")?;
    cloud.apply(&service("made-in-cloud", 2, None))?;
    till.apply(&service("made-in-shop", 2, None))?;
    let in_cloud = wait_at_site(&mesh, "cloud-1", "made-in-cloud", 2)?;
    let in_shop = wait_at_site(&mesh, "till-1", "made-in-shop", 2)?;
    let roaming_cloud = wait_at_site(&mesh, "cloud-1", "roaming", 3)?;
    let roaming_shop = wait_at_site(&mesh, "till-1", "roaming", 3)?;
    ensure!(till.apps()?.iter().all(|app| app.name != "made-in-cloud"), "the cut is not a cut");
    ensure!(cloud.running("archive")? == archive && till.running("checkout")? == checkout);

    mesh.lab()?.heal()?;
    mesh.wait_acquainted()?;
    mesh.wait_converged()?;
    for node in mesh.nodes() {
        let known: BTreeSet<String> = node.apps()?.into_iter().map(|app| app.name).collect();
        // What belongs to the cloud never reaches a till; the cloud's nodes are keepers.
        let all = ["archive", "checkout", "made-in-cloud", "made-in-shop", "roaming"];
        let due = all.iter().filter(|app| node.site() == "cloud" || **app != "archive").map(|app| (*app).to_owned());
        ensure!(known == due.collect(), "{} knows {known:?}", node.name());
    }

    let ran: Vec<Task> = [roaming, roaming_cloud, roaming_shop].concat();
    let undisturbed = || -> Result<()> {
        for (app, before) in
            [("archive", &archive), ("checkout", &checkout), ("made-in-cloud", &in_cloud), ("made-in-shop", &in_shop)]
        {
            let now = mesh.running_everywhere(app)?;
            ensure!(now == *before, "{app} was disturbed: {before:?} has become {now:?}");
        }
        let now = mesh.running_everywhere("roaming")?;
        ensure!(now.len() == 3, "one runner a slot is left: {now:?}");
        ensure!(now.iter().all(|task| ran.contains(task)), "{now:?} did not all run before the heal: {ran:?}");
        Ok(())
    };
    eventually("one runner a slot is left, and it ran before", SOON, undisturbed)?;
    holds("the heal disturbs nothing", Duration::from_secs(5), undisturbed)
}

/// Waits until `count` tasks of `app` run, all at the observer's own site.
fn wait_at_site(mesh: &Cluster, observer: &str, app: &str, count: usize) -> Result<Vec<Task>> {
    let node = mesh.node(observer);
    eventually(&format!("{observer} sees {count} tasks of {app} at its own site"), SOON, || {
        let running = node.running(app)?;
        let here = running.iter().filter(|task| task.site == node.site()).count();
        ensure!(running.len() == count && here == count, "{:?}", node.tasks(app)?);
        Ok(running)
    })
}

fn two_edits_both_hold(scene: &Scene) -> Result<()> {
    let mesh = five_nodes(scene)?;
    let (cloud, till) = (mesh.node("cloud-1"), mesh.node("till-1"));
    cloud.apply(&service("shared", 1, Some("shop")))?;
    let before = till.wait_running("shared", 1)?;

    mesh.lab()?.cut("cloud", "shop")?;
    cloud.apply(&format!("{}[priority]\nclass = \"high\"\n", service("shared", 1, Some("shop"))))?;
    till.apply(&service("shared", 2, Some("shop")))?;
    mesh.lab()?.heal()?;
    mesh.wait_converged()?;

    eventually("the app has both edits", SOON, || {
        let running = mesh.running_everywhere("shared")?;
        ensure!(running.len() == 2 && running.contains(&before[0]), "{running:?}");
        for node in mesh.nodes() {
            let planned = format!("{}[priority]\nclass = \"high\"\n", service("shared", 2, Some("shop")));
            let plan: serde_json::Value =
                serde_json::from_str(&node.ok_with(&["plan", "-f", "-", "-o", "json"], &planned)?)?;
            ensure!(plan["changed"] == false, "{} would still change something: {plan}", node.name());
        }
        Ok(())
    })
}

fn a_collision_is_told(scene: &Scene) -> Result<()> {
    let mesh = five_nodes(scene)?;
    let (cloud, till) = (mesh.node("cloud-1"), mesh.node("till-1"));
    cloud.apply(&service("shared", 1, Some("shop")))?;
    till.wait_running("shared", 1)?;

    mesh.lab()?.cut("cloud", "shop")?;
    // Each side's guard holds: neither can know of the other.
    let guarded = ["apply", "-f", "-", "--expected-revision", "1"];
    cloud.ok_with(&guarded, &service("shared", 2, Some("shop")))?;
    till.ok_with(&guarded, &service("shared", 3, Some("shop")))?;
    ensure!(!till.ok(&["events"])?.contains("conflict"), "there is nothing to tell yet");
    mesh.lab()?.heal()?;
    mesh.wait_converged()?;

    let mut told = BTreeSet::new();
    for node in mesh.nodes() {
        let status: serde_json::Value = node.json(&["status", "shared"])?;
        let conflicts = status["conflicts"].as_array().cloned().unwrap_or_default();
        ensure!(conflicts.len() == 1 && conflicts[0]["field"] == "replicas", "{}: {status}", node.name());
        let writers = conflicts[0]["writers"].to_string();
        ensure!(writers.contains("cloud-1") && writers.contains("till-1"), "{}: {writers}", node.name());
        let lines = node.ok(&["events", "-o", "json"])?;
        let events = lines.lines().map(serde_json::from_str).collect::<Result<Vec<serde_json::Value>, _>>()?;
        let of_it: Vec<String> =
            events.iter().filter(|e| e["kind"] == "conflict").map(|e| e["detail"].to_string()).collect();
        ensure!(of_it.len() == 1, "{} told it {} times: {of_it:?}", node.name(), of_it.len());
        told.extend(of_it);
    }
    let said = told.first().cloned().unwrap_or_default();
    let both = said.contains("cloud-1") && said.contains("till-1") && said.contains('2') && said.contains('3');
    ensure!(told.len() == 1 && both, "every node says the same: {told:?}");

    till.ok(&["scale", "shared", "1"])?;
    mesh.wait_converged()?;
    eventually("an edit that saw both settles it", SOON, || {
        for node in mesh.nodes() {
            let status: serde_json::Value = node.json(&["status", "shared"])?;
            ensure!(status["conflicts"].as_array().is_none_or(Vec::is_empty), "{}: {status}", node.name());
        }
        Ok(())
    })
}
