//! Printing: tables for people, JSON for programs.

use comfy_table::{Table, presets};
use holm_types::{Label, Wall};
use serde::Serialize;
use std::{
    borrow::Cow,
    io::{IsTerminal as _, Write as _},
};

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns.
    Table,
    /// JSON.
    Json,
}

impl Format {
    /// Prints rows as a table, or `value` as JSON.
    pub fn print<V: Serialize>(self, value: &V, header: &[&str], rows: impl FnOnce() -> Vec<Vec<String>>) {
        match self {
            Format::Json => line(&json(value)),
            Format::Table => line(&table(header, rows())),
        }
    }

    /// Prints a sentence, or `value` as JSON.
    pub fn say<V: Serialize>(self, value: &V, sentence: &str) {
        match self {
            Format::Json => line(&json(value)),
            Format::Table => line(sentence),
        }
    }
}

fn json<V: Serialize>(value: &V) -> String {
    serde_json::to_string(value).unwrap_or_else(|e| format!("{{\"error\":\"{e}\"}}"))
}

/// The namespace of what names none.
const DEFAULT_NAMESPACE: &str = "default";

/// Whether people need not be told of a namespace.
pub fn is_default(namespace: &Label) -> bool {
    namespace.as_str() == DEFAULT_NAMESPACE
}

/// An app's name in a sentence.
pub fn app_name(namespace: &Label, name: &Label) -> String {
    if is_default(namespace) { name.to_string() } else { format!("{namespace}/{name}") }
}

/// An app's name on a command line.
pub fn app_arguments(namespace: &Label, name: &Label) -> String {
    if is_default(namespace) { name.to_string() } else { format!("{name} -n {namespace}") }
}

/// Rows under their header.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().map(|h| h.to_uppercase()));
    rows.into_iter().for_each(|row| {
        table.add_row(row);
    });
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Prints a line, or some. A reader that closed the pipe (`holm ps | head`) is no error.
pub fn line(text: &str) {
    let mut out = std::io::stdout();
    let text = if out.is_terminal() { neutral(text) } else { text.into() };
    let _ = writeln!(out, "{text}");
}

/// Prints to standard error what is wrong, or worth knowing.
pub fn complain(text: &str) {
    let mut out = std::io::stderr();
    let text = if out.is_terminal() { neutral(text) } else { text.into() };
    let _ = writeln!(out, "{text}");
}

/// The text with its control characters made visible, except newline and tab: what a task writes must
/// not move the cursor, colour the screen or set the title of somebody's terminal.
pub fn neutral(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(harmful) {
        return text.into();
    }
    let mut visible = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if harmful(c) { visible.extend(c.escape_default()) } else { visible.push(c) }
    }
    visible.into()
}

/// A date as people write it, in UTC, to the millisecond.
pub fn date(wall: Wall) -> String {
    i64::try_from(wall.0)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| "?".to_owned(), |t| format!("{t:.3}"))
}

/// The same of seconds since 1970.
pub fn date_of_seconds(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "?".to_owned(), |t| t.to_string())
}

/// `5s`, `3m`, `2h`, `4d` since a date.
pub fn age(then: Option<Wall>, now: Wall) -> String {
    let Some(then) = then else { return "-".into() };
    match now.0.saturating_sub(then.0) / 1000 {
        s if s < 120 => format!("{s}s"),
        s if s < 7200 => format!("{}m", s / 60),
        s if s < 172_800 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_made_visible() {
        assert_eq!(neutral("plain\ttext\nü 漢"), "plain\ttext\nü 漢");
        assert_eq!(neutral("\u{1b}[31mred\u{1b}]0;title\u{7}"), "\\u{1b}[31mred\\u{1b}]0;title\\u{7}");
        assert_eq!(neutral("over\rwritten \u{9b}2J \u{7f}"), "over\\rwritten \\u{9b}2J \\u{7f}");
    }

    #[test]
    fn dates_have_one_width() {
        assert_eq!(date(Wall(1_764_140_400_000)), "2025-11-26T07:00:00.000Z");
        assert_eq!(date(Wall(1_764_140_400_120)), "2025-11-26T07:00:00.120Z");
        assert_eq!(date(Wall(u64::MAX)), "?");
    }

    #[test]
    fn an_age_is_short() {
        let age = |ms| age(Some(Wall(0)), Wall(ms));
        assert_eq!(
            [age(0), age(119_000), age(120_000), age(7_200_000), age(172_800_000)],
            ["0s", "119s", "2m", "2h", "2d"]
        );
    }
}
