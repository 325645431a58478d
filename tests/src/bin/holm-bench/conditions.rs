//! Under which conditions the numbers were taken: without them they mean nothing.

use crate::stats;
use anyhow::{Context, Result};
use holm_tests::binaries;
use serde::Serialize;
use std::{
    fs,
    io::Write,
    path::Path,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Writes of the disk's test.
const SYNCS: usize = 20;

/// The machine, the build and the load.
#[derive(Debug, Serialize)]
pub struct Conditions {
    /// Seconds since 1970.
    pub at: u64,
    /// Fewer runs than a real benchmark.
    pub quick: bool,
    /// Cores that all nodes share.
    pub cores: usize,
    /// What they are.
    pub processor: String,
    /// Memory of the machine in MB.
    pub memory_mb: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The file system that the nodes' data is on.
    pub file_system: String,
    /// What it takes there to write 4 KiB and sync, the median, in milliseconds.
    pub sync_ms: f64,
    /// The build profile of this program, which is built with the others.
    pub profile: &'static str,
    /// The measured program.
    pub binary: String,
    /// Its size in MB.
    pub binary_mb: f64,
    /// Load averages before.
    pub load_before: String,
    /// Load averages after.
    pub load_after: String,
}

impl Conditions {
    /// Looks at everything.
    ///
    /// # Errors
    /// A program is missing, or there is no disk to write to.
    pub fn observe(quick: bool) -> Result<Conditions> {
        binaries::find("holm-shim")?;
        let binary = binaries::find("holm")?;
        let temporary = tempfile::tempdir().context("no temporary folder")?;
        Ok(Conditions {
            at: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            quick,
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            processor: value_in("/proc/cpuinfo", "model name"),
            memory_mb: value_in("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0) * 1024
                / 1_000_000,
            kernel: read("/proc/sys/kernel/osrelease"),
            file_system: file_system(&read("/proc/self/mounts"), temporary.path()),
            sync_ms: sync_ms(temporary.path())?,
            profile: if cfg!(debug_assertions) { "dev" } else { "release" },
            binary_mb: fs::metadata(&binary)?.len() as f64 / 1e6,
            binary: binary.display().to_string(),
            load_before: load(),
            load_after: String::new(),
        })
    }

    /// Looks at the load once more.
    pub fn end(&mut self) {
        self.load_after = load();
    }

    /// For people.
    pub fn text(&self) -> String {
        format!(
            "{} cores ({}), {} MB, Linux {}\n\
             data on {}, write and sync of 4 KiB: {:.2} ms; all nodes on this machine\n\
             {} build, {} ({:.1} MB)\n\
             load before: {}, after: {}{}\n",
            self.cores,
            self.processor,
            self.memory_mb,
            self.kernel,
            self.file_system,
            self.sync_ms,
            self.profile,
            self.binary,
            self.binary_mb,
            self.load_before,
            self.load_after,
            if self.quick { "\n--quick: too few runs to rely on" } else { "" },
        )
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The value of the first line `name : value` of a file; a machine that does not tell is unknown, not an error.
fn value_in(path: &str, name: &str) -> String {
    let text = read(path);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    value.map_or_else(|| "unknown".to_owned(), |value| value.trim().to_owned())
}

fn load() -> String {
    read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The type of the mount that holds `path`: the longest mount point above it, the last of several on one point.
fn file_system(mounts: &str, path: &Path) -> String {
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let holding = fields.filter(|(point, _)| path.starts_with(point)).max_by_key(|(point, _)| point.len());
    holding.map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

fn sync_ms(folder: &Path) -> Result<f64> {
    let mut file = fs::File::create(folder.join("sync")).context("cannot write to the temporary folder")?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let begin = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(stats::median(&times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_holds_a_path() {
        let mounts = "/dev/a / ext4 rw 0 0\nnone /tmp tmpfs rw 0 0\nnone /tmp/x ramfs rw 0 0\n";
        let of = |path: &str| file_system(mounts, Path::new(path));
        assert_eq!([of("/tmp/y/z"), of("/tmp/x/y"), of("/var"), of("/tmpx")], ["tmpfs", "ramfs", "ext4", "ext4"]);
        assert_eq!(file_system("", Path::new("/")), "unknown");
    }
}
