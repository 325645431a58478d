//! What a command is about: a scenario of the library, a scenario file, or a plan that a failure left.

use anyhow::Result;
use holm_simulations::{Outcome, Plan, Scenario, Violation, report::Source, scenario::LIBRARY};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, path::Path};

/// A plan file is never longer than this, in bytes.
const PLAN_MAX: u64 = 256 << 20;

/// The command line asks for what makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// A plan that was written because its run failed, and how it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What ran.
    pub plan: Plan,
    /// The hash of the run, in hex.
    pub trace_hash: String,
    /// What did not hold.
    pub violations: Vec<Violation>,
}

impl Record {
    /// Of a run.
    pub fn of(plan: &Plan, outcome: &Outcome) -> Record {
        let violations = outcome.violations.clone();
        Record { plan: plan.clone(), trace_hash: hex(outcome.trace_hash), violations }
    }
}

/// A hash as it is shown.
pub fn hex(hash: u64) -> String {
    format!("{hash:016x}")
}

/// See the [module](self).
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// A scenario, and how it was named.
    Scenario(Box<Scenario>, String),
    /// A plan, and how its file was named.
    Plan(Box<Record>, String),
}

impl Subject {
    /// Finds and reads it.
    pub fn read(named: &str) -> Result<Subject> {
        let path = Path::new(named);
        if let Some((name, text)) = LIBRARY.iter().find(|(name, _)| *name == named) {
            return Ok(Subject::Scenario(Box::new(Scenario::parse(name, text)?), named.to_owned()));
        }
        if path.extension().is_some_and(|end| end == "json") {
            return Ok(Subject::Plan(Box::new(read_plan(path)?), named.to_owned()));
        }
        if !path.exists() && path.extension().is_none() && !named.contains('/') {
            let meant = closest(named).map_or_else(String::new, |name| format!(" Did you mean {name}?"));
            let text = format!("no scenario is called {named:?}, and no file is.{meant} `holm-sim list` lists them.");
            return Err(Usage(text).into());
        }
        Ok(Subject::Scenario(Box::new(Scenario::load(path)?), named.to_owned()))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Subject::Scenario(scenario, _) => &scenario.name,
            Subject::Plan(record, _) => &record.plan.name,
        }
    }

    /// The plan of a seed, or of its own.
    pub fn plan(&self, seed: Option<u64>) -> Result<Plan> {
        match self {
            Subject::Scenario(scenario, _) => Ok(scenario.expand(seed.unwrap_or(scenario.seed))?),
            Subject::Plan(record, named) => match seed.filter(|seed| *seed != record.plan.seed) {
                None => Ok(record.plan.clone()),
                Some(other) => {
                    let own = record.plan.seed;
                    Err(Usage(format!("{named} is the plan of seed {own}, there is none of {other} in it")).into())
                }
            },
        }
    }

    /// The hash that was recorded with the plan.
    pub fn recorded(&self) -> Option<&str> {
        match self {
            Subject::Scenario(..) => None,
            Subject::Plan(record, _) => Some(record.trace_hash.as_str()).filter(|hash| !hash.is_empty()),
        }
    }

    /// For reports.
    pub fn source(&self) -> Source {
        let (named, about, one_seed) = match self {
            Subject::Scenario(scenario, named) => (named, scenario.about.clone(), false),
            Subject::Plan(_, named) => (named, String::new(), true),
        };
        Source { about, replay: format!("{} replay {}", program(), quoted(named)), one_seed }
    }
}

fn read_plan(path: &Path) -> Result<Record> {
    let shown = path.display();
    let text = holm_simulations::scenario::read_at_most(path, PLAN_MAX).map_err(|e| Usage(format!("{shown}: {e}")))?;
    let record = serde_json::from_str::<Record>(&text);
    // A bare plan is as good as one with its record.
    let bare = |_| {
        let plan = serde_json::from_str::<Plan>(&text)?;
        Ok(Record { plan, trace_hash: String::new(), violations: Vec::new() })
    };
    let wrong = |e: serde_json::Error| Usage(format!("{shown}: not a plan that holm-sim wrote: {e}"));
    let record = record.or_else(bare).map_err(wrong)?;
    record.plan.check().map_err(|why| Usage(format!("{shown}: not a plan that holm-sim wrote: {why}")))?;
    Ok(record)
}

/// How this program was called, so that what it prints can be typed.
pub fn program() -> String {
    std::env::args().next().map_or_else(|| "holm-sim".to_owned(), |program| quoted(&program).into_owned())
}

/// A word as a shell takes it.
pub fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

/// The name of the library that comes closest to what nothing is called.
fn closest(name: &str) -> Option<&'static str> {
    let (letters, near) = LIBRARY.iter().map(|(known, _)| (distance(name, known), *known)).min()?;
    (letters <= name.len().div_ceil(2)).then_some(near)
}

/// How many letters to change (Levenshtein 1966).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let changed = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = changed.min(corner + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_is_recognised() {
        assert_eq!(closest("split-plants"), Some("split_plant"));
        assert_eq!(closest("zzzz"), None);
        assert_eq!((distance("", "abc"), distance("kitten", "sitting"), distance("a", "a")), (3, 3, 0));
    }

    #[test]
    fn words_are_quoted_when_a_shell_would_take_them_apart() {
        assert_eq!(
            (quoted("a/b-1.toml"), quoted("my file"), quoted("it's")),
            ("a/b-1.toml".into(), "'my file'".into(), r"'it'\''s'".into())
        );
    }
}
