//! From text to a scenario.

use super::Scenario;
use crate::SimError;
use std::{io::Read as _, path::Path};

/// A scenario's text is never longer than this, in bytes.
const MAX_TEXT: usize = 1 << 20;

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// It is not valid TOML, or holds a key or value that does not exist; the message names line and column.
    pub fn parse(name: &str, text: &str) -> Result<Scenario, SimError> {
        let refuse = |why: String| SimError::Parse { name: name.to_owned(), why };
        if text.len() > MAX_TEXT {
            return Err(refuse(format!("{} bytes, at most {MAX_TEXT} are read", text.len())));
        }
        let mut scenario: Scenario = toml::from_str(text).map_err(|e| refuse(e.to_string()))?;
        scenario.name = name.to_owned();
        scenario.about = opening_comment(text);
        Ok(scenario)
    }

    /// Reads a scenario from a file; its name is the file's.
    ///
    /// # Errors
    /// The file cannot be read, or as [`Scenario::parse`].
    pub fn load(path: &Path) -> Result<Scenario, SimError> {
        let name = path.file_stem().map_or_else(|| "scenario".into(), |stem| stem.to_string_lossy().into_owned());
        let text = read_at_most(path, MAX_TEXT as u64)
            .map_err(|e| SimError::Parse { name: path.display().to_string(), why: e.to_string() })?;
        Scenario::parse(&name, &text)
    }
}

/// Reads a text file that is no longer than `most` bytes, whatever its size is said to be.
///
/// # Errors
/// It cannot be read, is longer, or no text.
pub fn read_at_most(path: &Path, most: u64) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(most + 1).read_to_string(&mut text)?;
    if text.len() as u64 > most {
        return Err(std::io::Error::other(format!("longer than {most} bytes, which is all that is read")));
    }
    Ok(text)
}

/// The lines of comment that the text opens with, as one paragraph.
fn opening_comment(text: &str) -> String {
    let lines = text.lines().map(str::trim).skip_while(|line| line.is_empty());
    let lines: Vec<&str> = lines.map_while(|line| line.strip_prefix('#')).map(str::trim).collect();
    lines.join(" ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let error = Scenario::parse("x", "duration = \"1s\"\ngroups = []\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("groups"), "{error}");
        let text = "duration = \"1s\"\n[[group]]\nname = \"a\"\ncount = 1\nnat = \"carrier\"\n";
        let error = Scenario::parse("x", text).unwrap_err().to_string();
        assert!(error.contains("line 5") && error.contains("carrier"), "{error}");
    }

    #[test]
    fn the_opening_comment_is_what_it_is_about() {
        assert_eq!(opening_comment("\n# One\n# two.\n\n# not this\nduration = 1"), "One two.");
        assert_eq!(opening_comment("a = 1 # b"), "");
    }
}
