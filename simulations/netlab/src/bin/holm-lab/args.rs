//! The command line.

use clap::{Args, Parser, Subcommand};
use std::{ffi::OsString, path::PathBuf};

/// A small internet of network namespaces on this machine: NATs, slow and lossy cables, cuts. Needs root.
///
/// Exit codes: 0, 1 failed, 3 the command line or the file is not right; with a command on a host, that command's.
#[derive(Debug, Parser)]
#[command(name = "holm-lab", version, max_term_width = 110)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build a lab from a file, and stay until it is no longer needed
    Up(UpArgs),
    /// Started by `up`: kills what is left when that is gone
    #[command(hide = true)]
    Guard,
}

/// `holm-lab up`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --host it reads commands (`help` lists them) until `quit`, Ctrl-C or the end of its input."
)]
pub struct UpArgs {
    /// What the lab is (docs/lab.md)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Open a shell on this host; the lab is gone when the shell ends
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Run this there instead of a shell
    #[arg(last = true, value_name = "COMMAND", requires = "host")]
    pub command: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
