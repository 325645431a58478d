//! Printing: tables for people, JSON for programs.

use comfy_table::{Table, presets};
use holm_types::Wall;
use serde::Serialize;
use std::io::Write as _;

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
            Format::Table => {
                let mut table = Table::new();
                table.load_style(presets::NOTHING);
                table.set_header(header.iter().map(|h| h.to_uppercase()));
                rows().into_iter().for_each(|row| {
                    table.add_row(row);
                });
                table.to_string().lines().for_each(|row| line(row.trim_end()));
            }
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

/// Prints a line. A reader that closed the pipe (`holm ps | head`) is no error.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A date as people write it, in UTC.
pub fn date(wall: Wall) -> String {
    i64::try_from(wall.0)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| "?".to_owned(), |t| t.to_string())
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
