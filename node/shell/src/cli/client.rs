//! Finding the node to talk to, and its credential.

use super::{Target, output};
use crate::data_dir::DataDir;
use anyhow::{Context as _, Result};
use holm_rpc::{Client, Credential};
use std::path::PathBuf;

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
        let credential = Credential::from_file(&self.data_dir.join("rpc.token")).with_context(|| {
            format!(
                "no credential of a running node in {}: start it with `holm up`, or choose its folder with --data-dir",
                self.data_dir.path().display()
            )
        })?;
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
