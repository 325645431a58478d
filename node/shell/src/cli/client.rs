//! Finding the node to talk to, and its credential.

use super::{Target, output};
use crate::data_dir::DataDir;
use anyhow::{Context as _, Result};
use holm_rpc::{Client, Credential};
use std::path::{Path, PathBuf};

/// What every command knows.
pub struct Context {
    /// The local node's data folder.
    pub data_dir: DataDir,
    /// How to print.
    pub output: output::Format,
}

impl Context {
    /// From the global flags.
    pub fn new(data_dir: Option<PathBuf>, output: output::Format) -> Context {
        Context { data_dir: DataDir::new(data_dir), output }
    }

    /// Connects to the node that is meant: `--rpc`, else the one of the data folder.
    pub async fn connect(&self, target: &Target) -> Result<Client> {
        let path = self.data_dir.join("rpc.token");
        anyhow::ensure!(
            path.exists(),
            "no node has run in {} yet: start it with `holm up`, or choose another folder with --data-dir",
            self.data_dir.path().display()
        );
        let credential = credential(&path)?;
        let url = match &target.rpc {
            Some(url) => url.clone(),
            None => {
                let address = std::fs::read_to_string(self.data_dir.join("rpc.addr"))
                    .context("the node's address is not known: is it running? (`holm up`)")?;
                format!("http://{}", address.trim())
            }
        };
        Client::connect(&url, &credential).await.with_context(|| format!("cannot talk to the node at {url}"))
    }
}

/// Reads the credential of a node's interface.
///
/// # Errors
/// It cannot be read, or is damaged; with what to do about it.
pub fn credential(path: &Path) -> Result<Credential> {
    Credential::from_file(path).context(
        "the credential cannot be used. Remove its file and start the node again (`holm up`), which makes a new one; \
         nothing is lost, but programs that kept the old one must read the new one",
    )
}
