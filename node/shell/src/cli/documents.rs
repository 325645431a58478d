//! The part of `doctor` about the replicated documents: what was refused, what there is no room for, what is of a later version.

use super::{doctor::Check, output};
use holm_types::{
    Wall,
    api::{Held, MeshStatus, NodeRow, RefusedRow, Room},
    change::SCHEMA,
};
use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

/// What was refused longer ago is no trouble any more.
const RECENT: Duration = Duration::from_secs(86_400);
/// Refused changes that are shown.
const SHOWN: usize = 20;

/// What a healthy node has none of.
pub(super) fn checks(status: &MeshStatus, nodes: &[NodeRow], refused: &[RefusedRow], now: Wall) -> Vec<Check> {
    let mut checks = rooms(&status.held);
    checks.extend(recent(refused, now));
    checks.extend(later(nodes));
    checks
}

fn rooms(held: &BTreeMap<String, Held>) -> Vec<Check> {
    const MORE: &str = "start the node with a larger --disk-budget; what is missing comes from the other nodes then";
    let short = held.iter().filter(|(_, held)| held.room != Room::Free);
    let said = |(scope, held): (&String, &Held)| {
        let lacks = match held.room {
            Room::Over => "what others write to it is not taken: this node falls behind",
            _ => "no apps are submitted to it here",
        };
        Check::new("budget", false, format!("{scope}: {} bytes of {} are used; {lacks}", held.bytes, held.budget), MORE)
    };
    short.map(said).collect()
}

/// A revoked node is refused as a matter of course.
fn recent(refused: &[RefusedRow], now: Wall) -> Option<Check> {
    let mut recent = refused.iter().filter(|row| !row.revoked && row.at.after(RECENT) > now);
    let latest = recent.next()?;
    let said = match recent.count() {
        0 => format!("a change was refused within a day, of {}: {}", latest.author, latest.why),
        n => format!("{} changes were refused within a day, the latest of {}: {}", n + 1, latest.author, latest.why),
    };
    const LOOK: &str = "that node has another version, a damaged disk, or lies (holm doctor -v shows more); if it cannot be trusted: holm cert revoke";
    Some(Check::new("refused", false, said, LOOK))
}

fn later(nodes: &[NodeRow]) -> Option<Check> {
    let later: Vec<&str> = nodes.iter().filter(|node| node.schema > SCHEMA).map(|node| node.name.as_str()).collect();
    let said = |names: String| {
        format!("{names} may write what this version does not know: that is kept and passed on, and not acted upon")
    };
    (!later.is_empty()).then(|| Check::new("schema", false, said(later.join(", ")), "upgrade this node"))
}

/// Tables for people who want to know more.
pub(super) fn render(held: &BTreeMap<String, Held>, refused: &[RefusedRow]) -> String {
    let mut text = String::new();
    if !held.is_empty() {
        let row = |(scope, held): (&String, &Held)| {
            vec![format!("  {scope}"), held.documents.to_string(), held.bytes.to_string(), held.budget.to_string()]
        };
        let table = output::table(&["  scope", "documents", "bytes", "budget"], held.iter().map(row).collect());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n{table}");
    }
    if !refused.is_empty() {
        let row = |row: &RefusedRow| vec![format!("  {}", output::date(row.at)), row.author.clone(), row.why.clone()];
        let rows = refused.iter().take(SHOWN).map(row).collect();
        let _ = writeln!(text, "\n{}", output::table(&["  refused", "of", "why"], rows));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::doctor, *};

    fn refused(at: u64, revoked: bool) -> RefusedRow {
        let why = "an assignment or status bears the mark of another writer".to_owned();
        RefusedRow { at: Wall(at), author: "gw-3".into(), revoked, document: "03".repeat(16), why }
    }

    #[test]
    fn what_is_told_of_documents() {
        let day = 86_400_000;
        assert!(
            recent(&[refused(day, true), refused(0, false)], Wall(2 * day - 1)).is_none(),
            "expected, and long ago"
        );
        let held = |bytes, room| Held { documents: 3, bytes, budget: 1000, room };
        let held = BTreeMap::from([
            ("mesh".to_owned(), held(10, Room::Free)),
            ("plant-1".to_owned(), held(1000, Room::Full)),
            ("plant-2".to_owned(), held(1300, Room::Over)),
        ]);
        let mut newer = doctor::row(2, "cloud-2");
        newer.schema = SCHEMA + 1;
        let rows = [refused(day, false), refused(day, false), refused(day - 5, true)];
        let mut checks = rooms(&held);
        checks.extend(recent(&rows, Wall(day)));
        checks.extend(later(&[doctor::row(1, "cloud-1"), newer]));
        let lines: Vec<String> = checks.iter().map(Check::line).collect();
        insta::assert_snapshot!(format!("{}\n{}", lines.join("\n"), render(&held, &rows)));
    }
}
