//! Ctrl-C ends a campaign, and does not lose what it found: the runs that have begun are finished, and the report is
//! written. A second one ends the program at once.

use signal_hook::{consts::SIGINT, flag};
use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

/// What a shell expects of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// Is set by the first Ctrl-C.
///
/// # Errors
/// The system takes no handler.
pub fn first() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    // In this order: the first one finds the flag unset.
    flag::register_conditional_shutdown(SIGINT, INTERRUPTED, Arc::clone(&interrupted))?;
    flag::register(SIGINT, Arc::clone(&interrupted))?;
    Ok(interrupted)
}
