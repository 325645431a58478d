//! What the demo prints: chapters, and lines with the time since the start.

use std::{
    cell::Cell,
    io::IsTerminal,
    time::{Duration, Instant},
};

/// Prints a line. Who closes the pipe (`make demo | head`) has read enough: the demo goes on to its end, where it
/// cleans up.
macro_rules! say {
    ($($text:tt)*) => {{
        let line = format!("{}\n", format_args!($($text)*));
        let _ = std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes());
    }};
}
pub(crate) use say;

/// The width of the text.
const WIDTH: usize = 100;

/// Prints the story as it happens.
pub struct Timeline {
    begin: Instant,
    colour: bool,
    chapters: Cell<u32>,
}

impl Timeline {
    /// Time starts now. Colour is for terminals only, and not where `NO_COLOR` is set.
    pub fn new() -> Timeline {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = !unwanted && std::io::stdout().is_terminal();
        Timeline { begin: Instant::now(), colour, chapters: Cell::new(0) }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A new chapter.
    pub fn chapter(&self, title: &str) {
        self.chapters.set(self.chapters.get() + 1);
        let title = format!("{}. {title}", self.chapters.get());
        let rule = "─".repeat(WIDTH.saturating_sub(title.chars().count() + 4));
        say!("\n{}", self.paint("1;36", &format!("── {title} {rule}")));
    }

    /// Something has happened now.
    pub fn line(&self, text: &str) {
        let since = format!("{:7.2} s", self.begin.elapsed().as_secs_f64());
        say!("{}  {text}", self.paint("2", &since));
    }

    /// Something has happened, and it took so long.
    pub fn took(&self, text: &str, time: Duration) {
        let time = format!("{:.2} s", time.as_secs_f64());
        self.line(&format!("{} {text} {}", self.paint("32", "✓"), self.paint("1;32", &time)));
    }

    /// Something was checked and is so.
    pub fn holds(&self, text: &str) {
        self.line(&format!("{} {text}", self.paint("32", "✓")));
    }

    /// What a program printed, or what to type.
    pub fn quote(&self, text: &str) {
        for line in text.lines() {
            say!("           {}", self.paint("2", line));
        }
    }

    /// Something the reader should know.
    pub fn note(&self, text: &str) {
        say!("           {}", self.paint("33", text));
    }

    /// The story failed.
    pub fn failure(&self, why: &anyhow::Error) {
        eprintln!("\n{} {why:#}", self.paint("1;31", "The demo failed:"));
    }

    /// The story ended well; what to do next.
    pub fn end(&self) {
        say!("\n{}", self.paint("1;32", &format!("Done in {:.1} s.", self.begin.elapsed().as_secs_f64())));
        say!(
            "
What to type next:
  make demo KEEP=1            the same, and the mesh stays up to play with
  make test                   every test, the end-to-end ones included
  make bench                  the benchmark tables
  less README.md              how to build a mesh of your own: holm init, holm token create, holm join
  less tests/demo/hello.toml  the service that you just saw"
        );
    }
}
