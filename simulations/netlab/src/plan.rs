//! A lab as a file says it.

use crate::{error::LabError, lab::Lab, link::Link, nat::Nat};
use serde::{Deserialize, Deserializer, de::Error as _};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// A file is never longer than this, in bytes.
const MOST_TEXT: u64 = 1 << 20;
/// A name is never longer than this.
const MOST_NAME: usize = 40;

/// What a lab shall be.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// Hosts with public addresses, by name.
    pub cloud: BTreeMap<Name, Cloud>,
    /// Sites, by name.
    pub site: BTreeMap<Name, SitePlan>,
}

/// A host in the cloud.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cloud {
    /// Its uplink; a plain wire when nothing is said.
    pub link: Option<Link>,
}

/// A site.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SitePlan {
    /// What stands between its hosts and the world.
    pub nat: Nat,
    /// How many hosts, or their names.
    #[serde(default)]
    pub hosts: Hosts,
    /// Its uplink; a plain wire when nothing is said.
    pub link: Option<Link>,
    /// How long a silent UDP mapping is remembered.
    #[serde(default, deserialize_with = "some_duration")]
    pub udp_timeout: Option<Duration>,
    /// Whether its router maps ports for hosts that ask by UPnP.
    #[serde(default)]
    pub upnp: bool,
}

/// The hosts of a site.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "hosts are a number, or a list of names")]
pub enum Hosts {
    /// So many, called `SITE-1` and so on.
    Count(u8),
    /// These.
    Names(Vec<Name>),
}

impl Default for Hosts {
    fn default() -> Hosts {
        Hosts::Count(1)
    }
}

/// A name: letters, digits, `-`, `_` and `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Name, D::Error> {
        let text = String::deserialize(from)?;
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if text.is_empty() || text.len() > MOST_NAME || !text.chars().all(fits) {
            let rule = format!("1 to {MOST_NAME} of the letters a-z and A-Z, digits, '-', '_' and '.'");
            return Err(D::Error::custom(format!("{text:?} is not a name: {rule}")));
        }
        Ok(Name(text))
    }
}

fn some_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    let read = humantime::parse_duration(&text);
    read.map(Some).map_err(|e| D::Error::custom(format!("{e}: write a time such as 30s")))
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// It is not valid TOML, or holds a key or value that does not exist; the message names line and column.
    pub fn parse(file: &str, text: &str) -> Result<Plan, LabError> {
        let refuse = |why: String| LabError::Parse { file: file.to_owned(), why };
        let plan: Plan = toml::from_str(text).map_err(|e| refuse(e.to_string()))?;
        if plan.cloud.is_empty() && plan.site.is_empty() {
            return Err(refuse("a lab needs a [cloud.NAME] or a [site.NAME]".to_owned()));
        }
        Ok(plan)
    }

    /// Reads a plan from a file.
    ///
    /// # Errors
    /// The file cannot be read, or as [`Plan::parse`].
    pub fn load(path: &Path) -> Result<Plan, LabError> {
        let file = path.display().to_string();
        let refuse = |why: String| LabError::Parse { file: file.clone(), why };
        let length = std::fs::metadata(path).map_err(|e| refuse(e.to_string()))?.len();
        if length > MOST_TEXT {
            return Err(refuse(format!("{length} bytes, at most {MOST_TEXT} are read")));
        }
        Plan::parse(&file, &std::fs::read_to_string(path).map_err(|e| refuse(e.to_string()))?)
    }

    /// Builds it, in an empty lab.
    ///
    /// # Errors
    /// A name is there twice, something is asked of a site that it cannot do, or the system refuses.
    pub fn build(&self, lab: &mut Lab) -> Result<(), LabError> {
        for (Name(name), cloud) in &self.cloud {
            lab.cloud(name)?;
            cloud.link.map_or(Ok(()), |link| lab.link(name, link))?;
        }
        for (Name(name), site) in &self.site {
            let count = if let Hosts::Count(count) = site.hosts { count } else { 0 };
            lab.site(name, site.nat, usize::from(count))?;
            if let Hosts::Names(names) = &site.hosts {
                names.iter().try_for_each(|host| lab.add_host(name, &host.0).map(drop))?;
            }
            site.link.map_or(Ok(()), |link| lab.link(name, link))?;
            site.udp_timeout.map_or(Ok(()), |timeout| lab.udp_timeout(name, timeout))?;
            if site.upnp {
                lab.upnp(name)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_are_valid() {
        for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap() {
            let plan = Plan::load(&entry.unwrap().path()).unwrap();
            assert!(!plan.site.is_empty());
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        for (text, line, hint) in [
            ("[site.shop]\nnat = 'cone'\n", "line 2", "full-cone"),
            ("[site.shop]\nnat = 'home'\nhosts = 'two'\n", "line 3", "a number, or a list of names"),
            ("[site.shop]\nnat = 'home'\nhosts = 300\n", "line 3", "hosts"),
            ("[site.shop]\nnat = 'home'\nhosts = ['a b']\n", "line 3", "hosts"),
            ("[site.'a b']\nnat = 'home'\n", "line 1", "not a name"),
            ("[site.shop]\nhosts = 1\n", "line 1", "nat"),
            ("[site.shop]\nnat = 'home'\nlink = { dely = '1ms' }\n", "line 3", "delay"),
            ("[site.shop]\nnat = 'home'\nudp_timeout = 'long'\n", "line 3", "30s"),
            ("[sites.shop]\nnat = 'home'\n", "line 1", "site"),
            ("", "file", "needs"),
        ] {
            let said = Plan::parse("file", text).unwrap_err().to_string();
            assert!(said.contains(line) && said.contains(hint), "{text}: {said}");
        }
    }
}
