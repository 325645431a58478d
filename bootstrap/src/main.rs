//! `holm-bootstrap`: helps nodes meet. It is a member of the mesh with a public address; nodes
//! that know nobody else connect to it, and hear each other's heartbeats, which carry addresses
//! and certificates, through it. It holds no documents, runs no tasks and decides nothing: with all
//! of them gone, nodes that know each other go on.

mod environment;
mod identity;
mod meeting;
mod renewal;
mod revocations;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use holm_types::{Label, token::Token};
use identity::Identity;
use std::{path::PathBuf, process::ExitCode, time::Duration};

#[derive(Debug, Parser)]
#[command(name = "holm-bootstrap", version, about = "Helps the nodes of a Holm mesh meet. It holds no state.")]
struct Arguments {
    /// Folder of its key and certificate.
    #[arg(long, global = true, env = "HOLM_DATA_DIR", default_value = "/var/lib/holm-bootstrap", value_name = "DIR")]
    data_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Enrol with a token from `holm token create`.
    Join {
        /// The token.
        token: String,
        /// Its name among the members.
        #[arg(long, default_value = "bootstrap")]
        name: Label,
    },
    /// Serve in the foreground.
    Up {
        /// Where to listen (a multiaddress; may be given several times).
        #[arg(long, value_name = "MULTIADDR", default_values = ["/ip4/0.0.0.0/tcp/7072", "/ip4/0.0.0.0/udp/7072/quic-v1"])]
        listen: Vec<String>,
    },
}

fn main() -> ExitCode {
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colour).init();
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holm-bootstrap: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    runtime.block_on(async {
        match arguments.command {
            Command::Join { token, name } => join(&arguments.data_dir, &token, &name).await,
            Command::Up { listen } => meeting::serve(Identity::load(&arguments.data_dir)?, listen).await,
        }
    })
}

async fn join(dir: &std::path::Path, token: &str, name: &Label) -> Result<()> {
    let token = Token::from_text(token)?;
    let key = Identity::new_key();
    let enrolment = holm_mesh_net::enrol(&key, &token, name, Duration::from_secs(20)).await.context("cannot join")?;
    let claims = enrolment.chain.verify(&token.grant.mesh).context("the issuer gave a bad certificate")?.clone();
    Identity::save(dir, &key, &enrolment)?;
    println!("joined mesh {} as {}\nnext: holm-bootstrap up", claims.mesh_name, claims.name);
    Ok(())
}
