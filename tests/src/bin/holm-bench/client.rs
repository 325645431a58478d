//! A JSON-RPC client that keeps its connection open, as a program that submits often does.

use anyhow::{Context, Result, bail, ensure};
use holm_tests::{
    http::{self, PATIENCE, Rpc},
    node::Node,
};
use serde_json::{Value, json};
use std::{
    io::{BufReader, Write},
    net::TcpStream,
};

/// A connection to a node.
pub struct Client {
    stream: BufReader<TcpStream>,
    rpc: Rpc,
}

impl Client {
    /// Connects to a node that serves.
    ///
    /// # Errors
    /// It is refused.
    pub fn connect(node: &Node) -> Result<Client> {
        let rpc = node.rpc()?;
        let stream = rpc.connect()?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream: BufReader::new(stream), rpc })
    }

    /// Calls a method.
    ///
    /// # Errors
    /// No answer, or the answer is an error.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        let body = http::request(method, params).to_string();
        let message = format!(
            "POST /rpc HTTP/1.1\r\nHost: holm\r\nContent-Type: application/json\r\n{}Content-Length: {}\r\n\r\n{body}",
            self.rpc.authorisation(),
            body.len()
        );
        self.stream.get_mut().write_all(message.as_bytes()).with_context(|| format!("cannot send {method}"))?;
        let answer = http::read_response(&mut self.stream).with_context(|| format!("no answer to {method}"))?;
        ensure!(answer.status == 200, "{method} answered HTTP {}: {}", answer.status, answer.text());
        let mut answer: Value = serde_json::from_slice(&answer.body)?;
        match answer.get("error") {
            Some(error) => bail!("{method} was refused: {error}"),
            None => Ok(answer["result"].take()),
        }
    }

    /// Submits an app.
    ///
    /// # Errors
    /// It is refused.
    pub fn apply(&mut self, manifest: Value) -> Result<()> {
        self.call("app.apply", json!({ "manifest": manifest })).map(drop)
    }

    /// Removes an app.
    ///
    /// # Errors
    /// It is refused.
    pub fn delete(&mut self, app: &str) -> Result<()> {
        self.call("app.delete", json!({ "name": app })).map(drop)
    }

    /// The tasks of an app that have not ended.
    ///
    /// # Errors
    /// It is refused.
    pub fn tasks(&mut self, app: &str) -> Result<Vec<Value>> {
        match self.call("task.list", json!({ "app": app }))?["items"].take() {
            Value::Array(rows) => Ok(rows),
            other => bail!("task.list answered {other}"),
        }
    }
}
