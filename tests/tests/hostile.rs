//! Bytes that mean harm, on every port and in every file: a clear refusal, little memory, and the node goes on.

use anyhow::{Context, Result, anyhow, ensure};
use holm_tests::{
    cluster::{Cluster, join},
    eventually, holds, http,
    lab::Host,
    node::{Node, SOON},
    process,
    suite::{Scene, Suite},
};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

const MEGABYTE: u64 = 1024 * 1024;
/// A node's memory, whatever is thrown at it.
const MOST_MEMORY: u64 = 100 * MEGABYTE;
/// Connections that are held against a node.
const SIEGE: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a thrower listens for an answer before it throws the next thing.
const GLANCE: Duration = Duration::from_millis(20);

fn main() {
    Suite::new()
        .test("garbage on every port changes nothing", garbage_on_every_port)
        .test("a thousand strangers at the door keep no member out", a_thousand_strangers)
        .test("oversized requests are refused", oversized_requests)
        .test("manifests that are too large, too deep or too long are refused", hostile_manifests)
        .test("every wrong field is named", every_wrong_field_is_named)
        .run()
}

/// Garbage from a seed (xorshift64*): what failed once fails again.
struct Garbage(u64);

impl Garbage {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            bytes.extend_from_slice(&self.0.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

/// Still the same process, still small, still answers.
fn unharmed(node: &Node, pid: Option<i32>) -> Result<()> {
    let pid = pid.context("it was started")?;
    ensure!(process::runs(pid), "the node is gone; its log ends with\n{}", tail(&node.log()));
    let status = node.status()?;
    ensure!(status.ready, "it does not serve any more");
    let peak = process::peak_memory(pid)?;
    ensure!(peak < MOST_MEMORY, "it took {} MB", peak / MEGABYTE);
    ensure!(!node.log().contains("panicked"), "something panicked:\n{}", tail(&node.log()));
    Ok(())
}

fn tail(log: &str) -> &str {
    &log[log.char_indices().rev().nth(2000).map_or(0, |(at, _)| at)..]
}

/// Sends bytes and looks shortly for what comes back. The other side may close at any time.
fn throw(node: &Node, at: SocketAddr, bytes: &[u8]) -> Result<TcpStream> {
    let mut stream = node.host().connect(at, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(GLANCE))?;
    let _ = stream.write_all(bytes);
    let _ = stream.read(&mut [0; 1024]);
    Ok(stream)
}

fn garbage_on_every_port(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("cloud-1", "cloud").node("till-1", "shop").start()?;
    let node = mesh.node("cloud-1");
    let pid = node.pid();
    let peer_port = SocketAddr::new(node.host().address(), node.port());
    let rpc_port = node.rpc()?.address.into();
    let mut garbage = Garbage(20_260_801);
    // The first words of the protocols that are spoken there, so that some of it gets past the door.
    let openings: [&[u8]; 6] = [
        b"",
        b"\x13/multistream/1.0.0\n",
        b"\x13/multistream/1.0.0\n\x07/noise\n",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"POST /rpc HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"GET /rpc HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    ];

    let mut held = Vec::new();
    for length in [0, 1, 2, 3, 17, 100, 1000, 5000, 65_536] {
        for opening in openings {
            let bytes = [opening, &garbage.bytes(length)].concat();
            for port in [peer_port, rpc_port] {
                held.push(throw(node, port, &bytes)?);
            }
        }
    }
    let udp = node.host().run(|| Ok(UdpSocket::bind((node.host().address(), 0))?))?;
    for round in 0..500 {
        let mut packet = garbage.bytes(round * 3 % 1400);
        if let Some(first) = packet.first_mut().filter(|_| round % 2 == 0) {
            *first |= 0xc0; // A long header of QUIC, such as begins a connection.
        }
        udp.send_to(&packet, peer_port)?;
    }
    unharmed(node, pid).context("while many half-open connections are held")?;
    drop(held);
    mesh.wait_acquainted()?;
    unharmed(node, pid)
}

/// Connections that are begun and left, a thousand at any time, each new one in the place of the oldest.
fn besiege(node: &Node, from: &Host, over: &AtomicBool) -> Result<u32> {
    let at = SocketAddr::new(node.host().address(), node.port());
    let openings: [&[u8]; 3] = [b"", b"\x13/multistream/1.0.0\n", b"\x13/multistream/1.0.0\n\x07/noise\n"];
    let (mut held, mut made) = (VecDeque::new(), 0_u32);
    let mut garbage = Garbage(20_261_128);
    while !over.load(Ordering::Relaxed) {
        // A full backlog is its own defence.
        let Ok(mut stream) = from.connect(at, PATIENCE) else { continue };
        let _ = stream.write_all(openings[made as usize % openings.len()]);
        if made.is_multiple_of(2) {
            let _ = stream.write_all(&garbage.bytes(40));
        }
        held.push_back(stream);
        made += 1;
        if held.len() > SIEGE {
            held.pop_front();
        }
    }
    Ok(made)
}

fn a_thousand_strangers(scene: &Scene) -> Result<()> {
    let mut mesh = Cluster::of(scene).node("cloud-1", "cloud").node("till-1", "shop").start()?;
    let stranger = mesh.new_host("elsewhere")?;
    let (late, token) = (mesh.new_node("till-2", "shop")?, mesh.token("shop", &[])?);
    let node = mesh.node("cloud-1");
    let (pid, over) = (node.pid(), AtomicBool::new(false));
    let (through, made) = std::thread::scope(|threads| {
        let siege = threads.spawn(|| besiege(node, &stranger, &over));
        let through = || -> Result<()> {
            eventually("the node has been asked by a thousand", SOON, || {
                let turned_away = node.rpc()?.counter("holm_net_gate_busy_total")?;
                ensure!(turned_away > SIEGE as u64, "{turned_away}");
                Ok(())
            })?;
            join(&late, &token)?;
            late.up()?;
            let all_alive = || -> Result<()> {
                for node in [node, &late, mesh.node("till-1")] {
                    let members = node.members()?;
                    let alive = members.iter().filter(|m| m.state == "alive").count();
                    ensure!(alive == 3, "{}: {members:?}", node.name());
                }
                Ok(())
            };
            eventually("the three see each other", SOON, all_alive)?;
            holds("they go on to", Duration::from_secs(10), all_alive)?;
            unharmed(node, pid)
        };
        let through = through();
        over.store(true, Ordering::Relaxed);
        (through, siege.join())
    });
    through?;
    let made = made.map_err(|_| anyhow!("the siege panicked"))??;
    eprintln!("{made} connections were begun");
    unharmed(node, pid)
}

fn oversized_requests(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("cloud-1", "cloud").start()?;
    let node = mesh.node("cloud-1");
    let (pid, rpc) = (node.pid(), node.rpc()?);
    let huge = "x".repeat(20 * 1024 * 1024);

    let bodies = [
        ("with the credential", rpc.authorisation(), http::request("app.apply", json!({ "text": huge })).to_string()),
        ("without it", String::new(), http::request("app.apply", json!({ "text": huge })).to_string()),
        ("not JSON", rpc.authorisation(), huge.clone()),
        ("deep", rpc.authorisation(), "[".repeat(100_000)),
        ("half", rpc.authorisation(), r#"{"jsonrpc":"2.0","id":1,"method":"app.li"#.to_owned()),
    ];
    for (what, header, body) in bodies {
        // The server may hang up on such a client instead of answering; what it must not do is say yes.
        match http::post(rpc.connect()?, "/rpc", &header, body.as_bytes()) {
            Ok(answer) if answer.status == 200 => {
                let answer: Value = serde_json::from_slice(&answer.body).context(what)?;
                ensure!(answer["error"].is_object(), "{what}: {answer}");
            }
            Ok(answer) => ensure!((400..500).contains(&answer.status), "{what}: HTTP {}", answer.status),
            Err(_) => {}
        }
        unharmed(node, pid).context(what)?;
    }

    let batch: Vec<Value> = (0..10_000).map(|_| http::request("mesh.status", json!({}))).collect();
    let _ = http::post(rpc.connect()?, "/rpc", &rpc.authorisation(), json!(batch).to_string().as_bytes());
    let _ = http::get(rpc.connect()?, "/rpc", &format!("X-Long: {}\r\n", "y".repeat(1024 * 1024)));
    unharmed(node, pid)
}

fn hostile_manifests(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("cloud-1", "cloud").start()?;
    let node = mesh.node("cloud-1");
    let pid = node.pid();
    let good = "name = 'a'\ntype = 'service'\n[run.process]\ncommand = ['/bin/true']\n";
    let bomb = (1..12).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
        let inner = vec![format!("*a{}", n - 1); 9].join(",");
        format!("{text}a{n}: &a{n} [{inner}]\n")
    });
    let hostile = [
        ("10 MB of comment", format!("{good}# {}", "x".repeat(10 * 1024 * 1024))),
        ("10 MB of one value", good.replace("'a'", &format!("'{}'", "x".repeat(10 * 1024 * 1024)))),
        ("deep TOML", format!("{good}[env]\na = {}1{}\n", "[".repeat(1000), "]".repeat(1000))),
        ("deep TOML tables", format!("{good}[{}]\nx = 1\n", vec!["a"; 1000].join("."))),
        ("deep YAML", format!("name: {}1{}\n", "[".repeat(1000), "]".repeat(1000))),
        ("deep YAML maps", (0..1000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect()),
        ("a YAML bomb", format!("{bomb}name: *a11\n")),
        ("no text at all", String::new()),
        ("a NUL", good.replace("'/bin/true'", "\"/bin/\\u0000true\"")),
        ("many variables", format!("{good}[env]\n{}", (0..5000).map(|n| format!("V{n} = 'x'\n")).collect::<String>())),
    ];
    for (what, text) in &hostile {
        let file = scene.folder("manifests")?.join("hostile");
        std::fs::write(&file, text)?;
        let output = node.holm(&["apply", "-f", &file.to_string_lossy()])?;
        orderly(&output).with_context(|| format!("as a file: {what}"))?;
        let answer = node.call("app.apply", json!({ "text": text }));
        ensure!(answer.is_err(), "over JSON-RPC it was taken: {what}");
        unharmed(node, pid).context(*what)?;
    }
    ensure!(node.apps()?.is_empty(), "something was submitted: {:?}", node.apps()?);
    Ok(())
}

fn every_wrong_field_is_named(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("cloud-1", "cloud").start()?;
    let node = mesh.node("cloud-1");
    let good = json!({ "name": "a", "type": "service", "run": { "process": { "command": ["/bin/true"] } } });
    let wrong = [
        ("name", json!("Not A Name")),
        ("name", json!(["a"])),
        ("namespace", json!("../..")),
        ("type", json!("servise")),
        ("replicas", json!(-1)),
        ("replicas", json!(1_000_000_000)),
        ("tasks", json!(3)),
        ("parallel", json!(3)),
        ("retries", json!(3)),
        ("schedule", json!("* * * * *")),
        ("env", json!({ "HOLM_NODE": "me" })),
        ("env", json!({ "A=B": "c" })),
        ("env", json!([1])),
        ("run", json!({})),
        ("run", json!({ "process": { "command": [] } })),
        ("run", json!({ "process": { "command": "ls" } })),
        ("run", json!({ "process": { "command": ["a"] }, "wasm": { "component": "b" } })),
        ("resources", json!({ "memory": "64Qi" })),
        ("resources", json!({ "cpu": "-1" })),
        ("place", json!({ "site": "Not A Site" })),
        ("place", json!({ "spread": "galaxy" })),
        ("priority", json!({ "class": "royal" })),
        ("partition", json!({ "policy": "panic" })),
        ("partition", json!({ "policy": "reschedule", "after": "soon" })),
        ("update", json!({ "max_surge": -1 })),
        ("health", json!({ "http": { "path": "/", "port": 99_999 } })),
        ("restart", json!({ "policy": "sometimes" })),
        ("colour", json!("red")),
    ];
    for (field, value) in wrong {
        let mut manifest = good.clone();
        manifest[field] = value.clone();
        let output = node.holm_with(&["apply", "-f", "-"], &format!("{manifest:#}"))?;
        let said = orderly(&output).with_context(|| format!("{field} = {value}"))?;
        // The field, or what is wrong in it; for a wrong choice the text lists what is allowed.
        let named = words_of(&value).iter().chain(&[field.to_owned(), "expected".to_owned()]).any(|w| said.contains(w));
        ensure!(named, "{field} = {value} is not named in: {said}");
    }
    ensure!(node.apps()?.is_empty(), "something was submitted: {:?}", node.apps()?);
    Ok(())
}

/// The keys in a value, at any depth.
fn words_of(value: &Value) -> Vec<String> {
    let Some(map) = value.as_object() else { return Vec::new() };
    map.iter().flat_map(|(key, inner)| [vec![key.clone()], words_of(inner)].concat()).collect()
}

/// It failed, was not killed, did not panic, and said something that a person can read at a glance.
fn orderly(output: &std::process::Output) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code().with_context(|| format!("{}: {said}", output.status))?;
    ensure!([1, 3].contains(&code), "exit code {code}: {said}");
    ensure!(!said.trim().is_empty() && said.len() < 4000, "{} bytes of error text", said.len());
    ensure!(!said.contains("panicked"), "{said}");
    Ok(said)
}
