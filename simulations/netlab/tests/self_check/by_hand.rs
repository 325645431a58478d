//! `holm-lab` as a person uses it, and what is left of it.

use crate::{Needs, Story, life::eventually};
use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Output, Stdio},
};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shops.toml");

pub fn trials() -> Vec<(&'static str, Needs, Story)> {
    vec![
        ("by hand: a command runs on a host, and its exit code is told", Needs::Cables, a_command_on_a_host),
        ("by hand: the lab is shown, and changed by what is typed", Needs::Cables, the_console),
        ("by hand: Ctrl-C takes everything away", Needs::Cables, || nothing_is_left(Signal::SIGINT)),
        ("by hand: kill -9 takes everything away", Needs::Cables, || nothing_is_left(Signal::SIGKILL)),
        ("by hand: mistakes are told", Needs::Cables, mistakes),
    ]
}

fn holm_lab(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holm-lab"));
    command.args(arguments);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn a_command_on_a_host() -> Result<()> {
    let script = "ip -4 -o addr show eth0; cat /proc/sys/net/ipv4/tcp_congestion_control; exit 7";
    let output = holm_lab(&["up", EXAMPLE, "--host", "oven", "--", "sh", "-c", script]).output()?;
    let text = said(&output);
    ensure!(output.status.code() == Some(7) && text.contains("192.168.1.2/24") && text.contains("reno"), "{output:?}");
    let output = holm_lab(&["up", EXAMPLE, "--host", "oven", "--", "sh", "-c", "kill -9 $$"]).output()?;
    ensure!(output.status.code() == Some(128 + 9), "{output:?}");
    Ok(())
}

fn the_console() -> Result<()> {
    let mut command = holm_lab(&["up", EXAMPLE]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let input = "help\ncut plant\nheal\npartition plant shop-a\nlink shop-b delay=5ms loss=0.5\ntraffic shop-b\n\
                 traffic meet\nwan shop-a\nudp-timeout plant 5s\nnonsense\ncut nowhere\nhosts\nquit\nnever\n";
    child.stdin.take().context("a pipe")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let text = said(&output);
    ensure!(output.status.success(), "{output:?}");
    let expected =
        ["nsenter --net=/proc/", "partition A B", "carried: ", "plain wire", "\"nonsense\"", "no site \"nowhere\""];
    for word in expected {
        ensure!(text.contains(word), "{word:?} is not in {text}");
    }
    ensure!(text.matches("\nok\n").count() + text.matches("ok\nok").count() >= 2, "{text}");
    ensure!(text.contains("11.0.3.3") && !text.contains("never"), "a new address, and nothing after `quit`: {text}");
    Ok(())
}

/// What a process holds open of namespaces, and is in: `net:[INODE]`.
fn namespaces(pid: &str) -> Vec<String> {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().map(|entry| entry.path());
    let links = fds.chain([format!("/proc/{pid}/ns/net").into()]).filter_map(|path| fs::read_link(path).ok());
    links.map(|link| link.to_string_lossy().into_owned()).filter(|link| link.starts_with("net:[")).collect()
}

/// The processes of this machine that keep one of these namespaces.
fn holders(of: &[String]) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    pids.filter(|pid| pid.parse::<u32>().is_ok() && namespaces(pid).iter().any(|held| of.contains(held))).collect()
}

/// A lab with a process that is out of its hands: a child's child in a session of its own.
fn lab_with_a_stray() -> Result<(Child, Vec<String>, i32)> {
    let mut command = holm_lab(&["up", EXAMPLE]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut lab = command.spawn()?;
    let mut out = BufReader::new(lab.stdout.take().context("a pipe")?);
    let mut enter = None;
    let mut line = String::new();
    while !line.starts_with("up;") {
        line.clear();
        ensure!(out.read_line(&mut line)? > 0, "it ended early");
        enter = enter.or_else(|| line.starts_with("till ").then(|| line.split("--net=").nth(1).map(str::to_owned)));
    }
    let path = enter.flatten().context("no way to enter the till")?;
    let ours = fs::read_link("/proc/self/ns/net")?.to_string_lossy().into_owned();
    let mut of_lab = namespaces(&lab.id().to_string());
    of_lab.retain(|name| *name != ours);
    let mut stray = Command::new("nsenter");
    stray.arg(format!("--net={}", path.trim())).args(["setsid", "sleep", "1000"]);
    let stray = stray.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let stray = i32::try_from(stray.id())?;
    eventually("the stray is inside", || namespaces(&stray.to_string()).iter().any(|name| of_lab.contains(name)))?;
    Ok((lab, of_lab, stray))
}

fn nothing_is_left(signal: Signal) -> Result<()> {
    let (mut lab, of_lab, stray) = lab_with_a_stray()?;
    ensure!(of_lab.len() > 10, "of the lab there are {of_lab:?}");
    kill(Pid::from_raw(i32::try_from(lab.id())?), signal)?;
    let status = lab.wait()?;
    ensure!(status.success() == (signal == Signal::SIGINT), "{status}");
    // The kernel removes a namespace that nobody holds.
    eventually("no process holds a namespace of the lab", || holders(&of_lab).is_empty())?;
    nix::sys::wait::waitpid(Pid::from_raw(stray), None)?;
    Ok(())
}

fn mistakes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path = folder.path().join(name);
        fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    };
    let unknown = file("unknown.toml", "[site.shop]\nnat = 'cone'\n")?;
    let twice = file("twice.toml", "[site.a]\nnat = 'home'\nhosts = ['x']\n[site.b]\nnat = 'home'\nhosts = ['x']\n")?;
    let senseless = file("senseless.toml", "[site.a]\nnat = 'routed'\nudp_timeout = '5s'\n")?;
    for (arguments, code, word) in [
        (vec!["up", &unknown], 3, "line 2"),
        (vec!["up", "nowhere.toml"], 3, "nowhere.toml"),
        (vec!["up", &twice], 3, "already"),
        (vec!["up", &senseless], 1, "remembers"),
        (vec!["up", EXAMPLE, "--host", "nobody"], 3, "nobody"),
        (vec!["up", EXAMPLE, "--host", "oven", "--", "no-such-program"], 1, "cannot start"),
        (vec!["down"], 3, "down"),
    ] {
        let output = holm_lab(&arguments).stdin(Stdio::null()).output()?;
        let text = said(&output);
        ensure!(output.status.code() == Some(code) && text.contains(word), "{arguments:?}: {output:?}");
    }
    Ok(())
}
