//! What the RPC server asks of the node.

use super::{
    logs::{LogQuery, Logs},
    node_loop::Message,
    watchers::Watchers,
};
use futures::{Stream, stream};
use holm_mesh_net::NetHandle;
use holm_rpc::{Backend, Lagged, LogStream};
use holm_types::{
    TaskId,
    api::{ApiError, Request},
    event::Event,
};
use serde_json::Value;
use std::{fmt::Write as _, sync::Arc};
use tokio::sync::{broadcast, mpsc, oneshot};

/// See the [module](self).
pub struct NodeBackend {
    inbox: mpsc::Sender<Message>,
    watchers: Arc<Watchers>,
    logs: Logs,
    net: NetHandle,
}

impl NodeBackend {
    pub fn new(inbox: mpsc::Sender<Message>, watchers: Arc<Watchers>, logs: Logs, net: NetHandle) -> NodeBackend {
        NodeBackend { inbox, watchers, logs, net }
    }
}

impl Backend for NodeBackend {
    async fn call(&self, request: Request) -> Result<Value, ApiError> {
        let stopping = || ApiError::Busy("the node is stopping".into());
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Message::Request(request, reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    fn ready(&self) -> bool {
        !self.inbox.is_closed()
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.net.counters() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# TYPE holm_net_{name}_total counter\nholm_net_{name}_total {value}");
        }
        let waiting = self.inbox.max_capacity() - self.inbox.capacity();
        let _ = writeln!(text, "# TYPE holm_inbox_waiting gauge\nholm_inbox_waiting {waiting}");
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
        self.logs.read(LogQuery { task, stream, follow })
    }
}
