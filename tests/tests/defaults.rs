//! What the readme's first lines do: nothing is named that need not be.

use anyhow::{Context, Result, ensure};
use holm_tests::{
    cluster::Cluster,
    eventually,
    node::SOON,
    spawner::Guarded,
    suite::{Scene, Suite},
};
use std::{
    fs::{self, File},
    process::Stdio,
};

fn main() {
    Suite::new().test("a node that is told nothing listens and serves", told_nothing).run()
}

fn told_nothing(scene: &Scene) -> Result<()> {
    let mut mesh = Cluster::of(scene).node("first", "shop").start()?;
    let place = mesh.new_node("second", "shop")?;
    let token = mesh.token("shop", &[])?;
    place.ok(&["join", &token, "--name", "second"])?;
    let said = scene.folder("logs")?.join("second.out");
    let mut up = place.command();
    up.args(["up", "--rpc", "127.0.0.1:0"]).stdin(Stdio::null());
    up.stdout(File::create(&said)?).stderr(File::create(said.with_extension("log"))?);
    let _agent = Guarded::spawn(up)?;
    eventually("it says ready, with its addresses", SOON, || {
        let said = fs::read_to_string(&said)?;
        let ready = said.lines().find(|line| line.starts_with("ready ")).with_context(|| format!("{said:?}"))?;
        ensure!(ready.contains("/tcp/") && ready.contains("/quic-v1"), "{ready}");
        Ok(())
    })?;
    eventually("the first node sees it", SOON, || {
        let members = mesh.node("first").members()?;
        ensure!(members.iter().any(|m| m.name == "second" && m.state == "alive"), "{members:?}");
        Ok(())
    })
}
