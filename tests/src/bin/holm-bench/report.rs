//! What was measured, as a table and as JSON.

use crate::conditions::Conditions;
use anyhow::Result;
use serde::Serialize;

/// A measured value.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    key: String,
    what: String,
    goal: Option<Goal>,
    unit: &'static str,
    measured: Option<f64>,
    verdict: Verdict,
    samples: Vec<f64>,
    note: String,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Met,
    Missed,
    /// There is no goal.
    Told,
    /// It could not be measured.
    Failed,
}

impl Row {
    /// What could not be measured, and why.
    pub fn failed(key: &str, what: &str, why: &anyhow::Error) -> Row {
        let row = Row::new(key, what, 0.0, "", &[]).note(format!("{why:#}"));
        Row { measured: None, verdict: Verdict::Failed, ..row }
    }

    /// A value, computed from samples. Without a goal it only helps to judge another.
    pub fn new(key: &str, what: &str, measured: f64, unit: &'static str, samples: &[f64]) -> Row {
        Row {
            key: key.to_owned(),
            what: what.to_owned(),
            goal: None,
            unit,
            measured: Some(measured),
            verdict: Verdict::Told,
            samples: samples.to_vec(),
            note: String::new(),
        }
    }

    /// It shall not be larger.
    pub fn at_most(self, goal: f64) -> Row {
        let verdict = if self.measured.is_some_and(|value| value <= goal) { Verdict::Met } else { Verdict::Missed };
        Row { goal: Some(Goal::AtMost(goal)), verdict, ..self }
    }

    /// It shall not be smaller.
    pub fn at_least(self, goal: f64) -> Row {
        let verdict = if self.measured.is_some_and(|value| value >= goal) { Verdict::Met } else { Verdict::Missed };
        Row { goal: Some(Goal::AtLeast(goal)), verdict, ..self }
    }

    /// What one should know to read it.
    pub fn note(self, note: impl Into<String>) -> Row {
        Row { note: note.into(), ..self }
    }

    fn cells(&self) -> [String; 5] {
        let goal = match self.goal {
            Some(Goal::AtMost(value)) => format!("<= {value} {}", self.unit),
            Some(Goal::AtLeast(value)) => format!(">= {value} {}", self.unit),
            None => String::new(),
        };
        let measured = self.measured.map_or_else(|| "-".to_owned(), |value| format!("{} {}", short(value), self.unit));
        let verdict = match self.verdict {
            Verdict::Met => "met",
            Verdict::Missed => "MISSED",
            Verdict::Told => "",
            Verdict::Failed => "FAILED",
        };
        let runs = if self.samples.is_empty() { String::new() } else { self.samples.len().to_string() };
        [self.what.clone(), goal, measured, verdict.to_owned(), runs]
    }
}

/// Three digits are more than these measurements are worth.
fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    conditions: Conditions,
    rows: Vec<Row>,
}

impl Report {
    /// Nothing is measured yet.
    pub fn new(conditions: Conditions) -> Report {
        Report { conditions, rows: Vec::new() }
    }

    /// Adds what a measure gave.
    pub fn add(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
    }

    /// A measure could not be taken: the others can.
    pub fn failed(&mut self, name: &str, why: &anyhow::Error) {
        eprintln!("{name} could not be measured: {why:#}");
        self.rows.push(Row::failed(name, name, why));
    }

    /// All is measured.
    pub fn end(&mut self) {
        self.conditions.end();
    }

    /// Whether everything could be measured.
    pub fn is_complete(&self) -> bool {
        self.rows.iter().all(|row| row.verdict != Verdict::Failed)
    }

    /// For people.
    pub fn table(&self) -> String {
        let head = ["what", "goal", "measured", "verdict", "runs"].map(str::to_owned);
        let lines: Vec<([String; 5], &str)> = std::iter::once((head, "note"))
            .chain(self.rows.iter().map(|row| (row.cells(), first_line(&row.note))))
            .collect();
        let width = |column: usize| lines.iter().map(|(cells, _)| cells[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 5] = std::array::from_fn(width);
        let mut text = format!("\n{}\n", self.conditions.text());
        for (cells, note) in &lines {
            let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  "));
            let line = format!("{}{note}", cells.collect::<String>());
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// For programs.
    ///
    /// # Errors
    /// A value cannot be written as JSON.
    pub fn json(&self) -> Result<Vec<u8>> {
        Ok(serde_json::to_vec_pretty(self)?)
    }
}

/// The reason of a failure may be a whole log.
fn first_line(note: &str) -> &str {
    note.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let most = |value| Row::new("k", "w", value, "ms", &[value]).at_most(300.0).cells();
        let least = |value| Row::new("k", "w", value, "tasks/s", &[value]).at_least(300.0).cells();
        assert_eq!(most(300.0), ["w", "<= 300 ms", "300 ms", "met", "1"]);
        assert_eq!(most(300.5)[3], "MISSED");
        assert_eq!(least(300.0)[3], "met");
        assert_eq!(least(43.21), ["w", ">= 300 tasks/s", "43.2 tasks/s", "MISSED", "1"]);
        assert!(most(f64::NAN)[3] == "MISSED" && least(f64::NAN)[3] == "MISSED");
        assert_eq!(Row::new("k", "w", 1.234, "x", &[1.0, 2.0]).cells(), ["w", "", "1.23 x", "", "2"]);
    }
}
