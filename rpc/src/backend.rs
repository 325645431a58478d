//! What the server stands on: the node, seen through one small trait.

use futures::Stream;
use holm_types::{
    TaskId,
    api::{ApiError, Request},
    event::Event,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One of a task's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A subscriber was too slow: so many events were dropped for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lagged(pub u64);

/// The node behind the interface.
///
/// A call may be dropped before it is done, when its client goes away: what it has begun must then
/// go on or be undone without it.
pub trait Backend: Send + Sync + 'static {
    /// Answers a request, with a value in the shape that [`holm_types::api`] promises for it.
    fn call(&self, request: Request) -> impl Future<Output = Result<Value, ApiError>> + Send;

    /// Whether the node serves.
    fn ready(&self) -> bool;

    /// The node's metrics as Prometheus text. They show no secret, and no id as a label.
    fn metrics(&self) -> String;

    /// Events from the moment of the call on. A subscriber that lags gets [`Lagged`] in place of what
    /// it has missed; the server then ends the subscription.
    fn events(&self) -> impl Stream<Item = Result<Event, Lagged>> + Send + 'static;

    /// The last events, oldest first: a bounded number.
    fn recent_events(&self) -> Vec<Event>;

    /// The lines of a task's output, without their ends; with `follow` it goes on until the task's end.
    fn logs(
        &self,
        task: TaskId,
        stream: LogStream,
        follow: bool,
    ) -> impl Stream<Item = Result<String, ApiError>> + Send + 'static;
}
