//! A measured value, as `holm-bench` reads it.

use serde::Serialize;

/// A measured value.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    key: &'static str,
    what: String,
    measured: f64,
    unit: &'static str,
    at_most: Option<f64>,
    at_least: Option<f64>,
    samples: Vec<f64>,
    note: String,
}

impl Row {
    /// A value without a goal.
    pub fn new(key: &'static str, what: impl Into<String>, measured: f64, unit: &'static str) -> Row {
        let (what, note) = (what.into(), String::new());
        Row { key, what, measured, unit, at_most: None, at_least: None, samples: vec![measured], note }
    }

    /// It shall not be larger.
    pub fn at_most(self, goal: f64) -> Row {
        Row { at_most: Some(goal), ..self }
    }

    /// It shall not be smaller.
    pub fn at_least(self, goal: f64) -> Row {
        Row { at_least: Some(goal), ..self }
    }

    /// What one should know to read it.
    pub fn note(self, note: impl Into<String>) -> Row {
        Row { note: note.into(), ..self }
    }
}
