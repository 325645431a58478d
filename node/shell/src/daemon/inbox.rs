//! What waits for the loop: the node's own inputs, and apart from them what clients ask.
//!
//! A request can be expensive, and there can be many of them; the node's own inputs are heartbeats above all. So the
//! loop takes turns: of the inputs a burst, of the requests as many as fit into a slice of time, and between
//! two slices the core gets to do what is due.

use holm_types::{
    Mono,
    api::{ApiError, Request},
};
use serde_json::Value;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Requests that wait for the loop; then clients wait. The interface gives it fewer than that at a time.
const REQUESTS: usize = 256;
/// Inputs of one turn, at most: they share a batch.
const BURST: usize = 256;
/// Requests of one turn, at most.
const ROUND: usize = 64;
/// A turn begins no more requests after this time. One that has begun takes as long as it takes.
const SLICE: Duration = Duration::from_millis(10);

/// Where an answer goes.
pub type Reply = oneshot::Sender<Result<Value, ApiError>>;

/// A request of a client.
pub struct Asked {
    /// What it asks.
    pub request: Request,
    /// Closed when the client left.
    pub reply: Reply,
}

/// Clients' end: asks the loop.
#[derive(Clone)]
pub struct Asker {
    requests: mpsc::Sender<Asked>,
    skipped: Arc<AtomicU64>,
}

impl Asker {
    /// Asks, and waits for the answer. A request that is dropped before the loop has begun it is never begun.
    pub async fn ask(&self, request: Request) -> Result<Value, ApiError> {
        let stopping = || ApiError::Busy("the node is stopping".into());
        let (reply, answer) = oneshot::channel();
        self.requests.send(Asked { request, reply }).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Whether nobody answers any more.
    pub fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.requests.max_capacity() - self.requests.capacity()
    }

    /// Requests that were never begun, because their clients had left.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Relaxed)
    }
}

/// The loop's end.
pub struct Inbox<M> {
    inputs: mpsc::Receiver<M>,
    requests: mpsc::Receiver<Asked>,
    skipped: Arc<AtomicU64>,
}

/// What a turn is about.
#[expect(clippy::large_enum_variant, reason = "almost all of them are inputs, which are as large")]
pub enum Work<M> {
    /// One of the node's own inputs.
    Input(M),
    /// What a client asks.
    Asked(Asked),
}

impl<M> Inbox<M> {
    /// The loop's end of `inputs`, and a new one for requests.
    pub fn new(inputs: mpsc::Receiver<M>) -> (Inbox<M>, Asker) {
        let (sender, requests) = mpsc::channel(REQUESTS);
        let skipped = Arc::new(AtomicU64::new(0));
        let asker = Asker { requests: sender, skipped: Arc::clone(&skipped) };
        (Inbox { inputs, requests, skipped }, asker)
    }

    /// Waits for the first of a turn's work. None when nobody can send inputs any more.
    pub async fn next(&mut self) -> Option<Work<M>> {
        tokio::select! {
            biased;
            input = self.inputs.recv() => input.map(Work::Input),
            Some(asked) = self.requests.recv() => Some(Work::Asked(asked)),
        }
    }

    /// The next piece of a turn's work: inputs first, then requests for a slice of time. None when the turn is over.
    pub fn pull(&mut self, turn: &mut Turn<M>, now: Mono) -> Option<Work<M>> {
        if let Some(Work::Input(first)) = turn.first.take_if(|first| matches!(first, Work::Input(_))) {
            turn.inputs += 1;
            return Some(Work::Input(first));
        }
        if turn.inputs < BURST
            && turn.ends.is_none()
            && let Ok(input) = self.inputs.try_recv()
        {
            turn.inputs += 1;
            return Some(Work::Input(input));
        }
        let ends = *turn.ends.get_or_insert(now.after(SLICE));
        while turn.requests < ROUND && now < ends {
            let first = turn.first.take().and_then(Work::asked);
            let asked = first.or_else(|| self.requests.try_recv().ok())?;
            turn.requests += 1;
            if !asked.reply.is_closed() {
                return Some(Work::Asked(asked));
            }
            self.skipped.fetch_add(1, Relaxed);
        }
        None
    }
}

/// How far a turn is.
pub struct Turn<M> {
    first: Option<Work<M>>,
    inputs: usize,
    requests: usize,
    /// When the slice of the requests ends, once it has begun.
    ends: Option<Mono>,
}

impl<M> Turn<M> {
    /// A turn that begins with what the loop was woken by.
    pub fn of(first: Work<M>) -> Turn<M> {
        Turn { first: Some(first), inputs: 0, requests: 0, ends: None }
    }
}

impl<M> Work<M> {
    fn asked(self) -> Option<Asked> {
        match self {
            Work::Asked(asked) => Some(asked),
            Work::Input(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one request costs in these tests.
    const EXPENSIVE: Duration = Duration::from_millis(40);

    struct Flood {
        inbox: Inbox<u32>,
        asker: Asker,
        inputs: mpsc::Sender<u32>,
        now: Mono,
    }

    impl Flood {
        fn new() -> Flood {
            let (inputs, receiver) = mpsc::channel(4096);
            let (inbox, asker) = Inbox::new(receiver);
            Flood { inbox, asker, inputs, now: Mono(Duration::ZERO) }
        }

        fn asks(&self) -> oneshot::Receiver<Result<Value, ApiError>> {
            let (reply, answer) = oneshot::channel();
            assert!(self.asker.requests.try_send(Asked { request: Request::MeshStatus, reply }).is_ok(), "no room");
            answer
        }

        /// One turn: inputs taken, requests taken.
        async fn turn(&mut self) -> (usize, usize) {
            let (mut inputs, mut asked) = (0, 0);
            let mut turn = Turn::of(self.inbox.next().await.expect("work"));
            while let Some(work) = self.inbox.pull(&mut turn, self.now) {
                match work {
                    Work::Input(_) => inputs += 1,
                    Work::Asked(_) => {
                        asked += 1;
                        self.now = self.now.after(EXPENSIVE);
                    }
                }
            }
            (inputs, asked)
        }
    }

    #[tokio::test]
    async fn expensive_requests_do_not_hold_up_inputs() {
        let mut flood = Flood::new();
        let answers: Vec<_> = (0..REQUESTS).map(|_| flood.asks()).collect();
        for heartbeat in 0..100 {
            flood.inputs.try_send(heartbeat).expect("room");
            let before = flood.now;
            assert_eq!(
                flood.turn().await,
                (1, 1),
                "the input at once, and no more requests than the slice has room for"
            );
            assert!(flood.now.0 - before.0 <= SLICE.max(EXPENSIVE));
        }
        drop(answers);
    }

    #[tokio::test]
    async fn a_flood_of_inputs_does_not_hold_up_requests() {
        let mut flood = Flood::new();
        let _answer = flood.asks();
        for n in 0..3000 {
            flood.inputs.try_send(n).expect("room");
        }
        assert_eq!(flood.turn().await, (BURST, 1));
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_begun() {
        let mut flood = Flood::new();
        for _ in 0..20 {
            drop(flood.asks());
        }
        let _answer = flood.asks();
        assert_eq!(flood.turn().await, (0, 1));
        assert_eq!((flood.asker.skipped(), flood.asker.waiting()), (20, 0));
    }
}
