//! What the RPC server asks of the node.

use super::{
    gauges::Gauges,
    inbox::Asker,
    logs::{LogQuery, Logs},
    node_loop::Message,
    watchers::Watchers,
};
use futures::{Stream, stream};
use holm_mesh_net::NetHandle;
use holm_rpc::{Backend, Lagged, LogStream};
use holm_types::{
    TaskId,
    api::{ApiError, Reach, Request},
    event::Event,
};
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};
use tokio::sync::{broadcast, mpsc};

/// See the [module](self).
pub struct NodeBackend {
    node: Asker,
    /// Only looked at, to say how full it is.
    inbox: mpsc::Sender<Message>,
    watchers: Arc<Watchers>,
    gauges: Arc<Gauges>,
    logs: Logs,
    net: NetHandle,
}

impl NodeBackend {
    pub fn new(
        node: Asker,
        inbox: mpsc::Sender<Message>,
        (watchers, gauges): (Arc<Watchers>, Arc<Gauges>),
        logs: Logs,
        net: NetHandle,
    ) -> NodeBackend {
        NodeBackend { node, inbox, watchers, gauges, logs, net }
    }
}

/// Answers to which the network adds what it alone knows.
enum Asked {
    Status,
    Nodes,
    Other,
}

/// How long the way to each node is that the core takes for connected: the connection of one that has died may
/// not be known to be closed yet.
fn add_round_trips(page: &mut Value, reach: &Reach) {
    let round_trips: BTreeMap<String, Option<f64>> =
        reach.peers.iter().map(|peer| (peer.node.to_string(), peer.rtt_ms)).collect();
    for row in page["items"].as_array_mut().into_iter().flatten() {
        let connected = matches!(row["path"].as_str(), Some("direct" | "relayed"));
        let measured = row["id"].as_str().and_then(|id| round_trips.get(id)).filter(|_| connected);
        if let Some(rtt_ms) = measured {
            row["rtt_ms"] = (*rtt_ms).into();
        }
    }
}

impl Backend for NodeBackend {
    async fn call(&self, request: Request) -> Result<Value, ApiError> {
        let asked = match request {
            Request::MeshStatus => Asked::Status,
            Request::NodeList(_) => Asked::Nodes,
            _ => Asked::Other,
        };
        let mut answer = self.node.ask(request).await?;
        match asked {
            Asked::Status => {
                answer["reach"] = serde_json::to_value(self.net.reach()).unwrap_or_default();
                if self.node.skipped() > 0 {
                    answer["counters"]["requests_skipped"] = self.node.skipped().into();
                }
            }
            Asked::Nodes => add_round_trips(&mut answer, &self.net.reach()),
            Asked::Other => {}
        }
        Ok(answer)
    }

    fn ready(&self) -> bool {
        !self.node.is_closed()
    }

    fn metrics(&self) -> String {
        let mut text = self.gauges.text();
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
        self.logs.read(LogQuery { task, stream, follow })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holm_types::{
        NodeId,
        api::{Path, PeerPath},
    };
    use serde_json::json;

    #[test]
    fn only_a_connected_node_has_a_round_trip() {
        let ids = [NodeId([1; 32]), NodeId([2; 32])];
        let peer = |node: NodeId| PeerPath { node, path: Path::Direct, address: String::new(), rtt_ms: Some(0.4) };
        let reach = Reach { peers: ids.map(peer).to_vec(), ..Reach::default() };
        let row = |id: NodeId, path: &str| json!({ "id": id.to_string(), "path": path, "rtt_ms": null });
        let mut page = json!({ "items": [row(ids[0], "relayed"), row(ids[1], "unknown")] });
        add_round_trips(&mut page, &reach);
        assert_eq!(page["items"][0]["rtt_ms"], 0.4);
        assert_eq!((&page["items"][0]["path"], &page["items"][1]["rtt_ms"]), (&json!("relayed"), &Value::Null));
    }
}
