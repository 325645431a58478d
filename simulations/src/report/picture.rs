//! What a picture of a run shows, before it is drawn: rows of spans. The rest of a page only puts it
//! into shapes.

use crate::{
    outcome::Outcome,
    scenario::{HostNo, Ms, Plan, PlannedFault, Trouble},
    tell::trouble,
};
use std::collections::{BTreeMap, BTreeSet};

/// Rows drawn; of a larger fleet, those to which something happened come first.
pub(super) const ROWS: usize = 150;
/// Lanes of tasks in one row; what runs beyond them is drawn on the last.
pub(super) const LANES: usize = 6;
/// Spans of tasks drawn, and faults.
pub(super) const SPANS: usize = 6_000;
pub(super) const FAULTS: usize = 300;

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Up,
    /// It is up, and something is wrong with it: its clock, its disk, its links, or what it says.
    Troubled,
    CutOff,
    Paused,
    Down,
}

/// A time in which something is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span<T> {
    pub(super) from: Ms,
    pub(super) until: Ms,
    pub(super) what: T,
}

/// A task that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) from: Ms,
    pub(super) until: Ms,
    pub(super) lane: usize,
    pub(super) app: usize,
    pub(super) task: String,
    pub(super) end: String,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) states: Vec<Span<State>>,
    pub(super) tasks: Vec<Task>,
}

impl Row {
    /// Lanes that its tasks take.
    pub(super) fn lanes(&self) -> usize {
        self.tasks.iter().map(|task| task.lane + 1).max().unwrap_or(0)
    }
}

/// A fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) from: Ms,
    pub(super) until: Ms,
    pub(super) lane: usize,
    pub(super) label: String,
    pub(super) title: String,
    /// It cuts hosts off from each other.
    pub(super) cuts: bool,
}

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) end: Ms,
    /// From here on nothing more is asked or broken.
    pub(super) rest: Ms,
    pub(super) sites: Vec<(String, Vec<Row>)>,
    pub(super) apps: Vec<String>,
    pub(super) faults: Vec<Bar>,
    /// Rows, tasks and faults that are left out.
    pub(super) left_out: [usize; 3],
}

/// When a fault is at work.
fn span(plan: &Plan, fault: &PlannedFault, end: Ms) -> (Ms, Ms) {
    (fault.at.min(end), crate::tell::end_of(plan, fault).unwrap_or(end).min(end))
}

/// Lays out a run.
pub(super) fn picture(plan: &Plan, outcome: &Outcome) -> Picture {
    let end = Ms(outcome.simulated.0.max(1));
    let mut apps: BTreeSet<&str> = plan.submissions.iter().map(|s| s.app.as_str()).collect();
    apps.extend(outcome.timeline.runs.iter().map(|run| run.app.as_str()));
    let apps: Vec<String> = apps.into_iter().map(str::to_owned).collect();
    let shown = shown(plan, outcome);
    // Sites in the order of the plan: `plant-2` comes before `plant-10`.
    let mut sites: Vec<(String, Vec<Row>)> = Vec::new();
    let mut tasks_left = SPANS;
    for host in plan.hosts.iter().filter(|host| shown.contains(&host.no)) {
        let mut tasks = tasks(outcome, host.no, end, &apps);
        tasks.truncate(tasks_left);
        tasks_left -= tasks.len();
        let states = states(plan, outcome, host.no, end);
        let row = Row { name: host.name.clone(), states, tasks };
        match sites.iter_mut().find(|(site, _)| *site == host.site) {
            Some((_, rows)) => rows.push(row),
            None => sites.push((host.site.clone(), vec![row])),
        }
    }
    let faults = bars(plan, end);
    let left_out = [
        plan.hosts.len() - shown.len(),
        outcome.timeline.runs.len() - (SPANS - tasks_left),
        plan.faults.len() - faults.len(),
    ];
    Picture { end, rest: plan.duration.min(end), sites, apps, faults, left_out }
}

/// The hosts that have a row.
fn shown(plan: &Plan, outcome: &Outcome) -> BTreeSet<HostNo> {
    let mut eventful: BTreeMap<HostNo, u32> = plan.hosts.iter().map(|host| (host.no, 0)).collect();
    let down = outcome.timeline.down.iter().map(|down| (down.host, 100));
    let violated = outcome.violations.iter().flat_map(|v| v.hosts.iter().map(|host| (*host, 1_000_000)));
    let ran = outcome.timeline.runs.iter().map(|run| (run.host, 1));
    for (host, weight) in down.chain(violated).chain(ran) {
        if let Some(sum) = eventful.get_mut(&host) {
            *sum += weight;
        }
    }
    let mut ranked: Vec<(u32, HostNo)> = eventful.into_iter().map(|(host, sum)| (u32::MAX - sum, host)).collect();
    ranked.sort_unstable();
    ranked.into_iter().take(ROWS).map(|(_, host)| host).collect()
}

/// How a host is, from the beginning to the end, without gaps: of what is true at a time, the worst.
fn states(plan: &Plan, outcome: &Outcome, host: HostNo, end: Ms) -> Vec<Span<State>> {
    let mut spans: Vec<Span<State>> = Vec::new();
    let mut add = |from: Ms, until: Ms, what| {
        if from < until {
            spans.push(Span { from, until, what });
        }
    };
    for down in outcome.timeline.down.iter().filter(|down| down.host == host) {
        add(down.from.min(end), down.until.unwrap_or(end).min(end), State::Down);
    }
    for fault in &plan.faults {
        let (from, until) = span(plan, fault, end);
        match &fault.trouble {
            Trouble::Pause { hosts } if hosts.contains(&host) => add(from, until, State::Paused),
            Trouble::Partition { sides } if is_cut_off(sides, host) => add(from, until, State::CutOff),
            Trouble::Oneway { from: silent, .. } if silent.contains(&host) => add(from, until, State::CutOff),
            Trouble::ClockJump { hosts, .. }
            | Trouble::LossBurst { hosts, .. }
            | Trouble::SlowDisk { hosts, .. }
            | Trouble::GossipStorm { hosts, .. }
            | Trouble::Liar { hosts, .. }
                if hosts.contains(&host) =>
            {
                add(from, until, State::Troubled);
            }
            _ => {}
        }
    }
    let edges: BTreeSet<Ms> = spans.iter().flat_map(|span| [span.from, span.until]).chain([Ms(0), end]).collect();
    let edges: Vec<Ms> = edges.into_iter().collect();
    let mut out: Vec<Span<State>> = Vec::new();
    for pair in edges.windows(2) {
        let over = spans.iter().filter(|span| span.from <= pair[0] && pair[1] <= span.until);
        let what = over.map(|span| span.what).max().unwrap_or(State::Up);
        match out.last_mut() {
            Some(last) if last.what == what => last.until = pair[1],
            _ => out.push(Span { from: pair[0], until: pair[1], what }),
        }
    }
    out
}

/// Whether a host is among those that a cut is about: on any side but the last, which is "the rest".
fn is_cut_off(sides: &[BTreeSet<HostNo>], host: HostNo) -> bool {
    sides.split_last().is_some_and(|(_, others)| others.iter().any(|side| side.contains(&host)))
}

fn tasks(outcome: &Outcome, host: HostNo, end: Ms, apps: &[String]) -> Vec<Task> {
    let mut free: Vec<Ms> = Vec::new();
    let mut tasks = Vec::new();
    for run in outcome.timeline.runs.iter().filter(|run| run.host == host) {
        let (from, until) = (run.from.min(end), run.until.unwrap_or(end).min(end));
        let lane = lane(&mut free, from, until, LANES);
        let app = apps.iter().position(|app| *app == run.app).unwrap_or(0);
        let how = match (run.until, run.exit_code) {
            (None, _) => "ran to the end".to_owned(),
            (Some(_), None) => "went down with its host".to_owned(),
            (Some(_), Some(code)) => format!("ended with code {code}"),
        };
        tasks.push(Task { from, until, lane, app, task: run.task.clone(), end: how });
    }
    tasks
}

/// The first lane that is free, of so many at most.
fn lane(free: &mut Vec<Ms>, from: Ms, until: Ms, most: usize) -> usize {
    let found = free.iter().position(|since| *since <= from);
    let lane = found.unwrap_or_else(|| {
        if free.len() < most {
            free.push(Ms(0));
        }
        free.len() - 1
    });
    free[lane] = free[lane].max(until);
    lane
}

fn bars(plan: &Plan, end: Ms) -> Vec<Bar> {
    let mut free = Vec::new();
    let mut bars = Vec::new();
    for fault in plan.faults.iter().take(FAULTS) {
        let (from, until) = span(plan, fault, end);
        let label = super::text::kind_name(fault.trouble.kind()).replace('_', " ");
        // A short fault still needs room for its name.
        let room = Ms(until.0.max(from.0 + end.0 * label.len() as u64 / 140));
        let title = format!("{}: {}", crate::tell::time(from), trouble(plan, &fault.trouble));
        let cuts = matches!(fault.trouble, Trouble::Partition { .. } | Trouble::Oneway { .. });
        bars.push(Bar { from, until, lane: lane(&mut free, from, room, 12), label, title, cuts });
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    #[test]
    fn a_row_tells_how_a_node_was_without_gaps() {
        let (plan, outcome) = sample::passed();
        let picture = picture(&plan, &outcome);
        let rows: BTreeMap<&str, &Row> =
            picture.sites.iter().flat_map(|(_, rows)| rows).map(|row| (row.name.as_str(), row)).collect();
        for row in rows.values() {
            assert_eq!((row.states[0].from, row.states[row.states.len() - 1].until), (Ms(0), picture.end));
            assert!(row.states.windows(2).all(|pair| pair[0].until == pair[1].from && pair[0].what != pair[1].what));
        }
        let seen = |name: &str| rows[name].states.iter().map(|s| (s.from.0 / 1000, s.what)).collect::<Vec<_>>();
        use State::{CutOff, Down, Paused, Up};
        assert_eq!(seen("cloud-0"), [(0, Up), (30, Paused), (33, Up)]);
        assert_eq!(seen("till-0"), [(0, Up), (10, CutOff), (20, Up)]);
        assert_eq!(seen("till-1"), [(0, Up), (10, CutOff), (15, Down), (25, Up)]);
        assert_eq!(rows["till-1"].tasks.len(), 2);
        assert_eq!(rows["till-1"].lanes(), 1, "one after the other");
    }

    #[test]
    fn what_overlaps_lies_on_lanes_and_what_is_too_much_on_the_last() {
        let mut free = Vec::new();
        let lanes = [(0, 10), (5, 8), (6, 9), (10, 20), (10, 12)].map(|(a, b)| lane(&mut free, Ms(a), Ms(b), 2));
        // The third finds both lanes taken and shares the last, which is then taken until 9.
        assert_eq!(lanes, [0, 1, 1, 0, 1]);
    }

    #[test]
    fn a_large_fleet_is_drawn_by_those_to_which_something_happened() {
        let text = "duration = \"9s\"\n[[group]]\nname = \"n\"\ncount = 400";
        let plan = crate::Scenario::parse("large", text).unwrap().expand(1).unwrap();
        let (_, mut outcome) = sample::failed();
        outcome.violations[0].hosts = vec![HostNo(399)];
        let picture = picture(&plan, &outcome);
        assert_eq!(picture.left_out[0], 400 - ROWS);
        let names: Vec<&str> = picture.sites[0].1.iter().map(|row| row.name.as_str()).collect();
        assert!(names.contains(&"n-399") && names.contains(&"n-2"), "the guilty, and those that went down");
    }
}
