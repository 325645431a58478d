//! What two nodes say to each other when they meet again.

use crate::{
    fleet,
    pair::{self, Healed, Side},
    row::Row,
};
use anyhow::Result;
use holm_state::State;
use holm_types::Scope;
use std::path::Path;

/// Changes that each side makes while it is cut off.
const APART: usize = 5_000;
/// Documents that one side changes.
const FEW: usize = 100;

/// Measures, on two nodes with so many documents.
///
/// # Errors
/// The two do not come to hold the same.
pub fn measure(count: usize) -> Result<Vec<Row>> {
    let (scope, folder) = (fleet::site()?, tempfile::tempdir()?);
    let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
    let writer = fleet::key(0).node_id();
    let first = Side::open(0, &a, 0, |state, store| fleet::documents(state, store, &writer, &scope, count))?;
    let mut both = [first, Side::open(1, &b, 0, |_, _| Ok(()))?];
    let whole = pair::connect(&mut both, &scope)?;
    drop(both);
    let again = meet(&a, &b, &scope, 1, [0, 0], count)?;
    let few = meet(&a, &b, &scope, 2, [FEW, 0], count)?;
    let apart = APART.min(count / 2);
    let many = meet(&a, &b, &scope, 3, [apart, apart], count)?;
    Ok(rows(count, apart, &whole, &again, &few, &many))
}

/// Both start again, change so many documents each, and meet.
fn meet(a: &Path, b: &Path, scope: &Scope, life: u64, edits: [usize; 2], count: usize) -> Result<Healed> {
    let edit = |state: &mut State, number: usize| -> Result<()> {
        // Spread over all of them; the two sides meet in some.
        for step in 0..edits[number] {
            let app = (step * 7 + number * 3) % (count / 2);
            let (doc, _) = fleet::app(scope, app)?;
            state.write(scope, doc, fleet::edit(life + 1), fleet::NOW)?;
        }
        Ok(())
    };
    let first = Side::open(0, a, life, |state, _| edit(state, 0))?;
    let mut both = [first, Side::open(1, b, life, |state, _| edit(state, 1))?];
    pair::connect(&mut both, scope)
}

fn rows(count: usize, apart: usize, whole: &Healed, again: &Healed, few: &Healed, many: &Healed) -> Vec<Row> {
    let bytes = |healed: &Healed| (healed.used[0].bytes + healed.used[1].bytes) as f64;
    let cpu = |healed: &Healed| healed.used[0].cpu.max(healed.used[1].cpu).as_secs_f64();
    let said = |healed: &Healed| {
        let messages = healed.used[0].messages + healed.used[1].messages;
        let kinds: [f64; 4] =
            std::array::from_fn(|n| (healed.used[0].by_kind[n] + healed.used[1].by_kind[n]) as f64 / 1e3);
        format!(
            "{messages} messages in {} steps; kB: digests {:.1}, documents {:.1}, wanted {:.1}, changes {:.1}",
            healed.steps, kinds[0], kinds[1], kinds[2], kinds[3]
        )
    };
    vec![
        Row::new("repair_in_sync", format!("{count} documents in sync, reconnect"), bytes(again), "B")
            .at_most(1024.0)
            .note(said(again)),
        Row::new("repair_few_bytes", format!("{FEW} of them differ"), bytes(few), "B")
            .at_most(120_000.0)
            .note(said(few)),
        Row::new("repair_few_time", "time for it", few.wall.as_secs_f64(), "s")
            .at_most(1.0)
            .note("both sides and their disks on one core, without a network"),
        Row::new("repair_many", format!("{apart} changes on each side, healed"), cpu(many), "s of CPU")
            .at_most(5.0)
            .note(format!("the side that used more; {:.0} kB, {}", bytes(many) / 1e3, said(many))),
        Row::new("repair_whole", "a new node learns them all", cpu(whole), "s of CPU").note(format!(
            "the side that used more; {:.0} kB, {}",
            bytes(whole) / 1e3,
            said(whole)
        )),
    ]
}
