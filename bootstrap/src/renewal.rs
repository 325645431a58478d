//! The server's own certificate: asked for anew at the gates of the members that it knows, until an issuer among
//! them gives one.

use crate::{environment::wall, identity::Identity};
use holm_types::{NodeId, cert::CertChain, keys::KeyPair};
use std::time::Duration;
use tokio::task::JoinSet;

/// How often the date is looked at.
pub const LOOK: Duration = Duration::from_secs(60);
/// A member has this long to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Renews one certificate.
pub struct Renewal {
    key: KeyPair,
    chain: CertChain,
    asking: JoinSet<Option<CertChain>>,
}

impl Renewal {
    pub fn new(identity: &Identity) -> Renewal {
        Renewal { key: identity.key.clone(), chain: identity.chain.clone(), asking: JoinSet::new() }
    }

    /// Asks one member after another, if it is time and nobody is being asked.
    pub fn look(&mut self, members: Vec<(NodeId, Vec<String>)>) {
        let due = self.chain.claims().is_ok_and(|claims| wall().seconds() >= claims.renew_from());
        if !due || !self.asking.is_empty() {
            return;
        }
        let (key, chain) = (self.key.clone(), self.chain.clone());
        self.asking.spawn(async move {
            for (member, addresses) in members.iter().filter(|(_, addresses)| !addresses.is_empty()) {
                match holm_mesh_net::renew(&key, &chain, member, addresses, TIMEOUT).await {
                    Ok(renewed) => return Some(renewed),
                    Err(error) => tracing::debug!(%member, %error, "no new certificate from it"),
                }
            }
            tracing::warn!("nobody renews this server's certificate: an issuer must be reachable");
            None
        });
    }

    /// The next certificate that came.
    pub async fn next(&mut self) -> Option<CertChain> {
        loop {
            match self.asking.join_next().await {
                Some(Ok(Some(chain))) if ends(&chain) > ends(&self.chain) => {
                    self.chain = chain.clone();
                    return Some(chain);
                }
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}

fn ends(chain: &CertChain) -> u64 {
    chain.claims().map_or(0, |claims| claims.not_after)
}
