//! The bootstrap server: it helps nodes meet, and does nothing else.

use anyhow::{Context, Result, ensure};
use holm_tests::{
    bootstrap::Bootstrap,
    cluster::Cluster,
    eventually, http,
    node::SOON,
    suite::{Scene, Suite},
};
use serde_json::{Value, json};

/// Enough that, were it asked by chance, the server would be asked to coordinate some.
const APPS: usize = 12;

fn main() {
    Suite::new().test("a bootstrap server is a member that decides and runs nothing", it_decides_nothing).run()
}

fn it_decides_nothing(scene: &Scene) -> Result<()> {
    let mut mesh = Cluster::of(scene)
        .node("till-1", "shop")
        .node("till-2", "shop")
        .keeper("office", "cloud")
        .keeper("vault", "cloud")
        .start()?;
    let server = Bootstrap::start(&mut mesh, "meet", "cloud")?;
    for (path, wanted) in [("/healthz", "ok"), ("/metrics", "holm_bootstrap_peers ")] {
        let answer = http::get(server.place().host().connect(server.http()?, http::PATIENCE)?, path, "")?;
        ensure!(answer.status == 200 && answer.text().contains(wanted), "{path}: {answer:?}");
    }

    // Some that say nothing do not keep others out.
    let silent =
        (0..40).map(|_| server.place().host().connect(server.http()?, http::PATIENCE)).collect::<Result<Vec<_>>>()?;
    let answer = http::get(server.place().host().connect(server.http()?, http::PATIENCE)?, "/metrics", "")?;
    ensure!(answer.status == 200 && !answer.text().contains("http_dropped_total 0\n"), "{answer:?}");
    drop(silent);

    let node = mesh.node("till-1");
    eventually("the nodes see the server", SOON, || {
        for node in mesh.nodes() {
            let members = node.members()?;
            let server = members.iter().find(|m| m.name == "meet").with_context(|| format!("{members:?}"))?;
            ensure!(server.state == "alive", "{members:?}");
            // Connected is not yet heard.
            let rows = node.call("node.list", json!({}))?;
            let heard = |row: &Value| row["name"] == "meet" && row["seen"] == true;
            ensure!(rows["items"].as_array().is_some_and(|rows| rows.iter().any(heard)), "{rows}");
        }
        Ok(())
    })?;
    for n in 0..APPS {
        node.apply(&format!(
            "name = 'app-{n}'\ntype = 'service'\n[run.process]\ncommand = ['/bin/sleep', '100000']\n"
        ))?;
    }
    node.apply("name = 'everywhere'\ntype = 'daemon'\n[run.process]\ncommand = ['/bin/sleep', '100000']\n")?;
    eventually("everything runs", SOON, || {
        let apps = node.apps()?;
        ensure!(apps.len() == APPS + 1, "{apps:?}");
        ensure!(apps.iter().all(|app| app.state == "running" && app.running == app.desired), "{apps:?}");
        Ok(())
    })?;
    ensure!(mesh.node("office").running("everywhere")?.len() == 4, "on the four nodes, not on the server");
    Ok(())
}
