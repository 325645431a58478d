//! `holm-sim`: what happens to my fleet if ...? Scenarios in virtual time, from a seed.

mod args;
mod cpu;
mod folder;
mod interrupt;
mod lab;
mod layer;
mod out;
mod pool;
mod progress;
mod replay;
mod run;
mod shrink;
mod subject;
mod tell;

use args::{Arguments, Command};
use clap::Parser as _;
use std::{io::Write as _, process::ExitCode};

/// Thousands of nodes in one process make and forget small things all the time: about a quarter of a run was spent in the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The command line, or a scenario, is not right.
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
    let output = arguments.output;
    let done = match &arguments.command {
        Command::Run(args) => run::run(args, output),
        Command::Replay(args) => replay::replay(args, output),
        Command::Shrink(args) => shrink::shrink(args, output),
        Command::List => tell::list(output),
        Command::Explain(args) => tell::explain(args, output),
        Command::Lab(args) => lab::lab(args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nothing better can be done when standard error is closed.
            let _ = writeln!(std::io::stderr(), "holm-sim: {error:#}");
            let usage = error.is::<subject::Usage>() || error.is::<holm_simulations::SimError>();
            ExitCode::from(if usage { USAGE } else { 1 })
        }
    }
}
