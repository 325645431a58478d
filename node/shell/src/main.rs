//! The `holm` binary: a node, and the command line that talks to one.

mod backup;
mod cli;
mod daemon;
mod data_dir;
mod environment;
mod host;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match cli::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return cli::usage_exit(&error),
    };
    let output = arguments.output;
    daemon::memory::keep_small();
    environment::start_logging(arguments.log.as_deref());
    let runtime = match environment::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return cli::failure_exit(&error, output),
    };
    match runtime.block_on(cli::run(arguments)) {
        Ok(code) => code,
        Err(error) => cli::failure_exit(&error, output),
    }
}
