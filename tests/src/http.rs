//! A small HTTP/1.1 client: what any program can do without a library of Holm's.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddrV4, TcpStream},
    time::Duration,
};

/// Bodies that are larger are refused.
const MAX_BODY: u64 = 64 * 1024 * 1024;
/// How long a server may be silent.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One request over `stream`, and its answer.
///
/// # Errors
/// The connection breaks, or the answer is not HTTP.
pub fn exchange(stream: TcpStream, head: &str, body: &[u8]) -> Result<Response> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut message = head.as_bytes().to_vec();
    message.extend_from_slice(b"\r\n");
    message.extend_from_slice(body);
    // A server may answer and close before it has read everything: the answer is what counts.
    let written = (&stream).write_all(&message);
    read_response(BufReader::new(stream)).with_context(|| format!("no answer (the request: {written:?})"))
}

/// `GET path`.
///
/// # Errors
/// As [`exchange`].
pub fn get(stream: TcpStream, path: &str, headers: &str) -> Result<Response> {
    exchange(stream, &format!("GET {path} HTTP/1.1\r\nHost: holm\r\nConnection: close\r\n{headers}"), b"")
}

/// `POST path` with a JSON body.
///
/// # Errors
/// As [`exchange`].
pub fn post(stream: TcpStream, path: &str, headers: &str, body: &[u8]) -> Result<Response> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: holm\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n{headers}",
        body.len()
    );
    exchange(stream, &head, body)
}

/// Reads one answer; what follows it stays unread.
///
/// # Errors
/// The connection breaks, or the answer is not HTTP.
pub fn read_response(mut from: impl BufRead) -> Result<Response> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("not an HTTP status line: {line:?}"))?;
    let mut length = None;
    loop {
        line.clear();
        from.read_line(&mut line)?;
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "" => break,
            "content-length" => length = Some(value.trim().parse::<u64>()?),
            "transfer-encoding" => bail!("a body in pieces is not expected here"),
            _ => {}
        }
    }
    ensure!(length.unwrap_or(0) <= MAX_BODY, "the body is too large");
    let mut body = Vec::new();
    from.take(length.unwrap_or(MAX_BODY)).read_to_end(&mut body)?;
    Ok(Response { status, body })
}

/// A node's JSON-RPC interface, as a program on the node's host finds it: the address and the
/// credential are in the data folder.
#[derive(Debug, Clone)]
pub struct Rpc {
    /// The node's host.
    pub host: crate::lab::Host,
    /// Where it listens.
    pub address: SocketAddrV4,
    /// The credential.
    pub credential: String,
}

impl Rpc {
    /// Calls a method with the credential.
    ///
    /// # Errors
    /// No answer, or the answer is an error.
    pub fn call(&self, method: &str, params: Value) -> Result<Value> {
        let answer = self.send(self.connect()?, method, params)?;
        ensure!(answer.status == 200, "{method} answered HTTP {}: {}", answer.status, answer.text());
        let mut answer: Value = serde_json::from_slice(&answer.body)?;
        match answer.get("error") {
            Some(error) => bail!("{method} was refused: {error}"),
            None => Ok(answer["result"].take()),
        }
    }

    /// Sends a call over a connection that is there already.
    ///
    /// # Errors
    /// No answer.
    pub fn send(&self, stream: TcpStream, method: &str, params: Value) -> Result<Response> {
        post(stream, "/rpc", &self.authorisation(), request(method, params).to_string().as_bytes())
    }

    /// The value of one of its `/metrics`.
    ///
    /// # Errors
    /// No answer, or there is no such metric.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let text = get(self.connect()?, "/metrics", "")?.text();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned);
        Ok(value.with_context(|| format!("no {name} in {text}"))?.parse()?)
    }

    /// A connection to it.
    ///
    /// # Errors
    /// It is refused.
    pub fn connect(&self) -> Result<TcpStream> {
        self.host.connect(self.address, PATIENCE)
    }

    /// The header that carries the credential.
    pub fn authorisation(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.credential)
    }
}

/// The body of a call.
pub fn request(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_with_and_without_a_length() {
        let with = read_response(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi there".as_slice()).unwrap();
        assert_eq!((with.status, with.text().as_str()), (200, "hi"));
        let without = read_response(b"HTTP/1.0 401 No\r\nX: y\r\n\r\nbody".as_slice()).unwrap();
        assert_eq!((without.status, without.text().as_str()), (401, "body"));
        assert!(read_response(b"".as_slice()).is_err() && read_response(b"220 smtp".as_slice()).is_err());
    }
}
