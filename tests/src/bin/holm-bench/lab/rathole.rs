//! rathole, which forwards to hosts behind NATs over a server in the cloud, to compare with.

use crate::options::beside;
use anyhow::{Context, Result, ensure};
use holm_tests::{lab::Host, process, spawner::Guarded};
use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

const GENKEY_WITHIN: Duration = Duration::from_secs(20);
/// Where the server listens for its client.
const CONTROL: u16 = 2333;
/// Where the server listens for visitors.
pub const VISIT: u16 = 2400;

/// A server and a client that forwards to a port of its own host. They die with their owner.
pub struct Rathole {
    _server: Guarded,
    _client: Guarded,
}

impl Rathole {
    /// Starts both; it may take a moment until visitors are let through.
    ///
    /// # Errors
    /// There is no rathole.
    pub fn start(folder: &Path, server: &Host, client: &Host, port: u16, noise: bool) -> Result<Rathole> {
        let program =
            beside("rathole/bin/rathole").context("there is no rathole to compare with: `make bench` builds it")?;
        let at = server.address();
        let (public, private) = if noise { keys(&program)? } else { Default::default() };
        let secured = |key: &str, value: &str| match noise {
            true => format!("[{key}.transport]\ntype = 'noise'\n[{key}.transport.noise]\n{value}\n"),
            false => String::new(),
        };
        let server_says = format!(
            "[server]\nbind_addr = '0.0.0.0:{CONTROL}'\ndefault_token = 'bench'\n{}[server.services.bench]\nbind_addr = '0.0.0.0:{VISIT}'\n",
            secured("server", &format!("local_private_key = '{private}'"))
        );
        let client_says = format!(
            "[client]\nremote_addr = '{at}:{CONTROL}'\ndefault_token = 'bench'\n{}[client.services.bench]\nlocal_addr = '{}:{port}'\n",
            secured("client", &format!("remote_public_key = '{public}'")),
            Ipv4Addr::LOCALHOST
        );
        let run = |host: &Host, name: &str, text: String| -> Result<Guarded> {
            let file = folder.join(format!("{name}.toml"));
            fs::write(&file, text)?;
            let mut command = host.command(&program);
            command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            Ok(Guarded::spawn(command)?)
        };
        let _server = run(server, "server", server_says)?;
        Ok(Rathole { _server, _client: run(client, "client", client_says)? })
    }
}

/// A public and a private key, as rathole makes them.
fn keys(program: &Path) -> Result<(String, String)> {
    let mut command = Command::new(program);
    command.arg("--genkey");
    let output = process::output_within(command, b"", GENKEY_WITHIN)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let after = |name: &str| {
        let at = lines.iter().position(|line| line.to_lowercase().starts_with(name))?;
        lines.get(at + 1).map(|line| (*line).to_owned())
    };
    ensure!(output.status.success(), "rathole --genkey: {}", output.status);
    Ok((after("public").context("no public key")?, after("private").context("no private key")?))
}
