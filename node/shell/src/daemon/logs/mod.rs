//! Logs of tasks, of this node and, through the mesh, of the others: whoever asks need not know
//! where a task runs.

mod local;
mod remote;

use super::inbox::Asker;
use futures::{Stream, stream};
use holm_exec::{ExecError, Runner};
use holm_mesh_net::NetHandle;
use holm_types::{
    NodeId, TaskId,
    api::{ApiError, Request, TaskRef},
};
use local::LocalLog;
use remote::RemoteLog;
pub use remote::serve;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which log, and how much of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    pub task: TaskId,
    pub stream: holm_exec::Stream,
    /// Go on until the task ends.
    pub follow: bool,
}

/// Where logs come from.
#[derive(Clone)]
pub struct Logs {
    runner: Runner,
    node: Asker,
    net: NetHandle,
    me: NodeId,
}

impl Logs {
    pub fn new(runner: Runner, node: Asker, net: NetHandle, me: NodeId) -> Logs {
        Logs { runner, node, net, me }
    }

    /// The lines of a log, of whichever node has it.
    pub fn read(&self, query: LogQuery) -> impl Stream<Item = Result<String, ApiError>> + Send + use<> {
        let reader = Reader { log: Log::Local(self.local(&query)), query, logs: self.clone() };
        stream::unfold(reader, |mut reader| async { reader.next().await.map(|line| (line, reader)) })
    }

    fn local(&self, query: &LogQuery) -> LocalLog {
        LocalLog::new(self.clone(), query.clone())
    }

    /// The task as the mesh knows it.
    async fn task(&self, id: &TaskId) -> Option<Value> {
        self.node.ask(Request::TaskGet(TaskRef { id: id.clone() })).await.ok()
    }
}

enum Log {
    Local(LocalLog),
    Remote(RemoteLog),
    Ended,
}

struct Reader {
    log: Log,
    query: LogQuery,
    logs: Logs,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<String, ApiError>> {
        loop {
            let failed = match &mut self.log {
                Log::Ended => return None,
                Log::Remote(log) => match log.next().await {
                    Some(Err(error)) => error,
                    line => return line,
                },
                Log::Local(log) => match log.next().await {
                    Some(Err(ExecError::NotFound { .. })) => match elsewhere(&self.logs, &self.query).await {
                        Ok(log) => {
                            self.log = Log::Remote(log);
                            continue;
                        }
                        Err(error) => error,
                    },
                    Some(Err(error)) => ApiError::Internal(error.to_string()),
                    Some(Ok(line)) => return Some(Ok(line)),
                    None => return None,
                },
            };
            self.log = Log::Ended;
            return Some(Err(failed));
        }
    }
}

/// The log of a task that is not here.
async fn elsewhere(logs: &Logs, query: &LogQuery) -> Result<RemoteLog, ApiError> {
    let task = &query.task;
    let unknown = || ApiError::NotFound(format!("there is no task {task}"));
    let row = logs.task(task).await.ok_or_else(unknown)?;
    let node = row["node"].as_str().unwrap_or("?").to_owned();
    let id: NodeId = row["node_id"].as_str().and_then(|id| id.parse().ok()).ok_or_else(unknown)?;
    if id == logs.me {
        return Err(ApiError::NotFound(format!("the log of {task} is not here any more")));
    }
    RemoteLog::open(&logs.net, id, node, query).await
}
