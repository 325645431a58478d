//! A fenced app has one runner at most: a node that is cut off ends its task by itself, with or without its agent,
//! before anyone else begins.

use anyhow::{Context, Result, ensure};
use holm_tests::{
    cluster::{Builder, Cluster},
    eventually, holds,
    lab::Ground,
    netlab::Nat,
    node::{Node, SOON},
    process,
    suite::{Scene, Suite},
};
use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

/// How long a lease lasts, and what a busy machine may add to its end.
const LEASE: Duration = Duration::from_secs(10);
const SLACK: Duration = Duration::from_secs(2);

fn main() {
    Suite::new()
        .lab("a holder that is cut off ends its task before another one runs", a_cut_holder_ends_its_task)
        .lab("a holder whose agent is dead or stopped ends its task all the same", no_agent_is_needed)
        .lab("a shop of two nodes keeps its app when it is cut off, and when it loses one", a_shop_of_two)
        .run()
}

/// A mesh with an app that one node runs at a time.
struct Press {
    mesh: Cluster,
    beats: PathBuf,
}

impl Press {
    /// Three sites of one node each, all of them keepers: they guard what belongs to no site.
    fn start(scene: &Scene) -> Result<Press> {
        let mesh = Cluster::of(scene).node("north", "north").keeper("east", "east").keeper("south", "south");
        Press::run(scene, mesh, "north", "")
    }

    fn run(scene: &Scene, mesh: Builder<'_>, at: &str, place: &str) -> Result<Press> {
        let mesh = mesh.start()?;
        let beats = scene.folder("beats")?.join("beats");
        // All hosts of the lab see the same files: who runs says so, twenty times a second.
        let script = "while :; do echo \"$(date +%s%3N) $HOLM_NODE $$\" >> $BEATS; sleep 0.05; done";
        mesh.node(at).apply(&format!(
            "name = 'press'\ntype = 'service'\nenv = {{ BEATS = '{}' }}\n[run.process]\n\
             command = ['/bin/sh', '-c', '{script}']\n[partition]\npolicy = 'fence'\n{place}",
            beats.display()
        ))?;
        mesh.node(at).wait_running("press", 1)?;
        let press = Press { mesh, beats };
        eventually("all know who runs it", SOON, || press.holder().map(drop))?;
        Ok(press)
    }

    fn holder(&self) -> Result<&Node> {
        let running = self.mesh.running_everywhere("press")?;
        ensure!(running.len() == 1, "{running:?}");
        Ok(self.mesh.node(&running[0].node))
    }

    fn others(&self, holder: &Node) -> Vec<&Node> {
        self.mesh.nodes().filter(|node| node.name() != holder.name()).collect()
    }

    /// Who ran, in turn: from when to when, in milliseconds.
    fn turns(&self) -> Result<Vec<Turn>> {
        let mut turns: Vec<Turn> = Vec::new();
        for line in fs::read_to_string(&self.beats)?.lines() {
            let (at, who) = line.split_once(' ').with_context(|| format!("not a beat: {line:?}"))?;
            let at = at.parse()?;
            match turns.last_mut() {
                Some(turn) if turn.who == who => turn.until = at,
                _ => turns.push(Turn { who: who.to_owned(), from: at, until: at }),
            }
        }
        Ok(turns)
    }

    /// Nobody's turn began before the one before had ended, nor was anyone's interrupted.
    fn check_turns(&self, count: usize) -> Result<()> {
        let turns = self.turns()?;
        let gaps: Vec<i64> = turns.windows(2).map(|pair| pair[1].from - pair[0].until).collect();
        println!("    from the last sign of the old to the first of the new: {gaps:?} ms");
        let mut who: Vec<&str> = turns.iter().map(|turn| turn.who.as_str()).collect();
        who.sort_unstable();
        who.dedup();
        ensure!(who.len() == turns.len() && turns.len() == count, "{turns:?}");
        ensure!(gaps.iter().all(|gap| *gap > 0), "{turns:?}");
        Ok(())
    }

    /// Waits until nothing of the app is on a host any more; gives how long that took.
    fn wait_gone(&self, node: &Node, since: Instant) -> Result<Duration> {
        eventually(&format!("the task on {} is gone", node.name()), SOON, || {
            let left = node.processes_of("press");
            ensure!(left.is_empty(), "{left:?}");
            Ok(since.elapsed())
        })
    }

    /// Waits until one of the others runs it.
    fn wait_taken_over(&self, holder: &Node) -> Result<&Node> {
        let others = self.others(holder);
        eventually("another node runs it", SOON, || {
            let running = others[0].running("press")?;
            ensure!(running.len() == 1 && running[0].node != holder.name(), "{:?}", others[0].tasks("press")?);
            let node = self.mesh.node(&running[0].node);
            ensure!(!node.processes_of("press").is_empty(), "it is said to run and does not");
            Ok(node)
        })
    }

    fn reason_at(&self, node: &Node) -> Result<String> {
        let status: serde_json::Value = node.json(&["status", "press"])?;
        Ok(status["slots"][0]["reason"].as_str().unwrap_or_default().to_owned())
    }
}

/// One node's turn.
#[derive(Debug)]
struct Turn {
    who: String,
    from: i64,
    until: i64,
}

fn a_cut_holder_ends_its_task(scene: &Scene) -> Result<()> {
    let press = Press::start(scene)?;
    let holder = press.holder()?;
    let cut = Instant::now();
    press.mesh.lab()?.cut_site(holder.site())?;
    let gone = press.wait_gone(holder, cut)?;
    println!("    the task was gone {} ms after the cut", gone.as_millis());
    ensure!(gone < LEASE + SLACK, "it ran on for {gone:?}");
    let heir = press.wait_taken_over(holder)?;
    eventually("the node that is cut off says why it runs nothing", SOON, || {
        let reason = press.reason_at(holder)?;
        ensure!(reason.contains("1 of 3 guards"), "{reason:?}");
        Ok(())
    })?;

    press.mesh.lab()?.heal()?;
    press.mesh.wait_acquainted()?;
    press.mesh.wait_converged()?;
    let one_runner = || -> Result<()> {
        let now = press.holder()?;
        ensure!(now.name() == heir.name(), "{} has become {}", heir.name(), now.name());
        Ok(())
    };
    eventually("who took it over keeps it", SOON, one_runner)?;
    holds("the heal disturbs nothing", Duration::from_secs(5), one_runner)?;
    press.check_turns(2)
}

fn no_agent_is_needed(scene: &Scene) -> Result<()> {
    let press = Press::start(scene)?;
    let first = press.holder()?;
    let cut = Instant::now();
    press.mesh.lab()?.cut_site(first.site())?;
    first.kill9()?;
    ensure!(!first.processes_of("press").is_empty(), "the task died with its agent");
    let gone = press.wait_gone(first, cut)?;
    println!("    the task was gone {} ms after the cut and the death of its agent", gone.as_millis());
    ensure!(gone < LEASE + SLACK, "it ran on for {gone:?}");
    let second = press.wait_taken_over(first)?;
    press.mesh.lab()?.heal()?;
    first.up()?;
    press.mesh.wait_acquainted()?;
    press.mesh.wait_converged()?;
    eventually("one runner is left", SOON, || {
        ensure!(press.holder()?.name() == second.name());
        Ok(())
    })?;

    // A guard that has just started grants nothing for a while, and the next one needs it.
    let stopped = second.pid().context("it runs")?;
    let stop = Instant::now();
    process::freeze(stopped)?;
    let gone = press.wait_gone(second, stop)?;
    println!("    the task was gone {} ms after its agent was stopped", gone.as_millis());
    ensure!(gone < LEASE + SLACK, "it ran on for {gone:?}");
    press.wait_taken_over(second)?;
    process::thaw(stopped)?;
    press.mesh.wait_acquainted()?;
    eventually("one runner is left", SOON, || press.holder().map(drop))?;
    press.check_turns(3)
}

fn a_shop_of_two(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene)
        .ground("shop", Ground::Behind(Nat::Home))
        .node("hq", "cloud")
        .node("till-1", "shop")
        .node("till-2", "shop");
    let press = Press::run(scene, mesh, "till-1", "[place]\nsite = 'shop'\n")?;
    let holder = press.holder()?;
    let before = holder.processes_of("press");
    press.mesh.lab()?.cut_site("shop")?;
    holds("the shop keeps it without the keeper", 2 * LEASE, || {
        let now = holder.processes_of("press");
        // The shell has short-lived children.
        ensure!(before.iter().any(|pid| now.contains(pid)), "{before:?} has become {now:?}");
        Ok(())
    })?;
    press.mesh.lab()?.heal()?;
    press.mesh.wait_acquainted()?;
    press.mesh.wait_converged()?;
    press.check_turns(1)?;

    let lost = Instant::now();
    holder.power_off()?;
    let heir = press.wait_taken_over(holder)?;
    println!("    {} took it over {} ms after {} was lost", heir.name(), lost.elapsed().as_millis(), holder.name());
    ensure!(heir.site() == "shop", "{} runs it", heir.name());
    press.check_turns(2)
}
