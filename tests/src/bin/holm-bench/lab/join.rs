//! From `holm join` on a new gateway to its first task.

use crate::{lab::cable, options::Runs, report::Row, stats, wait};
use anyhow::{Context, Result};
use holm_tests::{
    cluster::{Cluster, join},
    lab::Ground,
    netlab::Nat,
    suite::Scene,
};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// From the gateway to the cloud, one way: 80 ms there and back.
const DELAY: Duration = Duration::from_millis(40);
const WITHIN: Duration = Duration::from_secs(60);
/// Between two gateways, so that one does not pay for the other.
const REST: Duration = Duration::from_secs(1);

/// Measures.
///
/// # Errors
/// A gateway does not join, or its task does not start.
pub fn measure(scene: &Scene, runs: &Runs) -> Result<Vec<Row>> {
    let sites: Vec<String> = (0..runs.joins).map(|run| format!("shop-{run}")).collect();
    let mut builder = Cluster::of(scene).ground("cloud", Ground::Public).node("cloud-1", "cloud");
    for site in &sites {
        builder = builder.ground(site, Ground::Behind(Nat::Home));
    }
    let mut mesh = builder.linked(cable(DELAY)).start()?;
    let stamps = scene.folder("stamps")?;
    let (mut joined, mut ran) = (Vec::new(), Vec::new());
    for site in &sites {
        let stamp = stamps.join(site);
        mesh.node("cloud-1").apply(&app(site, &stamp))?;
        let token = mesh.token(site, &[])?;
        let gateway = mesh.new_node(&format!("gw-{site}"), site)?;
        wait::pass(REST)?;
        let (began, begin) = (SystemTime::now(), Instant::now());
        join(&gateway, &token)?;
        joined.push(begin.elapsed().as_secs_f64());
        gateway.up()?;
        let text = || Ok(fs::read_to_string(&stamp).ok().filter(|text| text.ends_with('\n')));
        let (text, _) = wait::until(&format!("the task of {site} runs"), begin, REST / 100, WITHIN, text)?;
        let at: f64 = text.trim().parse().with_context(|| format!("{text:?} is not a date"))?;
        ran.push(at - began.duration_since(UNIX_EPOCH)?.as_secs_f64());
    }
    let note =
        format!("worst; median {:.2}; `holm join`, `holm up`, a service that waits for the site", stats::median(&ran));
    Ok(vec![
        Row::new("join_task", "from a token to the first task, 80 ms to the cloud", stats::most(&ran), "s", &ran)
            .at_most(3.0)
            .note(note),
        Row::new("join", "of that, `holm join`", stats::median(&joined), "s", &joined).note("median"),
    ])
}

/// A service of the site whose task says when it began.
fn app(site: &str, stamp: &Path) -> String {
    let stamp = stamp.display();
    format!(
        "name = 'first-{site}'\ntype = 'service'\n[place]\nsite = '{site}'\n[run.process]\n\
         command = ['/bin/sh', '-c', 'date +%s.%N > {stamp}.new && mv {stamp}.new {stamp}; exec sleep 100000']\n"
    )
}
