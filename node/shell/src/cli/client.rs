//! Finding the node to talk to, and its credential.

use super::{Target, output};
use crate::data_dir::DataDir;
use anyhow::{Context as _, Result};
use holm_rpc::{Client, Credential, RpcError};
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
        let token = self.data_dir.join("rpc.token");
        let credential = Credential::from_file(&token).with_context(|| match &target.rpc {
            Some(_) => format!(
                "--rpc (or HOLM_RPC) says which node to ask, and its credential is looked for in the data folder {}: \
                 give that node's folder with --data-dir or HOLM_DATA_DIR",
                self.data_dir.path().display()
            ),
            None => format!(
                "no credential of a running node in {}: start it with `holm up`, or choose its folder with --data-dir",
                self.data_dir.path().display()
            ),
        })?;
        let url = match &target.rpc {
            Some(url) => url.clone(),
            None => {
                let address = std::fs::read_to_string(self.data_dir.join("rpc.addr"))
                    .context("the node's address is not known: is it running? (`holm up`)")?;
                format!("http://{}", address.trim())
            }
        };
        Client::connect(&url, &credential).await.map_err(|error| match error {
            // It shows the address itself, without what may be a secret in it.
            RpcError::Url { .. } => error.into(),
            RpcError::Unauthorised => anyhow::Error::from(error).context(format!(
                "the node at {url} does not take the credential in {}: it is another node's; \
                 give the data folder of the node at that address with --data-dir or HOLM_DATA_DIR",
                token.display()
            )),
            error => anyhow::Error::from(error).context(format!("cannot talk to the node at {url}")),
        })
    }
}
