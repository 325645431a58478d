//! What a node costs that has nothing to do, in a mesh of five.

use crate::{mesh, options::Runs, report::Row, stats, wait};
use anyhow::{Context, Result};
use holm_tests::{node::Node, suite::Scene};
use std::{fs, time::Instant};

/// The kernel counts processor time for `/proc` in hundredths of a second on every architecture that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Measures.
///
/// # Errors
/// A node does not start, or dies.
pub fn measure(scene: &Scene, runs: &Runs) -> Result<Vec<Row>> {
    let mesh = mesh::five(scene)?;
    wait::pass(runs.settle)?;
    let agents: Vec<i32> = mesh.nodes().map(|node| node.pid().context("a node is gone")).collect::<Result<_>>()?;
    let used = || agents.iter().map(|pid| cpu_seconds(*pid)).collect::<Result<Vec<f64>>>();

    let (before, begin) = (used()?, Instant::now());
    wait::pass(runs.idle)?;
    let (after, seconds) = (used()?, begin.elapsed().as_secs_f64());

    let load: Vec<f64> = before.iter().zip(&after).map(|(b, a)| (a - b) / seconds * 100.0).collect();
    let resident = megabytes(&agents, "VmRSS")?;
    let own = megabytes(&agents, "RssAnon")?;
    let worst = |key, what, unit, samples: &[f64]| Row::new(key, what, stats::most(samples), unit, samples);
    let median = |samples: &[f64]| format!("worst of 5; median {:.2}", stats::median(samples));
    Ok(vec![
        worst("idle_rss", "idle: resident memory a node", "MB", &resident)
            .at_most(40.0)
            .note(format!("{}; file pages in it are shared by the nodes of a host", median(&resident))),
        worst("idle_rss_anon", "idle: memory of its own a node", "MB", &own)
            .note(format!("{}; the anonymous part of the above", median(&own))),
        worst("idle_cpu", "idle: processor a node", "% of a core", &load)
            .at_most(1.0)
            .note(format!("{}; over {seconds:.0} s", median(&load))),
    ])
}

/// Resident memory of a running node, in megabytes.
///
/// # Errors
/// It does not run.
pub fn resident(node: &Node) -> Result<f64> {
    let pid = node.pid().context("the node is gone")?;
    megabytes(&[pid], "VmRSS")?.first().copied().context("no process")
}

/// Processor time that a process has used so far, in user mode and in the kernel.
fn cpu_seconds(pid: i32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("no process {pid}"))?;
    ticks(&stat).map(|ticks| ticks as f64 / TICKS_PER_SECOND).with_context(|| format!("/proc/{pid}/stat: {stat:?}"))
}

/// `utime + stime`: the 12th and 13th field behind the name, which is in parentheses and may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// A line of `/proc/PID/status` of each process, in megabytes.
fn megabytes(pids: &[i32], line: &str) -> Result<Vec<f64>> {
    let one = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("no process {pid}"))?;
        let kilobytes = kilobytes(&status, line).with_context(|| format!("/proc/{pid}/status has no {line}"))?;
        Ok(kilobytes as f64 * 1024.0 / 1e6)
    };
    pids.iter().map(one).collect()
}

fn kilobytes(status: &str, line: &str) -> Option<u64> {
    let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc() {
        let stat = "7 (a ) R (b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 5 0";
        assert_eq!(ticks(stat), Some(200));
        assert_eq!(kilobytes("VmRSS:\t  36 kB\nRssAnon:\t 1000 kB\n", "RssAnon"), Some(1000));
        assert_eq!((ticks("7 (x) S 1"), kilobytes("VmRSS: 3", "VmRSS")), (None, None));
    }

    #[test]
    fn this_process_has_both() {
        let own = std::process::id().cast_signed();
        assert!(cpu_seconds(own).is_ok() && megabytes(&[own], "VmRSS").unwrap()[0] > 0.0);
    }
}
