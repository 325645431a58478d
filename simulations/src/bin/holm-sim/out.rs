//! What the program says. A reader that has seen enough (`| head`) is no failure.

use anyhow::{Context as _, Result};
use serde::Serialize;
use std::io::{ErrorKind, Write as _};

/// Says a text as it is.
pub fn text(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        said => said.context("standard output cannot be written"),
    }
}

/// Says a value as JSON.
pub fn json(value: &impl Serialize) -> Result<()> {
    text(&(serde_json::to_string_pretty(value)? + "\n"))
}
