//! Where the programs under test are.

use anyhow::{Result, bail};
use std::path::PathBuf;

/// The path of `name`: in `HOLM_BIN_DIR`, or beside this test in cargo's target folder.
///
/// # Errors
/// It was not built.
pub fn find(name: &str) -> Result<PathBuf> {
    let folders: Vec<PathBuf> = match std::env::var_os("HOLM_BIN_DIR") {
        Some(folder) => vec![folder.into()],
        // target/debug/deps/test-1234 or target/debug/holm-demo
        None => std::env::current_exe()?.ancestors().skip(1).take(2).map(PathBuf::from).collect(),
    };
    match folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!("there is no `{name}` in {folders:?}: build it with `cargo build --workspace --bins`"),
    }
}
