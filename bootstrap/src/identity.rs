//! Its key, its certificate, and the members that it was told of.

use crate::environment;
use anyhow::{Context as _, Result, ensure};
use holm_types::{Incarnation, NodeId, cert::CertChain, keys::KeyPair, token::Enrolment};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

const FILE: &str = "bootstrap.json";

/// Who this server is.
#[derive(Debug)]
pub struct Identity {
    pub key: KeyPair,
    pub chain: CertChain,
    pub peers: Vec<(NodeId, Vec<String>)>,
    /// This life of the process.
    pub incarnation: Incarnation,
    file: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    secret: String,
    chain: String,
    peers: Vec<(NodeId, Vec<String>)>,
    last_life: Option<Incarnation>,
}

impl Identity {
    /// A new key.
    pub fn new_key() -> KeyPair {
        KeyPair::from_secret(&environment::random())
    }

    /// Fails where a server is enrolled, or a node: one environment variable names the folder of either.
    pub fn must_be_new(dir: &Path) -> Result<()> {
        let file = dir.join(FILE);
        ensure!(!file.exists(), "{} exists: this server is enrolled already", file.display());
        let another = "choose another folder with --data-dir";
        ensure!(!dir.join("node.json").exists(), "{} belongs to a node: {another}", dir.display());
        Ok(())
    }

    /// Keeps a new identity, for its owner only; never over an old one.
    pub fn save(dir: &Path, key: &KeyPair, enrolment: &Enrolment) -> Result<()> {
        Identity::must_be_new(dir)?;
        let make = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        make.with_context(|| format!("cannot make {}", dir.display()))?;
        let file = dir.join(FILE);
        let secret = hex::encode(*key.secret());
        let chain = hex::encode(enrolment.chain.encode()?);
        write(&file, &Stored { secret, chain, peers: enrolment.peers.clone(), last_life: None })
    }

    /// Reads the identity, and counts this start before it is told to anyone.
    pub fn load(dir: &Path) -> Result<Identity> {
        let file = dir.join(FILE);
        let text = fs::read(&file)
            .with_context(|| format!("cannot read {}: enrol first with `holm-bootstrap join TOKEN`", file.display()))?;
        let damaged = || format!("{} is damaged: enrol again", file.display());
        let mut stored: Stored = serde_json::from_slice(&text).with_context(damaged)?;
        let random = u32::from_be_bytes(environment::random());
        let incarnation = Incarnation::begin(stored.last_life, environment::wall(), random).with_context(damaged)?;
        stored.last_life = Some(incarnation);
        write(&file, &stored)?;
        // Hex of 32 bytes, as an id is.
        let secret: NodeId = stored.secret.parse().ok().with_context(damaged)?;
        let chain = CertChain::decode(&hex::decode(&stored.chain).with_context(damaged)?)?;
        Ok(Identity { key: KeyPair::from_secret(&secret.0), chain, peers: stored.peers, incarnation, file })
    }

    /// Keeps a renewed certificate for the next start.
    pub fn keep(&self, chain: &CertChain) -> Result<()> {
        let text = fs::read(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?;
        let stored: Stored = serde_json::from_slice(&text)?;
        write(&self.file, &Stored { chain: hex::encode(chain.encode()?), ..stored })
    }
}

fn write(file: &Path, stored: &Stored) -> Result<()> {
    let temporary = file.with_extension("new");
    let save = || -> std::io::Result<()> {
        let mut out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        out.write_all(&serde_json::to_vec_pretty(stored)?)?;
        out.sync_all()?;
        fs::rename(&temporary, file)
    };
    save().with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_node_or_of_a_server_is_no_place_for_another() {
        let dir = std::env::temp_dir().join(format!("holm-bootstrap-new-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        assert!(Identity::must_be_new(&dir).is_ok());
        for (file, said) in [("node.json", "belongs to a node"), (FILE, "enrolled already")] {
            fs::write(dir.join(file), "{}").unwrap();
            let error = Identity::must_be_new(&dir).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            fs::remove_file(dir.join(file)).unwrap();
        }
        fs::remove_dir(&dir).unwrap();
    }
}
