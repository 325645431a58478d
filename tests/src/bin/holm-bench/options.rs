//! The command line, and how often each thing is measured.

use anyhow::{Result, bail};
use std::{path::PathBuf, time::Duration};

/// What was asked for.
pub struct Options {
    /// Fewer runs: to see that everything works, not to know the numbers.
    pub quick: bool,
    /// How often.
    pub runs: Runs,
    only: Vec<String>,
}

/// How often, how many, how long.
pub struct Runs {
    /// Starts of a node.
    pub starts: usize,
    /// Apps whose documents the started node holds.
    pub start_apps: usize,
    /// Before the idle mesh is looked at.
    pub settle: Duration,
    /// How long it is looked at.
    pub idle: Duration,
    /// Submissions.
    pub applies: usize,
    /// Hosts killed.
    pub failovers: usize,
    /// Jobs.
    pub jobs: usize,
    /// Tasks of each job.
    pub job_tasks: usize,
    /// A tenth of the documents in the measures of the state.
    pub few_documents: bool,
    /// Nodes of the site through which a change spreads.
    pub site: usize,
    /// Changes.
    pub spreads: usize,
    /// Writes in a round beside etcd.
    pub writes: usize,
    /// Gateways that join in the lab.
    pub joins: usize,
    /// Restarts of gateways that then meet half-way.
    pub punches: usize,
    /// Members revoked in the lab.
    pub revocations: usize,
    /// Bytes of a pull over a stream.
    pub pulled: u64,
    /// Pulls one after another.
    pub pulls: usize,
    /// Peers of one node.
    pub crowd: usize,
    /// Seeds of the small simulation.
    pub sim_seeds: u64,
    /// Sizes of the meshes whose messages are compared, ascending.
    pub growing: &'static [u32],
    /// Sizes of the large simulations.
    pub fleets: &'static [u32],
}

const FULL: Runs = Runs {
    starts: 10,
    start_apps: 100,
    settle: Duration::from_secs(15),
    idle: Duration::from_secs(20),
    applies: 100,
    failovers: 5,
    jobs: 3,
    job_tasks: 1000,
    few_documents: false,
    site: 20,
    spreads: 40,
    writes: 3_000,
    joins: 10,
    punches: 20,
    revocations: 5,
    pulled: 32 << 20,
    pulls: 5,
    crowd: 200,
    sim_seeds: 12,
    growing: &[103, 303, 1003],
    fleets: &[1_000, 10_000],
};

const QUICK: Runs = Runs {
    starts: 3,
    start_apps: 100,
    settle: Duration::from_secs(3),
    idle: Duration::from_secs(5),
    applies: 10,
    failovers: 1,
    jobs: 1,
    job_tasks: 200,
    few_documents: true,
    site: 5,
    spreads: 5,
    writes: 480,
    joins: 2,
    punches: 1,
    revocations: 1,
    pulled: 4 << 20,
    pulls: 2,
    crowd: 20,
    sim_seeds: 2,
    growing: &[53, 103],
    fleets: &[1_000],
};

impl Options {
    /// Reads the arguments; `None` when only help is wanted. `names` are the measures that there are.
    ///
    /// # Errors
    /// An argument means nothing.
    pub fn read(arguments: impl Iterator<Item = String>, names: &[&str]) -> Result<Option<Options>> {
        let (mut quick, mut only) = (false, Vec::new());
        for argument in arguments {
            match argument.as_str() {
                "--quick" => quick = true,
                "--help" | "-h" => return Ok(None),
                name if names.contains(&name) => only.push(argument),
                other => bail!("`{other}` is not known"),
            }
        }
        Ok(Some(Options { quick, runs: if quick { QUICK } else { FULL }, only }))
    }

    /// Whether the measure of that name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

/// A file in cargo's target folder, beside that of the build profile which this program is in, if it is there.
pub fn beside(file: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    Some(own.ancestors().nth(2)?.join(file)).filter(|file| file.is_file())
}

/// How it is called.
pub fn usage(names: &[&str]) -> String {
    format!("holm-bench [--quick] [{}]...   (all of them if none is named)", names.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Option<Options>> {
        Options::read(line.split_whitespace().map(str::to_owned), &["start", "idle"])
    }

    #[test]
    fn all_or_only_what_is_named() {
        let all = read("--quick").unwrap().unwrap();
        assert!(all.quick && all.wants("start") && all.wants("idle") && all.runs.applies == QUICK.applies);
        let one = read("idle").unwrap().unwrap();
        assert!(!one.quick && !one.wants("start") && one.wants("idle") && one.runs.applies == FULL.applies);
        assert!(read("start --help").unwrap().is_none());
        assert!(read("strat").is_err());
    }
}
