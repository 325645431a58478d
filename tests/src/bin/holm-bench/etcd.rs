//! Three members of etcd on 127.0.0.1, spoken to over its JSON gateway, to compare with.

use crate::{
    options::beside,
    visible::{Members, Shows, Write},
};
use anyhow::{Context, Result, ensure};
use data_encoding::BASE64;
use holm_tests::http::{self, PATIENCE};
use serde_json::{Value, json};
use std::{
    io::{BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// As many bytes as the manifest of the app that Holm is given.
const VALUE: [u8; 170] = [b'x'; 170];

/// A running etcd. It dies with its owner.
pub struct Etcd {
    members: Vec<(SocketAddr, Child)>,
}

impl Etcd {
    /// Starts so many members, and waits until they take a write.
    ///
    /// # Errors
    /// There is no etcd, or it does not come up.
    pub fn start(folder: &Path, count: usize) -> Result<Etcd> {
        let program = program()?;
        let ports = free_ports(2 * count)?;
        let (clients, peers) = ports.split_at(count);
        let cluster: Vec<String> = peers.iter().enumerate().map(|(n, peer)| format!("e{n}=http://{peer}")).collect();
        let mut etcd = Etcd { members: Vec::new() };
        for (n, (client, peer)) in clients.iter().zip(peers).enumerate() {
            let log = std::fs::File::create(folder.join(format!("e{n}.log")))?;
            let child = Command::new(&program)
                .args(["--name", &format!("e{n}"), "--data-dir"])
                .arg(folder.join(format!("e{n}")))
                .args(["--listen-client-urls", &format!("http://{client}")])
                .args(["--advertise-client-urls", &format!("http://{client}")])
                .args(["--listen-peer-urls", &format!("http://{peer}")])
                .args(["--initial-advertise-peer-urls", &format!("http://{peer}")])
                .args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new"])
                .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH.replace("aarch64", "arm64"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .with_context(|| format!("cannot start {}", program.display()))?;
            etcd.members.push((*client, child));
        }
        let begin = Instant::now();
        while let Err(why) = etcd.writer(count - 1).and_then(|mut write| write("ready")) {
            ensure!(begin.elapsed() < READY_WITHIN, "etcd does not take a write after {READY_WITHIN:?}: {why:#}");
            crate::wait::pass(Duration::from_millis(100))?;
        }
        Ok(etcd)
    }

    fn connect(&self, member: usize) -> Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(self.members[member].0)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(BufReader::new(stream))
    }
}

impl Members for Etcd {
    fn writer(&self, member: usize) -> Result<Write> {
        let mut stream = self.connect(member)?;
        Ok(Box::new(move |key| {
            let body = json!({ "key": BASE64.encode(key.as_bytes()), "value": BASE64.encode(&VALUE) });
            post(&mut stream, "/v3/kv/put", &body).map(drop)
        }))
    }

    fn reader(&self, member: usize) -> Result<Shows> {
        let mut stream = self.connect(member)?;
        Ok(Box::new(move |key| {
            let body = json!({ "key": BASE64.encode(key.as_bytes()), "serializable": true });
            Ok(post(&mut stream, "/v3/kv/range", &body)?["count"] == "1")
        }))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for (_, child) in &mut self.members {
            // An error means that it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn post(stream: &mut BufReader<TcpStream>, path: &str, body: &Value) -> Result<Value> {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: etcd\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.get_mut().write_all(head.as_bytes())?;
    let answer = http::read_response(stream)?;
    ensure!(answer.status == 200, "etcd answered HTTP {}: {}", answer.status, answer.text());
    Ok(serde_json::from_slice(&answer.body)?)
}

/// Where `make bench` has put it, or one that is installed.
fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|folder| folder.join("etcd")).find(|file| file.is_file());
    beside("etcd/usr/bin/etcd")
        .or(installed)
        .context("there is no etcd to compare with: `make bench` fetches Debian's, or install `etcd-server`")
}

fn free_ports(count: usize) -> Result<Vec<SocketAddr>> {
    // All at once, so that none is given twice.
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    Ok(listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
}
