//! What is served at which path.

use crate::{
    backend::Backend,
    budget::Reservation,
    counters::Counters,
    credential::Credential,
    dispatch::Dispatcher,
    error::ErrorBody,
    jsonrpc,
    places::{Place, Places},
    upgrade::{Terms, Upgrade},
};
use axum::{
    Extension, Router,
    body::{Body, Bytes},
    extract::{Request, State, ws::rejection::WebSocketUpgradeRejection},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use futures::{StreamExt, stream};
use holm_types::api::ApiError;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::Value;
use std::{
    convert::Infallible,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How long a client may take to send its request's body.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a body beyond its limit that are read and thrown away, so that the client gets to read why.
const DISCARD: usize = 16 << 20;
/// Bytes of an answer that are handed on at a time.
const PART: usize = 64 << 10;

/// What the handlers share.
pub(crate) struct Shared<B> {
    pub backend: Arc<B>,
    pub dispatcher: Arc<Dispatcher>,
    pub counters: Arc<Counters>,
    pub places: Arc<Places>,
    pub credential: Credential,
    pub max_body: usize,
    pub sockets: AtomicUsize,
    pub stop: CancellationToken,
}

/// The paths.
pub(crate) fn router<B: Backend>(shared: Arc<Shared<B>>) -> Router {
    let guard = middleware::from_fn_with_state(Arc::clone(&shared), authorise::<B>);
    Router::new()
        .route("/rpc", any(rpc::<B>).layer(guard))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz::<B>))
        .route("/metrics", get(metrics::<B>))
        .with_state(shared)
}

/// Nothing of a request is read, its body least of all, before its credential is.
async fn authorise<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    Extension(place): Extension<Arc<Place>>,
    request: Request,
    next: Next,
) -> Response {
    if shared.credential.admits(request.headers()) {
        if place.admit() {
            return next.run(request).await;
        }
        shared.counters.refused();
        let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, &ErrorBody::full());
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        return response;
    }
    shared.counters.unauthorised();
    let error = ApiError::NotAuthorised("the header `Authorization: Bearer CREDENTIAL` is missing or wrong".into());
    let mut response = refusal(StatusCode::UNAUTHORIZED, &error.into());
    response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    response
}

async fn rpc<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    Extension(upgrade): Extension<Upgrade>,
    request: Request,
) -> Response {
    if request.method() == Method::POST {
        return post(&shared, request).await;
    }
    let (mut parts, _) = request.into_parts();
    let terms = Terms {
        id: shared.sockets.fetch_add(1, Relaxed),
        dispatcher: Arc::clone(&shared.dispatcher),
        counters: Arc::clone(&shared.counters),
        max_message: shared.max_body,
        stop: shared.stop.clone(),
    };
    match upgrade.accept(&mut parts, terms).await {
        Ok(response) => response,
        Err(why) => not_a_socket(&parts.method, &why),
    }
}

async fn post<B: Backend>(shared: &Shared<B>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let text = match tokio::time::timeout(BODY_WITHIN, read(&parts.headers, body, shared.max_body)).await {
        Ok(Ok(text)) => text,
        Ok(Err(BodyFault::TooLarge)) => {
            shared.counters.too_large();
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, &ErrorBody::too_large(shared.max_body));
        }
        Ok(Err(BodyFault::Broken)) => return refusal(StatusCode::BAD_REQUEST, &ErrorBody::parse_error()),
        Err(_) => {
            shared.counters.too_slow();
            return refusal(StatusCode::REQUEST_TIMEOUT, &ErrorBody::too_slow());
        }
    };
    // Over HTTP a connection has one request at a time.
    let reservation = shared.dispatcher.reserve(&text, &shared.dispatcher.budget().share()).await;
    let reply = shared.dispatcher.answer(&text, None, reservation).await;
    match reply.text {
        Some(answer) => in_parts(answer, reply.held),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

/// An answer whose bytes are held until its last part is taken from here, which is when the others are sent.
fn in_parts(answer: String, held: Option<Reservation>) -> Response {
    let length = answer.len();
    let parts = stream::unfold((Bytes::from(answer), held), |(mut rest, held)| async move {
        let part = rest.split_to(rest.len().min(PART));
        (!part.is_empty()).then_some((Ok::<Bytes, Infallible>(part), (rest, held)))
    });
    let headers = [
        (header::CONTENT_TYPE, header::HeaderValue::from_static("application/json")),
        (header::CONTENT_LENGTH, header::HeaderValue::from(length)),
    ];
    (StatusCode::OK, headers, Body::from_stream(parts)).into_response()
}

enum BodyFault {
    TooLarge,
    Broken,
}

/// The body, if it keeps to its limit.
async fn read(headers: &HeaderMap, body: Body, max: usize) -> Result<Vec<u8>, BodyFault> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let announced = announced.unwrap_or(0);
    // A client that asks first is told before it sends anything.
    if announced > max && (headers.contains_key(header::EXPECT) || announced > DISCARD) {
        return Err(BodyFault::TooLarge);
    }
    let mut chunks = body.into_data_stream();
    let mut text = Vec::with_capacity(announced.min(max));
    let mut length = 0_usize;
    while let Some(chunk) = chunks.next().await {
        let chunk: Bytes = chunk.map_err(|_| BodyFault::Broken)?;
        length = length.saturating_add(chunk.len());
        if length <= max {
            text.extend_from_slice(&chunk);
        } else {
            text = Vec::new();
        }
        if length > DISCARD.max(max) {
            break;
        }
    }
    if length > max { Err(BodyFault::TooLarge) } else { Ok(text) }
}

fn not_a_socket(method: &Method, why: &WebSocketUpgradeRejection) -> Response {
    if method == Method::GET {
        return (StatusCode::BAD_REQUEST, format!("POST a JSON-RPC request, or open a WebSocket: {why}\n"))
            .into_response();
    }
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, POST")]).into_response()
}

async fn readyz<B: Backend>(State(shared): State<Arc<Shared<B>>>) -> Response {
    if shared.backend.ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

async fn metrics<B: Backend>(State(shared): State<Arc<Shared<B>>>) -> Response {
    let mut text = shared.backend.metrics();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    shared.counters.render(&mut text);
    let (clients, strangers) = shared.places.count();
    for (name, help, value) in [
        ("clients", "Connections that have shown the credential.", clients),
        ("strangers", "Connections that have not shown it yet.", strangers),
        ("unsent_bytes", "Bytes of answers that are set aside or wait to be sent.", shared.dispatcher.budget().used()),
    ] {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP holm_rpc_{name} {help}\n# TYPE holm_rpc_{name} gauge\nholm_rpc_{name} {value}");
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// Refuses a request whose id is not known.
fn refusal(status: StatusCode, error: &ErrorBody) -> Response {
    json(status, jsonrpc::failure(&Value::Null, error))
}

fn json(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}
