//! Logs over the mesh: one stream a log, a JSON value a line in both directions. The reader's pace
//! is the writer's, since a stream holds no more than its window.

use super::{LogQuery, Logs, local::MAX_LINE};
use holm_mesh_net::{IncomingStream, NetHandle, NetStream};
use holm_types::{NodeId, api::ApiError};
use serde::{Deserialize, Serialize};
use std::{io, pin::pin, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

/// Logs served to other nodes at once, at most. More wait, and are refused by the network.
const MAX_SERVED: usize = 32;
/// A question is never longer than this, in bytes.
const MAX_QUERY: u64 = 4096;
/// An answer is never longer than this, in bytes: a line whose every byte is escaped.
const MAX_ANSWER: u64 = 6 * MAX_LINE as u64 + 1024;
/// A node that says or takes nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the node that has the log says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Line(String),
    End,
    Failed(String),
}

/// Serves the logs of this node to members, until the network ends.
pub async fn serve(mut incoming: mpsc::Receiver<IncomingStream>, logs: Logs) {
    let mut serving = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = serving.join_next() => {}
            next = incoming.recv(), if serving.len() < MAX_SERVED => match next {
                Some(IncomingStream { from, stream }) => {
                    let logs = logs.clone();
                    serving.spawn(async move {
                        if let Err(error) = answer(stream, logs).await {
                            tracing::debug!(%from, %error, "a log was not served to its end");
                        }
                    });
                }
                None => return,
            },
        }
    }
}

async fn answer(stream: NetStream, logs: Logs) -> io::Result<()> {
    let (from, mut to) = tokio::io::split(stream);
    let mut from = BufReader::new(from);
    let query: LogQuery = timeout(PATIENCE, receive(&mut from, MAX_QUERY)).await??;
    // Only what is here: a question is never passed on.
    let mut log = logs.local(&query);
    let mut hung_up = pin!(hang_up(&mut from));
    loop {
        let line = tokio::select! {
            biased;
            () = &mut hung_up => return Ok(()),
            line = log.next() => line,
        };
        let (answer, last) = match line {
            Some(Ok(line)) => (Answer::Line(line), false),
            Some(Err(error)) => (Answer::Failed(error.to_string()), true),
            None => (Answer::End, true),
        };
        send(&mut to, &answer).await?;
        if last {
            return to.shutdown().await;
        }
    }
}

/// Comes back when the peer has closed its end, or says what it should not.
async fn hang_up(from: &mut BufReader<ReadHalf<NetStream>>) {
    let _ = from.read_u8().await;
}

/// A log that another node has.
pub struct RemoteLog {
    node: String,
    from: BufReader<ReadHalf<NetStream>>,
    /// Open while the log is read: its end tells the other side to stop.
    _to: WriteHalf<NetStream>,
    ended: bool,
}

impl RemoteLog {
    /// Asks `peer`, whose name is `node`.
    pub async fn open(net: &NetHandle, peer: NodeId, node: String, query: &LogQuery) -> Result<RemoteLog, ApiError> {
        let unreachable = |why: String| {
            ApiError::Busy(format!("{} runs on node {node}, whose log cannot be read from here: {why}", query.task))
        };
        let opening = timeout(PATIENCE, net.open(peer)).await;
        let stream = opening.map_err(|_| unreachable("it does not answer".to_owned()))?;
        let (from, mut to) = tokio::io::split(stream.map_err(|e| unreachable(e.to_string()))?);
        send(&mut to, query).await.map_err(|e| unreachable(e.to_string()))?;
        Ok(RemoteLog { node, from: BufReader::new(from), _to: to, ended: false })
    }

    /// The next line; none at the end. After an error it has ended.
    pub async fn next(&mut self) -> Option<Result<String, ApiError>> {
        if self.ended {
            return None;
        }
        let answer = receive(&mut self.from, MAX_ANSWER).await;
        self.ended = !matches!(answer, Ok(Answer::Line(_)));
        match answer {
            Ok(Answer::Line(line)) => Some(Ok(line)),
            Ok(Answer::End) => None,
            Ok(Answer::Failed(why)) => Some(Err(ApiError::Internal(format!("node {}: {why}", self.node)))),
            Err(error) => {
                Some(Err(ApiError::Busy(format!("the connection to node {} was lost ({error}): try again", self.node))))
            }
        }
    }
}

async fn send(to: &mut WriteHalf<NetStream>, message: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(message)?;
    bytes.push(b'\n');
    timeout(PATIENCE, async {
        to.write_all(&bytes).await?;
        to.flush().await
    })
    .await?
}

async fn receive<T: for<'de> Deserialize<'de>>(
    from: &mut BufReader<impl AsyncRead + Unpin>,
    max: u64,
) -> io::Result<T> {
    let mut line = Vec::new();
    from.take(max).read_until(b'\n', &mut line).await?;
    if line.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&line)?)
}
