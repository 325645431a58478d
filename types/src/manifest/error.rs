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

/// Longest part of a line whose characters are counted, in bytes; beyond, a column counts bytes.
const MAX_COUNTED: usize = 1024;

/// Where the lines of a text begin, so that a place is found without reading the text from its beginning each time.
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<u32>,
}

impl<'a> Lines<'a> {
    /// Of a text of less than 4 GB.
    pub(super) fn of(text: &'a str) -> Lines<'a> {
        let ends = text.bytes().zip(1_u32..).filter(|(byte, _)| *byte == b'\n');
        Lines { text, starts: std::iter::once(0).chain(ends.map(|(_, next)| next)).collect() }
    }

    /// The place of a byte.
    pub(super) fn place(&self, byte: usize) -> Position {
        let byte = byte.min(self.text.len());
        let line = self.starts.partition_point(|start| *start as usize <= byte).max(1);
        let start = self.starts[line - 1] as usize;
        let before = self.text.get(start..byte).filter(|before| before.len() <= MAX_COUNTED);
        Position { line, column: before.map_or(byte - start, |before| before.chars().count()) + 1 }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_place_is_that_of_the_text_before_it(text in "[a-ü\n]{0,40}", byte in 0_usize..50) {
            let Some(before) = text.get(..byte) else { return Ok(()) };
            let (line, column) = (before.split('\n').count(), before.split('\n').next_back().map_or(0, |last| last.chars().count()) + 1);
            prop_assert_eq!(Lines::of(&text).place(byte), Position { line, column });
        }
    }
}
