//! The command line: what can be typed, and which function does it.

mod backup;
mod certs;
mod client;
mod doctor;
mod documents;
mod enrol;
mod exit;
mod inspect;
mod logs;
mod output;
mod plan;
mod reachable;
mod read;
mod submit;
mod tasks;
mod wait;
mod watch;

pub use client::credential;
pub use exit::{failure_exit, usage_exit};
pub use output::line as print_line;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use holm_types::{Label, cert::Role};
use std::{path::PathBuf, process::ExitCode};

/// A peer-to-peer mesh of cloud and edge nodes that runs apps: no broker, no control plane, no quorum.
#[derive(Debug, Parser)]
#[command(name = "holm", version, propagate_version = true, disable_help_subcommand = true)]
pub struct Arguments {
    /// Data folder of the local node [default: /var/lib/holm for root, else ~/.local/share/holm].
    #[arg(long, global = true, env = "HOLM_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// What to log, such as "info" or "holm=debug,warn".
    #[arg(long, global = true, env = "HOLM_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// How to print.
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    pub output: output::Format,
    #[command(subcommand)]
    command: Command,
}

/// `--rpc` means the node to ask for most commands, and where to listen for `up`.
#[derive(Debug, Args)]
pub struct Target {
    /// The node to ask [default: the local one].
    #[arg(long, env = "HOLM_RPC", value_name = "URL")]
    pub rpc: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new mesh: its authority key, and this host as its first node.
    Init(enrol::Init),
    /// Tokens to join.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Enrol this host with a token.
    Join(enrol::Join),
    /// Run the node in the foreground.
    Up(Up),
    /// Submit an app, or change it.
    Apply(submit::Apply),
    /// Say what `apply` would do.
    Plan(submit::Plan),
    /// Remove an app.
    Rm(submit::AppArg),
    /// Run more or fewer replicas of a service (or parallel tasks of a job).
    Scale(submit::Scale),
    /// List apps.
    Ls(inspect::List),
    /// Status of the mesh, or of one app: why a slot is not placed.
    Status(inspect::Status),
    /// List tasks.
    Ps(tasks::Ps),
    /// Results of a job.
    Result(inspect::Results),
    /// Print what a task wrote.
    Logs(logs::Logs),
    /// Print what happens.
    Events(watch::Events),
    /// Nodes.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Certificates: who is a member, and until when.
    #[command(subcommand)]
    Cert(CertCommand),
    /// Write what this node is and holds to one file; the node may run.
    Backup(backup::Backup),
    /// Make the data folder of a node that is gone for good again, from its backup.
    Restore(backup::Restore),
    /// Check this node and explain what is wrong.
    Doctor(doctor::Doctor),
    /// Print the version.
    Version,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token; it alone is printed.
    Create(TokenCreate),
}

#[derive(Debug, Args)]
pub struct TokenCreate {
    /// Role of the node that joins: edge, keeper, issuer or deployer.
    #[arg(long, default_value = "edge", value_parser = read::role())]
    role: Role,
    /// Its site [default: the site of the node that makes the token].
    #[arg(long)]
    site: Option<Label>,
    /// How long the token is good.
    #[arg(long, default_value = "1h", value_parser = read::duration)]
    ttl: std::time::Duration,
    /// How many nodes may join with it.
    #[arg(long, default_value_t = 1)]
    uses: u32,
    /// How long their certificates are good; they are renewed in time [default: 90days; 5years for an issuer].
    #[arg(long, value_parser = read::duration)]
    validity: Option<std::time::Duration>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum CertCommand {
    /// List certificates.
    Ls(certs::List),
    /// End a node's membership for good: it is cut off, and others take over its tasks.
    Revoke(certs::Revoke),
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// List nodes.
    Ls(inspect::List),
}

/// Run the node.
#[derive(Debug, Args)]
pub struct Up {
    /// Where to listen for peers (a multiaddress; may be given several times) [default: all interfaces, a port of its own].
    #[arg(long, env = "HOLM_LISTEN", value_name = "MULTIADDR", value_delimiter = ',')]
    pub listen: Vec<String>,
    /// Where to serve JSON-RPC; only loopback addresses.
    #[arg(long, env = "HOLM_RPC_LISTEN", default_value = "127.0.0.1:7070", value_name = "ADDRESS")]
    pub rpc: std::net::SocketAddr,
    /// Do not look for peers on the local network.
    #[arg(long, env = "HOLM_NO_MDNS")]
    pub no_mdns: bool,
    /// Forward connections of other members that cannot reach each other: keepers do unless told otherwise, once
    /// this node is found to be reachable from outside.
    #[arg(long, env = "HOLM_RELAY", value_enum, default_value = "auto", num_args = 0..=1, default_missing_value = "on")]
    pub relay: Relay,
    /// Be reachable over relays though this node seems to be reachable without: where a firewall lets in some networks
    /// and not others.
    #[arg(long, env = "HOLM_RESERVE")]
    pub reserve: bool,
    /// Do not ask the router to lead a port here.
    #[arg(long, env = "HOLM_NO_UPNP")]
    pub no_upnp: bool,
    /// How long to keep what is known of the tasks of an app that was removed.
    #[arg(long, env = "HOLM_KEEP_REMOVED", value_name = "TIME", default_value = "10m", value_parser = read::duration)]
    pub keep_removed: std::time::Duration,
    /// How much to keep of what the nodes of one site, or all of them, have written, at most.
    #[arg(long, env = "HOLM_DISK_BUDGET", value_name = "BYTES", default_value = "256Mi", value_parser = read::bytes)]
    pub disk_budget: u64,
    /// How many changes a document of tasks may have before it goes on in another one: what a node that joins has to read.
    #[arg(long, env = "HOLM_VOLUME", value_name = "CHANGES", default_value_t = 1000, hide = true,
        value_parser = clap::value_parser!(u64).range(50..))]
    pub volume: u64,
    /// Where others can dial this node, when it cannot know: behind a load balancer or a forwarded port (a
    /// multiaddress; may be given several times).
    #[arg(long, env = "HOLM_ADVERTISE", value_name = "MULTIADDR", value_delimiter = ',')]
    pub advertise: Vec<String>,
}

/// Whether a node forwards for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Relay {
    /// If it is a keeper.
    Auto,
    /// Yes.
    On,
    /// No.
    Off,
}

/// Does what was typed.
pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let context = client::Context::new(arguments.data_dir, arguments.output);
    match arguments.command {
        Command::Init(args) => enrol::init(&context, args),
        Command::Token(TokenCommand::Create(args)) => enrol::create_token(&context, args).await,
        Command::Join(args) => enrol::join(&context, args).await,
        Command::Up(args) => crate::daemon::up(&context.data_dir, args).await,
        Command::Apply(args) => submit::apply(&context, args).await,
        Command::Plan(args) => plan::plan(&context, args).await,
        Command::Rm(args) => submit::remove(&context, args).await,
        Command::Scale(args) => submit::scale(&context, args).await,
        Command::Ls(args) => inspect::apps(&context, args).await,
        Command::Status(args) => inspect::status(&context, args).await,
        Command::Ps(args) => tasks::tasks(&context, args).await,
        Command::Result(args) => inspect::results(&context, args).await,
        Command::Logs(args) => logs::logs(&context, args).await,
        Command::Events(args) => watch::events(&context, args).await,
        Command::Node(NodeCommand::Ls(args)) => inspect::nodes(&context, args).await,
        Command::Cert(CertCommand::Ls(args)) => certs::list(&context, args).await,
        Command::Cert(CertCommand::Revoke(args)) => certs::revoke(&context, args).await,
        Command::Backup(args) => backup::write(&context, &args),
        Command::Restore(args) => backup::restore(&context, &args),
        Command::Doctor(args) => doctor::doctor(&context, args).await,
        Command::Version => inspect::version(&context),
    }
}
