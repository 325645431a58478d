//! The folder that reports and failures are written to.

use crate::subject::{Record, Subject, Usage, hex};
use anyhow::Result;
use holm_simulations::{
    Outcome, Plan,
    report::{self, Campaign, Source},
    shrink::Shrunk,
    tell::story,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Where a failure is written when nothing is said.
pub const USUAL: &str = "holm-sim-report";

/// What the replay commands of a campaign are made from.
pub fn sources(subjects: &[Subject]) -> BTreeMap<String, Source> {
    subjects.iter().map(|subject| (subject.name().to_owned(), subject.source())).collect()
}

/// The beginning of the names of the files of one run.
pub fn stem(name: &str, seed: u64) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    format!("{}-seed{seed}", name.chars().map(safe).collect::<String>())
}

/// Makes the folder of a report, before runs that may take long.
pub fn prepare(folder: &Path) -> Result<()> {
    let cannot = |why: std::io::Error| {
        Usage(format!("the folder {} cannot be made: {why}: name another one with --report", folder.display()))
    };
    Ok(fs::create_dir_all(folder).map_err(cannot)?)
}

/// Writes the report, and of each run that failed and is kept its plan and its last events.
pub fn write(folder: &Path, campaign: &Campaign) -> Result<Vec<PathBuf>> {
    let json = serde_json::to_string_pretty(&report::json(campaign))?;
    let mut written = vec![
        file(folder, "report.html", &report::page(campaign))?,
        file(folder, "report.txt", &report::text(campaign))?,
        file(folder, "report.json", &json)?,
    ];
    for kept in campaign.failed() {
        let stem = stem(&kept.outcome.name, kept.outcome.seed);
        let record = serde_json::to_string_pretty(&Record::of(&kept.plan, &kept.outcome))?;
        written.push(file(folder, &format!("{stem}.plan.json"), &record)?);
        written.push(file(folder, &format!("{stem}.events.txt"), &events(&kept.plan, &kept.outcome))?);
    }
    Ok(written)
}

/// Writes a plan that was cut down, with the record of its run.
pub fn shrunk(folder: &Path, name: &str, shrunk: &Shrunk) -> Result<PathBuf> {
    let (plan, violations) = (shrunk.plan.clone(), vec![shrunk.violation.clone()]);
    let record = Record { plan, trace_hash: hex(shrunk.trace_hash), violations };
    file(folder, name, &serde_json::to_string_pretty(&record)?)
}

/// The last events of a run, with what they belong to.
fn events(plan: &Plan, outcome: &Outcome) -> String {
    let mut text = format!("{}, seed {}, hash {:016x}\n", outcome.name, outcome.seed, outcome.trace_hash);
    for line in story(plan, outcome, None) {
        text += &format!("{line}\n");
    }
    text
}

/// Writes one file; what was there before is replaced.
pub fn file(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let cannot =
        |what: String| move |why: std::io::Error| Usage(format!("{what}: {why}: name another folder with --report"));
    fs::create_dir_all(folder).map_err(cannot(format!("the folder {} cannot be made", folder.display())))?;
    let path = folder.join(name);
    fs::write(&path, text).map_err(cannot(format!("{} cannot be written", path.display())))?;
    Ok(path)
}
