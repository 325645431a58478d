//! `holm-sim list` and `holm-sim explain`.

use crate::{
    args::{ExplainArgs, Output},
    out,
    subject::{Subject, Usage},
};
use anyhow::Result;
use holm_simulations::{Scenario, scenario::library, tell::explain as told};
use serde_json::{Value, json};

/// Lists the library.
pub fn list(output: Output) -> Result<bool> {
    let all = library()?;
    match output {
        Output::Json => {
            let rows: Vec<Value> = all
                .iter()
                .map(|s| json!({ "name": s.name, "title": title(&s.about), "about": s.about, "seed": s.seed }))
                .collect();
            out::json(&rows)?;
        }
        Output::Text => {
            let width = all.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
            let line = |scenario: &Scenario| format!("{:<width$}  {}\n", scenario.name, title(&scenario.about));
            out::text(&all.iter().map(line).collect::<String>())?;
        }
    }
    Ok(true)
}

/// The first sentence.
fn title(about: &str) -> &str {
    about.find(". ").map_or(about, |end| &about[..=end])
}

/// Tells a scenario.
pub fn explain(args: &ExplainArgs, output: Output) -> Result<bool> {
    let subject = Subject::read(&args.subject)?;
    let plan = subject.plan(args.seed)?;
    let Subject::Scenario(scenario, _) = &subject else {
        return Err(Usage(format!("{} is a plan: `holm-sim replay {0} --events` tells it", args.subject)).into());
    };
    let told = told(scenario, &plan);
    match output {
        Output::Json => out::json(&told)?,
        Output::Text => out::text(&told.to_string())?,
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_one_sentence() {
        assert_eq!(title("One thing. And more."), "One thing.");
        assert_eq!(title("10.5 s are long"), "10.5 s are long");
    }
}
