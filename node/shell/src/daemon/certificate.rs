//! The node's own certificate: kept in its data folder, and renewed at the gate of an issuer when peers let the
//! node in no more.

use super::node_loop::Message;
use crate::data_dir::DataDir;
use holm_node_core::Input;
use holm_types::{NodeId, cert::CertChain, keys::KeyPair};
use std::time::Duration;
use tokio::{sync::mpsc, task::JoinSet};

/// An issuer has this long to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// See the [module](self).
pub struct Keeper {
    dir: DataDir,
    key: KeyPair,
    inbox: mpsc::Sender<Message>,
    asking: JoinSet<()>,
}

impl Keeper {
    pub fn new(dir: DataDir, key: KeyPair, inbox: mpsc::Sender<Message>) -> Keeper {
        Keeper { dir, key, inbox, asking: JoinSet::new() }
    }

    /// Writes a renewed certificate down. The database has it, too: that it cannot be written is told, and no more.
    pub fn keep(&self, chain: &CertChain) {
        let kept = self.dir.settings().and_then(|settings| self.dir.write_settings(&settings.with_chain(chain)?));
        if let Err(error) = kept {
            tracing::warn!(error = %format!("{error:#}"), "the renewed certificate is not in node.json");
        }
    }

    /// Asks an issuer, one at a time; what comes of it is an input of the loop.
    pub fn renew(&mut self, issuer: NodeId, addresses: Vec<String>, chain: CertChain) {
        while self.asking.try_join_next().is_some() {}
        if !self.asking.is_empty() {
            return;
        }
        let (key, inbox) = (self.key.clone(), self.inbox.clone());
        self.asking.spawn(async move {
            match holm_mesh_net::renew(&key, &chain, &issuer, &addresses, TIMEOUT).await {
                // A loop that is gone needs no certificate.
                Ok(chain) => drop(inbox.send(Message::Input(Input::Renewed { chain })).await),
                Err(error) => tracing::warn!(%issuer, %error, "the certificate was not renewed"),
            }
        });
    }
}
