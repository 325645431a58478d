//! Puts documents into the data folder of a node that does not run, in its own name.

use crate::fleet;
use anyhow::{Context, Result};
use holm_state::{State, StoreWrite};
use holm_state_rocks::{Options, RocksStore};
use holm_types::{Incarnation, NodeId, Scope, cert::CertChain, keys::KeyPair};
use std::{fs, path::Path};

/// What is needed of `node.json`.
#[derive(serde::Deserialize)]
struct Settings {
    chain: String,
}

/// Fills it.
///
/// # Errors
/// The folder is not that of a node, or its node runs.
pub fn fill(folder: &Path, count: usize) -> Result<()> {
    let read =
        |name: &str| fs::read_to_string(folder.join(name)).with_context(|| format!("cannot read {name} of the node"));
    let secret: NodeId = read("identity.key")?.trim().parse()?;
    let key = KeyPair::from_secret(&secret.0);
    let settings: Settings = serde_json::from_str(&read("node.json")?)?;
    let chain = CertChain::decode(&hex::decode(settings.chain)?)?;
    let claims = chain.claims()?.clone();
    let mut store = RocksStore::open(&folder.join("db"), Options::default())?;
    let mut state = State::open(claims.mesh, key.clone(), Incarnation(1), Box::new(store.reader()))?;
    state.add_member(chain, fleet::NOW)?;
    fleet::documents(&mut state, &mut store, &key.node_id(), &Scope::Site(claims.site.clone()), count)?;
    store.sync()?;
    Ok(())
}
