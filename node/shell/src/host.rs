//! What this host has to offer to tasks.

use holm_types::{change::SCHEMA, manifest::Amounts, view::NodeInfo};
use std::{collections::BTreeMap, path::Path};

/// Capacity, architecture and version, with the labels that the operator gave.
pub fn describe(labels: BTreeMap<String, String>, data_dir: &Path) -> NodeInfo {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    NodeInfo {
        labels,
        capacity: Amounts {
            cpu: cores as u64 * 1000,
            memory: total_memory(),
            disk: disk_size(data_dir),
            extended: BTreeMap::new(),
        },
        arch: std::env::consts::ARCH.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        schema: SCHEMA,
    }
}

fn total_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

/// Size of the file system, so that it does not change with every write.
fn disk_size(path: &Path) -> u64 {
    nix::sys::statvfs::statvfs(path).map_or(0, |fs| fs.blocks() * fs.fragment_size())
}

/// Whether this host has the kind of network that a multiaddress is of: many have no IPv6.
pub fn can_listen(address: &str) -> bool {
    !address.starts_with("/ip6/") || std::net::UdpSocket::bind((std::net::Ipv6Addr::UNSPECIFIED, 0)).is_ok()
}
