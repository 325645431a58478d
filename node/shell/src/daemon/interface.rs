//! The RPC server's thread. What its clients cost - megabytes of JSON to write, thousands of connections to turn away -
//! must not cost the loop or the network their turns, and a runtime that they shared would give each only its place
//! in one queue. Between threads the kernel sees to it that all get on.

use super::backend::NodeBackend;
use crate::{data_dir::DataDir, environment};
use anyhow::{Context as _, Result};
use holm_rpc::{Credential, RpcError, ServerConfig};
use std::{net::SocketAddr, sync::Arc};
use tokio::{sync::oneshot, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Serves the interface, and keeps its address and credential where the clients of this host look for them. A task
/// of `tasks` ends when the interface does.
pub async fn start(
    dir: &DataDir,
    listen: SocketAddr,
    backend: Arc<NodeBackend>,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Result<SocketAddr> {
    let config = ServerConfig::new(listen, credential(dir)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(4)
        .enable_all()
        .build()
        .context("cannot start the runtime of the interface")?;
    let ((tell, told), (ends, ended)) = (oneshot::channel(), oneshot::channel::<()>());
    let stop = stop.clone();
    let run = move || {
        let _ends = ends;
        runtime.block_on(run(config, backend, stop, tell));
    };
    std::thread::Builder::new().name("rpc".into()).spawn(run).context("cannot start a thread")?;
    let served = told.await.context("the interface ended as it began")?;
    let address = served.context("cannot serve JSON-RPC (choose another address with --rpc 127.0.0.1:0)")?;
    dir.write("rpc.addr", address.to_string().as_bytes())?;
    tasks.spawn(async move {
        let _ = ended.await;
    });
    Ok(address)
}

async fn run(
    config: ServerConfig,
    backend: Arc<NodeBackend>,
    stop: CancellationToken,
    tell: oneshot::Sender<Result<SocketAddr, RpcError>>,
) {
    let mut serving = JoinSet::new();
    let _ = tell.send(holm_rpc::serve(config, backend, &mut serving, stop).await);
    while let Some(ended) = serving.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "the interface failed");
        }
    }
}

fn credential(dir: &DataDir) -> Result<Credential> {
    let path = dir.join("rpc.token");
    if path.exists() {
        return crate::cli::credential(&path);
    }
    let fresh = Credential::generate(environment::random());
    fresh.to_file(&path)?;
    Ok(fresh)
}
