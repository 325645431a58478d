//! A bootstrap server under test.

use crate::{
    binaries,
    cluster::Cluster,
    eventually,
    node::{Node, Transports},
    process::output_within,
    spawner::Guarded,
};
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    net::SocketAddrV4,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

const COMMAND_WITHIN: Duration = Duration::from_secs(60);
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A server on a host of its own. Dropping it kills it.
#[derive(Debug)]
pub struct Bootstrap {
    /// The host and the folder; no `holm` runs there.
    place: Node,
    log: PathBuf,
    process: Mutex<Option<Guarded>>,
}

impl Bootstrap {
    /// Enrols a server at `site` with a token of the mesh's first node, and starts it.
    ///
    /// # Errors
    /// Any of that fails.
    pub fn start(mesh: &mut Cluster, name: &str, site: &str) -> Result<Bootstrap> {
        let token = mesh.token_for("keeper", site, &[])?;
        let place = mesh.new_node(name, site)?;
        let log = mesh.logs().join(format!("{name}.log"));
        let server = Bootstrap { place, log, process: Mutex::default() };
        let joined = output_within(server.command(&["join", &token, "--name", name])?, b"", COMMAND_WITHIN)?;
        ensure!(joined.status.success(), "{joined:?}");
        server.up()?;
        Ok(server)
    }

    /// Its host and folder.
    pub fn place(&self) -> &Node {
        &self.place
    }

    /// `holm-bootstrap` with `arguments` on its host.
    ///
    /// # Errors
    /// It was not built.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.place.host().command(binaries::find("holm-bootstrap")?);
        command.arg("--data-dir").arg(self.place.data()).args(arguments).stdin(Stdio::null());
        Ok(command)
    }

    /// Starts it and waits until it says that it is ready.
    ///
    /// # Errors
    /// It does not.
    pub fn up(&self) -> Result<()> {
        let mut up = self.command(&["up"])?;
        let addresses = self.place.host().addresses().iter();
        for address in addresses.flat_map(|address| Transports::Both.listen(*address, self.place.port())) {
            up.args(["--listen", &address]);
        }
        up.args(["--http", "127.0.0.1:0"]);
        up.stdout(File::create(&self.log)?).stderr(File::create(self.log.with_extension("err"))?);
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(Guarded::spawn(up)?);
        eventually(&format!("{} is ready", self.place.name()), READY_WITHIN, || {
            let said = fs::read_to_string(&self.log)?;
            ensure!(said.lines().any(|line| line.starts_with("ready ")), "it said {said:?}");
            Ok(())
        })
        .with_context(|| fs::read_to_string(self.log.with_extension("err")).unwrap_or_default())
    }

    /// Where it serves HTTP on its host.
    ///
    /// # Errors
    /// It has not said so.
    pub fn http(&self) -> Result<SocketAddrV4> {
        let said = fs::read_to_string(&self.log)?;
        let at = said.split_whitespace().find_map(|word| word.strip_prefix("http=")).context("no http= in it")?;
        Ok(at.parse()?)
    }

    /// Kills it as the kernel does when memory is out.
    pub fn kill9(&self) {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
