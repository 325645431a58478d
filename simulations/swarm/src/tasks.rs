//! The tasks of one life of a node. They end together, without a word, when the node crashes; while
//! one of them runs, the wall clock is off by the node's skew.

use crate::control;
use futures::future::BoxFuture;
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};
use tokio::task::JoinSet;

/// In 256 polls, so many send a ready task to the end of the queue instead.
const REORDERED: u64 = 16;

/// See the [module](self).
#[derive(Clone, Default)]
pub(crate) struct Tasks {
    running: Arc<Mutex<JoinSet<()>>>,
    scope: Arc<Scope>,
}

/// What the tasks have in common.
#[derive(Default)]
struct Scope {
    skew_ms: AtomicI64,
    /// Decides which polls are put off.
    order: AtomicU64,
    /// While the tasks are frozen: who would have run.
    parked: Mutex<Option<Vec<Waker>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these locks is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tasks {
    /// No tasks yet; `seed` decides about the order in which ready ones run.
    pub(crate) fn new(seed: u64, skew_ms: i64) -> Tasks {
        let scope = Scope { skew_ms: skew_ms.into(), order: (seed | 1).into(), parked: Mutex::default() };
        Tasks { running: Arc::default(), scope: Arc::new(scope) }
    }

    /// Runs a task.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut running = lock(&self.running);
        // Ended ones are let go of as new ones come.
        while running.try_join_next().is_some() {}
        running.spawn(Scoped { task: Box::pin(task), scope: self.scope.clone() });
    }

    /// From now on the node's wall clock is off by this.
    pub(crate) fn set_skew(&self, ms: i64) {
        self.scope.skew_ms.store(ms, Ordering::Relaxed);
    }

    /// Freezes all tasks, or lets them go on.
    pub(crate) fn freeze(&self, frozen: bool) {
        let before = std::mem::replace(&mut *lock(&self.scope.parked), frozen.then(Vec::new));
        before.into_iter().flatten().for_each(Waker::wake);
    }

    /// Ends all tasks where they stand.
    pub(crate) fn end(&self) {
        lock(&self.running).abort_all();
    }
}

struct Scoped {
    task: BoxFuture<'static, ()>,
    scope: Arc<Scope>,
}

impl Scope {
    /// Whether another task goes first: two that are ready may run in either order in the real
    /// world, so the seed chooses (xorshift).
    fn puts_off(&self) -> bool {
        let mut x = self.order.load(Ordering::Relaxed);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.order.store(x, Ordering::Relaxed);
        (x >> 32) % 256 < REORDERED
    }
}

impl Future for Scoped {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(parked) = lock(&self.scope.parked).as_mut() {
            parked.push(cx.waker().clone());
            return Poll::Pending;
        }
        if self.scope.puts_off() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = control::set_skew(self.scope.skew_ms.load(Ordering::Relaxed));
        let polled = self.task.as_mut().poll(cx);
        control::set_skew(before);
        polled
    }
}
