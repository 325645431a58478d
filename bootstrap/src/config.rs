//! The server's one configuration file. Flags come before it, it comes before the defaults. `docs/bootstrap.md` shows all
//! of it.

use crate::exit::Misconfigured;
use anyhow::{Context as _, Result, ensure};
use holm_mesh_net::{Limits, ReachConfig, RelayLimits};
use serde::Deserialize;
use std::{fs, net::SocketAddr, num::NonZeroU32, path::Path, time::Duration};

/// Read when no other file is named, if it is there.
pub const USUAL: &str = "/etc/holm/bootstrap.toml";

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen, as multiaddresses.
    pub listen: Vec<String>,
    /// Where others can dial it, when it cannot know.
    pub advertise: Vec<String>,
    /// Where to serve `/healthz` and `/metrics`; `off` for nowhere.
    pub http: String,
    /// Connections at once.
    pub connections: u32,
    /// What it forwards.
    pub relay: Relay,
}

/// What it forwards.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Relay {
    /// Whether at all.
    pub enabled: bool,
    /// Members that may be reached through it.
    pub reservations: usize,
    /// Connections forwarded at once.
    pub circuits: usize,
    /// Of these, those of one member.
    pub circuits_per_peer: usize,
    /// Connections that one member may open a minute.
    pub circuits_per_minute: NonZeroU32,
    /// After this time a connection is closed, and its ends open another one.
    pub circuit_hours: u32,
    /// The same after so many bytes; 0: never.
    pub circuit_gib: u64,
}

impl Default for Relay {
    fn default() -> Relay {
        let limits = RelayLimits::default();
        Relay {
            enabled: true,
            reservations: limits.reservations,
            circuits: limits.circuits,
            circuits_per_peer: limits.circuits_per_peer,
            circuits_per_minute: limits.circuits_per_minute,
            circuit_hours: 12,
            circuit_gib: limits.circuit_bytes >> 30,
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: vec!["/ip4/0.0.0.0/tcp/7072".to_owned(), "/ip4/0.0.0.0/udp/7072/quic-v1".to_owned()],
            advertise: Vec::new(),
            http: "127.0.0.1:7073".to_owned(),
            connections: 4096,
            relay: Relay::default(),
        }
    }
}

impl Config {
    /// Reads the file that was named, or the usual one if it is there.
    ///
    /// # Errors
    /// It cannot be read, or says what this program does not understand.
    pub fn read(named: Option<&Path>) -> Result<Config> {
        let path = match named {
            Some(path) => path,
            None if !Path::new(USUAL).exists() => return Ok(Config::default()),
            None => Path::new(USUAL),
        };
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Config::parse(&text).with_context(|| format!("in {}", path.display())).context(Misconfigured)
    }

    fn parse(text: &str) -> Result<Config> {
        let config: Config = toml::from_str(text)?;
        ensure!(!config.listen.is_empty(), "listen: at least one address");
        ensure!(config.connections >= 16, "connections: at least 16");
        ensure!(config.relay.circuit_hours > 0, "relay.circuit_hours: at least 1");
        config.http()?;
        Ok(config)
    }

    /// Where to serve HTTP, if anywhere.
    ///
    /// # Errors
    /// It is neither an address nor `off`.
    pub fn http(&self) -> Result<Option<SocketAddr>> {
        match self.http.as_str() {
            "off" => Ok(None),
            text => text.parse().map(Some).context("http: an address such as 127.0.0.1:7073, or off"),
        }
    }

    /// How it is reached, and that it helps others.
    pub fn reach(&self) -> ReachConfig {
        ReachConfig {
            enabled: true,
            relay: self.relay.enabled,
            advertise: self.advertise.clone(),
            ..ReachConfig::off()
        }
    }

    /// The bounds of its network.
    pub fn limits(&self) -> Limits {
        let relay = RelayLimits {
            reservations: self.relay.reservations,
            circuits: self.relay.circuits,
            circuits_per_peer: self.relay.circuits_per_peer,
            circuits_per_minute: self.relay.circuits_per_minute,
            circuit_time: Duration::from_secs(3600 * u64::from(self.relay.circuit_hours)),
            circuit_bytes: self.relay.circuit_gib.saturating_mul(1 << 30),
            ..RelayLimits::default()
        };
        Limits { established: self.connections, topics: 4096, relay, ..Limits::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_file_is_what_holds_without_one() {
        let page = include_str!("../../docs/bootstrap.md");
        let example = page.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let told = Config::parse(example).unwrap();
        assert_eq!(told, Config { advertise: told.advertise.clone(), ..Config::default() });
        assert_eq!(told.advertise.len(), 1, "the one key whose default is nothing");
    }

    #[test]
    fn a_file_changes_what_it_names_and_nothing_else() {
        let config = Config::parse("http = 'off'\n[relay]\ncircuits = 7\ncircuit_gib = 0\n").unwrap();
        assert_eq!(config.http().unwrap(), None);
        assert_eq!(config.listen, Config::default().listen);
        let limits = config.limits();
        assert_eq!((limits.relay.circuits, limits.relay.circuit_bytes), (7, 0));
        assert_eq!(limits.relay.reservations, RelayLimits::default().reservations);
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_name() {
        for (text, name) in [
            ("listn = []", "listn"),
            ("listen = []", "listen"),
            ("http = 'here'", "http"),
            ("[relay]\ncircuit_hours = 0", "circuit_hours"),
            ("[relay]\ncircuits_per_minute = 0", "circuits_per_minute"),
        ] {
            let said = format!("{:#}", Config::parse(text).unwrap_err());
            assert!(said.contains(name), "{text}: {said}");
        }
    }
}
