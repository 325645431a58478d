//! `holm-bench-net`: members that send bytes to each other over streams of `holm-mesh-net`, as it ships. `holm-bench streams` puts one
//! on each host of a lab, and sets plain TCP beside it.
//!
//! The mesh is made of numbers: each member's key follows from its number, and all know the authority's. It exists only while it
//! is measured, on hosts that nobody else reaches.

mod member;
mod transfer;

use anyhow::{Context, Result, bail};
use member::Member;
use std::process::ExitCode;
use transfer::Pull;

const USAGE: &str = "holm-bench-net relay NUMBER LISTEN...
holm-bench-net serve NUMBER [relay=NUMBER@ADDRESS]... LISTEN...
holm-bench-net pull NUMBER direct|relayed FROM BYTES RUNS [relay=NUMBER@ADDRESS]... [at=ADDRESS]... LISTEN...
All addresses are multiaddresses. `serve` prints where it can be reached; `pull` prints the seconds of each run.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done =
        tokio::runtime::Runtime::new().context("no runtime").and_then(|runtime| runtime.block_on(run(&arguments)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("holm-bench-net: {why:#}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["relay", number, listen @ ..] => {
            let member = Member::start(number.parse()?, &owned(listen), true).await?;
            println!("ready");
            transfer::serve(member).await
        }
        ["serve", number, rest @ ..] => {
            let Rest { relays, listen, .. } = Rest::read(rest)?;
            let mut member = Member::start(number.parse()?, &listen, false).await?;
            member.meet_all(&relays).await?;
            if !relays.is_empty() {
                let addresses = member.announced().await?;
                println!("reached {}", addresses.join(" "));
            }
            println!("ready");
            transfer::serve(member).await
        }
        ["pull", number, path, from, bytes, runs, rest @ ..] => {
            let Rest { relays, at, listen } = Rest::read(rest)?;
            let mut member = Member::start(number.parse()?, &listen, false).await?;
            member.meet_all(&relays).await?;
            let pull =
                Pull { from: from.parse()?, relayed: relayed(path)?, bytes: bytes.parse()?, runs: runs.parse()? };
            println!("{}", serde_json::to_string(&transfer::pull(&mut member, &pull, &at).await?)?);
            Ok(())
        }
        _ => bail!("that means nothing"),
    }
}

fn relayed(path: &str) -> Result<bool> {
    match path {
        "direct" => Ok(false),
        "relayed" => Ok(true),
        other => bail!("{other:?} is neither `direct` nor `relayed`"),
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// What follows the fixed arguments.
#[derive(Default)]
struct Rest {
    relays: Vec<(u8, String)>,
    at: Vec<String>,
    listen: Vec<String>,
}

impl Rest {
    fn read(arguments: &[&str]) -> Result<Rest> {
        let mut rest = Rest::default();
        for argument in arguments {
            if let Some(relay) = argument.strip_prefix("relay=") {
                let (number, address) = relay.split_once('@').context("a relay is NUMBER@ADDRESS")?;
                rest.relays.push((number.parse()?, address.to_owned()));
            } else if let Some(address) = argument.strip_prefix("at=") {
                rest.at.push(address.to_owned());
            } else {
                rest.listen.push((*argument).to_owned());
            }
        }
        Ok(rest)
    }
}
