//! Bytes over a stream: who pulls says how many, who serves sends them.

use crate::member::Member;
use anyhow::{Context, Result};
use std::time::Instant;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    task::JoinSet,
};

const BLOCK: usize = 64 * 1024;

/// What is pulled.
pub struct Pull {
    /// From which member.
    pub from: u8,
    /// Over a relay.
    pub relayed: bool,
    /// In each run.
    pub bytes: u64,
    /// One after another, each on a stream of its own.
    pub runs: usize,
}

/// Sends to everybody who asks, until the network ends.
///
/// # Errors
/// None that is known.
pub async fn serve(mut member: Member) -> Result<()> {
    let mut sending = JoinSet::new();
    loop {
        tokio::select! {
            incoming = member.streams.recv() => match incoming {
                Some(incoming) => drop(sending.spawn(send(incoming.stream))),
                None => return Ok(()),
            },
            Some(Ok(Err(why))) = sending.join_next() => eprintln!("a stream has failed: {why:#}"),
        }
    }
}

async fn send(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<()> {
    let mut left = stream.read_u64().await?;
    let block = [7_u8; BLOCK];
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        stream.write_all(&block[..now]).await?;
        left -= now as u64;
    }
    Ok(stream.shutdown().await?)
}

/// The seconds of each run, from the question to the last byte.
///
/// # Errors
/// The member is not reached so, or a stream breaks.
pub async fn pull(member: &mut Member, pull: &Pull, at: &[String]) -> Result<Vec<f64>> {
    member.meet(pull.from, at, pull.relayed).await?;
    let mut seconds = Vec::with_capacity(pull.runs);
    for run in 0..pull.runs {
        let mut stream = member.open(pull.from).await?;
        let begin = Instant::now();
        stream.write_u64(pull.bytes).await?;
        stream.flush().await?;
        receive(&mut stream, pull.bytes).await.with_context(|| format!("run {run}"))?;
        seconds.push(begin.elapsed().as_secs_f64());
    }
    Ok(seconds)
}

async fn receive(stream: &mut (impl AsyncRead + Unpin), bytes: u64) -> Result<()> {
    let mut block = vec![0; BLOCK];
    let mut left = bytes;
    while left > 0 {
        let got = stream.read(&mut block).await?;
        left = left.checked_sub(got as u64).filter(|_| got > 0).context("it ended early")?;
    }
    Ok(())
}
