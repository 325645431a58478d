//! Finding the node to talk to, and its credential.

use super::{Target, output};
use crate::data_dir::DataDir;
use anyhow::{Context as _, Result};
use holm_rpc::{Client, Credential, RpcError};
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

    fn no_credential(&self, target: &Target) -> String {
        let folder = self.data_dir.path().display();
        match &target.rpc {
            Some(_) => format!(
                "--rpc (or HOLM_RPC) says which node to ask, and its credential is looked for in the data folder {folder}: \
                 give that node's folder with --data-dir or HOLM_DATA_DIR"
            ),
            None if !self.data_dir.is_enrolled() => self.data_dir.not_enrolled(),
            None if self.data_dir.join("rpc.addr").exists() => format!(
                "the credential of the node in {folder} is gone: rpc.token was removed. Start the node again (`{}`), which makes \
                 a new one; its tasks run on meanwhile",
                self.up()
            ),
            None => format!("no node has run in {folder} yet: start it with `{}`", self.up()),
        }
    }

    /// The command that starts the node that is meant.
    fn up(&self) -> String {
        format!("holm up{}", self.data_dir.flag())
    }

    /// Connects to the node that is meant: `--rpc`, else the one of the data folder.
    pub async fn connect(&self, target: &Target) -> Result<Client> {
        let token = self.data_dir.join("rpc.token");
        anyhow::ensure!(token.exists(), "{}", self.no_credential(target));
        let credential = credential(&token)?;
        let url = match &target.rpc {
            Some(url) => url.clone(),
            None => {
                let address = std::fs::read_to_string(self.data_dir.join("rpc.addr"))
                    .with_context(|| format!("the node's address is not known: is it running? (`{}`)", self.up()))?;
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
            error @ RpcError::Unreachable(_) if target.rpc.is_none() => anyhow::Error::from(error).context(format!(
                "cannot talk to the node at {url}: if it does not run, start it with `{}`",
                self.up()
            )),
            error => anyhow::Error::from(error).context(format!("cannot talk to the node at {url}")),
        })
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
