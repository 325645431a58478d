//! The running node: builds the actors, says when it serves, runs until it is told to stop.
//!
//! ```text
//! net ──┐                     ┌── net      publish, send, dial
//! disk ─┼──> inbox ─> loop ───┼── disk     persist, verify
//! runner┘      │   (in turns) ├── runner   start, stop
//! rpc ───> requests           └── watchers events
//! ```
//!
//! The RPC server has a thread of its own, and what waits for the loop is bounded everywhere.

mod backend;
mod certificate;
pub mod database;
mod disk;
mod gauges;
mod inbox;
mod interface;
mod logs;
pub mod memory;
mod net;
mod node_loop;
mod runner;
mod watchers;

use crate::{
    cli::{Relay, Up},
    data_dir::DataDir,
    environment, host,
};
use anyhow::{Context as _, Result};
use backend::NodeBackend;
use certificate::Keeper;
use gauges::Gauges;
use holm_exec::{Runner, RunnerConfig};
use holm_mesh_net::{Limits, NetConfig, ReachConfig};
use holm_node_core::Config;
use holm_types::Incarnation;
use inbox::Inbox;
use logs::Logs;
use node_loop::{Loop, Outlets};
use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};
use tokio::{signal::unix, sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use watchers::Watchers;

/// Inputs that wait for the loop. Senders wait when it is full, so it slows them down.
/// Connections of a keeper: with gateways of all sites.
const KEEPER_CONNECTIONS: u32 = 1024;
const INBOX: usize = 4096;
const GRACE: Duration = Duration::from_secs(10);
/// Time to finish what is in flight when the node is told to stop.
const DRAIN: Duration = Duration::from_secs(3);

/// Runs the node until it is told to stop. Its tasks go on without it.
pub async fn up(dir: &DataDir, args: Up) -> Result<ExitCode> {
    let config = configure(dir, &args)?;
    database::is_free(dir)?;
    let gone = database::is_gone(dir);
    let mut tasks = JoinSet::new();
    let stop = CancellationToken::new();
    let (inbox, inputs) = mpsc::channel(INBOX);
    let (work, asker) = Inbox::new(inputs);

    let me = config.key.node_id();
    let (runner, runner_events, found) = start_runner(dir, &config, &mut tasks).await?;
    let found: Vec<_> = found.into_iter().map(runner::found).collect();
    let mut effects = Vec::new();
    let (store, node) = database::open(dir, &config, &found, gone, &mut effects)?;
    let config = node.config().clone();
    let network = start_network(dir, &config, &args, &mut tasks).await?;
    let watchers = Arc::new(Watchers::default());
    let logs = Logs::new(runner.clone(), asker.clone(), network.handle.clone(), me);
    tasks.spawn(logs::serve(network.streams, logs.clone()));
    net::forward(network.events, (network.enrolments, network.renewals), &inbox, &mut tasks);
    runner::forward(runner_events, inbox.clone(), &mut tasks);
    let gauges = Arc::new(Gauges::default());
    let backend =
        NodeBackend::new(asker, inbox.clone(), (watchers.clone(), gauges.clone()), logs, network.handle.clone());
    let backend = Arc::new(backend);
    let address = interface::start(dir, args.rpc, backend, &mut tasks, &stop).await?;
    memory::return_freed(&mut tasks);
    // Last: whoever gives up before drops the database here, and not on a thread that nobody waits for.
    let (disk, writer) = disk::start_writer(store, &dir.join("db"), inbox.clone(), &mut tasks)?;
    let outlets = Outlets {
        net: network.handle,
        runner,
        disk,
        verify: disk::start_verifier(config.mesh, inbox.clone())?,
        watchers,
        gauges,
        certificate: Keeper::new(dir.clone(), config.key.clone(), inbox.clone()),
    };
    let main_loop = Loop::new(node, work, outlets, effects);
    let mut looping = JoinSet::new();
    looping.spawn(main_loop.run(stop.clone()));
    say_ready(address, &inbox).await;

    let failed = tokio::select! {
        biased;
        () = told_to_stop() => None,
        ended = looping.join_next() => Some(match ended {
            Some(Ok(Err(error))) => error,
            other => anyhow::anyhow!("the node's loop ended: {other:?}"),
        }),
        // The loop often knows why: a part tells it before it ends.
        Some(ended) = tasks.join_next() => Some(match tokio::time::timeout(DRAIN, looping.join_next()).await {
            Ok(Some(Ok(Err(error)))) => error,
            _ => anyhow::anyhow!("a part of the node ended: {ended:?}"),
        }),
    };
    stop.cancel();
    let _ = tokio::time::timeout(DRAIN, async {
        looping.join_next().await;
        writer.ended().await;
    })
    .await;
    let _ = std::fs::remove_file(dir.join("rpc.addr"));
    match failed {
        Some(error) => {
            error.downcast_ref().into_iter().for_each(|damage| database::mark_damaged(dir, damage));
            Err(error)
        }
        None => Ok(ExitCode::SUCCESS),
    }
}

fn configure(dir: &DataDir, args: &Up) -> Result<Config> {
    let settings = dir.settings()?;
    let key = dir.identity()?;
    let chain = settings.chain()?;
    let claims = chain.verify(&settings.mesh).context("this node's certificate")?;
    anyhow::ensure!(
        claims.subject == key.node_id(),
        "identity.key and the certificate in node.json do not belong together: was one of them restored from elsewhere?"
    );
    Ok(Config {
        mesh: settings.mesh,
        mesh_name: claims.mesh_name.clone(),
        chain: chain.clone(),
        key,
        incarnation: Incarnation::default(),
        seed: u64::from_be_bytes(environment::random()),
        info: host::describe(settings.labels, dir.path()),
        authority: dir.authority()?,
        peers: settings.peers,
        liveness: Default::default(),
        healer: Default::default(),
        repair_every: Duration::from_secs(10),
        keep_removed: args.keep_removed,
        disk_budget: args.disk_budget,
        volume: args.volume,
        max_tasks: 250,
        grace: GRACE,
    })
}

/// `holm-shim` beside this binary.
pub fn shim_path() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let shim = own.with_file_name("holm-shim");
    anyhow::ensure!(shim.exists(), "{} is missing: it belongs beside the holm binary", shim.display());
    Ok(shim)
}

async fn start_runner(
    dir: &DataDir,
    config: &Config,
    tasks: &mut JoinSet<()>,
) -> Result<(Runner, mpsc::Receiver<holm_exec::RunnerEvent>, Vec<holm_exec::Found>)> {
    let config = RunnerConfig {
        clock: Arc::new(environment::wall),
        owner: Some(config.key.node_id().to_string()),
        ..RunnerConfig::new(dir.join("tasks"), shim_path()?)
    };
    Runner::start(config, tasks).await.context("cannot start the task runner")
}

async fn start_network(
    dir: &DataDir,
    config: &Config,
    args: &Up,
    tasks: &mut JoinSet<()>,
) -> Result<holm_mesh_net::Net> {
    let listen = match args.listen.as_slice() {
        // What was chosen at the enrolment, as far as this host can.
        [] => dir.settings()?.listen.into_iter().filter(|address| host::can_listen(address)).collect(),
        told => told.to_vec(),
    };
    // All sites meet at keepers.
    let connections =
        if config.chain.claims()?.is_keeper() { KEEPER_CONNECTIONS } else { Limits::default().established };
    let net = NetConfig {
        key: config.key.clone(),
        chain: config.chain.clone(),
        mesh: config.mesh,
        incarnation: config.incarnation,
        listen,
        mdns: !args.no_mdns,
        clock: Arc::new(environment::wall),
        reach: reach_config(config, args)?,
        limits: Limits { established: connections, ..Limits::default() },
    };
    holm_mesh_net::start(net, tasks).await.context("cannot start the network")
}

/// Who relays: a keeper, which is meant to be there for others, unless the operator says otherwise.
fn reach_config(config: &Config, args: &Up) -> Result<ReachConfig> {
    let keeper = config.chain.claims()?.is_keeper();
    let relay = match args.relay {
        Relay::Auto => keeper,
        Relay::On => true,
        Relay::Off => false,
    };
    let (reserve, upnp) = (args.reserve, !args.no_upnp);
    Ok(ReachConfig { enabled: true, relay, reserve, upnp, advertise: args.advertise.clone() })
}

/// One line for scripts, once requests are answered and peers can call.
async fn say_ready(address: std::net::SocketAddr, inbox: &mpsc::Sender<node_loop::Message>) {
    let mut listening = Vec::new();
    for _ in 0..100 {
        let (reply, answered) = tokio::sync::oneshot::channel();
        if inbox.send(node_loop::Message::Listening(reply)).await.is_err() {
            return;
        }
        listening = answered.await.unwrap_or_default();
        if !listening.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    crate::cli::print_line(&format!("ready rpc=http://{address} listen={}", listening.join(",")));
}

async fn told_to_stop() {
    let signals = (unix::signal(unix::SignalKind::terminate()), unix::signal(unix::SignalKind::interrupt()));
    match signals {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                biased;
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        // Without signal handlers the default action ends the process.
        _ => std::future::pending().await,
    }
}
