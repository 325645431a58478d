//! How fast bytes get from one member to another, directly and over a relay, beside plain TCP and rathole through the same cables.

use crate::{
    lab::rathole::{Rathole, VISIT},
    options::Runs,
    report::Row,
    stats, wait,
};
use anyhow::{Context, Result, anyhow, ensure};
use holm_tests::{
    binaries,
    lab::{Ground, Host, Lab},
    netlab::{Link, Nat},
    process,
    spawner::{Guarded, spawn},
    suite::Scene,
};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

const BLOCK: usize = 64 * 1024;
const PORT: u16 = 4001;
const PATIENCE: Duration = Duration::from_secs(60);
const PULL_WITHIN: Duration = Duration::from_secs(600);
/// Members of the mesh that exists while this is measured.
const RELAY: u8 = 1;
const SERVER: u8 = 2;
const VISITOR: u8 = 3;

/// What the bytes go through.
struct Way {
    key: &'static str,
    what: &'static str,
    link: Option<Link>,
    bytes: u64,
}

/// Measures.
///
/// # Errors
/// A member is not reached, or there is no rathole.
pub fn measure(scene: &Scene, runs: &Runs) -> Result<Vec<Row>> {
    let delay = Duration::from_millis(10);
    let cable = Link { delay, rate: Some(100_000_000), ..Link::default() };
    let cable = Way { key: "cable", what: "100 Mbit/s, 20 ms", link: Some(cable), bytes: runs.pulled };
    let wire = Way { key: "wire", what: "a bare wire", link: None, bytes: runs.pulled * 8 };
    let mut rows = through(scene, runs, &cable)?;
    rows.extend(through(scene, runs, &wire)?);
    Ok(rows)
}

/// The hosts: two behind routers that let nobody in, and two in public.
struct Hosts {
    relay: Host,
    server: Host,
    visitor: Host,
    /// Keeps the rest alive.
    _lab: Lab,
}

impl Hosts {
    fn new(link: Option<Link>) -> Result<Hosts> {
        let mut lab = Lab::new()?;
        lab.ground("cloud", Ground::Public)?;
        let relay = lab.host("cloud")?;
        let mut behind = Vec::new();
        for site in ["a", "b"] {
            lab.ground(site, Ground::Behind(Nat::Symmetric))?;
            behind.push(lab.host(site)?);
            link.map_or(Ok(()), |link| lab.net().link(site, link))?;
        }
        let [server, visitor] = <[Host; 2]>::try_from(behind).map_err(|_| anyhow!("two sites"))?;
        Ok(Hosts { relay, server, visitor, _lab: lab })
    }
}

fn through(scene: &Scene, runs: &Runs, way: &Way) -> Result<Vec<Row>> {
    let (bytes, times) = (way.bytes, runs.pulls);
    let tcp = plain(&Hosts::new(way.link)?, bytes, times)?;
    let direct = ["tcp", "quic"].map(|transport| member_direct(&Hosts::new(way.link)?, transport, bytes, times));
    let relayed = ["tcp", "quic"].map(|transport| member_relayed(&Hosts::new(way.link)?, transport, bytes, times));
    let folder = scene.folder(&format!("rathole-{}", way.key))?;
    let [bare, noise] = [false, true].map(|noise| holes(&Hosts::new(way.link)?, &folder, noise, bytes, times));
    let (bare, noise) = (bare?, noise?);
    let row = |name: &str, what: &str, seconds: &[f64]| {
        let rates: Vec<f64> = seconds.iter().map(|seconds| bytes as f64 * 8e-6 / seconds).collect();
        let note = format!("median; {:.0} to {:.0}", stats::least(&rates), stats::most(&rates));
        let row = Row::new(
            &format!("stream_{}_{name}", way.key),
            &format!("{what}, {}", way.what),
            stats::median(&rates),
            "Mbit/s",
            &rates,
        );
        (row.note(note), stats::median(&rates))
    };
    let (tcp, of_tcp) = row("tcp", "plain TCP to the cloud", &tcp);
    let (bare, of_bare) = row("rathole", "rathole in clear text", &bare);
    let (noise, of_noise) = row("rathole_noise", "rathole with noise", &noise);
    let mut rows = vec![tcp];
    for (transport, seconds) in ["TCP", "QUIC"].into_iter().zip(direct) {
        let name = format!("direct_{}", transport.to_lowercase());
        let (row, of) = row(&name, &format!("a stream over {transport} to the cloud"), &seconds?);
        let ratio = Row::new(&format!("stream_{}_{name}_ratio", way.key), "beside plain TCP", of / of_tcp, "x", &[]);
        rows.extend([
            row,
            if way.link.is_some() { ratio.at_least(0.8) } else { ratio.note("what the software costs") },
        ]);
    }
    rows.extend([bare, noise]);
    for (transport, seconds) in ["TCP", "QUIC"].into_iter().zip(relayed) {
        let name = format!("relayed_{}", transport.to_lowercase());
        let (row, of) = row(&name, &format!("a stream over {transport} and a relay"), &seconds?);
        let ratio =
            Row::new(&format!("stream_{}_{name}_ratio", way.key), "beside rathole with noise", of / of_noise, "x", &[]);
        let note = format!("both are encrypted, ours from end to end; {:.2} beside its clear text", of / of_bare);
        rows.extend([row, if way.link.is_some() { ratio.at_least(1.0).note(note) } else { ratio.note(note) }]);
    }
    Ok(rows)
}

// ---- members ----

fn listen(host: &Host, transport: &str) -> String {
    match transport {
        "tcp" => format!("/ip4/{}/tcp/{PORT}", host.address()),
        _ => format!("/ip4/{}/udp/{PORT}/quic-v1", host.address()),
    }
}

/// A member that runs until it is dropped, and what it said before it was ready.
fn member(host: &Host, arguments: &[String]) -> Result<(Guarded, Vec<String>)> {
    let mut command = host.command(binaries::find("holm-bench-net")?);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = spawn(command)?;
    let said = child.stdout.take().context("no pipe")?;
    let child = Guarded::from(child);
    let mut lines = Vec::new();
    for line in BufReader::new(said).lines() {
        let line = line?;
        if line == "ready" {
            return Ok((child, lines));
        }
        lines.push(line);
    }
    Err(anyhow!("holm-bench-net {arguments:?} ended before it was ready"))
}

fn pull(host: &Host, arguments: &[String]) -> Result<Vec<f64>> {
    let mut command = host.command(binaries::find("holm-bench-net")?);
    command.args(arguments);
    let output = process::output_within(command, b"", PULL_WITHIN)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// From a member in the cloud to one behind a router.
fn member_direct(hosts: &Hosts, transport: &str, bytes: u64, times: usize) -> Result<Vec<f64>> {
    let at = listen(&hosts.relay, transport);
    let (_server, _) = member(&hosts.relay, &words(&format!("serve {SERVER} {at}")))?;
    let own = listen(&hosts.visitor, transport);
    pull(&hosts.visitor, &words(&format!("pull {VISITOR} direct {SERVER} {bytes} {times} at={at} {own}")))
}

/// Between two behind routers that map by destination.
fn member_relayed(hosts: &Hosts, transport: &str, bytes: u64, times: usize) -> Result<Vec<f64>> {
    let relay = listen(&hosts.relay, transport);
    let (_relay, _) = member(&hosts.relay, &words(&format!("relay {RELAY} {relay}")))?;
    let over = format!("relay={RELAY}@{relay}");
    let own = listen(&hosts.server, transport);
    let (_server, said) = member(&hosts.server, &words(&format!("serve {SERVER} {over} {own}")))?;
    let reached = said.iter().find_map(|line| line.strip_prefix("reached ")).context("nobody relays for the server")?;
    let at: String = reached.split(' ').map(|address| format!(" at={address}")).collect();
    let own = listen(&hosts.visitor, transport);
    pull(&hosts.visitor, &words(&format!("pull {VISITOR} relayed {SERVER} {bytes} {times} {over}{at} {own}")))
}

// ---- what they are compared with ----

/// From the cloud to a host behind a router, over one TCP connection.
fn plain(hosts: &Hosts, bytes: u64, times: usize) -> Result<Vec<f64>> {
    let at = SocketAddr::new(hosts.relay.address(), PORT);
    serve(&hosts.relay, at)?;
    let stream = hosts.visitor.connect(at, PATIENCE)?;
    pull_plain(stream, bytes, times)
}

/// Between two hosts behind routers, over rathole.
fn holes(hosts: &Hosts, folder: &Path, noise: bool, bytes: u64, times: usize) -> Result<Vec<f64>> {
    serve(&hosts.server, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT))?;
    let _rathole = Rathole::start(folder, &hosts.relay, &hosts.server, PORT, noise)?;
    let at = SocketAddr::new(hosts.relay.address(), VISIT);
    let (stream, _) = wait::until("rathole lets a visitor through", Instant::now(), PATIENCE / 200, PATIENCE, || {
        let Ok(stream) = hosts.visitor.connect(at, PATIENCE) else { return Ok(None) };
        stream.set_read_timeout(Some(PATIENCE))?;
        // It takes visitors before its client is there, and drops them then.
        Ok(pull_plain(stream.try_clone()?, 1, 1).is_ok().then_some(stream))
    })?;
    pull_plain(stream, bytes, times)
}

/// Sends as many bytes as it is asked for, again and again, on a thread that ends with the connections.
fn serve(host: &Host, at: SocketAddr) -> Result<()> {
    let listener = host.run(|| Ok(TcpListener::bind(at)?))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    Ok(())
}

/// Ends when the other side does.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let (mut count, block) = ([0; 8], [7; BLOCK]);
    loop {
        stream.read_exact(&mut count)?;
        let mut left = u64::from_be_bytes(count);
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
            stream.write_all(&block[..now])?;
            left -= now as u64;
        }
    }
}

fn pull_plain(mut stream: TcpStream, bytes: u64, times: usize) -> Result<Vec<f64>> {
    let mut block = vec![0; BLOCK];
    let mut seconds = Vec::with_capacity(times);
    for _ in 0..times {
        let begin = Instant::now();
        stream.write_all(&bytes.to_be_bytes())?;
        let mut left = bytes;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
            let got = stream.read(&mut block[..most])?;
            ensure!(got > 0, "the connection has ended");
            left -= got as u64;
        }
        seconds.push(begin.elapsed().as_secs_f64());
    }
    Ok(seconds)
}
