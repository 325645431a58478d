//! The picture of the fleet: a row a node, by site; the faults above; tasks as thin bars under how their
//! node was.

use super::markup::Svg;
use crate::{
    outcome::Outcome,
    report::picture::{Picture, Row, State},
    scenario::Ms,
    tell::{amount, time},
};

/// Width of a picture, in its own units.
pub(super) const WIDTH: f64 = 1200.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = WIDTH - 20.0;
/// A strip that tells how a node is, a lane of tasks, and the space between rows.
const STRIP: f64 = 9.0;
const LANE: f64 = 5.0;
const GAP: f64 = 7.0;
/// A lane of faults, and a site's name.
const FAULT: f64 = 16.0;
const SITE: f64 = 22.0;
/// Colours of apps; with more apps they are used again.
const COLOURS: usize = 8;

/// Time, from left to right.
pub(super) struct Axis {
    end: Ms,
}

impl Axis {
    pub(super) fn new(end: Ms) -> Axis {
        Axis { end: Ms(end.0.max(1)) }
    }

    pub(super) fn x(&self, at: Ms) -> f64 {
        LEFT + (RIGHT - LEFT) * at.0.min(self.end.0) as f64 / self.end.0 as f64
    }

    pub(super) fn left(&self) -> f64 {
        LEFT
    }

    pub(super) fn right(&self) -> f64 {
        RIGHT
    }

    /// Lines at round times, with the time below.
    pub(super) fn ticks(&self, svg: &mut Svg, top: f64, bottom: f64) {
        const STEPS: [u64; 14] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_200, 3_600, 7_200, 86_400];
        let step = STEPS.iter().find(|s| self.end.0 / (*s * 1_000) <= 14).unwrap_or(&864_000) * 1_000;
        let mut at = 0;
        while at <= self.end.0 {
            let x = self.x(Ms(at));
            svg.line("grid", (x, top), (x, bottom));
            let label = if step < 60_000 { format!("{} s", at / 1_000) } else { format!("{} min", at / 60_000) };
            svg.text("tick mid", x, bottom + 16.0, &label);
            at += step;
        }
    }
}

/// Draws the fleet.
pub(super) fn draw(picture: &Picture, outcome: &Outcome) -> String {
    let axis = Axis::new(picture.end);
    let fault_lanes = picture.faults.iter().map(|bar| bar.lane + 1).max().unwrap_or(0);
    let top = 8.0 + fault_lanes as f64 * FAULT;
    let rows: f64 = picture.sites.iter().map(|(_, rows)| SITE + rows.iter().map(height).sum::<f64>()).sum();
    let bottom = top + rows;
    let mut svg = Svg::new(WIDTH);
    for bar in picture.faults.iter().filter(|bar| bar.cuts) {
        let (x, width) = (axis.x(bar.from), axis.x(bar.until) - axis.x(bar.from));
        svg.rect("cutband", x, top, width, bottom - top, &bar.title);
    }
    axis.ticks(&mut svg, top, bottom);
    draw_faults(&mut svg, &axis, picture);
    if picture.rest < picture.end {
        svg.line("rest", (axis.x(picture.rest), 2.0), (axis.x(picture.rest), bottom));
    }
    let mut y = top;
    for (site, rows) in &picture.sites {
        svg.text("site", 8.0, y + 16.0, site);
        svg.line("siteline", (8.0, y + SITE - 2.0), (RIGHT, y + SITE - 2.0));
        y += SITE;
        for row in rows {
            draw_row(&mut svg, &axis, y, row);
            y += height(row);
        }
    }
    draw_violations(&mut svg, &axis, bottom, outcome);
    let drawn = svg.done(bottom + 24.0, "How each node was, over time, and where tasks ran");
    format!("<h3>The fleet over time</h3>\n{}{drawn}{}", legend(picture), left_out(picture))
}

fn height(row: &Row) -> f64 {
    STRIP + GAP + row.lanes() as f64 * LANE
}

fn draw_faults(svg: &mut Svg, axis: &Axis, picture: &Picture) {
    if !picture.faults.is_empty() {
        svg.text("site", 8.0, 18.0, "faults");
    }
    for bar in &picture.faults {
        let (x, y) = (axis.x(bar.from), 6.0 + bar.lane as f64 * FAULT);
        let width = (axis.x(bar.until) - x).max(2.0);
        svg.rect(if bar.cuts { "fault cuts" } else { "fault" }, x, y, width, FAULT - 4.0, &bar.title);
        svg.text("faultname", x + 4.0, y + 9.5, &bar.label);
    }
}

/// A red line each, and what the first one is.
fn draw_violations(svg: &mut Svg, axis: &Axis, bottom: f64, outcome: &Outcome) {
    for violation in &outcome.violations {
        let x = axis.x(violation.at);
        let title = format!("{}: {} {}", time(violation.at), violation.invariant, violation.detail);
        svg.rect("violation", x - 1.0, 2.0, 2.0, bottom, &title);
    }
    if let Some(first) = outcome.violations.first() {
        let x = axis.x(first.at);
        let name = first.invariant.to_string();
        let (class, x) = if x > (LEFT + RIGHT) / 2.0 { ("wrong end", x - 6.0) } else { ("wrong", x + 6.0) };
        svg.text(class, x, bottom - 6.0, &name);
    }
}

fn draw_row(svg: &mut Svg, axis: &Axis, y: f64, row: &Row) {
    svg.text("node end", LEFT - 8.0, y + STRIP, &row.name);
    for span in &row.states {
        let (class, words) = named(span.what);
        let title = format!("{}: {words} from {} to {}", row.name, time(span.from), time(span.until));
        let width = (axis.x(span.until) - axis.x(span.from)).max(0.5);
        svg.rect(class, axis.x(span.from), y, width, STRIP, &title);
    }
    for task in &row.tasks {
        let x = axis.x(task.from);
        let title = format!("{}: {} to {}, {}", task.task, time(task.from), time(task.until), task.end);
        let width = (axis.x(task.until) - x - 0.6).max(1.2);
        let lane = y + STRIP + 1.0 + task.lane as f64 * LANE;
        svg.rect(&format!("task app{}", task.app % COLOURS), x, lane, width, LANE - 1.0, &title);
    }
}

/// The class of a state, and what it is called.
fn named(state: State) -> (&'static str, &'static str) {
    match state {
        State::Up => ("up", "up"),
        State::Troubled => ("odd", "up, with a fault of its own"),
        State::CutOff => ("cut", "cut off"),
        State::Paused => ("paused", "paused"),
        State::Down => ("down", "down"),
    }
}

fn legend(picture: &Picture) -> String {
    let mut out = String::from("<p class=\"key\">");
    for state in [State::Up, State::Troubled, State::CutOff, State::Paused, State::Down] {
        let (class, words) = named(state);
        out += &format!("<span><i class=\"sw {class}\"></i>{words}</span> ");
    }
    out += "<span class=\"apart\">tasks:</span> ";
    for (n, app) in picture.apps.iter().enumerate().take(2 * COLOURS) {
        out += &format!("<span><i class=\"sw app{}\"></i>{}</span> ", n % COLOURS, super::markup::escaped(app));
    }
    out + "<span class=\"apart\">dotted line: the last fault is over</span></p>\n"
}

fn left_out(picture: &Picture) -> String {
    let [rows, tasks, faults] = picture.left_out;
    let mut parts = Vec::new();
    for (n, what) in [(rows, "nodes to which less happened"), (tasks, "runs of tasks"), (faults, "faults")] {
        if n > 0 {
            parts.push(format!("{} {what}", amount(n as u64)));
        }
    }
    if parts.is_empty() {
        return String::new();
    }
    format!("<p class=\"small\">Not drawn: {}.</p>\n", parts.join(", "))
}
