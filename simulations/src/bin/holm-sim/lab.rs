//! `holm-sim lab`: hands over to `holm-lab`, which lies beside. That one needs root and namespaces; this program needs neither.

use crate::args::LabArgs;
use anyhow::{Context as _, Result, bail};
use std::{os::unix::process::CommandExt as _, process::Command};

/// Becomes `holm-lab`; only a failure comes back.
pub fn lab(args: &LabArgs) -> Result<bool> {
    let program = std::env::current_exe().context("where is holm-sim?")?.with_file_name("holm-lab");
    if !program.is_file() {
        bail!("there is no {}: cargo build --package holm-netlab --bins", program.display());
    }
    let why = Command::new(&program).args(&args.rest).exec();
    Err(why).with_context(|| format!("cannot run {}", program.display()))
}
