//! The two subscriptions: `event.watch` and `task.logs`.
//!
//! Every notification carries a [`Frame`]. The last one says why the subscription ends, so that a client
//! can tell the end of a log from a lost connection.

use crate::{
    backend::{Backend, Lagged, LogStream},
    error::ErrorBody,
    methods::{Context, named},
};
use futures::{Stream, StreamExt, stream};
use holm_types::{
    Label, TaskId,
    api::{ApiError, ListParams, Page, Request, TaskRow},
};
use jsonrpsee_core::server::{PendingSubscriptionSink, SubscriptionSink};
use jsonrpsee_types::Params;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{pin::pin, sync::Arc};
use tokio_util::sync::CancellationToken;

/// Tasks whose output one subscription follows, at most.
const MAX_TASKS: u32 = 64;
/// Lines of one notification, at most. They are only gathered as far as they are there already.
const MAX_LINES: usize = 64;

/// Parameters of `event.watch`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventsParams {
    /// Begin with the last events that the node remembers.
    pub recent: bool,
    /// End there, instead of going on with what happens.
    pub once: bool,
}

/// Parameters of `task.logs`: a task, or an app, whose tasks are those that it has at that moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogsParams {
    /// The task. Give this or `app`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<TaskId>,
    /// The app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<Label>,
    /// The app's namespace, `default` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Label>,
    /// The app's site, where there are several apps of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<Label>,
    /// Only this output; both if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<LogStream>,
    /// Go on until the tasks end.
    pub follow: bool,
}

/// Some lines of a task's output, or why there are none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogsItem {
    /// The task.
    pub task: TaskId,
    /// Which output.
    pub stream: LogStream,
    /// The lines, in their order.
    pub lines: Vec<String>,
    /// Why this output cannot be read (further). Other outputs of the subscription go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// What a notification carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "FrameOf{T}")]
pub enum Frame<T> {
    /// What was subscribed to.
    Item(T),
    /// There will be no more.
    End {},
    /// There will be no more, and this is why.
    Error(ErrorBody),
}

/// Serves `event.watch`.
pub(crate) async fn events<B: Backend>(
    params: Params<'static>,
    pending: PendingSubscriptionSink,
    context: Arc<Context<B>>,
) {
    let params: EventsParams = match named(&params) {
        Ok(params) => params,
        Err(error) => return pending.reject(error).await,
    };
    // Live events are asked for first: an event in between is then in both, and not in neither.
    let live = context.backend.events();
    let recent = if params.recent { context.backend.recent_events() } else { Vec::new() };
    let Ok(sink) = pending.accept().await else { return };
    let counters = Arc::clone(&context.counters);
    let seen = recent.clone();
    let live = live
        .skip_while(move |item| std::future::ready(item.as_ref().is_ok_and(|event| seen.contains(event))))
        .map(move |item| match item {
            Ok(event) => Frame::Item(event),
            Err(Lagged(lost)) => {
                counters.lost_events(lost);
                let message = format!("this subscriber was too slow: {lost} events were dropped");
                Frame::Error(ApiError::Busy(message).into())
            }
        });
    let live = live.take(if params.once { 0 } else { usize::MAX });
    pump(sink, stream::iter(recent).map(Frame::Item).chain(live), &context.stop).await;
}

/// Serves `task.logs`.
pub(crate) async fn logs<B: Backend>(
    params: Params<'static>,
    pending: PendingSubscriptionSink,
    context: Arc<Context<B>>,
) {
    let sources = match sources(&params, &*context.backend).await {
        Ok(sources) => sources,
        Err(error) => return pending.reject(error).await,
    };
    let Ok(sink) = pending.accept().await else { return };
    let mut readable = sources.outputs.len();
    let outputs = sources.outputs.into_iter().map(|(task, output)| {
        let lines = context.backend.logs(task.clone(), output, sources.follow);
        items(task, output, lines).boxed()
    });
    let frames = stream::select_all(outputs).map(move |item| {
        readable -= usize::from(item.error.is_some());
        match item {
            LogsItem { error: Some(error), .. } if readable == 0 => Frame::Error(error),
            item => Frame::Item(item),
        }
    });
    pump(sink, frames, &context.stop).await;
}

/// The outputs that a subscription follows.
struct Sources {
    outputs: Vec<(TaskId, LogStream)>,
    follow: bool,
}

async fn sources<B: Backend>(params: &Params<'_>, backend: &B) -> Result<Sources, ErrorBody> {
    let params: LogsParams = named(params)?;
    let tasks = match (params.id, params.app) {
        (Some(id), None) if params.namespace.is_none() && params.site.is_none() => vec![id],
        (None, Some(app)) => tasks_of(backend, app, params.namespace, params.site).await?,
        _ => {
            return Err(ErrorBody::invalid_params(
                "give the `id` of a task, or an `app` and maybe its `namespace` and `site`",
            ));
        }
    };
    let outputs = params.stream.map_or(vec![LogStream::Stdout, LogStream::Stderr], |only| vec![only]);
    let outputs =
        tasks.into_iter().flat_map(|task| outputs.iter().map(move |output| (task.clone(), *output))).collect();
    Ok(Sources { outputs, follow: params.follow })
}

/// The tasks that an app has; if none is left, those that it had.
async fn tasks_of<B: Backend>(
    backend: &B,
    app: Label,
    namespace: Option<Label>,
    site: Option<Label>,
) -> Result<Vec<TaskId>, ErrorBody> {
    for all in [false, true] {
        let list = ListParams {
            app: Some(app.clone()),
            namespace: Some(
                namespace.clone().map_or_else(|| "default".parse(), Ok).map_err(ErrorBody::invalid_params)?,
            ),
            site: site.clone(),
            all,
            cursor: None,
            limit: Some(MAX_TASKS + 1),
        };
        let page = backend.call(Request::TaskList(list)).await?;
        let page: Page<TaskRow> = serde_json::from_value(page).map_err(|_| ErrorBody::internal())?;
        if page.items.len() > MAX_TASKS as usize {
            let message = format!("{app} has more than {MAX_TASKS} tasks: name one of them");
            return Err(ApiError::Invalid(message).into());
        }
        if !page.items.is_empty() {
            return Ok(page.items.into_iter().map(|row| row.id).collect());
        }
    }
    Err(ApiError::NotFound(format!("{app} has no tasks")).into())
}

/// The items of one output: lines that are there together, together. Nothing follows an error.
fn items(
    task: TaskId,
    output: LogStream,
    lines: impl Stream<Item = Result<String, ApiError>> + Send + 'static,
) -> impl Stream<Item = LogsItem> + Send + 'static {
    lines.ready_chunks(MAX_LINES).flat_map(move |chunk| stream::iter(grouped(&task, output, chunk))).scan(
        false,
        |failed, item| {
            let after_error = std::mem::replace(failed, item.error.is_some());
            std::future::ready((!after_error).then_some(item))
        },
    )
}

/// At most two items: the lines, and the error that ended them.
fn grouped(task: &TaskId, output: LogStream, chunk: Vec<Result<String, ApiError>>) -> Vec<LogsItem> {
    let item = |lines, error| LogsItem { task: task.clone(), stream: output, lines, error };
    let mut items = Vec::with_capacity(2);
    let mut lines = Vec::with_capacity(chunk.len());
    let mut failure = None;
    for line in chunk {
        match line {
            Ok(line) => lines.push(line),
            Err(error) => {
                failure = Some(item(Vec::new(), Some(error.into())));
                break;
            }
        }
    }
    if !lines.is_empty() {
        items.push(item(lines, None));
    }
    items.extend(failure);
    items
}

/// Sends frames until they end, the client leaves or the node stops. A slow client makes the frames wait.
async fn pump<T: Serialize>(sink: SubscriptionSink, frames: impl Stream<Item = Frame<T>>, stop: &CancellationToken) {
    let mut frames = pin!(frames.chain(stream::once(std::future::ready(Frame::End {}))));
    loop {
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sink.closed() => return,
            next = frames.next() => next,
        };
        let Some(frame) = next else { return };
        let Ok(json) = serde_json::value::to_raw_value(&frame) else { return };
        if sink.send(json).await.is_err() || !matches!(frame, Frame::Item(_)) {
            return;
        }
    }
}
