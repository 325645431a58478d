//! `holm-sim run`: one seed or many, and a report.

use crate::{
    args::{Output, RunArgs},
    folder, interrupt, out,
    pool::{self, Done, Job},
    progress::Progress,
    subject::{Subject, Usage},
};
use anyhow::{Context as _, Result};
use holm_simulations::report::{self, Campaign};
use std::{ops::ControlFlow, path::Path, sync::atomic::Ordering, time::Duration};

/// One run in so many is done twice.
const TWICE: u64 = 100;

/// Runs, reports, and answers whether all held.
pub fn run(args: &RunArgs, output: Output) -> Result<bool> {
    let subjects = subjects(args)?;
    args.report.as_deref().map_or(Ok(()), folder::prepare)?;
    let mut campaign = Campaign::new(folder::sources(&subjects));
    let threads = args.jobs.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let all = all_runs(args, &subjects);
    let mut progress = Progress::start();
    let interrupted = interrupt::first().context("cannot listen for Ctrl-C")?;
    pool::run_all(threads, jobs(args, &subjects), |done| {
        if let Some(Done { plan, outcome, cpu, twice }) = done {
            campaign.add(plan, outcome, cpu, twice);
        }
        let elapsed = progress.elapsed();
        progress.show(|| line(&campaign, all, elapsed));
        let over = args.time.is_some_and(|time| elapsed >= time) || interrupted.load(Ordering::Relaxed);
        if over || args.fail_fast && !campaign.passed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    progress.clear();
    tell(args, &campaign, output)?;
    Ok(campaign.passed())
}

fn subjects(args: &RunArgs) -> Result<Vec<Subject>> {
    let subjects: Vec<Subject> = args.subjects.iter().map(|named| Subject::read(named)).collect::<Result<_>>()?;
    for (n, subject) in subjects.iter().enumerate() {
        if subjects[..n].iter().any(|other| other.name() == subject.name()) {
            let text = format!("two scenarios are called {:?}: rename a file or run them apart", subject.name());
            return Err(Usage(text).into());
        }
        if matches!(subject, Subject::Plan(..)) && args.seeds.is_some() {
            let text = format!("{:?} is a plan, which has one seed: leave --seeds out", subject.name());
            return Err(Usage(text).into());
        }
    }
    Ok(subjects)
}

/// Seed after seed, each with all scenarios, so that a run without end comes to all of them.
fn jobs<'a>(args: &'a RunArgs, subjects: &'a [Subject]) -> impl Iterator<Item = Result<Job>> + Send + 'a {
    let own = args.seeds.is_none();
    let seeds = args.seeds.clone().unwrap_or(0..1);
    let many = !own && seeds.end - seeds.start > 1;
    let pairs = seeds.flat_map(move |seed| subjects.iter().map(move |subject| (seed, subject)));
    pairs.zip(0u64..).map(move |((seed, subject), n)| {
        let plan = subject.plan(if own { args.seed } else { Some(seed) })?;
        Ok(Job { plan, twice: many && n.is_multiple_of(TWICE) })
    })
}

/// How many runs there will be; none when there is no end.
fn all_runs(args: &RunArgs, subjects: &[Subject]) -> Option<u64> {
    let each = match &args.seeds {
        None => 1,
        Some(seeds) if seeds.end == u64::MAX => return None,
        Some(seeds) => seeds.end - seeds.start,
    };
    Some(each.saturating_mul(subjects.len() as u64))
}

fn line(campaign: &Campaign, all: Option<u64>, elapsed: Duration) -> String {
    let totals = campaign.totals();
    let (runs, seconds) = (totals.runs, elapsed.as_secs_f64());
    let of = all.map_or_else(String::new, |all| format!("/{all}"));
    let left = match all {
        Some(all) if runs > 0 && runs < all => {
            let left = Duration::from_secs((seconds / runs as f64 * (all - runs) as f64) as u64);
            format!(", {} left", humantime::format_duration(left))
        }
        _ => format!(", {seconds:.0} s"),
    };
    format!("{runs}{of} runs, {} failed, {:.1} a second{left}", totals.failed, runs as f64 / seconds.max(0.001))
}

fn tell(args: &RunArgs, campaign: &Campaign, output: Output) -> Result<()> {
    let failed = (!campaign.passed()).then(|| Path::new(folder::USUAL));
    let written = match args.report.as_deref().or(failed) {
        Some(folder) => folder::write(folder, campaign)?,
        None => Vec::new(),
    };
    match output {
        Output::Json => {
            let mut value = report::json(campaign);
            value["written"] = written.iter().map(|path| path.display().to_string()).collect();
            out::json(&value)
        }
        Output::Text => {
            let mut text = report::text(campaign);
            if let Some(page) = written.first() {
                let more = written.len() - 1;
                text += &format!("\nwritten: {}, and {more} files beside it\n", page.display());
            }
            out::text(&text)
        }
    }
}
