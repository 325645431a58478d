//! The listener: loopback only, a bounded number of connections, slow ones closed.

use crate::{
    RpcError,
    backend::Backend,
    counters::Counters,
    credential::Credential,
    dispatch::Dispatcher,
    methods::{self, Context},
    routes::{self, Place, Shared},
};
use axum::{Router, body::Body};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// How long a client may take to send a request's head, and a connection may idle between two requests.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a request's head, at most.
const MAX_HEAD: usize = 64 << 10;
/// How long open connections may go on after the node was told to stop.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
/// Pause after a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a connection beyond the limit is told.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// How the interface is served.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where: a loopback address. Port 0 picks one.
    pub listen: SocketAddr,
    /// What clients of `/rpc` must know.
    pub credential: Credential,
    /// Bytes of a request, or of a WebSocket message, at most.
    pub max_body: usize,
    /// Open connections, at most.
    pub max_connections: usize,
    /// Requests in a batch, at most.
    pub max_batch: usize,
}

impl ServerConfig {
    /// The usual limits: 1 MiB, 128 connections, 64 requests in a batch.
    pub fn new(listen: SocketAddr, credential: Credential) -> ServerConfig {
        ServerConfig { listen, credential, max_body: 1 << 20, max_connections: 128, max_batch: 64 }
    }
}

/// Serves the interface until `stop`, as one task of `tasks`. Says where it listens.
///
/// # Errors
/// The address is not of this host alone, or cannot be listened on.
pub async fn serve<B: Backend>(
    config: ServerConfig,
    backend: Arc<B>,
    tasks: &mut JoinSet<()>,
    stop: CancellationToken,
) -> Result<SocketAddr, RpcError> {
    let address = config.listen;
    if !address.ip().is_loopback() {
        return Err(RpcError::NotLoopback(address));
    }
    let listener = TcpListener::bind(address).await.map_err(|source| RpcError::Listen { address, source })?;
    let bound = listener.local_addr().map_err(|source| RpcError::Listen { address, source })?;

    let counters = Arc::new(Counters::default());
    let context = Context { backend: Arc::clone(&backend), counters: Arc::clone(&counters), stop: stop.clone() };
    let dispatcher = Dispatcher::new(methods::register(context)?, config.max_batch, Arc::clone(&counters));
    let router = routes::router(Arc::new(Shared {
        backend,
        dispatcher: Arc::new(dispatcher),
        counters: Arc::clone(&counters),
        credential: config.credential,
        max_body: config.max_body,
        sockets: AtomicUsize::new(1),
        stop: stop.clone(),
    }));
    let max = config.max_connections.min(Semaphore::MAX_PERMITS);
    tasks.spawn(Listener { listener, router, counters, places: Arc::new(Semaphore::new(max)), max, stop }.run());
    Ok(bound)
}

struct Listener {
    listener: TcpListener,
    router: Router,
    counters: Arc<Counters>,
    places: Arc<Semaphore>,
    max: usize,
    stop: CancellationToken,
}

impl Listener {
    async fn run(self) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, _)) => match Arc::clone(&self.places).try_acquire_owned() {
                    Ok(place) => {
                        connections.spawn(serve_connection(
                            socket,
                            Arc::new(place),
                            self.router.clone(),
                            self.stop.clone(),
                        ));
                    }
                    Err(_) => self.refuse(socket).await,
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        // Every connection, a WebSocket too, holds a place: all places free means that all are closed.
        let all = u32::try_from(self.max).unwrap_or(u32::MAX);
        if timeout(GRACE, self.places.acquire_many(all)).await.is_err() {
            tracing::debug!("connections are cut off");
        }
    }

    /// The send buffer of a fresh socket is empty, so this does not wait for the client.
    async fn refuse(&self, mut socket: TcpStream) {
        self.counters.refused();
        let _ = timeout(ACCEPT_PAUSE, async {
            socket.write_all(FULL).await?;
            socket.shutdown().await
        })
        .await;
    }
}

async fn serve_connection(socket: TcpStream, place: Place, router: Router, stop: CancellationToken) {
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(Place::clone(&place));
        router.clone().oneshot(request.map(Body::new))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
