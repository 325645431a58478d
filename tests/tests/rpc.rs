//! The JSON-RPC interface, as a program without any library of ours uses it.

use anyhow::{Context, Result, ensure};
use holm_tests::{
    cluster::Cluster,
    http,
    suite::{Scene, Suite},
};
use serde_json::{Value, json};

fn main() {
    Suite::new()
        .test("a program submits, lists and reads over plain HTTP", a_program_submits_lists_and_reads)
        .test("nobody gets in without the credential", nobody_gets_in_without_the_credential)
        .test("what is wrong with a call is said in its error", errors_say_what_is_wrong)
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
