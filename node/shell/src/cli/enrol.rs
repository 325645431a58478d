//! `init`, `token create` and `join`.

use super::{
    TokenCreate,
    client::Context,
    exit::{self, failure},
    inspect::short,
    output, read,
};
use crate::{data_dir::Settings, environment};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use holm_mesh_net::NetError;
use holm_types::{
    Label, MeshId,
    api::TokenParams,
    cert::{CertChain, Certificate, Claims, Role},
    keys::KeyPair,
    token::Token,
};
use std::{collections::BTreeMap, process::ExitCode, sync::Arc, time::Duration};

const TEN_YEARS_S: u64 = 10 * 365 * 86_400;

#[derive(Debug, Args)]
pub struct Init {
    /// Name of the mesh.
    #[arg(long)]
    mesh: Label,
    /// Site of this node.
    #[arg(long, default_value = "cloud")]
    site: Label,
    /// Name of this node [default: the host's name].
    #[arg(long)]
    name: Option<Label>,
    /// Label of this node, key=value; may be given several times.
    #[arg(long, value_name = "K=V", value_parser = parse_label)]
    label: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub struct Join {
    /// The token, from `holm token create`.
    token: String,
    /// Name of this node [default: the host's name].
    #[arg(long)]
    name: Option<Label>,
    /// Label of this node, key=value; may be given several times.
    #[arg(long, value_name = "K=V", value_parser = parse_label)]
    label: Vec<(String, String)>,
    /// How long to try.
    #[arg(long, default_value = "20s", value_parser = read::duration)]
    timeout: Duration,
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && text.len() <= 256 => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is written key=value, 256 characters at most".into()),
    }
}

/// Makes a mesh.
pub fn init(context: &Context, args: Init) -> Result<ExitCode> {
    let dir = &context.data_dir;
    dir.must_be_new()?;
    let name = node_name(args.name)?;
    dir.create()?;
    let (key, reused) = dir.identity_or_new()?;
    let authority = KeyPair::from_secret(&environment::random());
    let mesh = MeshId(authority.node_id().0);
    let claims = Claims {
        mesh,
        mesh_name: args.mesh.clone(),
        subject: key.node_id(),
        name: name.clone(),
        site: args.site.clone(),
        roles: vec![Role::Keeper, Role::Issuer, Role::Deployer],
        not_before: environment::wall().seconds().saturating_sub(86_400),
        not_after: environment::wall().seconds() + TEN_YEARS_S,
        serial: u64::from_be_bytes(environment::random()),
    };
    let chain = CertChain::new(vec![Certificate::sign(claims, &authority)?]);
    dir.write_key("identity.key", &key)?;
    dir.write_key("authority.key", &authority)?;
    dir.write_settings(&Settings::new(mesh, &chain, labels(args.label), Vec::new())?)?;
    let answer = serde_json::json!({ "mesh": args.mesh, "mesh_id": mesh, "node": name, "site": args.site });
    let text = format!(
        "{}mesh {} ({}) made, this host is its node {name} at site {}\nthe mesh's authority key is {}: move it to a safe place offline; it is only needed to make issuers\nnext: holm up{}",
        told_if(reused),
        args.mesh,
        short(&mesh.to_string()),
        args.site,
        dir.join("authority.key").display(),
        dir.flag()
    );
    context.output.say(&answer, &text);
    Ok(ExitCode::SUCCESS)
}

/// Makes a token and prints it alone.
pub async fn create_token(context: &Context, args: TokenCreate) -> Result<ExitCode> {
    let client = context.connect(&args.target).await?;
    let params = TokenParams {
        role: args.role,
        site: args.site,
        ttl_s: Some(args.ttl.as_secs()),
        uses: Some(args.uses),
        validity_s: args.validity.map(|validity| validity.as_secs()),
    };
    let token: String = client.call("token.create", &params).await?;
    match context.output {
        output::Format::Json => output::line(&serde_json::json!({ "token": token }).to_string()),
        output::Format::Table => output::line(&token),
    }
    Ok(ExitCode::SUCCESS)
}

/// Enrols this host. A try that fails leaves nothing behind.
pub async fn join(context: &Context, args: Join) -> Result<ExitCode> {
    let dir = &context.data_dir;
    dir.must_be_new()?;
    let token = Token::from_text(&args.token)?;
    let name = node_name(args.name)?;
    let there = dir.path().exists();
    // Made first: a token is not used up for a folder that cannot be written.
    dir.create()?;
    let joined = enrol(context, &token, &name, args.label, args.timeout).await;
    if joined.is_err() && !there {
        // Only goes while it is empty.
        let _ = std::fs::remove_dir(dir.path());
    }
    let (claims, reused) = joined?;
    let mesh_id = token.grant.mesh.to_string();
    let answer = serde_json::json!({
        "mesh": claims.mesh_name, "mesh_id": mesh_id, "node": claims.name, "site": claims.site, "roles": claims.roles,
        "identity_reused": reused,
    });
    let text = format!(
        "{}joined mesh {} ({}) as node {} at site {}\nnext: holm up{}",
        told_if(reused),
        claims.mesh_name,
        short(&mesh_id),
        claims.name,
        claims.site,
        dir.flag()
    );
    context.output.say(&answer, &text);
    Ok(ExitCode::SUCCESS)
}

async fn enrol(
    context: &Context,
    token: &Token,
    name: &Label,
    label: Vec<(String, String)>,
    timeout: Duration,
) -> Result<(Arc<Claims>, bool)> {
    let dir = &context.data_dir;
    let (key, reused) = dir.identity_or_new()?;
    let enrolment = holm_mesh_net::enrol(&key, token, name, timeout).await.map_err(|error| match error {
        NetError::Refused { .. } => failure(exit::NOT_AUTHORISED, format!("cannot join: {error}")),
        other => anyhow::Error::from(other).context("cannot join"),
    })?;
    let claims = enrolment.chain.verify(&token.grant.mesh).context("the issuer gave a bad certificate")?.clone();
    if claims.subject != key.node_id() {
        bail!("the issuer gave a certificate for another node");
    }
    let settings = Settings::new(token.grant.mesh, &enrolment.chain, labels(label), enrolment.peers.clone())?;
    dir.write_key("identity.key", &key)?;
    let written = dir.write_settings(&settings);
    if written.is_err() && !reused {
        let _ = std::fs::remove_file(dir.join("identity.key"));
    }
    written.map(|()| (claims, reused))
}

/// The line that says that a key was there before.
fn told_if(reused: bool) -> &'static str {
    if reused { "the identity.key that was in the folder is used again\n" } else { "" }
}

fn labels(given: Vec<(String, String)>) -> BTreeMap<String, String> {
    given.into_iter().collect()
}

/// The name given, or the host's, made to fit the rules of names.
fn node_name(given: Option<Label>) -> Result<Label> {
    if let Some(name) = given {
        return Ok(name);
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_ascii_lowercase();
    let fitting: String = host.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(63).collect();
    let fitting = fitting.trim_matches('-');
    fitting.parse().context("this host's name does not do as a node name: give one with --name")
}
