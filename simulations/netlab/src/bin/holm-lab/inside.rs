//! A shell, or one command, on a host.

use crate::signals::{Event, Events, unblocked};
use anyhow::{Context as _, Result};
use holm_netlab::Lab;
use nix::sys::signal::Signal;
use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt as _,
    process::{Command, ExitCode, ExitStatus},
};

/// Runs it to its end, and gives its exit code.
pub fn run(lab: &Lab, name: &str, command: &[OsString], (_, events): Events) -> Result<ExitCode> {
    let host = lab.host(name)?;
    let mut child = match command {
        [program, arguments @ ..] => {
            let mut child = host.command(program);
            child.args(arguments);
            child
        }
        [] => {
            eprint!("{}", crate::hosts::table(lab)?);
            eprintln!("\nA shell on {name}; other hosts are entered as shown. The lab is gone when this shell ends.");
            shell(host.command(std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into())), name)
        }
    };
    unblocked(&mut child);
    let mut child = child.spawn().with_context(|| format!("cannot start it on {name}"))?;
    for event in events {
        // Ctrl-C is for whoever runs in the foreground, which is the child.
        if let Event::Signal(Signal::SIGTERM | Signal::SIGHUP) = event {
            child.kill()?;
        }
        if let Some(status) = child.try_wait()? {
            return Ok(code(status));
        }
    }
    anyhow::bail!("signals no longer come")
}

fn shell(mut shell: Command, name: &str) -> Command {
    // Shells without a file of their own show it.
    shell.env("HOLM_LAB_HOST", name).env("PS1", format!("{name}# "));
    shell
}

/// As shells tell it: 128 and the number of the signal, when there was one.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
