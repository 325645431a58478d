//! `/healthz` for who watches that it runs, `/metrics` for who watches how it fares. Read only, and without a
//! secret in it; still, it serves on loopback unless it is told otherwise.

use crate::environment;
use anyhow::{Context as _, Result};
use holm_mesh_net::NetHandle;
use holm_types::api::Path;
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt::Write as _,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::timeout,
};

/// The loop was not heard for so many milliseconds: something is wrong with it.
const STUCK: u64 = 10_000;
/// Connections at once. When one more comes, the oldest is closed: else a few that say nothing would keep all others out.
const MOST: usize = 16;
/// A connection takes no longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is served.
#[derive(Clone)]
pub struct Watched {
    net: NetHandle,
    /// When the loop last turned, in milliseconds of the date.
    turned: Arc<AtomicU64>,
    /// HTTP connections that had to make room for others.
    dropped: Arc<AtomicU64>,
}

impl Watched {
    /// Nothing has turned yet.
    pub fn new(net: NetHandle) -> Watched {
        Watched { net, turned: Arc::default(), dropped: Arc::default() }
    }

    /// The loop has turned at this date.
    pub fn turned(&self, ms: u64) {
        self.turned.store(ms, Ordering::Relaxed);
    }

    fn answer(&self, path: &str) -> (StatusCode, String) {
        let silent = environment::wall().0.saturating_sub(self.turned.load(Ordering::Relaxed));
        match path {
            "/healthz" if silent < STUCK => (StatusCode::OK, "ok\n".to_owned()),
            "/healthz" => (StatusCode::SERVICE_UNAVAILABLE, "the server does not get on\n".to_owned()),
            "/metrics" => (StatusCode::OK, self.metrics()),
            _ => (StatusCode::NOT_FOUND, "there are /healthz and /metrics\n".to_owned()),
        }
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        let reach = self.net.reach();
        let relayed = reach.peers.iter().filter(|peer| peer.path == Path::Relayed).count();
        let gauges = [
            ("peers", reach.peers.len()),
            ("peers_relayed", relayed),
            ("circuits", reach.circuits as usize),
            ("relaying", usize::from(reach.relaying)),
        ];
        for (name, value) in gauges {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# TYPE holm_bootstrap_{name} gauge\nholm_bootstrap_{name} {value}");
        }
        let dropped = self.dropped.load(Ordering::Relaxed);
        let _ = writeln!(
            text,
            "# TYPE holm_bootstrap_http_dropped_total counter\nholm_bootstrap_http_dropped_total {dropped}"
        );
        for (name, value) in self.net.counters() {
            let _ = writeln!(text, "# TYPE holm_net_{name}_total counter\nholm_net_{name}_total {value}");
        }
        text
    }
}

/// Serves in a task of `tasks`; gives the address.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(at: SocketAddr, watched: Watched, tasks: &mut JoinSet<()>) -> Result<SocketAddr> {
    let listener = TcpListener::bind(at).await.with_context(|| format!("cannot serve HTTP on {at}"))?;
    let address = listener.local_addr()?;
    tasks.spawn(accept(listener, watched));
    Ok(address)
}

async fn accept(listener: TcpListener, watched: Watched) {
    let mut serving = JoinSet::new();
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                while serving.try_join_next().is_some() {}
                open.retain(|connection| !connection.is_finished());
                if open.len() >= MOST
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.abort();
                    watched.dropped.fetch_add(1, Ordering::Relaxed);
                }
                let watched = watched.clone();
                open.push_back(serving.spawn(async move {
                    // Who is too slow, or does not speak HTTP, is cut.
                    let _ = timeout(PATIENCE, converse(stream, watched)).await;
                }));
                // Its request, if it is there already, is answered before the next one may push it out.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                tracing::warn!(%error, "no HTTP connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, watched: Watched) -> Result<(), hyper::Error> {
    let service = service_fn(move |request: Request<Incoming>| {
        let (status, text) = watched.answer(request.uri().path());
        let mut response = Response::new(text);
        *response.status_mut() = status;
        std::future::ready(Ok::<_, Infallible>(response))
    });
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
}
