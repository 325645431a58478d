//! One simulation: a thread of its own under [control], and a runtime whose clock is paused, so
//! that it jumps to the next timer whenever nobody has anything to do.

use crate::{SwarmError, control};
use std::{cell::RefCell, future::Future, sync::Once};

/// Deep enough for the unoptimised state machines of a connection.
const STACK: usize = 16 << 20;

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What panicked on this thread: tokio ends a task that panics, and nobody else would hear of it.
pub(crate) fn panics() -> Vec<String> {
    PANICS.take()
}

/// Has panics noted on the thread where they happen, and told as before.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // The thread may be ending: then nobody reads it any more.
            let _ = PANICS.try_with(|panics| panics.borrow_mut().push(panic.to_string()));
            before(panic);
        }));
    });
}

/// Runs `simulation` to its end on a thread that the seed controls.
///
/// # Errors
/// No thread or runtime can be made, or the simulation panics: the text says where.
pub fn run<T, F>(seed: u64, simulation: impl FnOnce() -> F + Send + 'static) -> Result<T, SwarmError>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let body = move || -> Result<T, SwarmError> {
        note_panics();
        control::arm(seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .map_err(|e| SwarmError::Start(format!("no runtime: {e}")))?;
        Ok(runtime.block_on(async {
            control::follow_runtime();
            simulation().await
        }))
    };
    let thread = std::thread::Builder::new().name("simulation".into()).stack_size(STACK).spawn(body);
    let thread = thread.map_err(|e| SwarmError::Start(format!("no thread: {e}")))?;
    thread.join().map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        SwarmError::Panicked(text.unwrap_or_else(|| "without words".to_owned()))
    })?
}

/// Threads that this process has now.
///
/// # Errors
/// `/proc` cannot be read.
pub fn threads() -> Result<usize, SwarmError> {
    let listed =
        std::fs::read_dir("/proc/self/task").map_err(|e| SwarmError::Start(format!("/proc/self/task: {e}")))?;
    Ok(listed.count())
}
