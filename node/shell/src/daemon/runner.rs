//! From the runner's words to the core's.

use super::node_loop::Message;
use holm_exec::RunnerEvent;
use holm_node_core::{Found, FoundState, Input, RunnerInput};
use tokio::{sync::mpsc, task::JoinSet};

/// Forwards the runner's events until it or the loop ends.
pub fn forward(mut events: mpsc::Receiver<RunnerEvent>, inbox: mpsc::Sender<Message>, tasks: &mut JoinSet<()>) {
    tasks.spawn(async move {
        while let Some(event) = events.recv().await {
            // What was adopted is told by the runner's list of what it found.
            if matches!(event, RunnerEvent::Started { adopted: true, .. }) {
                continue;
            }
            if inbox.send(Message::Input(Input::Runner(input_of(event)))).await.is_err() {
                return;
            }
        }
    });
}

fn input_of(event: RunnerEvent) -> RunnerInput {
    match event {
        RunnerEvent::Started { id, pid, restarts, started_at, adopted: _ } => {
            RunnerInput::Started { id, pid, restarts, started_at }
        }
        RunnerEvent::Ended { id, exit, restarts, will_restart_in, output } => RunnerInput::Ended {
            id,
            exit_code: Some(exit.code),
            finished_at: exit.finished_at,
            restarts,
            restarting: will_restart_in.is_some(),
            output,
            reason: exit.reason.unwrap_or_default(),
            lease_ended: exit.lease_ended,
        },
        RunnerEvent::FailedToStart { id, reason, of_the_host: true, will_restart_in: None, .. } => {
            RunnerInput::Unable { id, reason }
        }
        RunnerEvent::FailedToStart { id, reason, lease_ended, restarts, will_restart_in, .. } => RunnerInput::Ended {
            id,
            exit_code: None,
            finished_at: crate::environment::wall(),
            restarts,
            restarting: will_restart_in.is_some(),
            output: Vec::new(),
            reason,
            lease_ended,
        },
    }
}

/// A task found on disk, in the core's words.
pub fn found(found: holm_exec::Found) -> Found {
    use holm_exec::FoundState as On;
    let state = match found.state {
        On::Alive { pid, started_at, restarts } => FoundState::Alive { pid: Some(pid), started_at, restarts },
        On::Exited { exit, restarts, will_restart_in: Some(_), .. } => {
            FoundState::Alive { pid: None, started_at: exit.finished_at, restarts }
        }
        On::Exited { exit, output, restarts, will_restart_in: None } => {
            let (exit_code, finished_at, lease_ended) = (exit.code, exit.finished_at, exit.lease_ended);
            FoundState::Exited { exit_code, finished_at, restarts, output, lease_ended }
        }
        On::Gone => FoundState::Gone,
    };
    Found { leased: found.spec.lease.is_some(), id: found.spec.id, env: found.spec.env, state }
}
