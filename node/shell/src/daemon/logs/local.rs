//! The log of a task of this node, line by line.

use super::{LogQuery, Logs};
use holm_exec::{ExecError, LogCursor};
use std::{collections::VecDeque, time::Duration};

/// Bytes of a log read at a time.
const CHUNK: usize = 32 * 1024;
/// A line longer than this is cut, in bytes.
pub const MAX_LINE: usize = 64 * 1024;
/// How often a followed log is looked at.
const POLL: Duration = Duration::from_millis(100);

/// See the [module](self).
pub struct LocalLog {
    logs: Logs,
    query: LogQuery,
    cursor: LogCursor,
    partial: Vec<u8>,
    lines: VecDeque<String>,
    ended: bool,
}

impl LocalLog {
    pub fn new(logs: Logs, query: LogQuery) -> LocalLog {
        let (cursor, partial, lines) = (LogCursor::default(), Vec::new(), VecDeque::new());
        LocalLog { logs, query, cursor, partial, lines, ended: false }
    }

    /// The next line; none at the end. After an error it has ended.
    pub async fn next(&mut self) -> Option<Result<String, ExecError>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(Ok(line));
            }
            if self.ended {
                return None;
            }
            // Asked before the read: what a task wrote last is then not missed.
            let goes_on = self.query.follow && self.still_runs().await;
            match self.logs.runner.read_logs(&self.query.task, self.query.stream, self.cursor, CHUNK).await {
                Ok((bytes, cursor)) if !bytes.is_empty() => {
                    self.cursor = cursor;
                    self.split(&bytes);
                }
                Ok(_) if goes_on => tokio::time::sleep(POLL).await,
                Ok(_) => self.finish(),
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }

    fn split(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' || self.partial.len() >= MAX_LINE {
                let line = std::mem::take(&mut self.partial);
                self.lines.push_back(String::from_utf8_lossy(&line).into_owned());
            }
            if *byte != b'\n' {
                self.partial.push(*byte);
            }
        }
    }

    fn finish(&mut self) {
        self.ended = true;
        if !self.partial.is_empty() {
            self.lines.push_back(String::from_utf8_lossy(&self.partial).into_owned());
        }
    }

    async fn still_runs(&self) -> bool {
        let Some(row) = self.logs.task(&self.query.task).await else { return false };
        matches!(row["state"].as_str(), Some("assigned" | "starting" | "running" | "stopping"))
    }
}
