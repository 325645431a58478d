//! What was acknowledged is on disk: the node may die in the next instruction.

use anyhow::{Context, Result, ensure};
use holm_tests::{
    cluster::Cluster,
    http,
    node::Node,
    suite::{Scene, Suite},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    io::Write,
    sync::atomic::{AtomicBool, Ordering},
};

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
    let mesh = Cluster::of(scene).node("cloud-1", "cloud").keeper("cloud-2", "cloud").start()?;
    let (node, other) = (mesh.node("cloud-1"), mesh.node("cloud-2"));
    let rounds =
        std::env::var("HOLM_KILLS").map_or(Ok(ROUNDS), |text| text.parse()).context("HOLM_KILLS is no number")?;
    let over = AtomicBool::new(false);
    let acknowledged = std::thread::scope(|scope| {
        // Both take submissions all the time, the one that is killed while it is there.
        let flag = &over;
        let load = |node, name: &'static str| scope.spawn(move || submit_until(flag, node, name));
        let loads = [load(node, "of-one"), load(other, "of-the-other")];
        let killed = kill_again_and_again(node, rounds);
        over.store(true, Ordering::Relaxed);
        let taken = loads.map(|load| load.join().unwrap_or_default());
        ensure!(
            taken.iter().all(|taken| taken.len() >= rounds as usize),
            "too little load: {:?}",
            taken.map(|t| t.len())
        );
        Ok(killed?.into_iter().chain(taken.into_iter().flatten()).collect::<BTreeSet<String>>())
    })?;
    mesh.wait_converged()?;
    for node in [node, other] {
        let lost: Vec<_> = acknowledged.difference(&apps(node)?).cloned().collect();
        ensure!(lost.is_empty(), "{} lacks {} of {}: {lost:?}", node.name(), lost.len(), acknowledged.len());
    }
    Ok(())
}

/// The names of all apps that a node knows.
fn apps(node: &Node) -> Result<BTreeSet<String>> {
    let (mut names, mut cursor) = (BTreeSet::new(), Value::Null);
    loop {
        let page = if cursor.is_null() { json!({}) } else { json!({ "cursor": cursor }) };
        let mut page = node.call("app.list", page)?;
        let items = page["items"].as_array().context("a list")?;
        names.extend(items.iter().filter_map(|row| row["name"].as_str().map(str::to_owned)));
        cursor = page["next"].take();
        if cursor.is_null() {
            return Ok(names);
        }
    }
}

/// Submits one app after another, and gives those that were acknowledged.
fn submit_until(over: &AtomicBool, node: &Node, name: &str) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let names = (0..).map(|n| format!("{name}-{n}"));
    for name in names.take_while(|_| !over.load(Ordering::Relaxed)) {
        if node.call("app.apply", json!({ "manifest": app(&name) })).is_ok() {
            acknowledged.push(name);
        }
    }
    acknowledged
}

fn kill_again_and_again(node: &Node, rounds: u32) -> Result<BTreeSet<String>> {
    let mut acknowledged = BTreeSet::new();
    for round in 0..rounds {
        let name = format!("app-{round}");
        acknowledge_and_kill(node, &name, round)?;
        acknowledged.insert(name);
        node.up()?;
        let lost: Vec<_> = acknowledged.difference(&apps(node)?).cloned().collect();
        ensure!(lost.is_empty(), "in round {round} these acknowledged apps are lost: {lost:?}");
    }
    Ok(acknowledged)
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
