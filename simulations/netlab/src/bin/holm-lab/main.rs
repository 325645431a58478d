//! `holm-lab`: a small internet from a file, for people.

mod args;
mod console;
mod hosts;
mod inside;
mod signals;

use anyhow::{Context as _, Result};
use args::{Arguments, Command, UpArgs};
use clap::Parser as _;
use holm_netlab::{Lab, LabError, Plan, guard};
use std::{io::stdin, process::ExitCode};

/// The command line, or the file, is not right.
const USAGE: u8 = 3;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing better can be done when standard error is closed.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let done = match &arguments.command {
        Command::Up(args) => up(args),
        Command::Guard => guard::serve(stdin().lock()).map(|()| ExitCode::SUCCESS).map_err(Into::into),
    };
    done.unwrap_or_else(|error| {
        eprintln!("holm-lab: {error:#}");
        let usage = error.downcast_ref().is_some_and(|error| {
            matches!(error, LabError::Parse { .. } | LabError::Taken { .. } | LabError::Unknown { .. })
        });
        ExitCode::from(if usage { USAGE } else { 1 })
    })
}

/// Builds the lab, and stays until it has served its purpose. Dropping it takes everything away.
fn up(args: &UpArgs) -> Result<ExitCode> {
    let plan = Plan::load(&args.file)?;
    if let Some(why) = holm_netlab::unavailable() {
        anyhow::bail!(why);
    }
    // Before any thread is there: all of them leave these signals to one.
    let signals = signals::catch()?;
    let mut guard = std::process::Command::new(std::env::current_exe().context("where is holm-lab?")?);
    guard.arg("guard");
    let mut lab = Lab::guarded(guard)?;
    plan.build(&mut lab)?;
    match &args.host {
        Some(name) => inside::run(&lab, name, &args.command, signals),
        None => console::run(&lab, signals).map(|()| ExitCode::SUCCESS),
    }
}
