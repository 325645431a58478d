//! `holm-bench-state`: what a node's replicated state costs, without a network and without other processes: the crates that
//! ship, driven by hand. `holm-bench state` runs it, one measure a process, and puts its rows into the table.

mod costs;
mod disk;
mod fill;
mod fleet;
mod pair;
mod repair;
mod row;
mod verify;

use anyhow::{Result, bail};
use row::Row;
use std::{path::Path, process::ExitCode};

const USAGE: &str =
    "holm-bench-state verify|disk|tasks|repair [--quick]   rows as JSON\nholm-bench-state fill DATA-DIR COUNT";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("holm-bench-state: {why:#}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    let (quick, rest): (Vec<&str>, Vec<&str>) = arguments.iter().partition(|argument| **argument == "--quick");
    let quick = !quick.is_empty();
    let rows: Vec<Row> = match rest.as_slice() {
        ["verify"] => verify::measure(if quick { 500 } else { 5_000 })?,
        ["disk"] => disk::writes(if quick { 500 } else { 5_000 })?,
        ["tasks"] => disk::tasks(if quick { 1_000 } else { 10_000 })?,
        ["repair"] => repair::measure(if quick { 1_000 } else { 10_000 })?,
        ["fill", folder, count] => return fill::fill(Path::new(folder), count.parse()?),
        _ => bail!("that means nothing"),
    };
    println!("{}", serde_json::to_string(&rows)?);
    Ok(())
}
