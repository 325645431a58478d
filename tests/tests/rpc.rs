//! The JSON-RPC interface, as a program without any library of ours uses it.

use anyhow::{Context, Result, ensure};
use holm_tests::{
    cluster::Cluster,
    eventually, http,
    node::Node,
    suite::{Scene, Suite},
};
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

/// What an answer to somebody may take while others flood the node.
const PROMPTLY: Duration = Duration::from_secs(1);
/// Megabytes by which a flood of answers may grow a node: the 32 of its budget, several times over while they are
/// made and copied. Without the budget it was gigabytes.
const GROWTH: u64 = 250;
/// A death is noticed and told by then.
const SOON: Duration = Duration::from_secs(30);

fn main() {
    Suite::new()
        .test("a program submits, lists and reads over plain HTTP", a_program_submits_lists_and_reads)
        .test("nobody gets in without the credential", nobody_gets_in_without_the_credential)
        .test("what is wrong with a call is said in its error", errors_say_what_is_wrong)
        .test("clients that take no answers cost neither the mesh nor the memory", deaf_clients_cost_nothing)
        .test("2,000 half-open connections lock nobody out", half_open_connections_lock_nobody_out)
        .test("what an owner alerts on is among the metrics", an_owner_is_alerted)
        .test("a refused credential is told with where it came from", a_refused_credential_is_told)
        .run()
}

fn app(name: &str) -> Value {
    json!({ "name": name, "type": "service", "run": { "process": { "command": ["/bin/sleep", "100000"] } } })
}

fn a_program_submits_lists_and_reads(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("cloud-1", "cloud").start()?;
    let node = mesh.node("cloud-1");

    let applied = node.call("app.apply", json!({ "manifest": app("hello"), "idempotency_key": "one" }))?;
    ensure!(applied["name"] == "hello" && applied["changed"] == true, "{applied}");
    let again = node.call("app.apply", json!({ "manifest": app("hello"), "idempotency_key": "one" }))?;
    ensure!(again == applied, "the same key gives the same answer, not {again}");
    node.wait_running("hello", 1)?;

    let listed = node.call("app.list", json!({}))?;
    ensure!(listed["items"][0]["name"] == "hello" && listed["items"][0]["type"] == "service", "{listed}");
    let read = node.call("app.get", json!({ "name": "hello" }))?;
    ensure!(read["app"] == "hello" && read["slots"][0]["node"] == "cloud-1", "{read}");
    let tasks = node.call("task.list", json!({ "app": "hello" }))?;
    let id = tasks["items"][0]["id"].as_str().context("a task has an id")?;
    ensure!(node.call("task.get", json!({ "id": id }))?["state"] == "running");
    let status = node.call("mesh.status", json!({}))?;
    ensure!(status["mesh"] == "orchard" && status["ready"] == true, "{status}");
    Ok(())
}

fn nobody_gets_in_without_the_credential(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("cloud-1", "cloud").start()?;
    let rpc = mesh.node("cloud-1").rpc()?;
    let body = http::request("app.list", json!({})).to_string();
    let almost = format!("{}0", &rpc.credential[..rpc.credential.len() - 1]);
    for credential in ["", "wrong", &rpc.credential[..8], &almost] {
        if credential == rpc.credential {
            continue;
        }
        let header = format!("Authorization: Bearer {credential}\r\n");
        let answer = http::post(rpc.connect()?, "/rpc", &header, body.as_bytes())?;
        ensure!(answer.status == 401, "with {credential:?}: {} {}", answer.status, answer.text());
    }
    let answer = http::post(rpc.connect()?, "/rpc", "", body.as_bytes())?;
    ensure!(answer.status == 401, "without a header: {} {}", answer.status, answer.text());
    ensure!(!answer.text().contains("orchard") && !answer.text().contains("cloud-1"), "it tells: {}", answer.text());

    ensure!(http::get(rpc.connect()?, "/healthz", "")?.status == 200, "whether it lives is no secret");
    ensure!(http::get(rpc.connect()?, "/readyz", "")?.status == 200, "whether it serves is no secret");

    let file = std::fs::metadata(mesh.node("cloud-1").data().join("rpc.token"))?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.permissions());
    ensure!(mode & 0o077 == 0, "the credential's file can be read by others: mode {mode:o}");
    Ok(())
}

fn an_owner_is_alerted(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("cloud-1", "cloud").node("till-1", "shop").start()?;
    let node = mesh.node("cloud-1");
    let rpc = node.rpc()?;
    node.apply(&app("hello").to_string())?;
    node.wait_running("hello", 1)?;
    let reads = |what: &str, wanted: &[(&str, u64)]| {
        eventually(what, SOON, || {
            for (name, value) in wanted {
                let told = rpc.counter(&format!("holm_{name}"))?;
                ensure!(told == *value, "{name} is {told}, not {value}");
            }
            Ok(())
        })
    };
    let quiet = [("apps", 1), ("apps_in_conflict", 0), ("reads_only", 0), ("revoked", 0), ("tasks_waiting", 0)];
    reads("a mesh in which all is well", &quiet)?;
    reads("both are there", &[("nodes{state=\"alive\"}", 2), ("nodes{state=\"dead\"}", 0), ("peers", 1)])?;
    let end = node.call("cert.list", json!({}))?["items"]
        .as_array()
        .and_then(|rows| rows.iter().find(|row| row["name"] == "cloud-1")?["not_after"].as_u64())
        .context("cloud-1 has a certificate")?;
    ensure!(rpc.counter("holm_certificate_end_seconds")? == end, "its certificate ends at {end}");
    ensure!(rpc.counter("holm_scope_bytes")? < rpc.counter("holm_scope_budget_bytes")?);

    mesh.node("till-1").kill9()?;
    reads("one is gone", &[("nodes{state=\"alive\"}", 1), ("nodes{state=\"dead\"}", 1), ("peers", 0)])?;
    let text = http::get(rpc.connect()?, "/metrics", "")?.text();
    ensure!(!text.contains("cloud-1") && !text.contains("hello"), "it tells names: {text}");
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let once: std::collections::BTreeSet<&&str> = names.iter().collect();
    ensure!(once.len() == names.len(), "a metric is told twice: {names:?}");
    Ok(())
}

fn errors_say_what_is_wrong(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("cloud-1", "cloud").start()?;
    let node = mesh.node("cloud-1");
    node.apply(&app("hello").to_string())?;
    let cases = [
        ("app.get", json!({ "name": "nothing" }), 1004, "not_found"),
        ("app.apply", json!({ "manifest": app("hello"), "expected_revision": 77 }), 1009, "revision_conflict"),
        ("app.apply", json!({ "text": "name = 1" }), 1003, "invalid"),
        ("app.nonsense", json!({}), -32601, ""),
        ("app.get", json!({ "nome": "hello" }), -32602, ""),
    ];
    let rpc = node.rpc()?;
    for (method, params, code, reason) in cases {
        let answer = rpc.send(rpc.connect()?, method, params.clone())?;
        let answer: Value = serde_json::from_slice(&answer.body)?;
        let error = &answer["error"];
        ensure!(error["code"] == code, "{method} {params}: code {code} is expected, not {answer}");
        ensure!(reason.is_empty() || error["data"]["reason"] == reason, "{method} {params}: {answer}");
        ensure!(error["message"].as_str().is_some_and(|m| !m.is_empty()), "{method} {params}: {answer}");
    }
    Ok(())
}

/// Megabytes of memory that a node's agent occupies.
fn memory(node: &Node) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid().context("it runs")?))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().next().context("a number")?.parse::<u64>()? / 1024)
}

/// A WebSocket that asks for big answers, batch after batch, and never reads one.
fn deaf(node: &Node, batch: &str) -> Result<TcpStream> {
    let rpc = node.rpc()?;
    let mut socket = rpc.connect()?;
    let handshake = "GET /rpc HTTP/1.1\r\nHost: holm\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    socket.write_all(format!("{handshake}{}\r\n", rpc.authorisation()).as_bytes())?;
    let mut status = [0; 12];
    socket.read_exact(&mut status)?;
    ensure!(&status == b"HTTP/1.1 101", "no WebSocket: {status:?}");
    let mut frame = vec![0x81, 0x80 | 126];
    frame.extend(u16::try_from(batch.len())?.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(batch.as_bytes());
    // What the node does not read any more stays in the kernel.
    socket.set_nonblocking(true)?;
    (0..8).try_for_each(|_| socket.write_all(&frame)).or_else(|e| match e.kind() {
        std::io::ErrorKind::WouldBlock => Ok(()),
        _ => Err(e),
    })?;
    Ok(socket)
}

fn promptly(what: &str, ask: impl FnOnce() -> Result<()>) -> Result<()> {
    let begun = Instant::now();
    ask().with_context(|| what.to_owned())?;
    ensure!(begun.elapsed() < PROMPTLY, "{what} took {:?}", begun.elapsed());
    Ok(())
}

/// Everything that somebody else may want of the node.
fn serves(node: &Node) -> Result<()> {
    for path in ["/healthz", "/readyz", "/metrics"] {
        promptly(path, || {
            let rpc = node.rpc()?;
            let status = http::get(rpc.connect()?, path, "")?.status;
            ensure!(status == 200, "{status}");
            Ok(())
        })?;
    }
    promptly("mesh.status", || node.call("mesh.status", json!({})).map(drop))
}

fn deaf_clients_cost_nothing(scene: &Scene) -> Result<()> {
    const TASKS: usize = 200;
    let mesh = Cluster::of(scene).node("cloud-1", "cloud").node("cloud-2", "cloud").start()?;
    let (node, peer) = (mesh.node("cloud-1"), mesh.node("cloud-2"));
    // A control character takes six bytes of JSON.
    node.apply(&format!(
        "name = 'big'\ntype = 'job'\ntasks = {TASKS}\nparallel = 40\n[run.process]\n\
         command = ['/bin/sh', '-c', 'head -c 2000 /dev/zero']\n",
    ))?;
    eventually("the job is done", Duration::from_secs(120), || {
        let done = node.results("big")?.len();
        ensure!(done == TASKS, "{done} of {TASKS}");
        Ok(())
    })?;

    let before = memory(node)?;
    let call = http::request("app.result", json!({ "name": "big" })).to_string();
    let batch = format!("[{}]", vec![call; 64].join(","));
    let floods: Vec<TcpStream> = (0..40).map(|_| deaf(node, &batch)).collect::<Result<_>>()?;
    // Until the node has given up all of them: it is given work all the time before.
    eventually("the node gives them up", Duration::from_secs(240), || {
        serves(node)?;
        let now = memory(node)?;
        assert!(now < before + GROWTH, "its memory has grown from {before} to {now} MB");
        let suspected = peer.members()?.into_iter().find(|member| member.state != "alive");
        assert!(suspected.is_none(), "{suspected:?} is held for dead");
        let given_up = node.rpc()?.counter("holm_rpc_too_slow_total")?;
        ensure!(given_up >= 3, "{given_up}");
        Ok(())
    })?;
    drop(floods);
    eventually("its memory is given back", Duration::from_secs(60), || {
        let (unsent, now) = (node.rpc()?.counter("holm_rpc_unsent_bytes")?, memory(node)?);
        ensure!(unsent == 0 && now < before + 40, "{unsent} bytes are unsent, and {before} MB became {now}");
        Ok(())
    })
}

fn half_open_connections_lock_nobody_out(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("cloud-1", "cloud").start()?;
    let node = mesh.node("cloud-1");
    let rpc = node.rpc()?;
    let mut open = Vec::new();
    for n in 0..2000 {
        let mut socket = rpc.connect()?;
        if n % 2 == 0 {
            // The node may have closed it for newer ones already.
            let _ = socket.write_all(b"POST /rpc HTTP/1.1\r\nHost: ho");
        }
        open.push(socket);
    }
    for _ in 0..20 {
        serves(node)?;
    }
    promptly("holm status", || node.status().map(drop))?;
    let dropped = node.rpc()?.counter("holm_rpc_strangers_dropped_total")?;
    ensure!(dropped >= 1900, "only {dropped} made room");
    let shown = node.call("mesh.status", json!({}))?["counters"]["rpc_strangers_dropped"].as_u64();
    ensure!(shown.is_some_and(|shown| shown >= dropped), "{shown:?}");
    drop(open);
    Ok(())
}

fn a_refused_credential_is_told(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene).node("cloud-1", "cloud").node("cloud-2", "cloud").start()?;
    let (node, other) = (mesh.node("cloud-1"), mesh.node("cloud-2"));
    let url = format!("http://{}", node.rpc()?.address);
    let data = other.data().to_string_lossy().into_owned();
    // On the first one's host, where its interface can be reached, with the credential of the other.
    let refused = node.holm(&["status", "--rpc", &url, "--data-dir", &data])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(6), "{}: {said}", refused.status);
    for told in [url.as_str(), &format!("{data}/rpc.token"), "--data-dir", "HOLM_DATA_DIR"] {
        ensure!(said.contains(told), "{told:?} is not in {said:?}");
    }
    let missing = node.holm(&["status", "--rpc", &url, "--data-dir", "/nonexistent"])?;
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    for told in ["/nonexistent", "--data-dir", "HOLM_DATA_DIR"] {
        ensure!(said.contains(told), "{told:?} is not in {said:?}");
    }
    let secret = node.rpc()?.credential;
    let given = node.holm(&["status", "--rpc", &format!("http://{secret}@127.0.0.1:1")])?;
    let said = String::from_utf8_lossy(&given.stderr).into_owned();
    ensure!(
        !given.status.success() && !said.contains(&secret),
        "the credential is shown: {}",
        said.replace(&secret, "***")
    );
    Ok(())
}
