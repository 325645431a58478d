//! What the shim says to the agent that started it: one line, then nothing.

use nix::unistd::dup2_stdout;
use std::{fs::File, io::Write as _};

/// Says a line.
pub fn say(line: &str) {
    // An agent that is gone does not hear it, and finds it in the folder.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Closes the pipe to the agent, which waits for its end.
pub fn hush() {
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        let _ = dup2_stdout(null);
    }
}
