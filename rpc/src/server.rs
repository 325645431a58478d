//! The listener: loopback only, a bounded number of connections, slow ones closed.

use crate::{
    RpcError,
    backend::Backend,
    budget::Budget,
    counters::Counters,
    credential::Credential,
    dispatch::Dispatcher,
    methods::{self, Context},
    places::{Place, Places},
    routes::{self, Shared},
    socket::Socket,
    upgrade::Upgrade,
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
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// How long a client may take to send a request's head, and a connection may idle between two requests.
const HEAD_WITHIN: Duration = Duration::from_secs(3);
/// Bytes of a request's head, at most.
const MAX_HEAD: usize = 64 << 10;
/// How long open connections may go on after the node was told to stop.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
/// Pause after a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How the interface is served.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where: a loopback address. Port 0 picks one.
    pub listen: SocketAddr,
    /// What clients of `/rpc` must know.
    pub credential: Credential,
    /// Bytes of a request, or of a WebSocket message, at most.
    pub max_body: usize,
    /// Open connections that have shown the credential, at most.
    pub max_connections: usize,
    /// Open connections that have not shown it yet, at most. The oldest is closed when one more comes.
    pub max_strangers: usize,
    /// Requests in a batch, at most.
    pub max_batch: usize,
    /// Bytes of answers that wait for their clients to take them. While there is no room for more, no more calls
    /// are given to the node, and what would ask for them is not read.
    pub max_unsent: usize,
    /// The part of it that one connection may take. A single answer may exceed both, up to 32 MiB.
    pub max_unsent_each: usize,
    /// How long a client may take nothing of what it is sent before it is given up.
    pub patience: Duration,
}

impl ServerConfig {
    /// The usual limits: 1 MiB a message, 128 clients, 64 strangers, 64 requests in a batch, 32 MiB of unsent
    /// answers of which a client has 8 MiB, 10 seconds to take some.
    pub fn new(listen: SocketAddr, credential: Credential) -> ServerConfig {
        ServerConfig {
            listen,
            credential,
            max_body: 1 << 20,
            max_connections: 128,
            max_strangers: 64,
            max_batch: 64,
            max_unsent: 32 << 20,
            max_unsent_each: 8 << 20,
            patience: Duration::from_secs(10),
        }
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
    let places = Arc::new(Places::new(config.max_connections, config.max_strangers));
    let context = Context { backend: Arc::clone(&backend), counters: Arc::clone(&counters), stop: stop.clone() };
    let budget = Budget::new(config.max_unsent, config.max_unsent_each);
    let dispatcher = Dispatcher::new(methods::register(context)?, config.max_batch, budget, Arc::clone(&counters));
    let router = routes::router(Arc::new(Shared {
        backend,
        dispatcher: Arc::new(dispatcher),
        counters: Arc::clone(&counters),
        places: Arc::clone(&places),
        credential: config.credential,
        max_body: config.max_body,
        sockets: AtomicUsize::new(1),
        stop: stop.clone(),
    }));
    tasks.spawn(Listener { listener, router, counters, places, patience: config.patience, stop }.run());
    Ok(bound)
}

struct Listener {
    listener: TcpListener,
    router: Router,
    counters: Arc<Counters>,
    places: Arc<Places>,
    patience: Duration,
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
                Ok((socket, _)) => {
                    let (place, dropped) = self.places.enter();
                    if dropped {
                        self.counters.stranger_dropped();
                    }
                    connections.spawn(self.connection(socket, place));
                    // It gets its turn before the next one comes and may push it out: if its request is there
                    // already, it is read now.
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        let all_closed = async { while connections.join_next().await.is_some() {} };
        if timeout(GRACE, all_closed).await.is_err() {
            tracing::debug!("connections are cut off");
        }
    }

    fn connection(&self, socket: TcpStream, place: Place) -> impl Future<Output = ()> + Send + use<> {
        let _ = socket.set_nodelay(true);
        let socket = Socket::new(socket, self.patience, Arc::clone(&self.counters));
        serve_connection(socket, Arc::new(place), self.router.clone(), self.stop.clone())
    }
}

async fn serve_connection(socket: Socket, place: Arc<Place>, router: Router, stop: CancellationToken) {
    let (upgrade, upgraded) = Upgrade::channel();
    let service = {
        let place = Arc::clone(&place);
        service_fn(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(Arc::clone(&place));
            request.extensions_mut().insert(upgrade.clone());
            router.clone().oneshot(request.map(Body::new))
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut connection = Box::pin(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = place.lost() => return,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    // It holds the buffers and the service, and with that the sending end of the channel.
    drop(connection);
    match ended {
        Ok(()) => upgraded.serve().await,
        Err(error) => tracing::debug!(%error, "a connection ended early"),
    }
}
