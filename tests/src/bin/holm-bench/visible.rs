//! From a write to all who hold a copy of it: a site of twenty, and beside etcd.

use crate::{client::Client, etcd::Etcd, mesh::sleeper, options::Runs, report::Row, stats, wait};
use anyhow::{Context, Result, anyhow};
use holm_tests::{cluster::Cluster, interrupt, suite::Scene};
use serde_json::json;
use std::time::{Duration, Instant};

const VISIBLE_WITHIN: Duration = Duration::from_secs(30);
/// Members of what is compared.
const MEMBERS: usize = 3;
/// Clients that write at the same time, each waiting for its acknowledgement.
const CLIENTS: usize = 24;

/// Writes a key and waits for the acknowledgement.
pub type Write = Box<dyn FnMut(&str) -> Result<()> + Send>;
/// Whether a member shows a key, without asking another.
pub type Shows = Box<dyn FnMut(&str) -> Result<bool>>;

/// A store with members that are each spoken to.
pub trait Members {
    /// A client of a member.
    ///
    /// # Errors
    /// It does not serve.
    fn writer(&self, member: usize) -> Result<Write>;
    /// A reader of a member's own copy.
    ///
    /// # Errors
    /// It does not serve.
    fn reader(&self, member: usize) -> Result<Shows>;
}

impl Members for Cluster {
    fn writer(&self, member: usize) -> Result<Write> {
        let mut client = Client::connect(self.node(&name(member)))?;
        Ok(Box::new(move |key| client.apply(sleeper(key, 0))))
    }

    fn reader(&self, member: usize) -> Result<Shows> {
        let mut client = Client::connect(self.node(&name(member)))?;
        Ok(Box::new(move |key| {
            // Of an app that is not known there is no other word than an error.
            Ok(client.call("app.get", json!({ "name": key })).is_ok())
        }))
    }
}

fn name(member: usize) -> String {
    format!("node-{}", member + 1)
}

fn cluster(scene: &Scene, nodes: usize) -> Result<Cluster> {
    (0..nodes).fold(Cluster::of(scene), |mesh, member| mesh.node(&name(member), "bench")).start()
}

/// A change at one node of a site, until so many of the others show it.
///
/// # Errors
/// The site does not start, or a node never shows it.
pub fn site(scene: &Scene, runs: &Runs) -> Result<Vec<Row>> {
    let nodes = runs.site;
    let mesh = cluster(scene, nodes)?;
    let others = nodes - 1;
    let (mut half, mut nearly_all) = (Vec::new(), Vec::new());
    let mut readers = (0..nodes).map(|member| mesh.reader(member)).collect::<Result<Vec<_>>>()?;
    for run in 0..runs.spreads {
        let writer = run % nodes;
        let key = format!("spread-{run}");
        let begin = Instant::now();
        mesh.writer(writer)?(&key)?;
        let times = shown(&key, begin, &mut readers, Some(writer))?;
        half.push(times[others.div_ceil(2) - 1]);
        nearly_all.push(times[(others * 99).div_ceil(100) - 1]);
    }
    let row = |key, what: String, times: &[f64]| {
        Row::new(key, &what, stats::median(times), "ms", times).note(format!(
            "median; {:.0} to {:.0}; from the submission, its disk included; the nodes are asked in turn",
            stats::least(times),
            stats::most(times)
        ))
    };
    Ok(vec![
        row("spread_half", format!("a change at half of a site of {nodes}"), &half),
        row("spread_all", format!("a change at 99 % of a site of {nodes}"), &nearly_all),
    ])
}

/// When each reader showed the key, in milliseconds, ascending.
fn shown(key: &str, begin: Instant, readers: &mut [Shows], but: Option<usize>) -> Result<Vec<f64>> {
    let mut waiting: Vec<usize> = (0..readers.len()).filter(|member| Some(*member) != but).collect();
    let mut times = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        interrupt::check()?;
        if begin.elapsed() > VISIBLE_WITHIN {
            return Err(anyhow!("{key} is not visible at members {waiting:?} after {VISIBLE_WITHIN:?}"));
        }
        let mut still = Vec::new();
        for member in waiting {
            match readers[member](key)? {
                true => times.push(begin.elapsed().as_secs_f64() * 1e3),
                false => still.push(member),
            }
        }
        waiting = still;
    }
    Ok(times)
}

/// Acknowledged writes a second, and from a write to all three members, of Holm and of etcd in turn.
///
/// # Errors
/// One of them does not start.
pub fn beside_etcd(scene: &Scene, runs: &Runs) -> Result<Vec<Row>> {
    let holm = cluster(scene, MEMBERS)?;
    let etcd = Etcd::start(&scene.folder("etcd")?, MEMBERS)?;
    let (mut ours, mut theirs) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for round in 0..3 {
        for (members, into) in [(&holm as &dyn Members, &mut ours), (&etcd, &mut theirs)] {
            into[0].push(rate(members, round, runs.writes)?);
            into[1].extend(all_show(members, round, runs.writes / 10)?);
            wait::pass(Duration::from_secs(1))?;
        }
    }
    let what = |who: &str| format!("{who}, 3 members, {CLIENTS} clients: acknowledged writes");
    let rates = [&ours[0], &theirs[0]].map(|rates| stats::median(rates));
    let tails = [&ours[1], &theirs[1]].map(|times| stats::percentile(times, 99));
    let halves = [&ours[1], &theirs[1]].map(|times| stats::percentile(times, 50));
    let tail = |who: &str| format!("{who}: from a write to all 3, p99");
    Ok(vec![
        Row::new("etcd_holm_rate", &what("Holm"), rates[0], "/s", &ours[0])
            .note("of an app; durable at the node that took it"),
        Row::new("etcd_rate", &what("etcd"), rates[1], "/s", &theirs[0])
            .note("of as many bytes; durable at two of three"),
        Row::new("etcd_rate_ratio", "Holm beside etcd", rates[0] / rates[1], "x", &[]).at_least(1.0),
        Row::new("etcd_holm_visible", &tail("Holm"), tails[0], "ms", &ours[1]).note(format!("p50 {:.1}", halves[0])),
        Row::new("etcd_visible", &tail("etcd"), tails[1], "ms", &theirs[1]).note(format!("p50 {:.1}", halves[1])),
        Row::new("etcd_visible_ratio", "Holm beside etcd", tails[0] / tails[1], "x", &[]).at_most(1.0),
    ])
}

fn rate(members: &dyn Members, round: usize, writes: usize) -> Result<f64> {
    let writers = (0..CLIENTS).map(|client| members.writer(client % MEMBERS)).collect::<Result<Vec<_>>>()?;
    let begin = Instant::now();
    let threads: Vec<_> = writers
        .into_iter()
        .enumerate()
        .map(|(client, mut write)| {
            let each = writes / CLIENTS;
            std::thread::spawn(move || (0..each).try_for_each(|n| write(&format!("rate-{round}-{client}-{n}"))))
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a client panicked"))??;
    }
    Ok((writes / CLIENTS * CLIENTS) as f64 / begin.elapsed().as_secs_f64())
}

fn all_show(members: &dyn Members, round: usize, writes: usize) -> Result<Vec<f64>> {
    let mut writers = (0..MEMBERS).map(|member| members.writer(member)).collect::<Result<Vec<_>>>()?;
    let mut readers = (0..MEMBERS).map(|member| members.reader(member)).collect::<Result<Vec<_>>>()?;
    let mut times = Vec::with_capacity(writes);
    for n in 0..writes {
        let key = format!("visible-{round}-{n}");
        let begin = Instant::now();
        writers[n % MEMBERS](&key)?;
        times.push(*shown(&key, begin, &mut readers, None)?.last().context("no member")?);
    }
    Ok(times)
}
