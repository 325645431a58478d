//! What was acknowledged is on disk: the node may die in the next instruction.

use anyhow::{Context, Result, ensure};
use holm_tests::{
    cluster::Cluster,
    http,
    node::Node,
    suite::{Scene, Suite},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, io::Write};

/// Kills, if `HOLM_KILLS` does not say how many.
const ROUNDS: u32 = 20;

fn main() {
    Suite::new().test("kills right after the acknowledgement lose nothing", nothing_is_lost).run()
}

/// An app that no node can place, so that only the document is at stake.
fn app(name: &str) -> Value {
    json!({
        "name": name, "type": "service", "place": { "site": "nowhere" },
        "run": { "process": { "command": ["/bin/true"] } },
    })
}

fn nothing_is_lost(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("cloud-1", "cloud").start()?;
    let node = mesh.node("cloud-1");
    let mut acknowledged = BTreeSet::new();
    let rounds =
        std::env::var("HOLM_KILLS").map_or(Ok(ROUNDS), |text| text.parse()).context("HOLM_KILLS is no number")?;
    for round in 0..rounds {
        let name = format!("app-{round}");
        acknowledge_and_kill(node, &name, round)?;
        acknowledged.insert(name);

        node.up()?;
        let listed = node.call("app.list", json!({}))?;
        let there: BTreeSet<String> = listed["items"]
            .as_array()
            .context("a list")?
            .iter()
            .filter_map(|row| row["name"].as_str().map(str::to_owned))
            .collect();
        let lost: Vec<_> = acknowledged.difference(&there).collect();
        ensure!(lost.is_empty(), "in round {round} these acknowledged apps are lost: {lost:?}");
    }
    Ok(())
}

/// Submits `name`, and kills the node as soon as it says that it has it. One more submission is under way
/// at that moment: it may be there afterwards or not, but it must not harm.
fn acknowledge_and_kill(node: &Node, name: &str, round: u32) -> Result<()> {
    let rpc = node.rpc()?;
    let (first, mut second) = (rpc.connect()?, rpc.connect()?);
    let under_way = http::request("app.apply", json!({ "manifest": app(&format!("under-way-{round}")) })).to_string();
    let head = format!(
        "POST /rpc HTTP/1.1\r\nHost: holm\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n",
        under_way.len(),
        rpc.authorisation()
    );
    let answer = rpc.send(first, "app.apply", json!({ "manifest": app(name) }))?;
    second.write_all(format!("{head}{under_way}").as_bytes())?;
    node.kill9()?;
    let answer: Value = serde_json::from_slice(&answer.body)?;
    ensure!(answer["result"]["name"] == name, "not acknowledged: {answer}");
    Ok(())
}
