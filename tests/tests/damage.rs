//! A disk that does not give back what was written, and a backup for when it gives back nothing.

use anyhow::{Context, Result, ensure};
use holm_tests::{
    cluster::Cluster,
    eventually,
    node::{Node, SOON},
    process,
    suite::{Scene, Suite},
};
use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::PathBuf,
};

const HOLD: &str = "name = 'hold'\ntype = 'service'\n[run.process]\ncommand = ['/bin/sleep', '100000']\n";

fn main() {
    Suite::new()
        .test("a node whose database is damaged makes it again and goes on", damaged_at_rest)
        .test("damage in the tables is met, told and mended by the next start", damaged_tables)
        .test("a database that is gone is told of, and no task is stopped for it", gone)
        .test("a backup of a running node is restored elsewhere", backup_and_restore)
        .test("a backup that is damaged, or a folder that has a node, is refused", refused)
        .run()
}

fn files(node: &Node, matching: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(node.data().join("db"))? {
        let entry = entry?;
        if matching(&entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        }
    }
    ensure!(!found.is_empty(), "no such file in the database");
    Ok(found)
}

fn aside(node: &Node) -> Result<usize> {
    let names = fs::read_dir(node.data())?.flatten().map(|entry| entry.file_name());
    Ok(names.filter(|name| name.to_string_lossy().starts_with("db.damaged-")).count())
}

/// A node alone: nobody else could give back what it loses.
fn damaged_at_rest(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("till-1", "shop").start()?;
    let node = mesh.node("till-1");
    node.apply(HOLD)?;
    let before = node.wait_running("hold", 1)?;
    let pid = before[0].pid.context("it runs")?;
    for (n, damage) in ["CURRENT", "MANIFEST"].into_iter().enumerate() {
        node.kill9()?;
        match damage {
            "CURRENT" => fs::write(node.data().join("db/CURRENT"), b"rubbish\n")?,
            _ => files(node, |name| name.starts_with(damage))?.iter().try_for_each(fs::remove_file)?,
        }
        node.up()?;
        eventually("the task is adopted, and nothing was restarted", SOON, || {
            let now = node.running("hold")?;
            ensure!(now == before, "{before:?} has become {now:?}");
            Ok(())
        })?;
        ensure!(process::runs(pid));
        ensure!(aside(node)? == n + 1, "the damaged one was not set aside");
        let events = node.ok(&["events"])?;
        ensure!(events.contains("was made again"), "{damage}: {events}");
        let doctor = node.holm(&["doctor"])?;
        let told = String::from_utf8_lossy(&doctor.stdout);
        ensure!(!doctor.status.success() && told.contains("db.damaged-"), "{told}");
    }
    // A later life of the node writes on.
    node.ok(&["scale", "hold", "2"])?;
    node.wait_running("hold", 2).map(drop)
}

/// The bytes of all tables are changed. Much is lost, and the other node has it.
fn damaged_tables(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("till-1", "shop").node("till-2", "shop").start()?;
    let node = mesh.node("till-2");
    for n in 0..20 {
        node.apply(&HOLD.replace("'hold'", &format!("'hold-{n}'")).replace("[run", "replicas = 0\n[run"))?;
    }
    node.apply(HOLD)?;
    mesh.node("till-1").wait_running("hold", 1)?;
    mesh.wait_converged()?;
    // With each start the log becomes tables.
    node.kill9()?;
    node.up()?;
    mesh.wait_acquainted()?;
    node.kill9()?;
    for table in files(node, |name| name.ends_with(".sst"))? {
        let file = OpenOptions::new().write(true).open(&table)?;
        // Of a small table this is all of the data, and none of what describes it.
        file.write_all_at(&[0xA5; 64], 16)?;
    }
    let mut starts = 0;
    eventually("it serves with all that it had", SOON, || {
        if node.pid().is_none() || node.ended()? {
            if node.pid().is_some() {
                node.kill9()?;
            }
            starts += 1;
            node.launch()?;
            node.wait_ready()?;
        }
        let known = node.apps()?.len();
        ensure!(known == 21, "{known} apps");
        ensure!(aside(node)? == 1, "{} were set aside", aside(node)?);
        Ok(())
    })?;
    ensure!(starts <= 2, "{starts} starts");
    mesh.wait_converged()?;
    node.apply(&HOLD.replace("'hold'", "'another'"))?;
    mesh.node("till-1").wait_running("another", 1).map(drop)
}

fn gone(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("till-1", "shop").node("till-2", "shop").start()?;
    let node = mesh.node("till-2");
    node.apply(&HOLD.replace("[run", "replicas = 2\n[run"))?;
    let before = node.wait_running("hold", 2)?;
    mesh.wait_converged()?;
    ensure!(!node.ok(&["events"])?.contains("is gone"), "it has only begun");
    node.kill9()?;
    fs::remove_dir_all(node.data().join("db"))?;
    node.up()?;
    mesh.wait_converged()?;
    eventually("the tasks are known again, and nothing was restarted", SOON, || {
        let now = node.running("hold")?;
        ensure!(now == before, "{before:?} has become {now:?}");
        Ok(())
    })?;
    let events = node.ok(&["events"])?;
    ensure!(events.contains("is gone"), "{events}");
    Ok(())
}

fn backup_and_restore(scene: &Scene) -> Result<()> {
    let mut mesh = Cluster::of(scene).node("till-1", "shop").node("till-2", "shop").start()?;
    let file = scene.folder("kept")?.join("till-2.backup");
    let name = file.to_string_lossy().into_owned();
    let spare = mesh.new_node("spare", "shop")?;
    let old = mesh.node("till-2");
    old.apply(HOLD)?;
    old.wait_running("hold", 1)?;
    let told = old.ok(&["backup", &name])?;
    ensure!(told.contains("node till-2 of mesh"), "{told}");
    ensure!(fs::metadata(&file)?.permissions().mode() & 0o777 == 0o600, "others can read it");
    let secret = fs::read_to_string(old.data().join("identity.key"))?;
    ensure!(!told.contains(secret.trim()), "the key is shown");
    // What is written after the backup comes back from the other node.
    old.apply(&HOLD.replace("'hold'", "'later'"))?;
    mesh.wait_converged()?;
    old.power_off()?;

    spare.ok(&["restore", &name])?;
    spare.up()?;
    eventually("it is the same node, with all apps, and they run", SOON, || {
        for app in ["hold", "later"] {
            let running = spare.running(app)?;
            ensure!(running.len() == 1, "{app}: {running:?}");
        }
        let members = mesh.node("till-1").members()?;
        let alive = members.iter().filter(|m| m.name == "till-2" && m.state == "alive").count();
        ensure!(alive == 1 && members.len() == 2, "{members:?}");
        Ok(())
    })?;
    spare.apply(&HOLD.replace("'hold'", "'newest'"))?;
    mesh.node("till-1").wait_running("newest", 1)?;
    ensure!(
        !mesh.node("till-1").log().contains("two changes with one sequence"),
        "it went on with numbers that were used"
    );
    Ok(())
}

fn refused(scene: &Scene) -> Result<()> {
    let mut mesh = Cluster::of(scene).node("till-1", "shop").start()?;
    let file = scene.folder("kept")?.join("till-1.backup");
    let name = file.to_string_lossy().into_owned();
    let spare = mesh.new_node("spare", "shop")?;
    let node = mesh.node("till-1");
    node.ok(&["backup", &name])?;
    let over = node.holm(&["restore", &name])?;
    ensure!(!over.status.success(), "restored over a node");
    node.apply(HOLD)?;
    node.wait_running("hold", 1)?;

    let whole = fs::read(&file)?;
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    for (what, bytes) in [("cut off", &whole[..whole.len() - 7]), ("changed", &changed), ("something else", b"{}")] {
        fs::write(&file, bytes)?;
        let output = spare.holm(&["restore", &name])?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && said.contains("till-1.backup"), "{what}: {said}");
        ensure!(fs::read_dir(spare.data())?.next().is_none(), "{what}: something is left behind");
    }
    let nowhere = node.holm(&["backup", "/nowhere/at/all"])?;
    ensure!(!nowhere.status.success() && String::from_utf8_lossy(&nowhere.stderr).contains("/nowhere/at/all"));
    Ok(())
}
