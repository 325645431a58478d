//! Curves under the picture of the fleet, on the same axis of time: messages, tasks, and how fast the
//! replicas were equal after each fault.

use super::{
    fleet::{Axis, WIDTH},
    markup::Svg,
};
use crate::{
    outcome::{Heal, Outcome, Sample},
    report::text::kind_name,
    scenario::Ms,
    tell::time,
};

/// Height of one chart, and what is above it for its title.
const HEIGHT: f64 = 110.0;
const TITLE: f64 = 26.0;

/// A curve: its class, its name, and its value at a sample.
type Curve<'a> = (&'a str, &'a str, &'a dyn Fn(&Sample) -> f64);

/// The charts of a run.
pub(super) fn draw(outcome: &Outcome) -> String {
    let axis = Axis::new(outcome.simulated);
    let each = |n: u64, up: u32| n as f64 / f64::from(up.max(1));
    let messages: [Curve<'_>; 3] = [
        ("busiest", "of the busiest node", &|s| s.busiest as f64),
        ("mean", "of a node, on the average", &|s| each(s.messages, s.up)),
        ("state", "of these, all but heartbeats", &|s| each(s.state_messages, s.up)),
    ];
    let tasks: [Curve<'_>; 2] = [
        ("running", "tasks that run", &|s| f64::from(s.running)),
        ("parts", "parts of the fleet", &|s| f64::from(s.parts)),
    ];
    curves(&axis, outcome, "Messages a second", &messages)
        + &curves(&axis, outcome, "Tasks, and parts that the fleet is split into", &tasks)
        + &heals(&axis, &outcome.timeline.heals)
}

fn curves(axis: &Axis, outcome: &Outcome, title: &str, curves: &[Curve<'_>]) -> String {
    let samples = &outcome.timeline.samples;
    let highest = curves.iter().flat_map(|(_, _, value)| samples.iter().map(value)).fold(0.0, f64::max);
    let top = round_up(highest);
    let mut svg = Svg::new(WIDTH);
    let mut x = axis.left();
    svg.text("title", x, 16.0, title);
    x += 30.0 + title.len() as f64 * 7.0;
    for (class, name, _) in curves {
        svg.line(class, (x, 12.0), (x + 18.0, 12.0));
        svg.text("legend", x + 23.0, 16.0, name);
        x += 48.0 + name.len() as f64 * 6.2;
    }
    let y = |value: f64| TITLE + HEIGHT - value / top * HEIGHT;
    grid(&mut svg, axis, top, &y);
    for (class, _, value) in curves {
        let points: Vec<(f64, f64)> = samples.iter().map(|s| (axis.x(s.at), y(value(s)))).collect();
        if *class == "state" {
            svg.path("state area", &points, Some(y(0.0)));
        }
        svg.path(class, &points, None);
    }
    axis.ticks(&mut svg, TITLE, TITLE + HEIGHT);
    svg.done(TITLE + HEIGHT + 24.0, title)
}

fn heals(axis: &Axis, heals: &[Heal]) -> String {
    if heals.is_empty() {
        return String::new();
    }
    let longest = heals.iter().filter_map(|heal| heal.converged_after).max().unwrap_or(Ms(0));
    let top = round_up(longest.0 as f64 / 1000.0);
    let title = "Seconds after each heal until all replicas are equal";
    let mut svg = Svg::new(WIDTH);
    svg.text("title", axis.left(), 16.0, title);
    let x = axis.left() + 30.0 + title.len() as f64 * 7.0;
    svg.circle("open", x, 12.0, 4.0, "");
    svg.text("legend", x + 10.0, 16.0, "the next fault came first");
    let y = |value: f64| TITLE + HEIGHT - value / top * HEIGHT;
    grid(&mut svg, axis, top, &y);
    for heal in heals {
        let (at, kind) = (axis.x(heal.at), kind_name(heal.kind).replace('_', " "));
        let when = time(heal.at);
        match heal.converged_after {
            Some(after) => {
                let height = y(after.0 as f64 / 1000.0);
                svg.line("stem", (at, y(0.0)), (at, height));
                svg.circle("heal", at, height, 4.0, &format!("{kind} over at {when}: equal after {}", time(after)));
            }
            None => svg.circle("open", at, y(0.0), 4.0, &format!("{kind} over at {when}: the next fault came first")),
        }
    }
    axis.ticks(&mut svg, TITLE, TITLE + HEIGHT);
    svg.done(TITLE + HEIGHT + 24.0, title)
}

fn grid(svg: &mut Svg, axis: &Axis, top: f64, y: &dyn Fn(f64) -> f64) {
    for part in [0.0, 0.5, 1.0] {
        let value = top * part;
        svg.line("grid", (axis.left(), y(value)), (axis.right(), y(value)));
        let label = if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") };
        svg.text("tick end", axis.left() - 6.0, y(value) + 4.0, &label);
    }
}

/// The next number that is easy to halve: 1, 2, 4, 10, 20, 40, ...
fn round_up(value: f64) -> f64 {
    let mut power = 1.0;
    while power * 10.0 < value {
        power *= 10.0;
    }
    [1.0, 2.0, 4.0, 10.0].map(|n| n * power).into_iter().find(|n| *n >= value).unwrap_or(power * 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_numbers_that_people_like() {
        assert_eq!(
            [0.0, 1.0, 1.5, 3.0, 7.0, 10.0, 11.0, 399.0, 401.0].map(round_up),
            [1.0, 1.0, 2.0, 4.0, 10.0, 10.0, 20.0, 400.0, 1000.0]
        );
    }
}
