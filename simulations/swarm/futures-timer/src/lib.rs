//! # futures-timer, on tokio's clock
//!
//! libp2p's timers are `futures-timer`: a thread of its own that sleeps in real time. In a runtime
//! whose clock is paused they would silently never fire, and nothing would fail. This crate takes
//! its place through `[patch.crates-io]`, so that every timer under libp2p is one of tokio's.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// A delay that cannot be expressed becomes this long: 30 years.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 86_400);

/// A future that is ready after a time.
pub struct Delay {
    due: Instant,
    /// Made when first polled: gossipsub builds its delays in constructors, where there may be no
    /// runtime yet.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Delay {
    /// Ready after `after` from now on.
    pub fn new(after: Duration) -> Delay {
        Delay { due: due(after), sleep: None }
    }

    /// Begins anew: ready after `after` from now on, though it may have been ready before.
    pub fn reset(&mut self, after: Duration) {
        self.due = due(after);
        if let Some(sleep) = &mut self.sleep {
            sleep.as_mut().reset(self.due);
        }
    }
}

fn due(after: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(after).unwrap_or(now + FOREVER)
}

impl Future for Delay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let due = self.due;
        self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due))).as_mut().poll(cx)
    }
}

impl fmt::Debug for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delay").finish()
    }
}
