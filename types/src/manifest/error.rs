//! What is wrong with a manifest: every mistake that was found, each at its place.

use std::fmt;

/// Mistakes that one error lists, at most.
pub const MAX_FAULTS: usize = 20;

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl Position {
    /// The place of a byte of `text`.
    pub(super) fn of(text: &str, byte: usize) -> Position {
        let before = text.get(..byte).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        Position { line: before.matches('\n').count() + 1, column: before[start..].chars().count() + 1 }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where, as far as it is known.
    pub at: Option<Position>,
    /// What is wrong, and what is allowed.
    pub message: String,
}

/// What is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    /// The mistakes in the order of the text, at least one and at most [`MAX_FAULTS`].
    pub faults: Vec<Fault>,
    /// Mistakes beyond those.
    pub more: usize,
}

impl ManifestError {
    /// One mistake.
    pub(super) fn one(at: Option<Position>, message: impl Into<String>) -> ManifestError {
        ManifestError { faults: vec![Fault { at, message: message.into() }], more: 0 }
    }

    /// All mistakes that were found; `None` if there are none.
    pub(super) fn all(mut faults: Vec<Fault>) -> Option<ManifestError> {
        faults.sort_by_key(|fault| fault.at);
        let more = faults.len().saturating_sub(MAX_FAULTS);
        faults.truncate(MAX_FAULTS);
        (!faults.is_empty()).then_some(ManifestError { faults, more })
    }

    /// One line a mistake, as compilers write it: `FILE:LINE:COLUMN: what is wrong`.
    pub fn in_file(&self, name: &str) -> String {
        self.lines(|fault| match fault.at {
            Some(at) => format!("{name}:{}:{}: {}", at.line, at.column, fault.message),
            None => format!("{name}: {}", fault.message),
        })
    }

    fn lines(&self, line: impl Fn(&Fault) -> String) -> String {
        let mut lines: Vec<String> = self.faults.iter().map(line).collect();
        if self.more > 0 {
            lines.push(format!("and {} more mistakes", self.more));
        }
        lines.join("\n")
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines(|fault| match fault.at {
            Some(at) => format!("line {}, column {}: {}", at.line, at.column, fault.message),
            None => fault.message.clone(),
        }))
    }
}
