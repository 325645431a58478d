//! The data folder of a node: its identity, certificate, settings and database.
//!
//! ```text
//! identity.key     secret of the node, 32 bytes as hex, mode 0600
//! authority.key    secret of the mesh, where `holm init` ran, until it is taken offline; mode 0600
//! node.json        certificate, labels, listen addresses, first peers
//! db/              documents
//! tasks/           a folder a task
//! rpc.token        credential of the local RPC, mode 0600
//! rpc.addr         where the local RPC listens
//! ```

use crate::environment;
use anyhow::{Context as _, Result, bail};
use holm_types::{MeshId, NodeId, cert::CertChain, keys::KeyPair};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// A data folder.
#[derive(Debug, Clone)]
pub struct DataDir(PathBuf);

/// What a node is told when it is enrolled.
#[derive(Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The mesh.
    pub mesh: MeshId,
    /// The certificate chain, as hex of its encoding.
    chain: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Where it listens unless it is told otherwise.
    pub listen: Vec<String>,
    /// Members to begin with.
    pub peers: Vec<(NodeId, Vec<String>)>,
}

/// Ports that a node draws its own from: below those that Linux gives to outgoing connections (32768 to 60999 unless it is told
/// otherwise), of which one may be taken just when the node starts.
const PORTS: std::ops::Range<u16> = 10_240..32_768;
/// Draws, until one is free; the last is taken as it is.
const DRAWS: usize = 16;

fn draw_port() -> u16 {
    let draw = || PORTS.start + u16::from_be_bytes(environment::random()) % (PORTS.end - PORTS.start);
    let free = |port: &u16| {
        let all = (std::net::Ipv4Addr::UNSPECIFIED, *port);
        std::net::TcpListener::bind(all).is_ok() && std::net::UdpSocket::bind(all).is_ok()
    };
    let mut draws = std::iter::repeat_with(draw).take(DRAWS);
    draws.find(free).unwrap_or_else(draw)
}

impl Settings {
    /// New settings for an enrolled node. The port is drawn once and kept: nodes behind one
    /// router must not share it.
    pub fn new(
        mesh: MeshId,
        chain: &CertChain,
        labels: BTreeMap<String, String>,
        peers: Vec<(NodeId, Vec<String>)>,
    ) -> Result<Settings> {
        let port = draw_port();
        let listen = ["ip4/0.0.0.0", "ip6/::"]
            .iter()
            .flat_map(|ip| [format!("/{ip}/tcp/{port}"), format!("/{ip}/udp/{port}/quic-v1")])
            .collect();
        Ok(Settings { mesh, chain: hex(chain)?, labels, listen, peers })
    }

    /// The same with another certificate.
    pub fn with_chain(self, chain: &CertChain) -> Result<Settings> {
        Ok(Settings { chain: hex(chain)?, ..self })
    }

    /// The certificate chain.
    pub fn chain(&self) -> Result<CertChain> {
        let bytes: Option<Vec<u8>> = (0..self.chain.len())
            .step_by(2)
            .map(|i| self.chain.get(i..i + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
            .collect();
        let bytes = bytes.context("the certificate in node.json is damaged: join again with a new token")?;
        Ok(CertChain::decode(&bytes)?)
    }
}

fn hex(chain: &CertChain) -> Result<String> {
    Ok(chain.encode()?.iter().map(|b| format!("{b:02x}")).collect())
}

impl DataDir {
    /// The folder given, or the usual one: `/var/lib/holm` for root, else `~/.local/share/holm`.
    pub fn new(given: Option<PathBuf>) -> DataDir {
        DataDir(given.unwrap_or_else(|| match std::env::var_os("HOME") {
            Some(home) if !nix::unistd::Uid::effective().is_root() => PathBuf::from(home).join(".local/share/holm"),
            _ => PathBuf::from("/var/lib/holm"),
        }))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What a command needs to be given so that it means this folder; nothing for the usual one.
    pub fn flag(&self) -> String {
        if self.0 == DataDir::new(None).0 { String::new() } else { format!(" --data-dir {}", self.0.display()) }
    }

    /// A file or folder in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes the folder, for its owner only.
    pub fn create(&self) -> Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .with_context(|| format!("cannot make the data folder {}", self.0.display()))
    }

    /// Whether a node was enrolled here.
    pub fn is_enrolled(&self) -> bool {
        self.join("node.json").exists()
    }

    /// Fails where a node was enrolled before: an identity is never lost by accident.
    pub fn must_be_new(&self) -> Result<()> {
        if self.is_enrolled() {
            bail!(
                "{} already belongs to a node: choose another folder with --data-dir, or remove it if that node is gone for good",
                self.0.display()
            );
        }
        Ok(())
    }

    /// The node's key pair.
    pub fn identity(&self) -> Result<KeyPair> {
        read_key(&self.join("identity.key"), LOST_IDENTITY)
    }

    /// The key pair that is there from an earlier try, or a new one, which is not written yet; and
    /// whether it was there.
    pub fn identity_or_new(&self) -> Result<(KeyPair, bool)> {
        match self.join("identity.key").exists() {
            true => Ok((self.identity()?, true)),
            false => Ok((KeyPair::from_secret(&environment::random()), false)),
        }
    }

    /// The authority's key pair, where `holm init` ran.
    pub fn authority(&self) -> Result<Option<KeyPair>> {
        let path = self.join("authority.key");
        if path.exists() { read_key(&path, LOST_AUTHORITY).map(Some) } else { Ok(None) }
    }

    /// Writes a secret key for its owner only.
    pub fn write_key(&self, name: &str, key: &KeyPair) -> Result<()> {
        let text: String = key.secret().iter().map(|b| format!("{b:02x}")).collect();
        self.write(name, text.as_bytes())
    }

    /// Writes a file whole or not at all, for its owner only.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let (path, temporary) = (self.join(name), self.join(&format!(".{name}.new")));
        let write = || -> std::io::Result<()> {
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            fs::File::open(&self.0)?.sync_all()
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// What the node was told at its enrolment.
    pub fn settings(&self) -> Result<Settings> {
        if !self.is_enrolled() {
            bail!(self.not_enrolled());
        }
        let path = self.join("node.json");
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| {
            format!(
                "{} is damaged: restore it from a backup, or move this folder away and join again with a new token and another --name",
                path.display()
            )
        })
    }

    /// That no node was enrolled here, and what to do.
    pub fn not_enrolled(&self) -> String {
        format!(
            "no node is enrolled in {}: run `holm init --mesh NAME` for a new mesh, or `holm join TOKEN` (--data-dir chooses the folder)",
            self.0.display()
        )
    }

    /// Keeps the settings.
    pub fn write_settings(&self, settings: &Settings) -> Result<()> {
        self.write("node.json", &serde_json::to_vec_pretty(settings)?)
    }
}

const LOST_IDENTITY: &str = "restore it from a backup; without one, move this folder away and join again with a new token and \
    another --name: what is lost is this node's identity, and others take over its tasks";
const LOST_AUTHORITY: &str = "restore it from the copy that is kept offline. Without one, remove the file: the mesh goes on, and its \
    issuers enrol, renew and revoke, but no new issuers can be made";

fn read_key(path: &Path, remedy: &str) -> Result<KeyPair> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {} ({remedy})", path.display()))?;
    // The id types read hex of 32 bytes, which is what a secret is as well.
    let secret: NodeId = text
        .trim()
        .parse()
        .ok()
        .with_context(|| format!("{} is damaged: 64 hexadecimal digits are expected; {remedy}", path.display()))?;
    Ok(KeyPair::from_secret(&secret.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, DataDir) {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::new(Some(folder.path().to_owned()));
        (folder, dir)
    }

    #[test]
    fn a_damaged_key_is_told_with_its_remedy() {
        let (_folder, dir) = folder();
        for name in ["identity.key", "authority.key"] {
            dir.write(name, b"secret but short").unwrap();
        }
        let told = [dir.identity().err().unwrap(), dir.authority().err().unwrap()].map(|e| format!("{e:#}"));
        assert!(told[0].contains("identity.key is damaged") && told[0].contains("join again"), "{}", told[0]);
        assert!(told[1].contains("authority.key is damaged") && told[1].contains("offline"), "{}", told[1]);
        assert!(!told.concat().contains("secret"), "a key is not shown: {told:?}");
    }

    #[test]
    fn a_new_identity_is_written_by_nobody_else() {
        let (_folder, dir) = folder();
        let (key, existed) = dir.identity_or_new().unwrap();
        assert!(!existed && !dir.join("identity.key").exists());
        dir.write_key("identity.key", &key).unwrap();
        let (again, existed) = dir.identity_or_new().unwrap();
        assert!(existed && again.node_id() == key.node_id());
    }
}
