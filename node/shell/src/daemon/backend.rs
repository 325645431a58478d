//! What the RPC server asks of the node.

use super::{inbox::Asker, node_loop::Message, watchers::Watchers};
use futures::{Stream, stream};
use holm_exec::{ExecError, LogCursor, Runner};
use holm_mesh_net::NetHandle;
use holm_rpc::{Backend, Lagged, LogStream};
use holm_types::{
    TaskId,
    api::{ApiError, Request},
    event::Event,
};
use serde_json::Value;
use std::{fmt::Write as _, sync::Arc, time::Duration};
use tokio::sync::{broadcast, mpsc};

/// Bytes of a log read at a time.
const LOG_CHUNK: usize = 32 * 1024;
/// A line longer than this is cut, in bytes.
const MAX_LINE: usize = 64 * 1024;
/// How often a followed log is looked at.
const LOG_POLL: Duration = Duration::from_millis(100);

/// See the [module](self).
pub struct NodeBackend {
    node: Asker,
    /// Only looked at, to say how full it is.
    inbox: mpsc::Sender<Message>,
    watchers: Arc<Watchers>,
    runner: Runner,
    net: NetHandle,
}

impl NodeBackend {
    pub fn new(
        node: Asker,
        inbox: mpsc::Sender<Message>,
        watchers: Arc<Watchers>,
        runner: Runner,
        net: NetHandle,
    ) -> NodeBackend {
        NodeBackend { node, inbox, watchers, runner, net }
    }
}

impl Backend for NodeBackend {
    async fn call(&self, request: Request) -> Result<Value, ApiError> {
        let of_interest = matches!(request, Request::MeshStatus);
        let mut answer = self.node.ask(request).await?;
        if of_interest && self.node.skipped() > 0 {
            answer["counters"]["requests_skipped"] = self.node.skipped().into();
        }
        Ok(answer)
    }

    fn ready(&self) -> bool {
        !self.node.is_closed()
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.net.counters() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# TYPE holm_net_{name}_total counter\nholm_net_{name}_total {value}");
        }
        let inputs = self.inbox.max_capacity() - self.inbox.capacity();
        let _ = writeln!(text, "# TYPE holm_inbox_waiting gauge\nholm_inbox_waiting {inputs}");
        let (waiting, skipped) = (self.node.waiting(), self.node.skipped());
        let _ = writeln!(text, "# TYPE holm_requests_waiting gauge\nholm_requests_waiting {waiting}");
        let _ = writeln!(text, "# TYPE holm_requests_skipped_total counter\nholm_requests_skipped_total {skipped}");
        text
    }

    fn events(&self) -> impl Stream<Item = Result<Event, Lagged>> + Send + 'static {
        stream::unfold(self.watchers.subscribe(), |mut live| async {
            match live.recv().await {
                Ok(event) => Some((Ok(event), live)),
                Err(broadcast::error::RecvError::Lagged(missed)) => Some((Err(Lagged(missed)), live)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
    }

    fn recent_events(&self) -> Vec<Event> {
        self.watchers.recent()
    }

    fn logs(
        &self,
        task: TaskId,
        stream: LogStream,
        follow: bool,
    ) -> impl Stream<Item = Result<String, ApiError>> + Send + 'static {
        let stream = match stream {
            LogStream::Stdout => holm_exec::Stream::Stdout,
            LogStream::Stderr => holm_exec::Stream::Stderr,
        };
        let reader = LogReader {
            runner: self.runner.clone(),
            node: self.node.clone(),
            task,
            stream,
            follow,
            cursor: LogCursor::default(),
            partial: Vec::new(),
            lines: Default::default(),
            ended: false,
        };
        stream::unfold(reader, |mut reader| async { reader.next().await.map(|line| (line, reader)) })
    }
}

struct LogReader {
    runner: Runner,
    node: Asker,
    task: TaskId,
    stream: holm_exec::Stream,
    follow: bool,
    cursor: LogCursor,
    partial: Vec<u8>,
    lines: std::collections::VecDeque<String>,
    ended: bool,
}

impl LogReader {
    async fn next(&mut self) -> Option<Result<String, ApiError>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(Ok(line));
            }
            if self.ended {
                return None;
            }
            match self.runner.read_logs(&self.task, self.stream, self.cursor, LOG_CHUNK).await {
                Ok((bytes, cursor)) if !bytes.is_empty() => {
                    self.cursor = cursor;
                    self.split(&bytes);
                }
                Ok(_) if self.follow && self.still_runs().await => tokio::time::sleep(LOG_POLL).await,
                Ok(_) => self.finish(),
                Err(error) => {
                    self.ended = true;
                    return Some(Err(self.explain(error).await));
                }
            }
        }
    }

    fn split(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' || self.partial.len() >= MAX_LINE {
                let line = std::mem::take(&mut self.partial);
                self.lines.push_back(String::from_utf8_lossy(&line).into_owned());
            }
            if *byte != b'\n' {
                self.partial.push(*byte);
            }
        }
    }

    fn finish(&mut self) {
        self.ended = true;
        if !self.partial.is_empty() {
            self.lines.push_back(String::from_utf8_lossy(&self.partial).into_owned());
        }
    }

    async fn row(&self) -> Option<Value> {
        self.node.ask(Request::TaskGet(holm_types::api::TaskRef { id: self.task.clone() })).await.ok()
    }

    async fn still_runs(&self) -> bool {
        let Some(row) = self.row().await else { return false };
        matches!(row["state"].as_str(), Some("assigned" | "starting" | "running" | "stopping"))
    }

    async fn explain(&self, error: ExecError) -> ApiError {
        match (error, self.row().await) {
            (ExecError::NotFound { .. }, Some(row)) => ApiError::NotFound(format!(
                "the log of {} is not on this node: it ran on node {}, ask there",
                self.task,
                row["node"].as_str().unwrap_or("?")
            )),
            (ExecError::NotFound { .. }, None) => ApiError::NotFound(format!("there is no task {}", self.task)),
            (other, _) => ApiError::Internal(other.to_string()),
        }
    }
}
