//! Processes of this machine, as `/proc` shows them, and running a command to its end.

use crate::eventually::regardless;
use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    io::{Read, Write},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// The ids of all processes.
pub fn all() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Whether a process runs; a zombie does not.
pub fn runs(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The name in parentheses may hold anything, so look behind its end.
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Whether a process has `text` in its working directory, its arguments or its environment.
pub fn mentions(pid: i32, text: &str) -> bool {
    let within = |bytes: Vec<u8>| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.to_string_lossy().contains(text))
        || ["cmdline", "environ"].iter().any(|file| fs::read(format!("/proc/{pid}/{file}")).is_ok_and(within))
}

/// A variable in the environment that a process was started with.
pub fn variable(pid: i32, name: &str) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut entries = environ.split(|byte| *byte == 0).filter_map(|entry| std::str::from_utf8(entry).ok());
    entries.find_map(|entry| entry.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

/// The most memory that a process ever had resident, in bytes.
///
/// # Errors
/// There is no such process.
pub fn peak_memory(pid: i32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("no process {pid}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM: it is a zombie")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}

/// Kills one process, as the kernel does when memory is out. One that is gone is fine.
pub fn kill9(pid: i32) {
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

/// Stops a process where it stands, as a host does that swaps or is moved.
///
/// # Errors
/// It is not there.
pub fn freeze(pid: i32) -> Result<()> {
    kill(Pid::from_raw(pid), Signal::SIGSTOP).with_context(|| format!("cannot stop process {pid}"))
}

/// Lets a process go on that was stopped.
///
/// # Errors
/// It is not there.
pub fn thaw(pid: i32) -> Result<()> {
    kill(Pid::from_raw(pid), Signal::SIGCONT).with_context(|| format!("process {pid} does not go on"))
}

/// Kills what `find` finds, again and again, until it finds nothing that runs.
///
/// # Errors
/// Some do not die.
pub fn kill_until_none(find: impl Fn() -> Vec<i32>) -> Result<()> {
    regardless("every process is gone", Duration::from_secs(10), || {
        let left: Vec<i32> = find().into_iter().filter(|pid| runs(*pid)).collect();
        left.iter().copied().for_each(kill9);
        ensure!(left.is_empty(), "these do not die: {left:?}");
        Ok(())
    })
}

/// Runs a command to its end with `input` on its standard input.
///
/// # Errors
/// It cannot be started, or does not end within `patience` (then it is killed).
pub fn output_within(mut command: Command, input: &[u8], patience: Duration) -> Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut stdin = child.stdin.take().context("no pipe to the child")?;
    let mut stdout = child.stdout.take().context("no pipe from the child")?;
    let mut stderr = child.stderr.take().context("no pipe from the child")?;
    let pid = i32::try_from(child.id())?;
    let (sender, ended) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        // The child may end without reading its input: not our concern.
        scope.spawn(move || stdin.write_all(input));
        let out = scope.spawn(move || read_all(&mut stdout));
        let err = scope.spawn(move || read_all(&mut stderr));
        scope.spawn(move || {
            if ended.recv_timeout(patience) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                kill9(pid);
            }
        });
        let begin = Instant::now();
        let status = child.wait()?;
        let (stdout, stderr) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
        drop(sender);
        if begin.elapsed() >= patience {
            bail!("{command:?} did not end within {patience:?}; stderr: {}", String::from_utf8_lossy(&stderr));
        }
        Ok(Output { status, stdout, stderr })
    })
}

fn read_all(from: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What came before an error is still worth showing.
    let _ = from.read_to_end(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_fed_read_and_waited_for() {
        let mut command = Command::new("sh");
        command.args(["-c", "tr a-z A-Z; echo oops >&2; exit 3"]);
        let output = output_within(command, b"hello", Duration::from_secs(20)).unwrap();
        assert_eq!((output.stdout.as_slice(), output.status.code()), (b"HELLO".as_slice(), Some(3)));
        assert_eq!(output.stderr, b"oops\n");
    }

    #[test]
    fn a_command_that_hangs_is_killed() {
        let mut command = Command::new("sleep");
        command.arg("1000");
        let begin = Instant::now();
        assert!(output_within(command, b"", Duration::from_millis(100)).is_err());
        assert!(begin.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn processes_are_found_by_what_they_mention_and_killed() {
        let mut child = Command::new("sleep").arg("1000").env("MARK", "mark-of-this-test").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // Just after the fork the child still has its parent's face.
        crate::eventually("the child has begun", Duration::from_secs(10), || {
            ensure!(variable(pid, "MARK").as_deref() == Some("mark-of-this-test"));
            Ok(())
        })
        .unwrap();
        assert!(runs(pid) && mentions(pid, "mark-of-this-test") && peak_memory(pid).unwrap() > 0);
        kill_until_none(|| all().into_iter().filter(|pid| mentions(*pid, "mark-of-this-test")).collect()).unwrap();
        assert!(!runs(pid), "a zombie does not run");
        child.wait().unwrap();
    }
}
