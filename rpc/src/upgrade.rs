//! From an HTTP connection to a WebSocket. axum checks the request; the connection itself is taken over here, so that
//! its task goes on to serve it, and so that its socket is ours to watch and to write frames to.

use crate::{
    counters::Counters,
    dispatch::Dispatcher,
    server::GRACE,
    session::Session,
    socket::{Hangup, Socket},
};
use axum::{
    extract::ws::rejection::WebSocketUpgradeRejection,
    extract::{FromRequestParts, ws::WebSocketUpgrade},
    response::{IntoResponse, Response},
};
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderValue, StatusCode, header, request};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};
use tokio_util::sync::CancellationToken;

/// Where a request's handler leaves what its connection shall become.
#[derive(Clone)]
pub(crate) struct Upgrade(mpsc::Sender<BoxFuture<'static, ()>>);

/// What a connection becomes when HTTP is over.
pub(crate) struct Becomes(mpsc::Receiver<BoxFuture<'static, ()>>);

/// What a WebSocket is served with.
pub(crate) struct Terms {
    pub id: usize,
    pub dispatcher: Arc<Dispatcher>,
    pub counters: Arc<Counters>,
    pub max_message: usize,
    pub stop: CancellationToken,
}

impl Upgrade {
    /// The two ends, for one connection.
    pub(crate) fn channel() -> (Upgrade, Becomes) {
        let (sender, receiver) = mpsc::channel(1);
        (Upgrade(sender), Becomes(receiver))
    }

    /// Answers a request to open a WebSocket, and has the connection served as one afterwards.
    ///
    /// # Errors
    /// The request is no proper handshake.
    pub(crate) async fn accept(
        &self,
        parts: &mut request::Parts,
        terms: Terms,
    ) -> Result<Response, WebSocketUpgradeRejection> {
        // Handles to one and the same connection: axum takes the other one, and drops it unused.
        let upgraded = parts.extensions.get::<OnUpgrade>().cloned();
        let _checked = WebSocketUpgrade::from_request_parts(parts, &()).await?;
        let key = parts.headers.get(header::SEC_WEBSOCKET_KEY);
        let (Some(upgraded), Some(key)) = (upgraded, key) else {
            return Ok(StatusCode::BAD_REQUEST.into_response());
        };
        let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()));
        let Ok(accept) = accept else { return Ok(StatusCode::BAD_REQUEST.into_response()) };
        // One handshake a connection: when there was one already, nothing of HTTP follows it.
        let _ = self.0.try_send(serve(upgraded, terms).boxed());
        let headers = [
            (header::CONNECTION, HeaderValue::from_static("upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, accept),
        ];
        Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
    }
}

impl Becomes {
    /// Serves what a handshake has left here, if there was one.
    pub(crate) async fn serve(mut self) {
        if let Ok(serve) = self.0.try_recv() {
            serve.await;
        }
    }
}

async fn serve(upgraded: OnUpgrade, terms: Terms) {
    let upgraded = match upgraded.await.map(Upgraded::downcast::<TokioIo<Socket>>) {
        Ok(Ok(parts)) => parts,
        Ok(Err(_)) => return tracing::error!("a connection is not the one that was accepted"),
        Err(error) => return tracing::debug!(%error, "a connection ended in its handshake"),
    };
    let socket = upgraded.io.into_inner();
    let hangup = match Hangup::of(&socket) {
        Ok(hangup) => hangup,
        Err(error) => return tracing::warn!(%error, "cannot watch a connection"),
    };
    let limits =
        WebSocketConfig::default().max_message_size(Some(terms.max_message)).max_frame_size(Some(terms.max_message));
    let read = upgraded.read_buf.to_vec();
    let socket = WebSocketStream::from_partially_read(socket, read, Role::Server, Some(limits)).await;
    let session = Session::new(socket, hangup, terms.id, terms.dispatcher, terms.counters, terms.max_message);
    tokio::select! {
        () = session.run(terms.stop.clone()) => {}
        () = async { terms.stop.cancelled().await; tokio::time::sleep(GRACE).await } => {}
    }
}
