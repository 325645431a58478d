//! Text and shapes as markup. Only what goes through [`escaped`] may come from a scenario or a run.

use std::fmt::Write as _;

/// Text that can stand anywhere in markup.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Control characters are not allowed in XML, however they are written.
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A picture that grows.
pub(super) struct Svg {
    shapes: String,
    width: f64,
}

impl Svg {
    pub(super) fn new(width: f64) -> Svg {
        Svg { shapes: String::new(), width }
    }

    pub(super) fn rect(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64, title: &str) {
        let start =
            format!("<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"");
        self.shapes += &start;
        self.close("rect", title);
    }

    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(
            self.shapes,
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        );
    }

    pub(super) fn circle(&mut self, class: &str, x: f64, y: f64, radius: f64, title: &str) {
        self.shapes += &format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"");
        self.close("circle", title);
    }

    /// A line through points, and down to `floor` when it is an area.
    pub(super) fn path(&mut self, class: &str, points: &[(f64, f64)], floor: Option<f64>) {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
        let mut d = String::new();
        for (i, (x, y)) in points.iter().enumerate() {
            let _ = write!(d, "{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" });
        }
        if let Some(floor) = floor {
            let _ = write!(d, "L{:.1} {floor:.1}L{:.1} {floor:.1}Z", last.0, first.0);
        }
        let _ = writeln!(self.shapes, "<path class=\"{class}\" d=\"{d}\"/>");
    }

    pub(super) fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        let text = escaped(text);
        let _ = writeln!(self.shapes, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>");
    }

    fn close(&mut self, tag: &str, title: &str) {
        if title.is_empty() {
            self.shapes += "/>\n";
        } else {
            let _ = writeln!(self.shapes, "><title>{}</title></{tag}>", escaped(title));
        }
    }

    /// The whole, so high, with what it shows in words.
    pub(super) fn done(self, height: f64, label: &str) -> String {
        format!(
            "<div class=\"scroll\"><svg viewBox=\"0 0 {:.0} {height:.0}\" role=\"img\" aria-label=\"{}\">\n{}</svg></div>\n",
            self.width,
            escaped(label),
            self.shapes
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_through_unescaped() {
        assert_eq!(escaped("<a href=\"x\">&'\u{1b}[31m"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;\u{fffd}[31m");
    }
}
