//! `holm-bootstrap`: helps nodes meet. It is a member of the mesh with a public address; nodes
//! that know nobody else connect to it, and hear each other's heartbeats, which carry addresses
//! and certificates, through it. It forwards connections of members that cannot reach each other, and
//! dials back who wants to know whether its address can be reached. It holds no documents, runs no tasks and decides nothing: with all
//! of them gone, nodes that know each other go on.

mod config;
mod environment;
mod exit;
mod http;
mod identity;
mod meeting;
mod renewal;
mod revocations;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use config::Config;
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
        /// Configuration file [default: /etc/holm/bootstrap.toml, if it is there].
        #[arg(long, env = "HOLM_BOOTSTRAP_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// Where to listen (a multiaddress; may be given several times) [default: the file's, else port 7072].
        #[arg(long, value_name = "MULTIADDR")]
        listen: Vec<String>,
        /// Where to serve /healthz and /metrics, or off [default: the file's, else 127.0.0.1:7073].
        #[arg(long, value_name = "ADDRESS")]
        http: Option<String>,
    },
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return exit::misread(&error),
    };
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colour).init();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holm-bootstrap: {error:#}");
            ExitCode::from(exit::code_of(&error))
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
            Command::Up { config, listen, http } => {
                let mut config = Config::read(config.as_deref()).context(exit::Misconfigured)?;
                if !listen.is_empty() {
                    config.listen = listen;
                }
                config.http = http.unwrap_or(config.http);
                config.http().context(exit::Misconfigured)?;
                meeting::serve(Identity::load(&arguments.data_dir)?, config).await
            }
        }
    })
}

async fn join(dir: &std::path::Path, token: &str, name: &Label) -> Result<()> {
    // Before a use of the token is spent.
    Identity::must_be_new(dir)?;
    let token = Token::from_text(token)?;
    let key = Identity::new_key();
    let enrolment = holm_mesh_net::enrol(&key, &token, name, Duration::from_secs(20)).await.context("cannot join")?;
    let claims = enrolment.chain.verify(&token.grant.mesh).context("the issuer gave a bad certificate")?.clone();
    Identity::save(dir, &key, &enrolment)?;
    println!(
        "joined mesh {} as {}\nnext: holm-bootstrap --data-dir {} up",
        claims.mesh_name,
        claims.name,
        dir.display()
    );
    Ok(())
}
